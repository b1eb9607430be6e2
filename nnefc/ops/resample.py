"""Up- and down-sampling by integer factors (NNEF 1.0.5, section 4.3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnefc.ir.graph import Attrs
from nnefc.ir.types import TensorType
from nnefc.ops.common import common_dtype, integers, one_of, require_positive, shape_text, tensor
from nnefc.ops.geometry import BORDERS, extended
from nnefc.ops.primitive import register, require

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


def linear_positions(extent: int, factor: int, method: str) -> tuple[np.ndarray, np.ndarray]:
    """For each output index, the input index j before it (int64, -1 to extent - 1) and the weight u of j + 1 (float64).

    They are the j(i) and u(i) of section 4.3.4, in exact integer arithmetic before the last division.
    """
    i = np.arange(extent * factor)
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


register("nearest_downsample", infer=_infer_downsample, reference=_reference_nearest_downsample)
register("area_downsample", infer=_infer_downsample, reference=_reference_area_downsample)
register("nearest_upsample", infer=_infer_upsample, reference=_reference_nearest_upsample)
register("multilinear_upsample", infer=_infer_multilinear, reference=_reference_multilinear_upsample)
