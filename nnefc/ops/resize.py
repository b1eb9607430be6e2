"""resize: sampling along each dimension at computed positions, by nearest, linear or cubic weights.

The positions and weights are those of Resize in ONNX (operator version 19): every dimension is resampled on its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.expr import Expr, arg, call, cast, const, select
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import integers, one_of, require_kind, require_positive, shape_text, tensor
from nnefc.ops.primitive import register, require

METHODS = ("nearest", "linear", "cubic")
COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
_MAX_TAPS = 2**24
"""The most positions and weights that are computed for one dimension."""
_LEAST = 2.0**-31
"""The least scale; the largest is its inverse."""
_GATHERED = 8
"""The most taps for which elements are picked one by one; more are a product with a matrix."""


@dataclass(frozen=True, eq=False)
class Taps:
    """How one dimension is resampled: output i is the sum of ``weights[i, k]`` times input ``index[i, k]``.

    Where ``outside`` is set, the output has the extrapolation value instead."""

    axis: int
    index: np.ndarray
    weights: np.ndarray
    outside: np.ndarray


def _positions(extent: int, size: int, scale: float, mode: str, region: tuple[float, float]) -> np.ndarray:
    """Where each of ``size`` outputs lies in the input (float64). A scale that is the quotient of the extents up to the
    precision of f32 is taken as that quotient."""
    i = np.arange(size, dtype=np.float64)
    exact = np.float32(scale) == np.float32(size / extent)
    width = float(size) if exact else extent * scale

    def unscaled(x: np.ndarray) -> np.ndarray:
        return x * extent / size if exact else x / scale

    if mode == "align_corners":
        return i * (extent - 1) / (width - 1) if width != 1 else np.zeros(size)
    if mode == "tf_crop_and_resize":
        start, end = region
        steps = i / (width - 1) if width != 1 else np.full(size, 0.5)
        return steps * (end - start) * (extent - 1) + start * (extent - 1)
    if mode == "asymmetric":
        return unscaled(i)
    if mode == "pytorch_half_pixel" and size == 1:
        return np.zeros(1)
    shift = extent / 2 * (1 - size / width) if mode == "half_pixel_symmetric" else 0.0
    return shift + unscaled(i + 0.5) - 0.5


def _rounded(x: np.ndarray, rounding: str) -> np.ndarray:
    whole = {
        "round_prefer_floor": lambda: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda: np.floor(x + 0.5),
        "floor": lambda: np.floor(x),
        "ceil": lambda: np.ceil(x),
    }[rounding]()
    return np.asarray(whole).astype(np.int64)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """The cubic convolution kernel (Keys, 1981) with the coefficient ``a``."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _tap_count(scale: float, attrs: Attrs) -> int:
    """How many inputs each output reads along a dimension, those beyond its ends counted."""
    reach = {"nearest": 0.5, "linear": 1.0, "cubic": 2.0}[attrs["method"]]
    shrink = min(scale, 1.0) if attrs["antialias"] and reach > 0.5 else 1.0
    return 2 * math.ceil(reach / shrink)


def _kernel(x: np.ndarray, scale: float, attrs: Attrs) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the taps around each position, not clamped, and their weights, both (outputs, taps)."""
    cubic = attrs["method"] == "cubic"
    shrink = min(scale, 1.0) if attrs["antialias"] else 1.0
    first = 1 - _tap_count(scale, attrs) // 2
    base = np.ceil(x) - 1
    index = base[:, None] + np.arange(first, 2 - first)
    distance = (index - x[:, None]) * shrink
    weights = _cubic(distance, attrs["cubic_coefficient"]) if cubic else np.clip(1 - np.abs(distance), 0, 1)
    if attrs["antialias"]:
        weights = weights / weights.sum(1, keepdims=True)
    return index.astype(np.int64), weights


def axis_taps(axis: int, extent: int, size: int, scale: float, attrs: Attrs) -> Taps:
    """The taps of one dimension, computed in float64."""
    region = tuple(attrs["region"][axis]) if attrs["region"] else (0.0, 1.0)
    x = _positions(extent, size, scale, attrs["coordinates"], region)
    crops = attrs["coordinates"] == "tf_crop_and_resize"
    outside = (x < 0) | (x > extent - 1) if crops else np.zeros(size, bool)
    x = np.clip(x, -(2.0**40), 2.0**40)
    if attrs["method"] == "nearest":
        index, weights = _rounded(x, attrs["rounding"])[:, None], np.ones((size, 1))
    else:
        index, weights = _kernel(x, scale, attrs)
        if attrs["exclude_outside"]:
            weights = np.where((index >= 0) & (index < extent), weights, 0.0)
            total = weights.sum(1, keepdims=True)
            weights = np.divide(weights, total, out=np.zeros_like(weights), where=total != 0)
    return Taps(axis, np.clip(index, 0, extent - 1), weights, outside)


def resized_axes(shape: Sequence[int], attrs: Attrs) -> list[Taps]:
    """The taps of every dimension in which something happens."""
    regions = attrs["region"] or ((0.0, 1.0),) * len(shape)
    result = []
    for axis, (extent, size, scale, region) in enumerate(
        zip(shape, attrs["size"], attrs["scale"], regions, strict=True)
    ):
        if (size, scale, tuple(region)) != (extent, 1.0, (0.0, 1.0)):
            result.append(axis_taps(axis, extent, size, scale, attrs))
    return result


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = types
    method = one_of(attrs, "method", METHODS)
    one_of(attrs, "coordinates", COORDINATES)
    one_of(attrs, "rounding", ROUNDINGS)
    require_kind(x, "fiub" if method == "nearest" else "f", "the input")
    size = integers(attrs, "size", (x.rank,), " (one per dimension of the input)")
    require_positive(size, "size")
    scale, region = attrs["scale"], attrs["region"]
    require(len(scale) == x.rank, f"scale = {shape_text(scale)} must have {x.rank} items")
    require(all(_LEAST <= v <= 1 / _LEAST for v in scale), f"scale = {shape_text(scale)} has an item out of range")
    require(len(region) in (0, x.rank), f"region = {shape_text(region)} must have {x.rank} items, or none")
    require(all(abs(v) < 2**31 for r in region for v in r), "region has an item out of range")
    for n, s in zip(size, scale, strict=True):
        require(n * _tap_count(s, attrs) <= _MAX_TAPS, f"size {n} with scale {s} needs too many weights")
    return (tensor(x.dtype, size),)


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    nearest = attrs["method"] == "nearest"
    y = x if nearest else x.astype(np.float64)
    outside = np.zeros((1,) * x.ndim, bool)
    for taps in resized_axes(x.shape, attrs):
        along = (-1,) + (1,) * (x.ndim - 1 - taps.axis)
        picked = [np.take(y, taps.index[:, k], taps.axis) for k in range(taps.index.shape[1])]
        if nearest:
            y = picked[0]
        else:
            y = sum((p * w.reshape(along) for p, w in zip(picked, taps.weights.T, strict=True)), np.zeros(()))
        outside = outside | taps.outside.reshape(along)
    if outside.any():
        y = np.where(outside, attrs["extrapolation"], y)
    return (y.astype(x.dtype),)


# ---- lowering


def _picked(b: ProgramBuilder, x: View, axis: int, index: np.ndarray) -> View:
    """Elements along a dimension: repeated or strided where the indices are so, else gathered."""
    extent, size = x.shape[axis], index.size
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    order = channels_last(x.rank)
    steps = np.diff(index)
    if size > 1 and steps[0] != 0 and (steps == steps[0]).all():
        return x.slice(axis, int(index[0]), size, int(steps[0]))
    if size % extent == 0 and np.array_equal(index, np.repeat(np.arange(extent), size // extent)):
        out = b.new(shape, x.dtype, order)
        b.copy(x.expand_dims(axis + 1), out.split_dim(axis, (extent, size // extent)))
        return out
    return b.gather(x, b.const(index), axis, check=False, out=b.new(shape, x.dtype, order))


def _weighted(b: ProgramBuilder, x: View, taps: Taps) -> View:
    """Sums of taps along a dimension, in at least F32."""
    wide = DType.F64 if x.dtype is DType.F64 else DType.F32
    axis, (size, count) = taps.axis, taps.index.shape
    if count > _GATHERED:
        return _product(b, b.cast(x, wide), taps)
    along = tuple(size if d == axis else 1 for d in range(x.rank))
    used = [k for k in range(count) if taps.weights[:, k].any()]
    picked = [_picked(b, x, axis, taps.index[:, k]) for k in used]
    weights = [b.const(taps.weights[:, k].astype(wide.numpy).reshape(along)) for k in used]
    terms = [call("mul", cast(arg(i, x.dtype), wide), arg(len(used) + i, wide)) for i in range(len(used))]
    return b.map(_sum(terms), [*picked, *weights], order=channels_last(x.rank))


def _sum(terms: Sequence[Expr]) -> Expr:
    total = terms[0]
    for term in terms[1:]:
        total = call("add", total, term)
    return total


def _product(b: ProgramBuilder, x: View, taps: Taps) -> View:
    """The dimension times a matrix of weights."""
    axis, (size, _) = taps.axis, taps.index.shape
    b.reserve(x.shape[axis] * size)
    matrix = np.zeros((x.shape[axis], size))
    np.add.at(matrix, (taps.index.T, np.arange(size)), taps.weights.T)
    order = (*(d for d in range(x.rank) if d != axis), axis)
    out = b.contract(x.transpose(order), b.const(matrix.astype(x.dtype.numpy)), groups=0, reduced=1)
    return out.transpose(sorted(range(x.rank), key=lambda d: order[d]))


def _lower(b: ProgramBuilder, op: Op) -> None:
    x = b.view(op.inputs[0])
    dtype, nearest = x.dtype, op.attrs["method"] == "nearest"
    for extent, size, scale in zip(x.shape, op.attrs["size"], op.attrs["scale"], strict=True):
        if (size, scale) != (extent, 1.0):
            b.reserve(2 * size * _tap_count(scale, op.attrs))
    axes = resized_axes(x.shape, op.attrs)
    for taps in axes:
        x = _picked(b, x, taps.axis, taps.index[:, 0]) if nearest else _weighted(b, x, taps)
    masks = [
        b.const(t.outside.reshape(tuple(t.outside.size if d == t.axis else 1 for d in range(x.rank))))
        for t in axes
        if t.outside.any()
    ]
    if masks:
        beyond = arg(1, DType.BOOL)
        for i in range(2, len(masks) + 1):
            beyond = call("or", beyond, arg(i, DType.BOOL))
        value = select(beyond, const(op.attrs["extrapolation"], x.dtype), arg(0, x.dtype))
        x = b.map(value, [x, *masks])
    b.put(op.output, b.cast(x, dtype))


register("resize", infer=_infer, reference=_reference, lower=_lower)
