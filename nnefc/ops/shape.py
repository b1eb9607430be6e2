"""Operations that give the same elements another shape, order or grouping (NNEF 1.0.5, 4.5.1 to 4.5.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import TensorType
from nnefc.ops.common import (
    MAX_OUTPUTS,
    MAX_RANK,
    common_dtype,
    integer,
    integers,
    require_axes,
    require_axis,
    require_positive,
    shape_text,
    tensor,
)
from nnefc.ops.primitive import register, require

# ---- reshape, squeeze, unsqueeze


def reshaped(shape: Sequence[int], attrs: Attrs) -> tuple[int, ...]:
    """The shape that ``reshape`` gives to a tensor of ``shape`` (4.5.1). Raises InvalidModelError where it cannot."""
    items = list(integers(attrs, "shape"))
    start, count = integer(attrs, "axis_start"), integer(attrs, "axis_count")
    rank = len(shape)
    require(
        0 <= start <= rank,
        f"axis_start = {start} is out of range; the input has rank {rank}, so it must be 0 to {rank}",
    )
    require(
        -1 <= count <= rank - start,
        f"axis_count = {count} is out of range; the input has rank {rank} and axis_start is {start}, so it must be "
        f"-1 (all that follow) or 0 to {rank - start}",
    )
    end = rank if count == -1 else start + count
    given = f"shape = {shape_text(items)}"
    require(len(items) <= MAX_RANK, f"{given} has {len(items)} items; a tensor may have {MAX_RANK} dimensions at most")
    require(all(i >= -1 for i in items), f"{given} contains {min(items, default=0)}; items must be positive, 0 or -1")
    require(items.count(-1) <= 1, f"{given} contains -1 more than once, so the extents are not determined")
    for i, item in enumerate(items):
        if item == 0:
            require(
                start + i < rank, f"item {i} of {given} is 0, but the input has no dimension {start + i} to inherit"
            )
            items[i] = shape[start + i]
    volume = math.prod(shape[start:end])
    have = f"the {volume} elements of the dimensions {shape_text(shape[start:end])} to be reshaped"
    if -1 in items:
        known = math.prod(i for i in items if i != -1)
        require(volume % known == 0, f"{given}: {known} does not divide {have}, so -1 stands for no extent")
        items[items.index(-1)] = volume // known
    require(math.prod(items) == volume, f"{given} has {math.prod(items)} elements; it must have {have}")
    return (*shape[:start], *items, *shape[end:])


def squeezed(shape: Sequence[int], attrs: Attrs) -> tuple[int, ...]:
    """The shape without the dimensions ``axes``, whose extents must be 1."""
    axes = integers(attrs, "axes")
    require_axes(axes, len(shape))
    for a in axes:
        require(shape[a] == 1, f"axes = {shape_text(axes)}: dimension {a} of {shape_text(shape)} must have extent 1")
    return tuple(d for i, d in enumerate(shape) if i not in axes)


def unsqueezed(shape: Sequence[int], attrs: Attrs) -> tuple[int, ...]:
    """The shape with dimensions of extent 1 where the result has the dimensions ``axes``."""
    axes = integers(attrs, "axes")
    require_axes(axes, len(shape) + len(axes), of="the result")
    rest = iter(shape)
    return tuple(1 if i in axes else next(rest) for i in range(len(shape) + len(axes)))


ShapeRule = Callable[[Sequence[int], Attrs], tuple[int, ...]]


def _register_reshape(name: str, rule: ShapeRule) -> None:
    def infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
        return (tensor(types[0].dtype, rule(types[0].extents, attrs)),)

    def reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
        return (arrays[0].reshape(rule(arrays[0].shape, attrs)),)

    def lower(builder: ProgramBuilder, op: Op) -> None:
        builder.put(op.output, builder.reshape(builder.view(op.inputs[0]), op.output.type.extents))

    register(name, infer=infer, reference=reference, lower=lower)


_register_reshape("reshape", reshaped)
_register_reshape("squeeze", squeezed)
_register_reshape("unsqueeze", unsqueezed)


# ---- transpose


def _permutation(rank: int, attrs: Attrs) -> tuple[int, ...]:
    """The axes, followed by the trailing dimensions that ``axes`` leaves alone."""
    axes = integers(attrs, "axes")
    require(len(axes) <= rank, f"axes = {shape_text(axes)} has {len(axes)} items, but the input has rank {rank}")
    require(
        sorted(axes) == list(range(len(axes))),
        f"axes = {shape_text(axes)} must be a permutation of 0 to {len(axes) - 1}",
    )
    return (*axes, *range(len(axes), rank))


def _infer_transpose(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    shape = types[0].extents
    return (tensor(types[0].dtype, [shape[a] for a in _permutation(len(shape), attrs)]),)


def _lower_transpose(builder: ProgramBuilder, op: Op) -> None:
    view = builder.view(op.inputs[0])
    builder.put(op.output, view.transpose(_permutation(view.rank, op.attrs)))


register(
    "transpose",
    infer=_infer_transpose,
    reference=lambda arrays, attrs: (np.transpose(arrays[0], _permutation(arrays[0].ndim, attrs)),),
    lower=_lower_transpose,
)


# ---- split, unstack


def _sections(extent: int, attrs: Attrs) -> list[tuple[int, int]]:
    """The start and the length of each part of ``split``."""
    ratios = integers(attrs, "ratios")
    require(ratios, "ratios = [] must have at least one item")
    require_positive(ratios, "ratios")
    total = sum(ratios)
    require(
        extent % total == 0,
        f"ratios = {shape_text(ratios)} add up to {total}, which does not divide the extent {extent} of dimension "
        f"{attrs['axis']}",
    )
    unit = extent // total
    lengths = [unit * r for r in ratios]
    return [(sum(lengths[:i]), length) for i, length in enumerate(lengths)]


def _axis(types: Sequence[TensorType], attrs: Attrs, grow: int = 0, of: str = "the input") -> int:
    axis = integer(attrs, "axis")
    require_axis(axis, types[0].rank + grow, of=of)
    return axis


def _infer_split(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    axis, shape = _axis(types, attrs), types[0].extents
    parts = _sections(shape[axis], attrs)
    return tuple(tensor(types[0].dtype, (*shape[:axis], n, *shape[axis + 1 :])) for _, n in parts)


def _split(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    axis = attrs["axis"]
    parts = _sections(arrays[0].shape[axis], attrs)
    return tuple(np.take(arrays[0], np.arange(start, start + n), axis) for start, n in parts)


def _lower_split(builder: ProgramBuilder, op: Op) -> None:
    view, axis = builder.view(op.inputs[0]), op.attrs["axis"]
    for output, (start, length) in zip(op.outputs, _sections(view.shape[axis], op.attrs), strict=True):
        builder.put(output, view.slice(axis, start, length))


def _infer_unstack(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    axis, shape = _axis(types, attrs), types[0].extents
    require(
        shape[axis] <= MAX_OUTPUTS,
        f"unstacking the extent {shape[axis]} of dimension {axis} gives too many tensors; at most {MAX_OUTPUTS} may be",
    )
    return (tensor(types[0].dtype, (*shape[:axis], *shape[axis + 1 :])),) * shape[axis]


def _unstack(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    axis = attrs["axis"]
    return tuple(np.take(arrays[0], i, axis) for i in range(arrays[0].shape[axis]))


def _lower_unstack(builder: ProgramBuilder, op: Op) -> None:
    view, axis = builder.view(op.inputs[0]), op.attrs["axis"]
    for i, output in enumerate(op.outputs):
        builder.put(output, view.slice(axis, i, 1).squeeze(axis))


register("split", infer=_infer_split, reference=_split, lower=_lower_split)
register("unstack", infer=_infer_unstack, reference=_unstack, lower=_lower_unstack)


# ---- concat, stack


def _infer_concat(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require(types, "values = [] must have at least one item")
    dtype = common_dtype(types, [f"values[{i}]" for i in range(len(types))])
    axis, first = _axis(types, attrs, of="values[0]"), types[0].extents
    for i, type_ in enumerate(types):
        shape = type_.extents
        same = len(shape) == len(first) and all(shape[j] == d for j, d in enumerate(first) if j != axis)
        require(
            same,
            f"values[{i}] has shape {shape_text(shape)} and values[0] has shape {shape_text(first)}; they may differ "
            f"only in dimension {axis}, the axis",
        )
    return (tensor(dtype, (*first[:axis], sum(t.extents[axis] for t in types), *first[axis + 1 :])),)


def _infer_stack(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require(types, "values = [] must have at least one item")
    dtype = common_dtype(types, [f"values[{i}]" for i in range(len(types))])
    axis, first = _axis(types, attrs, 1, "the result"), types[0].extents
    for i, type_ in enumerate(types):
        require(
            type_.extents == first,
            f"values[{i}] has shape {shape_text(type_.extents)} and values[0] has shape {shape_text(first)}; "
            "they must be equal",
        )
    return (tensor(dtype, (*first[:axis], len(types), *first[axis:])),)


def _lower_concat(builder: ProgramBuilder, op: Op) -> None:
    axis = op.attrs["axis"]
    views = [builder.view(v) for v in op.inputs]
    largest = max(views, key=lambda v: v.volume)
    out = builder.new(op.output.type.extents, op.output.type.dtype, largest.dense_order)
    start = 0
    for view in views:
        builder.copy(view, out.slice(axis, start, view.shape[axis]))
        start += view.shape[axis]
    builder.put(op.output, out)


def _lower_stack(builder: ProgramBuilder, op: Op) -> None:
    axis = op.attrs["axis"]
    out = builder.new(op.output.type.extents, op.output.type.dtype)
    for i, value in enumerate(op.inputs):
        builder.copy(builder.view(value), out.slice(axis, i, 1).squeeze(axis))
    builder.put(op.output, out)


register(
    "concat",
    infer=_infer_concat,
    reference=lambda arrays, attrs: (np.concatenate(arrays, attrs["axis"]),),
    lower=_lower_concat,
)
register(
    "stack",
    infer=_infer_stack,
    reference=lambda arrays, attrs: (np.stack(arrays, attrs["axis"]),),
    lower=_lower_stack,
)
