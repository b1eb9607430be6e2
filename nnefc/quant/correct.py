"""Bias correction (Nagel, van Baalen, Blankevoort and Welling, 2019, section 4.2, measured on data): codes that are off
on average move the mean of what a layer gives; the layer's bias takes that back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from nnefc.ir.graph import Attrs, Graph, Literal, Op, Origin, Tensor, Value
from nnefc.ir.types import TensorType
from nnefc.progress import bar
from nnefc.quant.excerpt import Excerpt
from nnefc.quant.layers import Layer, fresh_name, layer_named, layers, used_once, values_of, with_values
from nnefc.quant.runs import Arrays, Walk


def corrected(graph: Graph, quantized: Graph, samples: Iterable[Arrays], **options: Any) -> Graph:
    """What :func:`correct_biases` gives for an excerpt of the samples, with a progress bar."""
    with bar("correcting biases") as report:
        return correct_biases(graph, quantized, Excerpt(samples), progress=report, **options)


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
    Layers are corrected in order, each behind those corrected before. What few samples are not sure of is left.

    ``samples`` are gone through once for each layer. A layer takes part if its weights are coded and its bias and its
    output are its own; one without a bias gets one. ``only`` names the layers to correct; ``options`` are how
    :func:`nnefc.compile` is to compile the quantized network.
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
    coded = layer.weights.output.type.encoding is not None
    return coded and (layer.plain or (layer.bias is not None and used_once(graph, layer.bias)))


def _shift(graph: Graph, real: Layer, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """By how much each output channel of a layer is too low, on average over what is used of it; ``pairs`` are its
    right results and those that are seen."""
    low, high = _used(graph, real)
    rows = []
    for pair in pairs:
        right, seen = (_lines(real, found) for found in pair)
        used = (right > low) & (right < high)
        rows.append((np.where(used, right - seen, 0.0).sum(2), used.sum(2)))
    totals, counts = (np.concatenate(column, 1) for column in zip(*rows, strict=True))
    return _certain(totals, counts)


def _certain(totals: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means of channels, (channels, samples) being sums and how many values each is of, shrunk by what samples tell of
    their uncertainty: the mean m of the variance v becomes max(0, 1 - v / m^2) m (James and Stein, 1961)."""
    count = np.maximum(counts.sum(1), 1)
    mean = totals.sum(1) / count
    samples = (counts > 0).sum(1)
    spread = np.square(totals - mean[:, None] * counts).sum(1) * samples / np.maximum(samples - 1, 1) / count**2
    known = (samples > 1) & (mean != 0)
    return np.where(known, np.maximum(0.0, 1 - spread / np.where(known, mean, 1.0) ** 2) * mean, 0.0)


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
    """A layer's result as (channels, samples, all else), in float64."""
    moved = np.moveaxis(tensor, layer.axis, 0)
    return moved.reshape(layer.channels, moved.shape[1] if tensor.ndim > 1 else 1, -1).astype(np.float64)


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
