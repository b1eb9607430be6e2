"""Bias correction (Nagel, van Baalen, Blankevoort and Welling, 2019, section 4.2, measured on data): codes that are off
on average move the mean of what a layer gives; the layer's bias takes that back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from nnefc.ir.graph import Attrs, Graph, Op, Origin, Tensor, Value
from nnefc.ir.types import TensorType
from nnefc.quant.layers import Layer, fresh_name, layer_named, layers, used_once, values_of, with_values
from nnefc.quant.runs import Arrays, tensors_of


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
    network with real numbers: b + E[Wx] - E[W'x']. Layers are corrected in order, each behind those corrected before.

    ``samples`` are read once for each layer. A layer takes part if its bias and its output are its own; one without a
    bias gets one. ``only`` names the layers to correct; ``options`` are how :func:`nnefc.compile` is to compile the
    quantized network.
    """
    known = [x for x in layers(quantized) if (only is None or x.name in only) and _correctable(quantized, x)]
    wanted = _means(graph, known, samples)
    for done, found in enumerate(known, 1):
        layer = layer_named(quantized, found.name)
        mean = _means(quantized, [layer], samples, **options)[layer.name]
        quantized = _shifted(quantized, layer, wanted[layer.name] - mean)
        if progress is not None:
            progress(done, len(known))
    return quantized


def _correctable(graph: Graph, layer: Layer) -> bool:
    return layer.plain or (layer.bias is not None and used_once(graph, layer.bias))


def _means(graph: Graph, known: Sequence[Layer], samples: Iterable[Arrays], **options: Any) -> dict[str, np.ndarray]:
    """The mean of each output channel of layers, without a bias that a following operation adds."""
    totals = {layer.name: np.zeros(layer.channels) for layer in known}
    counts = dict.fromkeys(totals, 0)
    for found in tensors_of(graph, list(totals), samples, **options) if known else ():
        for layer in known:
            lines = np.moveaxis(found[layer.name], layer.axis, 0).reshape(layer.channels, -1)
            totals[layer.name] += lines.sum(1, dtype=np.float64)
            counts[layer.name] += lines.shape[1]
    return {name: total / max(1, counts[name]) for name, total in totals.items()}


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
