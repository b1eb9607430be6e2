"""Box filters, pooling and index based sampling as ONNX nodes.

What ONNX has no pooling for (windows in the batch and channel dimensions, borders, wide or negative padding) is written
with tables: for each result, the places of its window's elements in a dimension, -1 where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnefc.formats.onnx.emit import Emitter, Ref, exporter
from nnefc.formats.onnx.exporters.elementwise import squared
from nnefc.formats.onnx.exporters.shape import bordered, picked
from nnefc.ir.graph import Op
from nnefc.ir.types import DType
from nnefc.ops.common import border_index
from nnefc.ops.geometry import Axes, WindowAxis
from nnefc.ops.window import average_divisor, pool_axes, unpool_axes

Refs = list[Ref]
SPATIAL = 3
"""The most spatial dimensions that pooling has in the run-times of ONNX."""


def down_table(a: WindowAxis, border: str) -> np.ndarray:
    """The places (results, taps) that the windows of a basic operation read."""
    where = np.arange(a.downscaled)[:, None] * a.stride - a.before + np.arange(a.size) * a.dilation
    return border_index(border, where, a.upscaled)


def up_table(a: WindowAxis, border: str) -> np.ndarray:
    """The places (results, taps) whose elements a reverse operation adds up."""
    where = np.arange(a.upscaled)[:, None] + a.before - np.arange(a.size) * a.dilation
    found = border_index(border, np.floor_divide(where, a.stride), a.downscaled)
    return np.where(where % a.stride == 0, found, -1)


def _still(table: np.ndarray, extent: int) -> bool:
    """Whether a table takes each element as it is."""
    return table.shape == (extent, 1) and bool((table[:, 0] == np.arange(extent)).all())


def reduced(e: Emitter, x: Ref, tables: Sequence[np.ndarray], op_type: str, fill: float) -> Ref:
    """Every window reduced by an ONNX operator that can be applied dimension by dimension."""
    for axis, table in enumerate(tables):
        if not _still(table, x.shape[axis]):
            x = picked(e, x, axis, table if table.shape[1] > 1 else table[:, 0], fill)
            x = e.reduce(op_type, x, [axis + 1], keep=False) if table.shape[1] > 1 else x
    return x


def windows(e: Emitter, x: Ref, tables: Sequence[np.ndarray], fill: float | int) -> Ref:
    """Every window in a last dimension, row-major."""
    shape, rank = [t.shape[0] for t in tables], x.rank
    for axis in reversed(range(rank)):
        x = picked(e, x, axis, tables[axis], fill)
    x = e.transpose(x, [*range(0, 2 * rank, 2), *range(1, 2 * rank, 2)])
    return e.reshape(x, (*shape, math.prod(t.shape[1] for t in tables)))


# ---- pools


def _pool_attributes(x: Ref, axes: Axes, border: str) -> dict[str, list[int]] | None:
    """The attributes of an ONNX pool that does the same, its border one of 'constant' and 'ignore'; or None.

    Run-times want padding below the window's size, and a window must hold an element.
    """
    spatial = axes[2:]
    if border not in ("constant", "ignore") or not 3 <= len(axes) <= SPATIAL + 2 or any(a.moves for a in axes[:2]):
        return None
    if any(not 0 <= pad < a.size for a in spatial for pad in (a.before, a.after)):
        return None
    if any((a.valid_counts() == 0).any() for a in spatial):
        return None
    pads = [a.before for a in spatial] + [a.after for a in spatial]
    named = {"pads": pads, "kernel_shape": [a.size for a in spatial], "strides": [a.stride for a in spatial]}
    dilations = [a.dilation for a in spatial]
    return named if set(dilations) == {1} else {**named, "dilations": dilations}


def _shape(axes: Axes) -> list[int]:
    return [a.downscaled for a in axes]


def average(e: Emitter, x: Ref, axes: Axes, border: str) -> Ref:
    """The mean of each window, as ``avg_pool``."""
    attrs = _pool_attributes(x, axes, border)
    if attrs is not None:
        inside = int(border == "constant")
        return e.node("AveragePool", [x], x.dtype, _shape(axes), count_include_pad=inside, **attrs)
    total = reduced(e, x, [down_table(a, border) for a in axes], "ReduceSum", 0)
    divisor = average_divisor(axes, border)
    return e.map("Div", total, e.constant(divisor.reshape(()) if divisor.size == 1 else divisor, x.dtype))


@exporter("box")
def _box(e: Emitter, op: Op, x: Refs) -> Refs:
    axes, border = pool_axes(x[0].shape, op.attrs), op.attrs["border"]
    if op.attrs["normalize"]:
        return [average(e, x[0], axes, border)]
    zeros = "constant" if border == "ignore" else border
    if _pool_attributes(x[0], axes, zeros) is None:
        return [reduced(e, x[0], [down_table(a, border) for a in axes], "ReduceSum", 0)]
    mean = average(e, x[0], axes, zeros)
    return [e.map("Mul", mean, e.like(mean, math.prod(a.size for a in axes)))]


@exporter("avg_pool")
def _avg_pool(e: Emitter, op: Op, x: Refs) -> Refs:
    return [average(e, x[0], pool_axes(x[0].shape, op.attrs), op.attrs["border"])]


@exporter("rms_pool")
def _rms_pool(e: Emitter, op: Op, x: Refs) -> Refs:
    mean = average(e, squared(e, x[0]), pool_axes(x[0].shape, op.attrs), op.attrs["border"])
    return [e.map("Sqrt", mean)]


def _lowest(border: str) -> float:
    return -math.inf if border == "ignore" else 0.0


def _maximum(e: Emitter, x: Ref, axes: Axes, border: str) -> Ref:
    """The maximum of each window. The zeros of a constant border take part."""
    attrs = _pool_attributes(x, axes, border)
    if attrs is not None and border == "constant" and any(attrs["pads"]):
        wide = bordered(e, x, [(max(a.before, 0), max(a.after, 0)) for a in axes], "constant")
        return e.node("MaxPool", [wide], x.dtype, _shape(axes), **{**attrs, "pads": [0] * len(attrs["pads"])})
    if attrs is not None:
        return e.node("MaxPool", [x], x.dtype, _shape(axes), **attrs)
    return reduced(e, x, [down_table(a, border) for a in axes], "ReduceMax", _lowest(border))


def _index_of_maximum(e: Emitter, x: Ref, axes: Axes, border: str) -> Ref:
    seen = windows(e, x, [down_table(a, border) for a in axes], _lowest(border))
    return e.node("ArgMax", [seen], DType.I64, seen.shape[:-1], axis=x.rank, keepdims=0)


@exporter("max_pool")
def _max_pool(e: Emitter, op: Op, x: Refs) -> Refs:
    return [_maximum(e, x[0], pool_axes(x[0].shape, op.attrs), op.attrs["border"])]


@exporter("argmax_pool")
def _argmax_pool(e: Emitter, op: Op, x: Refs) -> Refs:
    return [_index_of_maximum(e, x[0], pool_axes(x[0].shape, op.attrs), op.attrs["border"])]


@exporter("max_pool_with_index")
def _max_pool_with_index(e: Emitter, op: Op, x: Refs) -> Refs:
    axes, border = pool_axes(x[0].shape, op.attrs), op.attrs["border"]
    return [_maximum(e, x[0], axes, border), _index_of_maximum(e, x[0], axes, border)]


# ---- indices and reverse operations


def _chosen(e: Emitter, seen: Ref, index: Ref) -> Ref:
    """The sum of those elements of each window (last dimension) whose number the index, of one element or of one for
    each of the window's, says; 0 if there is none."""
    numbers = e.constant(np.arange(seen.shape[-1]), hint="taps")
    hit = e.map("Equal", index, numbers, dtype=DType.BOOL)
    return e.reduce("ReduceSum", e.where(hit, seen, e.like(seen, 0)), [seen.rank - 1], keep=False)


@exporter("sample")
def _sample(e: Emitter, op: Op, x: Refs) -> Refs:
    value, index = x
    axes = pool_axes(value.shape, op.attrs)
    seen = windows(e, value, [down_table(a, op.attrs["border"]) for a in axes], 0)
    return [_chosen(e, seen, e.reshape(e.cast(index, DType.I64), (*index.shape, 1)))]


@exporter("desample")
def _desample(e: Emitter, op: Op, x: Refs) -> Refs:
    value, index = x
    tables = [up_table(a, "constant") for a in unpool_axes(value.shape, op.attrs)]
    return [_chosen(e, windows(e, value, tables, 0), windows(e, e.cast(index, DType.I64), tables, -1))]


@exporter("debox")
def _debox(e: Emitter, op: Op, x: Refs) -> Refs:
    axes, border = unpool_axes(x[0].shape, op.attrs), op.attrs["border"]
    total = reduced(e, x[0], [up_table(a, border) for a in axes], "ReduceSum", 0)
    if op.attrs["normalize"]:
        total = e.map("Div", total, e.like(total, math.prod(a.size for a in axes)))
    return [total]
