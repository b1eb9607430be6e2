"""Box filters, pooling and index based sampling (NNEF 1.0.5, sections 4.3.2, 4.3.3 and 4.9.3)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.expr import Expr, arg, call, const, select
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import common_dtype, integers, one_of, require_kind, shape_text, tensor
from nnefc.ops.geometry import (
    POOL_BORDERS,
    Axes,
    at_tap,
    bordered_view,
    check_bordered,
    down_axes,
    extended,
    overlap_add,
    phase_outputs,
    phase_windows,
    reverse_plan,
    taps,
    up_axes,
    window_view,
    windows,
)
from nnefc.ops.primitive import register, require
from nnefc.ops.slide import reduce_windows, slide_windows, slides_well

Types = Sequence[TensorType]
Arrays = Sequence[np.ndarray]


def _sizes(attrs: Attrs, rank: int) -> tuple[int, ...]:
    return integers(attrs, "size", (rank,), " (one per dimension of the input)")


def pool_axes(shape: Sequence[int], attrs: Attrs) -> Axes:
    """The windows of a basic operation, in all dimensions. Raises InvalidModelError where attributes do not fit."""
    axes = down_axes(shape, _sizes(attrs, len(shape)), attrs)
    check_bordered(shape, [a.reach for a in axes])
    return axes


def unpool_axes(shape: Sequence[int], attrs: Attrs) -> Axes:
    """The windows of a reverse operation, in all dimensions. Raises InvalidModelError where attributes do not fit."""
    wanted = integers(attrs, "output_shape", (len(shape), 0), ", as many as the input has dimensions")
    axes = up_axes(shape, _sizes(attrs, len(shape)), attrs, wanted)
    check_bordered(shape, unpool_reaches(axes, attrs["border"]))
    return axes


def unpool_reaches(axes: Axes, border: str) -> list[tuple[int, int]]:
    """How far a reverse operation extends each dimension of its input: a border of zeros adds nothing."""
    return [(0, 0) if border in ("constant", "ignore") else a.reverse_reach for a in axes]


def average_divisor(axes: Axes, border: str) -> np.ndarray:
    """What a normalized window's sum is divided by (float64, broadcast to the output): the kernel's volume or, with the
    border 'ignore', how many elements the window holds, at least 1."""
    if border != "ignore":
        return np.full((1,) * len(axes), float(math.prod(a.size for a in axes)))
    return np.maximum(functools.reduce(np.multiply, np.ix_(*(a.valid_counts() for a in axes))), 1).astype(np.float64)


# ---- box, debox and the pools


def _infer_pool(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, ("input",), "f")
    one_of(attrs, "border", POOL_BORDERS)
    return (tensor(dtype, [a.downscaled for a in pool_axes(types[0].extents, attrs)]),)


def _infer_debox(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, ("input",), "f")
    one_of(attrs, "border", POOL_BORDERS)
    return (tensor(dtype, [a.upscaled for a in unpool_axes(types[0].extents, attrs)]),)


def _sums(x: np.ndarray, axes: Axes, border: str) -> np.ndarray:
    """The sum of each window, in float64."""
    wide = extended(x, [a.reach for a in axes], border)
    return windows(wide, axes).sum(axis=tuple(range(x.ndim, 2 * x.ndim)), dtype=np.float64)


def _reference_box(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    axes, border = pool_axes(x.shape, attrs), attrs["border"]
    total = _sums(x, axes, border)
    return ((total / average_divisor(axes, border) if attrs["normalize"] else total).astype(x.dtype),)


def _reference_avg_pool(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return _reference_box(inputs, attrs.updated(normalize=True))


def _reference_rms_pool(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    axes, border = pool_axes(x.shape, attrs), attrs["border"]
    mean = _sums(x.astype(np.float64) ** 2, axes, border) / average_divisor(axes, border)
    return (np.sqrt(mean).astype(x.dtype),)


def _reference_debox(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    axes, border = unpool_axes(x.shape, attrs), attrs["border"]
    reaches = unpool_reaches(axes, border)
    wide = extended(x.astype(np.float64), reaches, border)
    total = overlap_add(axes, reaches, (), lambda tap: wide)
    return ((total / math.prod(a.size for a in axes) if attrs["normalize"] else total).astype(x.dtype),)


def _for_maximum(x: np.ndarray, axes: Axes, border: str) -> np.ndarray:
    """The extended input of a maximum: an ignored border never wins against a number."""
    return extended(x, [a.reach for a in axes], border, fill=-np.inf if border == "ignore" else 0.0)


def _reference_max_pool(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    axes = pool_axes(x.shape, attrs)
    seen = windows(_for_maximum(x, axes, attrs["border"]), axes)
    return (seen.max(axis=tuple(range(x.ndim, 2 * x.ndim))),)


# ---- indices


def _infer_argmax_pool(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (value,) = _infer_pool(types, attrs)
    return (TensorType(DType.I64, value.shape),)


def _infer_max_pool_with_index(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    return _infer_pool(types, attrs) + _infer_argmax_pool(types, attrs)


def _infer_sample(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, index = types
    (output,) = _infer_pool((x,), attrs)
    require_kind(index, "iu", "index")
    require(
        index.shape == output.shape,
        f"index has shape {shape_text(index.shape)}; it must be the output's, {shape_text(output.shape)}",
    )
    return (output,)


def _infer_desample(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, index = types
    one_of(attrs, "border", ("constant", "ignore"))
    require_kind(index, "iu", "index")
    require(
        index.shape == x.shape,
        f"index has shape {shape_text(index.shape)}; it must be the input's, {shape_text(x.shape)}",
    )
    return _infer_debox((x,), attrs)


def _reference_argmax_pool(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    axes = pool_axes(x.shape, attrs)
    wide = _for_maximum(x, axes, attrs["border"])
    best = at_tap(wide, axes, (0,) * x.ndim)
    index = np.zeros(best.shape, np.int64)
    for number, tap in enumerate(taps(axes)):
        seen = at_tap(wide, axes, tap)
        better = seen > best
        best, index = np.where(better, seen, best), np.where(better, number, index)
    return (index,)


def _reference_max_pool_with_index(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return _reference_max_pool(inputs, attrs) + _reference_argmax_pool(inputs, attrs)


def _reference_sample(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, index = inputs
    axes = pool_axes(x.shape, attrs)
    wide = extended(x, [a.reach for a in axes], attrs["border"])
    result = np.zeros(index.shape, x.dtype)
    for number, tap in enumerate(taps(axes)):
        result = np.where(index == number, at_tap(wide, axes, tap), result)
    return (result,)


def _reference_desample(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, index = inputs
    axes = unpool_axes(x.shape, attrs)
    numbers = {tap: number for number, tap in enumerate(taps(axes))}
    total = overlap_add(axes, [(0, 0)] * x.ndim, (), lambda tap: np.where(index == numbers[tap], x, 0.0))
    return (total.astype(x.dtype),)


# ---- lowering


def averaged(b: ProgramBuilder, axes: Axes, border: str, dtype: DType) -> tuple[Expr, list[View]]:
    """The ``post`` that divides a sum by ``average_divisor``, and its extras."""
    uniform = 1
    divisor: Expr | None = None
    extras: list[View] = []
    for d, a in enumerate(axes):
        b.reserve(a.downscaled if border == "ignore" else 1)
        counts = a.valid_counts() if border == "ignore" else np.full(1, a.size)
        if (counts == counts[0]).all():
            uniform *= int(counts[0])
            continue
        extras.append(b.const(counts.astype(dtype.numpy).reshape([-1 if e == d else 1 for e in range(len(axes))])))
        factor = arg(len(extras), dtype)
        divisor = factor if divisor is None else call("mul", divisor, factor)
    number = const(float(uniform), dtype)
    divisor = number if divisor is None else divisor if uniform == 1 else call("mul", divisor, number)
    if border == "ignore":
        divisor = call("max", divisor, const(1.0, dtype))
    return call("div", arg(0, dtype), divisor), extras


def _pooled(
    b: ProgramBuilder,
    op: Op,
    kind: str,
    *,
    fill: float = 0.0,
    expr: Expr | None = None,
    post: Expr | None = None,
    extras: Sequence[View] = (),
) -> View:
    """The windows of a basic operation, reduced by ``kind``: sum or max."""
    x = b.view(op.inputs[0])
    axes, border = pool_axes(x.shape, op.attrs), op.attrs["border"]
    if slides_well(x, axes):
        out = b.new([a.downscaled for a in axes], x.dtype, channels_last(x.rank))
        return slide_windows(b, kind, x, axes, border, out, fill=fill, expr=expr, post=post, extras=extras)
    _, seen, count = _input_windows(b, op, fill)
    return reduce_windows(b, kind, [seen], count, expr=expr, post=post, extras=extras)


def _input_windows(b: ProgramBuilder, op: Op, fill: float = 0.0) -> tuple[Axes, View, int]:
    x = b.view(op.inputs[0])
    axes = pool_axes(x.shape, op.attrs)
    seen, count = window_view(bordered_view(b, x, [a.reach for a in axes], op.attrs["border"], fill), axes)
    return axes, seen, count


def _average(b: ProgramBuilder, op: Op) -> tuple[Expr, list[View]]:
    x = b.view(op.inputs[0])
    return averaged(b, pool_axes(x.shape, op.attrs), op.attrs["border"], x.dtype)


def _lower_sum(b: ProgramBuilder, op: Op, normalize: bool) -> None:
    post, extras = _average(b, op) if normalize else (None, [])
    b.put(op.output, _pooled(b, op, "sum", post=post, extras=extras))


def _lower_box(b: ProgramBuilder, op: Op) -> None:
    _lower_sum(b, op, op.attrs["normalize"])


def _lower_avg_pool(b: ProgramBuilder, op: Op) -> None:
    _lower_sum(b, op, True)


def _lower_rms_pool(b: ProgramBuilder, op: Op) -> None:
    mean, extras = _average(b, op)
    x = arg(0, mean.dtype)
    b.put(op.output, _pooled(b, op, "sum", expr=call("mul", x, x), post=call("sqrt", mean), extras=extras))


def _lowest(op: Op) -> float:
    return -math.inf if op.attrs["border"] == "ignore" else 0.0


def _index_of_maximum(b: ProgramBuilder, seen: View, count: int) -> View:
    order = channels_last(seen.rank - count)
    if not count:
        return b.fill(b.new(seen.shape, DType.I64, order), 0)
    return b.reduce("argmax", [seen], count, order=order)


def _lower_max_pool(b: ProgramBuilder, op: Op) -> None:
    b.put(op.output, _pooled(b, op, "max", fill=_lowest(op)))


def _lower_argmax_pool(b: ProgramBuilder, op: Op) -> None:
    _, seen, count = _input_windows(b, op, _lowest(op))
    b.put(op.output, _index_of_maximum(b, seen, count))


def _lower_max_pool_with_index(b: ProgramBuilder, op: Op) -> None:
    _, seen, count = _input_windows(b, op, _lowest(op))
    value, index = op.outputs
    b.put(value, reduce_windows(b, "max", [seen], count))
    b.put(index, _index_of_maximum(b, seen, count))


def _tap_numbers(b: ProgramBuilder, sizes: Sequence[int]) -> np.ndarray:
    """The row-major number of each place in a window (int64)."""
    b.reserve(math.prod(sizes))
    return np.arange(math.prod(sizes), dtype=np.int64).reshape(tuple(sizes))


def _chosen(dtype: DType) -> Expr:
    """``$0`` where the index ``$1`` is the tap's number ``$2``, else 0."""
    return select(call("eq", arg(1, DType.I64), arg(2, DType.I64)), arg(0, dtype), const(0, dtype))


def _lower_sample(b: ProgramBuilder, op: Op) -> None:
    axes, seen, count = _input_windows(b, op)
    numbers = b.const(_tap_numbers(b, (1,) * len(axes) + tuple(a.size for a in axes if a.size > 1)))
    index = b.cast(b.view(op.inputs[1]), DType.I64)
    for _ in range(count):
        index = index.expand_dims(index.rank)
    b.put(op.output, reduce_windows(b, "sum", [seen, index, numbers], count, expr=_chosen(seen.dtype)))


def _lower_debox(b: ProgramBuilder, op: Op) -> None:
    x = b.view(op.inputs[0])
    axes, border = unpool_axes(x.shape, op.attrs), op.attrs["border"]
    plan = reverse_plan(axes, unpool_reaches(axes, border))
    source = plan.source(b, x, border)
    post = None
    if op.attrs["normalize"]:
        post, _ = averaged(b, axes, "constant", x.dtype)
    output = b.new([a.upscaled for a in axes], x.dtype, channels_last(x.rank))
    for phases in plan.combinations():
        target = phase_outputs(output, phases)
        if any(p.size == 0 for p in phases):
            b.fill(target, 0)
        else:
            seen, count = phase_windows(source, phases)
            reduce_windows(b, "sum", [seen], count, post=post, out=target)
    b.put(op.output, output)


def _lower_desample(b: ProgramBuilder, op: Op) -> None:
    x, index = b.view(op.inputs[0]), b.cast(b.view(op.inputs[1]), DType.I64)
    axes = unpool_axes(x.shape, op.attrs)
    plan = reverse_plan(axes, [(0, 0)] * x.rank)
    source, indices = plan.source(b, x, "constant"), plan.source(b, index, "constant", -1)
    numbers = _tap_numbers(b, [a.size for a in axes])
    output = b.new([a.upscaled for a in axes], x.dtype, channels_last(x.rank))
    for phases in plan.combinations():
        target = phase_outputs(output, phases)
        if any(p.size == 0 for p in phases):
            b.fill(target, 0)
            continue
        taps_of = [[p.tap + v * p.tap_step for v in range(p.size)] for p in phases]
        chosen = numbers[np.ix_(*taps_of)]
        places = b.const(chosen.reshape((1,) * x.rank + tuple(n for n in chosen.shape if n > 1)))
        seen, count = phase_windows(source, phases)
        where, _ = phase_windows(indices, phases)
        reduce_windows(b, "sum", [seen, where, places], count, expr=_chosen(x.dtype), out=target)
    b.put(op.output, output)


register("box", infer=_infer_pool, reference=_reference_box, lower=_lower_box)
register("debox", infer=_infer_debox, reference=_reference_debox, lower=_lower_debox)
register("avg_pool", infer=_infer_pool, reference=_reference_avg_pool, lower=_lower_avg_pool)
register("rms_pool", infer=_infer_pool, reference=_reference_rms_pool, lower=_lower_rms_pool)
register("max_pool", infer=_infer_pool, reference=_reference_max_pool, lower=_lower_max_pool)
register("argmax_pool", infer=_infer_argmax_pool, reference=_reference_argmax_pool, lower=_lower_argmax_pool)
register(
    "max_pool_with_index",
    infer=_infer_max_pool_with_index,
    reference=_reference_max_pool_with_index,
    lower=_lower_max_pool_with_index,
)
register("sample", infer=_infer_sample, reference=_reference_sample, lower=_lower_sample)
register("desample", infer=_infer_desample, reference=_reference_desample, lower=_lower_desample)
