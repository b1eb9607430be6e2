"""Bias correction (Nagel, van Baalen, Blankevoort and Welling, 2019, section 4.2, measured on data): codes that are off
on average move the mean of what a layer gives; the layer's bias takes that back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from nnefc.ir.graph import Attrs, Graph, Literal, Op, Origin, Tensor, Value
from nnefc.ir.types import TensorType
from nnefc.quant.layers import Layer, fresh_name, layer_named, layers, used_once, values_of, with_values
from nnefc.quant.runs import Arrays, Walk


def correct_biases(
    graph: Graph,
    quantized: Graph,
    samples: Iterable[Arrays],
    *,
    only: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Graph:
    """``quantized`` with biases that give each layer, channel by channel, the mean that it has in ``graph``, the same
    network with real numbers: b + E[Wx] - E[W'x'], over those results that a relu or clamp behind it lets through.
    Layers are corrected in order, each behind those corrected before.

    ``samples`` are gone through once for each layer. A layer takes part if its bias and its output are its own; one
    without a bias gets one. ``only`` names the layers to correct; ``options`` are how :func:`nnefc.compile` is to
    compile the quantized network.
    """
    known = [x.name for x in layers(quantized) if (only is None or x.name in only) and _correctable(quantized, x)]
    right, seen = Walk(graph, samples), Walk(quantized, samples, **options)
    for done, name in enumerate(known, 1):
        layer, real = layer_named(quantized, name), layer_named(graph, name)
        right.reach(graph, real.output.name)
        seen.reach(quantized, layer.input.name)
        pairs = zip(right.tensors(graph, real.output.name), seen.tensors(quantized, layer.output.name), strict=True)
        shift = _shift(graph, real, pairs)
        quantized = _shifted(quantized, layer, shift)
        if progress is not None:
            progress(done, len(known))
    return quantized


def _correctable(graph: Graph, layer: Layer) -> bool:
    return layer.plain or (layer.bias is not None and used_once(graph, layer.bias))


def _shift(graph: Graph, real: Layer, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """By how much each output channel of a layer is too low, on average over what is used of it; ``pairs`` are its
    right results and those that are seen."""
    low, high = _used(graph, real)
    total, count = np.zeros(real.channels), np.zeros(real.channels)
    for pair in pairs:
        right, seen = (_lines(real, found) for found in pair)
        used = (right > low) & (right < high)
        total += np.where(used, right - seen, 0.0).sum(1)
        count += used.sum(1)
    return total / np.maximum(count, 1)


def _used(graph: Graph, layer: Layer) -> tuple[float, float]:
    """Between which bounds a layer's results matter: what a following relu or clamp cuts off does not."""
    users = graph.users[layer.output.name]
    op = users[0] if len(users) == 1 and layer.output not in graph.outputs else None
    if op is not None and op.kind == "relu":
        return 0.0, math.inf
    if op is not None and op.kind == "clamp" and all(isinstance(v, Literal) for v in op.inputs[1:]):
        low, high = (v.value for v in op.inputs[1:] if isinstance(v, Literal))
        return float(low), float(high)
    return -math.inf, math.inf


def _lines(layer: Layer, tensor: np.ndarray) -> np.ndarray:
    """A layer's result as (channels, all else), in float64."""
    return np.moveaxis(tensor, layer.axis, 0).reshape(layer.channels, -1).astype(np.float64)


def _shifted(graph: Graph, layer: Layer, shift: np.ndarray) -> Graph:
    """The graph with a layer's bias moved."""
    if layer.bias is None:
        return _with_bias(graph, layer, shift)
    old = values_of(graph, layer.bias)
    return with_values(graph, {layer.bias.output.name: (old.astype(np.float64) + shift.reshape(old.shape))})


def _with_bias(graph: Graph, layer: Layer, bias: np.ndarray) -> Graph:
    """The graph with a bias for a layer that has none."""
    op, dtype = layer.op, layer.op.output.type.dtype
    shape = tuple(layer.channels if d == layer.axis else 1 for d in range(max(2, layer.axis + 1)))
    name = fresh_name(graph, f"{layer.name}_bias")
    value = Value(name, TensorType(dtype, shape))
    variable = Op("variable", (), Attrs(shape=shape, label=name, dtype=dtype), (value,), Origin((name,)))
    if op.kind == "matmul":
        inner = Value(fresh_name(graph, f"{layer.name}_product"), op.output.type.with_encoding(None))
        added = Op("add", (inner, value), Attrs(), (op.output,), op.origin)
        news: tuple[Op, ...] = (variable, op.replace(outputs=(inner,)), added)
    else:
        news = (variable, op.replace(inputs=(*op.inputs[:2], value)))
    ops = tuple(new for old in graph.ops for new in (news if old is op else (old,)))
    data = bias.reshape(shape).astype(dtype.numpy)
    return graph.replace(ops=ops, tensors={**graph.tensors, name: Tensor(data, "float", dtype.bits)})
