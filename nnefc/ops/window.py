"""Box filters, pooling and index based sampling (NNEF 1.0.5, sections 4.3.2, 4.3.3 and 4.9.3)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from nnefc.ir.graph import Attrs
from nnefc.ir.types import DType, TensorType
from nnefc.ops.common import common_dtype, integers, one_of, require_kind, shape_text, tensor
from nnefc.ops.geometry import (
    POOL_BORDERS,
    Axes,
    at_tap,
    check_bordered,
    down_axes,
    extended,
    overlap_add,
    taps,
    up_axes,
    windows,
)
from nnefc.ops.primitive import register, require

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
        better = (seen > best) | (np.isnan(seen) & ~np.isnan(best))
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


register("box", infer=_infer_pool, reference=_reference_box)
register("debox", infer=_infer_debox, reference=_reference_debox)
register("avg_pool", infer=_infer_pool, reference=_reference_avg_pool)
register("rms_pool", infer=_infer_pool, reference=_reference_rms_pool)
register("max_pool", infer=_infer_pool, reference=_reference_max_pool)
register("argmax_pool", infer=_infer_argmax_pool, reference=_reference_argmax_pool)
register("max_pool_with_index", infer=_infer_max_pool_with_index, reference=_reference_max_pool_with_index)
register("sample", infer=_infer_sample, reference=_reference_sample)
register("desample", infer=_infer_desample, reference=_reference_desample)
