"""Up- and down-sampling by integer factors (NNEF 1.0.5, section 4.3.4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.expr import Expr, arg, call, const
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import common_dtype, integers, one_of, require_positive, shape_text, tensor
from nnefc.ops.geometry import BORDERS, bordered_view, extended
from nnefc.ops.primitive import register, require
from nnefc.ops.slide import reduce_windows

METHODS = ("symmetric", "asymmetric", "aligned")

Types = Sequence[TensorType]
Arrays = Sequence[np.ndarray]


def _factors(shape: Sequence[int], attrs: Attrs) -> tuple[int, ...]:
    require(len(shape) >= 3, f"input has shape {shape_text(shape)}; it must have a spatial dimension, the third")
    factor = integers(attrs, "factor", (len(shape) - 2,), " (one per spatial dimension of the input)")
    require_positive(factor, "factor")
    return factor


def _infer_downsample(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, ("input",), "f")
    shape = types[0].extents
    factor = _factors(shape, attrs)
    require(
        all(n % f == 0 for n, f in zip(shape[2:], factor, strict=True)),
        f"factor = {shape_text(factor)} must divide the spatial extents {shape_text(shape[2:])} of the input",
    )
    return (tensor(dtype, shape[:2] + tuple(n // f for n, f in zip(shape[2:], factor, strict=True))),)


def _infer_upsample(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, ("input",), "f")
    shape = types[0].extents
    factor = _factors(shape, attrs)
    return (tensor(dtype, shape[:2] + tuple(n * f for n, f in zip(shape[2:], factor, strict=True))),)


def _infer_multilinear(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    one_of(attrs, "method", METHODS)
    one_of(attrs, "border", BORDERS)
    return _infer_upsample(types, attrs)


def _reference_nearest_downsample(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    return (x[(slice(None), slice(None), *(slice(None, None, f) for f in _factors(x.shape, attrs)))].copy(),)


def _reference_area_downsample(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    split = list(x.shape[:2])
    for n, f in zip(x.shape[2:], _factors(x.shape, attrs), strict=True):
        split += [n // f, f]
    inner = tuple(range(3, len(split), 2))
    return (x.reshape(split).mean(axis=inner, dtype=np.float64).astype(x.dtype),)


def _reference_nearest_upsample(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    for axis, f in enumerate(_factors(x.shape, attrs), 2):
        x = np.repeat(x, f, axis=axis)
    return (x,)


def linear_positions(extent: int, factor: int, method: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """For each output index, or the first ``count``, the input index j before it (int64, -1 to extent - 1) and the
    weight u of j + 1 (float64).

    They are the j(i) and u(i) of section 4.3.4, in exact integer arithmetic before the last division.
    """
    i = np.arange(extent * factor if count is None else count)
    if method == "symmetric":
        numerator, denominator = 2 * i - factor + 1, 2 * factor
    elif method == "asymmetric":
        numerator, denominator = i, factor
    else:
        numerator, denominator = i * (extent - 1), max(extent * factor - 1, 1)
    return numerator // denominator, numerator % denominator / denominator


def _reference_multilinear_upsample(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    y = x.astype(np.float64)
    for axis, f in enumerate(_factors(x.shape, attrs), 2):
        if f == 1:
            continue
        before, u = linear_positions(x.shape[axis], f, attrs["method"])
        wide = np.moveaxis(extended(np.moveaxis(y, axis, -1), [(1, 1)], attrs["border"]), -1, axis)
        u = u.reshape((-1,) + (1,) * (x.ndim - 1 - axis))
        y = (1 - u) * np.take(wide, before + 1, axis) + u * np.take(wide, before + 2, axis)
    return (y.astype(x.dtype),)


# ---- lowering


def split_spatial(view: View, factors: Sequence[int]) -> View:
    """(N, C, spatial / factors..., factors...): each block of a spatial grid in the last dimensions."""
    first = 2
    for f in factors:
        view = view.split_dim(first, (view.shape[first] // f, f))
        first += 2
    return view.transpose((0, 1, *range(2, view.rank, 2), *range(3, view.rank, 2)))


def _lower_nearest_downsample(b: ProgramBuilder, op: Op) -> None:
    view = b.view(op.inputs[0])
    for d, f in enumerate(op.attrs["factor"], 2):
        view = view.slice(d, 0, view.shape[d] // f, f)
    b.put(op.output, view)


def _lower_area_downsample(b: ProgramBuilder, op: Op) -> None:
    view = b.view(op.inputs[0])
    factors = op.attrs["factor"]
    mean = call("div", arg(0, view.dtype), const(math.prod(factors), view.dtype))
    b.put(op.output, reduce_windows(b, "sum", [split_spatial(view, factors)], len(factors), post=mean))


def _lower_nearest_upsample(b: ProgramBuilder, op: Op) -> None:
    view = b.view(op.inputs[0])
    output = b.new(op.output.type.extents, view.dtype, channels_last(view.rank))
    b.copy(view, split_spatial(output, op.attrs["factor"]))
    b.put(op.output, output)


def _blend(dtype: DType) -> Expr:
    """``$0 * $2 + $1 * $3``."""
    return call("add", *(call("mul", arg(i, dtype), arg(i + 2, dtype)) for i in (0, 1)))


def _weights(b: ProgramBuilder, u: np.ndarray, dtype: DType, rank: int, axis: int) -> list[View]:
    """1 - u and u along dimension ``axis`` of ``rank``."""
    shape = tuple(-1 if d == axis else 1 for d in range(rank))
    return [b.const(w.astype(dtype.numpy).reshape(shape)) for w in (1 - u, u)]


def _upsampled_axis(b: ProgramBuilder, x: View, axis: int, factor: int, method: str, border: str) -> View:
    """One dimension interpolated by the same ``factor`` weights everywhere: each weight has its phase of outputs."""
    extent, dtype = x.shape[axis], x.dtype
    b.reserve(3 * factor)
    before, u = linear_positions(extent, factor, method, factor)
    wide = bordered_view(b, x, [(1, 1) if d == axis else (0, 0) for d in range(x.rank)], border)
    shape = tuple(n * factor if d == axis else n for d, n in enumerate(x.shape))
    output = b.new(shape, dtype, channels_last(x.rank))
    phases = output.split_dim(axis, (extent, factor))
    for shift in (-1, 0):
        (chosen,) = np.nonzero(before == shift)
        if chosen.size:
            pair = [wide.slice(axis, 1 + shift + k, extent).expand_dims(axis + 1) for k in (0, 1)]
            weights = _weights(b, u[chosen], dtype, x.rank + 1, axis + 1)
            target = phases.slice(axis + 1, int(chosen[0]), chosen.size)
            b.map(_blend(dtype), [*pair, *weights], out=target)
    return output


def _aligned_axis(b: ProgramBuilder, x: View, axis: int, factor: int) -> View:
    """One dimension interpolated by weights that differ from output to output."""
    extent = x.shape[axis]
    b.reserve(4 * extent * factor)
    before, u = linear_positions(extent, factor, "aligned")
    shape = tuple(n * factor if d == axis else n for d, n in enumerate(x.shape))
    order = channels_last(x.rank)
    pair = []
    for index in (before, np.minimum(before + 1, extent - 1)):
        pair.append(b.gather(x, b.const(index), axis, check=False, out=b.new(shape, x.dtype, order)))
    return b.map(_blend(x.dtype), [*pair, *_weights(b, u, x.dtype, x.rank, axis)], order=order)


def _lower_multilinear_upsample(b: ProgramBuilder, op: Op) -> None:
    view = b.view(op.inputs[0])
    method, border = op.attrs["method"], op.attrs["border"]
    for axis, f in enumerate(op.attrs["factor"], 2):
        if f > 1 and method == "aligned":
            view = _aligned_axis(b, view, axis, f)
        elif f > 1:
            view = _upsampled_axis(b, view, axis, f, method, border)
    b.put(op.output, view)


register(
    "nearest_downsample",
    infer=_infer_downsample,
    reference=_reference_nearest_downsample,
    lower=_lower_nearest_downsample,
)
register("area_downsample", infer=_infer_downsample, reference=_reference_area_downsample, lower=_lower_area_downsample)
register(
    "nearest_upsample", infer=_infer_upsample, reference=_reference_nearest_upsample, lower=_lower_nearest_upsample
)
register(
    "multilinear_upsample",
    infer=_infer_multilinear,
    reference=_reference_multilinear_upsample,
    lower=_lower_multilinear_upsample,
)
