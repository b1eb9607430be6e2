"""Operations of ONNX that pick, place, order or count elements by data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnefc.formats.onnx.importers.reduce import axis_of
from nnefc.formats.onnx.importers.tensor import empty, numbers
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope
from nnefc.ir.types import DType

REDUCTIONS = ("none", "add", "mul", "max", "min")


def from_the_front(s: Scope, index: Imported, extent: int) -> Any:
    """Indices, I64, those below 0 counted from the end of a dimension."""
    if isinstance(index, np.ndarray):
        wide = index.astype(np.int64)
        return np.where(wide < 0, wide + extent, wide)
    wide = s.cast(index, DType.I64)
    if s.dtype(index).kind == "u":
        return wide
    return s.op("select", [s.op("lt", [wide, 0]), s.op("add", [wide, extent]), wide])


@importer("Gather")
def _gather(s: Scope, n: Node) -> Sequence[Imported]:
    x, index = n.need(0), n.need(1)
    axis = axis_of(s, n.attr("axis", 0), s.rank(x))
    found = from_the_front(s, index, s.shape(x)[axis])
    if isinstance(x, np.ndarray) and isinstance(found, np.ndarray):
        outside = found[(found < 0) | (found >= x.shape[axis])]
        if outside.size:
            raise s.invalid(f"there is no element {outside.flat[0]} in {x.shape[axis]} along axis {axis}")
        return [np.asarray(np.take(x, found, axis))]
    if isinstance(found, np.ndarray) and found.size == 0:
        return [empty(s, x, (*s.shape(x)[:axis], *found.shape, *s.shape(x)[axis + 1 :]))]
    if isinstance(found, np.ndarray) and found.size == 1:
        # One element, known: a slice, which costs nothing.
        at = int(found.reshape(()))
        taken = s.op("slice", [x], axes=[axis], begin=[at], end=[at + 1])
        return [s.reshape(taken, (*s.shape(x)[:axis], *found.shape, *s.shape(x)[axis + 1 :]))]
    return [s.op("gather", [x, found], axis=axis)]


@importer("GatherElements")
def _gather_elements(s: Scope, n: Node) -> Sequence[Imported]:
    x, index = n.need(0), n.need(1)
    axis = axis_of(s, n.attr("axis", 0), s.rank(x))
    return [s.op("gather_elements", [x, index], axis=axis)]


@importer("GatherND")
def _gather_nd(s: Scope, n: Node) -> Sequence[Imported]:
    return [s.op("gather_nd", [n.need(0), n.need(1)], batch_dims=n.attr("batch_dims", 0))]


def _reduction(s: Scope, n: Node) -> str:
    name = n.attr("reduction", "none")
    if name not in REDUCTIONS:
        raise s.invalid(f"reduction is {name!r}; it must be one of {', '.join(map(repr, REDUCTIONS))}")
    return str(name)


@importer("ScatterElements", "Scatter")
def _scatter_elements(s: Scope, n: Node) -> Sequence[Imported]:
    x, index, updates = n.need(0), n.need(1), n.need(2)
    axis = axis_of(s, n.attr("axis", 0), s.rank(x))
    return [s.op("scatter_elements", [x, index, updates], axis=axis, reduction=_reduction(s, n))]


@importer("ScatterND")
def _scatter_nd(s: Scope, n: Node) -> Sequence[Imported]:
    return [s.op("scatter_nd", [n.need(0), n.need(1), n.need(2)], reduction=_reduction(s, n))]


@importer("TensorScatter")
def _tensor_scatter(s: Scope, n: Node) -> Sequence[Imported]:
    """``update`` written into a cache along ``axis``, for each item of the batch from an index on."""
    cache, update, first = n.need(0), n.need(1), n.input(2)
    shape = s.shape(cache)
    axis = axis_of(s, n.attr("axis", -2), len(shape))
    if s.rank(update) != len(shape):
        raise s.invalid(f"update has the shape {list(s.shape(update))}; it must have {len(shape)} dimensions")
    start = np.zeros(shape[0], np.int64) if first is None else s.cast(first, DType.I64)
    if s.shape(start) != shape[:1]:
        raise s.invalid(f"write_indices has the shape {list(s.shape(start))}; it must be [{shape[0]}]")
    extent, count = shape[axis], s.shape(update)[axis]
    steps = numbers(s, count).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    places = s.op("add", [s.reshape(start, [shape[0]] + [1] * (len(shape) - 1)), steps])
    if n.attr("mode", "linear") == "circular":
        places = s.op("mod", [places, extent])
    ones = np.ones(s.shape(update), np.int64)
    return [s.op("scatter_elements", [cache, s.op("mul", [places, ones]), update], axis=axis, reduction="none")]


@importer("OneHot")
def _one_hot(s: Scope, n: Node) -> Sequence[Imported]:
    index, values = n.need(0), n.need(2)
    depth = s.known_integer(n.need(1), "depth")
    rank = s.rank(index) + 1
    axis = axis_of(s, n.attr("axis", -1), rank)
    if s.shape(values) != (2,):
        raise s.invalid(f"values has the shape {list(s.shape(values))}; it must be [2]")
    whole = index if s.dtype(index).kind in "iu" else s.cast(index, DType.I64)
    if depth < 1:
        raise s.invalid(f"depth is {depth}; it must be positive")
    classes = numbers(s, depth).reshape([-1 if i == axis else 1 for i in range(rank)])
    found = from_the_front(s, whole, depth)
    wide = s.reshape(found, (*s.shape(found)[:axis], 1, *s.shape(found)[axis:]))
    hit = s.op("eq", [wide, classes])
    off, on = (s.reshape(_item(s, values, i), ()) for i in (0, 1))
    return [s.op("select", [hit, on, off])]


def _item(s: Scope, x: Any, index: int) -> Any:
    return (
        x[index : index + 1]
        if isinstance(x, np.ndarray)
        else s.op("slice", [x], axes=[0], begin=[index], end=[index + 1])
    )


@importer("TopK")
def _top_k(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    axis = axis_of(s, n.attr("axis", -1), s.rank(x))
    k = n.need_attr("k") if n.version < 10 else s.known_integer(n.need(1), "k")
    order = {"largest": bool(n.attr("largest", 1)), "sorted": bool(n.attr("sorted", 1))}
    return list(s.op("top_k", [x], axis=axis, k=k, **order))


# ---- results whose extent depends on values


@importer("NonZero")
def _non_zero(s: Scope, n: Node) -> Sequence[Imported]:
    x = s.known(n.need(0), "the input of a NonZero, on which the shape of the result depends,")
    return [np.asarray(np.nonzero(x), np.int64).reshape(x.ndim, -1)]


@importer("Compress")
def _compress(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    condition = s.known(n.need(1), "the condition of a Compress, on which the shape of the result depends,")
    axis = n.attr("axis")
    if axis is None:
        x, axis = s.reshape(x, [math.prod(s.shape(x))]), 0
    axis = axis_of(s, axis, s.rank(x))
    kept = np.flatnonzero(condition.reshape(-1)[: s.shape(x)[axis]]).astype(np.int64)
    if isinstance(x, np.ndarray):
        return [np.take(x, kept, axis)]
    return [s.op("gather", [x, kept], axis=axis)]


@importer("Unique")
def _unique(s: Scope, n: Node) -> Sequence[Imported]:
    x = s.known(n.need(0), "the input of a Unique, on which the shape of the result depends,")
    axis = n.attr("axis")
    axis = None if axis is None else axis_of(s, axis, x.ndim)
    values, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not n.attr("sorted", 1):
        order = np.argsort(first, kind="stable")
        values = np.take(values, order, axis or 0)
        first, counts = first[order], counts[order]
        inverse = np.argsort(order, kind="stable")[inverse]
    return [values, *(a.astype(np.int64) for a in (first, inverse, counts))]
