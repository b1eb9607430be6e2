"""Operations that take, repeat or surround elements (NNEF 1.0.5, 4.5.4 to 4.5.7): slice, pad, tile, gather."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import INTEGER, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import (
    border_index,
    integer,
    integers,
    one_of,
    pairs,
    require_axes,
    require_axis,
    require_kind,
    require_positive,
    shape_text,
    tensor,
)
from nnefc.ops.geometry import BORDERS
from nnefc.ops.primitive import register, require

# ---- slice


def ranges(shape: Sequence[int], attrs: Attrs) -> list[tuple[int, int, int, int]]:
    """What ``slice`` takes (4.5.4): axis, first index, number of elements and step, for each of ``axes``.

    The number is the ceiling of (end - begin) / stride. Raises InvalidModelError where a range is not valid."""
    axes = integers(attrs, "axes")
    require_axes(axes, len(shape))
    why = ", as many as axes"
    begins, ends = (integers(attrs, name, [len(axes)], why) for name in ("begin", "end"))
    strides = integers(attrs, "stride", [len(axes), 0], why + " or none") or (1,) * len(axes)
    to_the_end = all(s == 1 for s in strides)
    result = []
    for axis, begin, end, stride in zip(axes, begins, ends, strides, strict=True):
        require(stride != 0, f"stride = {shape_text(strides)} contains 0; no item may be 0")
        extent = shape[axis]
        first = _position(begin, extent)
        last = extent if end == 0 and to_the_end else _position(end, extent)
        written = f"begin = {begin}, end = {end}, stride = {stride} of dimension {axis}, which has extent {extent}"
        require(0 <= first < extent, f"{written}: the first element would be {first}; it must be 0 to {extent - 1}")
        length = -((first - last) // stride)
        require(length > 0, f"{written}: there are no elements from {first} to {last}; at least one must be taken")
        result.append((axis, first, length, stride))
    return result


def _position(index: int, extent: int) -> int:
    """An index counted from the end where it is negative, and clamped to -1 (before the first) to ``extent``."""
    return max(-1, min(index + extent if index < 0 else index, extent))


def _infer_slice(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    shape = list(types[0].extents)
    for axis, _, length, _ in ranges(shape, attrs):
        shape[axis] = length
    return (tensor(types[0].dtype, shape),)


def _slice(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    for axis, first, length, stride in ranges(x.shape, attrs):
        x = x[(slice(None),) * axis + (first + stride * np.arange(length),)]
    return (x,)


def _lower_slice(builder: ProgramBuilder, op: Op) -> None:
    view = builder.view(op.inputs[0])
    for axis, first, length, stride in ranges(view.shape, op.attrs):
        view = view.slice(axis, first, length, stride)
    builder.put(op.output, view)


register("slice", infer=_infer_slice, reference=_slice, lower=_lower_slice)


# ---- pad, tile


def _infer_pad(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    shape = types[0].extents
    padding = pairs(attrs, "padding", [len(shape)], ", the rank of the input")
    one_of(attrs, "border", BORDERS)
    dtype, value = types[0].dtype, attrs["value"]
    if dtype.kind in "iu":
        info = np.iinfo(dtype.numpy)
        fits = value == value and info.min <= value <= info.max and int(value) == value
        require(fits, f"value = {value} is no {dtype}")
    return (tensor(types[0].dtype, [p + n + q for n, (p, q) in zip(shape, padding, strict=True)]),)


def _pad(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    for axis, (before, after) in enumerate(attrs["padding"]):
        extent = x.shape[axis]
        index = border_index(attrs["border"], np.arange(-before, extent + after), extent)
        inside = (index >= 0).reshape([-1 if d == axis else 1 for d in range(x.ndim)])
        x = np.where(inside, np.take(x, np.maximum(index, 0), axis), x.dtype.type(attrs["value"]))
    return (x,)


def _lower_pad(builder: ProgramBuilder, op: Op) -> None:
    view, attrs = builder.view(op.inputs[0]), op.attrs
    builder.put(op.output, builder.pad(view, attrs["padding"], attrs["border"], attrs["value"]))


def _infer_tile(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    repeats = integers(attrs, "repeats", [types[0].rank], ", the rank of the input")
    require_positive(repeats, "repeats")
    return (tensor(types[0].dtype, [n * r for n, r in zip(types[0].extents, repeats, strict=True)]),)


def _lower_tile(builder: ProgramBuilder, op: Op) -> None:
    """A copy per element of the result, or none where only extents of 1 are repeated."""
    view, repeats = builder.view(op.inputs[0]), op.attrs["repeats"]
    if all(r == 1 or n == 1 for n, r in zip(view.shape, repeats, strict=True)):
        builder.put(op.output, view.broadcast_to(op.output.type.extents))
        return
    out = builder.new(op.output.type.extents, view.dtype, view.dense_order)
    target: View = out
    for axis in reversed(range(view.rank)):
        target = target.split_dim(axis, (repeats[axis], view.shape[axis]))
        view = view.expand_dims(axis)
    builder.copy(view, target)
    builder.put(op.output, out)


register("pad", infer=_infer_pad, reference=_pad, lower=_lower_pad)
register(
    "tile",
    infer=_infer_tile,
    reference=lambda arrays, attrs: (np.tile(arrays[0], attrs["repeats"]),),
    lower=_lower_tile,
)


# ---- gather


def _infer_gather(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require_kind(types[1], "iu", "indices")
    axis, shape = integer(attrs, "axis"), types[0].extents
    require_axis(axis, len(shape))
    return (tensor(types[0].dtype, (*shape[:axis], *types[1].extents, *shape[axis + 1 :])),)


def _gather(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, indices = arrays
    extent = x.shape[attrs["axis"]]
    wrong = indices[(indices < 0) | (indices >= extent)]
    if wrong.size:
        raise ValueError(
            f"gather: the index {wrong.flat[0]} is out of range; dimension {attrs['axis']} of the input has extent "
            f"{extent}, so indices must be 0 to {extent - 1}"
        )
    return (np.take(x, indices, attrs["axis"]),)


def _lower_gather(builder: ProgramBuilder, op: Op) -> None:
    x, indices = (builder.view(v) for v in op.inputs)
    builder.put(op.output, builder.gather(x, builder.cast(indices, INTEGER), op.attrs["axis"]))


register("gather", infer=_infer_gather, reference=_gather, lower=_lower_gather)
