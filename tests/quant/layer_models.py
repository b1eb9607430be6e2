"""Small networks with layers of every kind, as text, their weights drawn; and weights as codes."""

from __future__ import annotations

import math

import numpy as np

from nnefc.ir.encoding import Encoding, Parameter
from nnefc.ir.graph import Graph, Tensor, Value
from nnefc.ops.quantized import zero_point_range
from nnefc.quant.layers import Layer, layers, retyped, values_of

Arrays = dict[str, np.ndarray]

CHAIN = """
version 1.0;
graph chain( x ) -> ( y )
{
    x = external(shape = [1,3,10,10]);
    w1 = variable(shape = [8,3,1,1], label = 'w1');
    b1 = variable(shape = [1,8], label = 'b1');
    w2 = variable(shape = [8,1,3,3], label = 'w2');
    b2 = variable(shape = [1,8], label = 'b2');
    w3 = variable(shape = [6,8,1,1], label = 'w3');
    w4 = variable(shape = [150,5], label = 'w4');
    b4 = variable(shape = [1,5], label = 'b4');
    w5 = variable(shape = [4,5], label = 'w5');
    c1 = conv(x, w1, b1);
    r1 = relu(c1);
    c2 = conv(r1, w2, b2, groups = 0);
    r2 = clamp(c2, 0.0, 6.0);
    c3 = conv(r2, w3);
    p3 = max_pool(c3, size = [1,1,2,2], stride = [1,1,2,2], padding = [(0,0),(0,0),(0,0),(0,0)]);
    t3 = transpose(p3, axes = [0,2,3,1]);
    f3 = reshape(t3, shape = [1,150]);
    m4 = matmul(f3, w4);
    a4 = add(m4, b4);
    r4 = leaky_relu(a4, alpha = 0.1);
    y = linear(r4, w5);
}
"""
"""Pointwise, depthwise with a clamp, pointwise, pooled and flattened, a matrix product with a bias beside it, a linear
layer without one."""


def drawn(graph: Graph, count: int, seed: int = 1) -> list[Arrays]:
    """Normal inputs."""
    rng = np.random.default_rng(seed)
    return [
        {v.name: rng.standard_normal(v.type.extents).astype(np.float32) for v in graph.inputs} for _ in range(count)
    ]


def rescaled(graph: Graph, exponent: int = 6, seed: int = 2) -> Graph:
    """The same function with the channels between neighbouring layers scaled by drawn powers of two."""
    from nnefc.quant.equalize import find_pairs, scaled

    rng = np.random.default_rng(seed)
    factors = {}
    for pair in find_pairs(graph):
        powers = rng.integers(-exponent, exponent + 1, pair.first.channels)
        factors[pair.first.name] = np.exp2(powers.astype(np.float64))
    return scaled(graph, factors)


def with_codes(graph: Graph, bits: int = 8, per_channel: bool = True) -> Graph:
    """The graph with the weights of its layers as codes, to the nearest."""
    tensors, encodings = dict(graph.tensors), {}
    for layer in layers(graph):
        data, encoding = _coded(layer, values_of(graph, layer.weights), bits, per_channel)
        tensors[layer.weights.attrs["label"]] = Tensor(data, "qint", bits)
        encodings[layer.weights.output.name] = encoding
    ops = tuple(
        op.replace(outputs=tuple(Value(v.name, v.type.with_encoding(encodings.get(v.name))) for v in op.outputs))
        for op in graph.ops
    )
    return retyped(graph.replace(ops=ops, tensors=tensors))


def _coded(layer: Layer, weights: np.ndarray, bits: int, per_channel: bool) -> tuple[np.ndarray, Encoding]:
    low, high = zero_point_range(bits, True, True)
    others = tuple(d for d in range(weights.ndim) if d != layer.outer)
    largest = np.abs(weights).max(others, keepdims=True) if per_channel else np.abs(weights).max()
    scale = np.where(largest > 0, largest / high, 1).astype(np.float32)
    data = np.clip(np.floor(weights / scale + 0.5), low, high).astype(np.int8)
    shape = scale.shape[: layer.outer + 1] if per_channel else ()
    value: Parameter = _nested(scale.reshape(shape).astype(float).tolist())
    parameters = (("zero_point", 0), ("scale", value), ("bits", bits), ("signed", True), ("symmetric", True))
    return data, Encoding("zero_point_linear_quantize", parameters)


def _nested(value: object) -> Parameter:
    return tuple(_nested(v) for v in value) if isinstance(value, list) else float(value)  # type: ignore[arg-type]


def snr(real: np.ndarray, seen: np.ndarray) -> float:
    """The signal-to-noise ratio in dB."""
    noise = float(np.sum((real.astype(np.float64) - seen) ** 2))
    return math.inf if noise == 0 else 10 * math.log10(float(np.sum(real.astype(np.float64) ** 2)) / noise)


SMALL = """
version 1.0;
graph small( x ) -> ( y )
{
    x = external(shape = [1,2,6,6]);
    w1 = variable(shape = [8,2,3,3], label = 'w1');
    b1 = variable(shape = [1,8], label = 'b1');
    w2 = variable(shape = [12,128], label = 'w2');
    w3 = variable(shape = [4,12], label = 'w3');
    c1 = conv(x, w1, b1, padding = [(0,0),(0,0)]);
    r1 = relu(c1);
    f1 = reshape(r1, shape = [1,128]);
    l2 = linear(f1, w2);
    r2 = relu(l2);
    y = linear(r2, w3);
}
"""
"""Three layers."""
