"""Pools: MaxPool, AveragePool, LpPool, their global forms, and MaxUnpool (operators of ai.onnx)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnefc.formats.onnx.importers.tables import check_table
from nnefc.formats.onnx.importers.windows import Padding, Windows, windows
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope
from nnefc.ir.types import DType
from nnefc.ops.primitive import require


def _window_attrs(win: Windows, pads: Sequence[Padding]) -> dict[str, Any]:
    """The attributes of an NNEF pool, whose windows have batch and channel dimensions too."""
    return {
        "size": [1, 1, *win.size],
        "padding": [(0, 0), (0, 0), *pads],
        "stride": [1, 1, *win.strides],
        "dilation": [1, 1, *win.dilations],
    }


@importer("MaxPool")
def _max_pool(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    shape, dtype = s.shape(x), s.dtype(x)
    win = windows(n, len(shape) - 2)
    pads = win.padding(shape[2:])
    attrs = _window_attrs(win, win.grown(shape[2:], pads))
    wide = x if dtype.kind == "f" else s.cast(x, DType.F32)
    if n.output_count < 2:
        return (s.cast(s.op("max_pool", [wide], border="ignore", **attrs), dtype),)
    value, index = s.op("max_pool_with_index", [wide], border="ignore", **attrs)
    return s.cast(value, dtype), _flat_index(s, n, index, shape, win, pads)


def _flat_index(
    s: Scope, n: Node, index: Imported, shape: Sequence[int], win: Windows, pads: Sequence[Padding]
) -> Imported:
    """Places inside windows as places in the whole input, in row-major or (storage_order 1) column-major planes."""
    spatial = shape[2:]
    columns_first = bool(n.attrs.get("storage_order", 0))
    steps = [1] * len(spatial)
    for d in range(1, len(spatial)) if columns_first else range(len(spatial) - 2, -1, -1):
        steps[d] = steps[d - 1] * spatial[d - 1] if columns_first else steps[d + 1] * spatial[d + 1]
    check_table(s, *win.size)
    check_table(s, max(s.shape(index)))
    taps = [np.arange(k) * d * step for k, d, step in zip(win.size, win.dilations, steps, strict=True)]
    result = s.op("gather", [functools.reduce(np.add.outer, taps).reshape(-1).astype(np.int64), index], axis=0)
    plane = math.prod(spatial)
    starts = [np.arange(shape[0]) * shape[1] * plane, np.arange(shape[1]) * plane]
    for out, stride, (before, _), step in zip(s.shape(index)[2:], win.strides, pads, steps, strict=True):
        starts.append((np.arange(out) * stride - before) * step)
    for d, start in enumerate(starts):
        if start.any():
            result = s.op("add", [result, start.reshape((1,) * d + (-1,)).astype(np.int64)])
    return result


@importer("AveragePool")
def _average_pool(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    shape = s.shape(x)
    win = windows(n, len(shape) - 2)
    pads = win.padding(shape[2:])
    grown = win.grown(shape[2:], pads)
    attrs = _window_attrs(win, grown)
    if not n.attrs.get("count_include_pad", 0):
        return (s.op("avg_pool", [x], border="ignore", **attrs),)
    if grown == pads:
        return (s.op("avg_pool", [x], border="constant", **attrs),)
    total = s.op("box", [x], border="constant", normalize=False, **attrs)
    check_table(s, *s.shape(total)[2:])
    check_table(s, max(s.shape(total)), max(win.size))
    counts = [
        _inside(out, k, stride, d, before + extent + after)
        for out, k, stride, d, extent, (before, after) in zip(
            s.shape(total)[2:], win.size, win.strides, win.dilations, shape[2:], pads, strict=True
        )
    ]
    divisor = functools.reduce(np.multiply.outer, counts)[None, None].astype(s.dtype(x).numpy)
    return (s.op("div", [total, divisor]),)


def _inside(count: int, size: int, stride: int, dilation: int, room: int) -> np.ndarray:
    """For each of ``count`` windows, how many of its taps lie in the padded input of ``room`` elements."""
    where = np.arange(count)[:, None] * stride + np.arange(size) * dilation
    return (where < room).sum(axis=1)


def _power_mean(s: Scope, x: Imported, p: int, total: Any) -> Imported:
    """The ``p``-norm, given what adds elements up."""
    require(p > 0, f"p = {p}; it must be positive")
    if p == 1:
        return total(s.op("abs", [x]))
    if p == 2:
        return s.op("sqrt", [total(s.op("sqr", [x]))])
    powers = total(s.op("pow", [s.op("abs", [x]), float(p)]))
    return s.op("pow", [powers, 1.0 / p])


@importer("LpPool")
def _lp_pool(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    extents = s.shape(x)[2:]
    win = windows(n, len(extents))
    attrs = _window_attrs(win, win.grown(extents, win.padding(extents)))

    def total(y: Imported) -> Imported:
        return s.op("box", [y], border="constant", normalize=False, **attrs)

    return (_power_mean(s, x, int(n.attrs.get("p", 2)), total),)


def _planes(s: Scope, x: Imported) -> list[int]:
    rank = len(s.shape(x))
    require(rank >= 3, f"the input has {rank} dimensions; it must have a spatial one, the third")
    return list(range(2, rank))


@importer("GlobalAveragePool")
def _global_average_pool(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    return (s.op("mean_reduce", [x], axes=_planes(s, x)),)


@importer("GlobalMaxPool")
def _global_max_pool(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    return (s.op("max_reduce", [x], axes=_planes(s, x)),)


@importer("GlobalLpPool")
def _global_lp_pool(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    axes = _planes(s, x)
    return (_power_mean(s, x, int(n.attrs.get("p", 2)), lambda y: s.op("sum_reduce", [y], axes=axes)),)


@importer("MaxUnpool")
def _max_unpool(s: Scope, n: Node) -> Sequence[Imported]:
    """Values put back to their flat places in the tensor that was pooled. With an ``output_shape`` larger than that
    tensor the places are still those of the smaller one, as the operator's own examples have it."""
    x, index, wanted = n.need(0), n.need(1), n.input(2)
    shape = s.shape(x)
    win = windows(n, len(shape) - 2)
    pooled = [
        (e - 1) * stride - p - q + k
        for e, stride, (p, q), k in zip(shape[2:], win.strides, win.pads, win.size, strict=True)
    ]
    full = [*shape[:2], *pooled]
    require(all(e > 0 for e in full), f"the result would have the shape {full}")
    check_table(s, *full)
    count = math.prod(shape)
    flat = s.op(
        "scatter_elements",
        [np.zeros(math.prod(full), s.dtype(x).numpy), s.reshape(index, [count]), s.reshape(x, [count])],
        axis=0,
        reduction="none",
    )
    result = s.reshape(flat, full)
    if wanted is None:
        return (result,)
    target = s.known_ints(wanted, "output_shape")
    require(len(target) == len(full), f"output_shape = {target} must have {len(full)} items")
    return (s.op("pad", [result], padding=[(0, b - a) for a, b in zip(full, target, strict=True)], value=0.0),)
