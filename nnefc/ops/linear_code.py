"""The integer form of an encoding: codes with a whole zero point, which kernels for integers compute with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnefc.ir.encoding import Encoding
from nnefc.ir.graph import Tensor
from nnefc.ir.types import DType
from nnefc.ops.elementwise import round_array
from nnefc.ops.quantized import logarithmic, min_max_levels, zero_point_range
from nnefc.ops.stored import CODED_ITEMS, tensor_values

INTEGER_ZERO = 1e-3
"""How far from a whole number a zero point may lie, in steps, and still count as one."""


@dataclass(frozen=True, eq=False)
class LinearCode:
    """real = (code - zero) * scale, with codes from ``low`` to ``high``; parameters per item of dimension ``axis``, or
    numbers where that is None. Codes are stored as ``dtype``."""

    scale: np.ndarray
    zero: np.ndarray
    low: int
    high: int
    dtype: DType
    axis: int | None

    @property
    def bits(self) -> int:
        """The bits of a code."""
        return self.high.bit_length() + int(self.low < 0)


def linear_code(encoding: Encoding, rank: int) -> LinearCode | None:
    """The integer form of an encoding of a tensor of ``rank``, or None if it has none."""
    given = {name: np.asarray(value) for name, value in encoding.parameters}
    bits = int(given.get("bits", 0))
    signed, symmetric = (bool(given.get(name, False)) for name in ("signed", "symmetric"))
    if encoding.algorithm == "zero_point_linear_quantize":
        scale, zero = given["scale"].astype(np.float64), given["zero_point"].astype(np.float64)
        low, high = zero_point_range(bits, signed, symmetric)
    elif encoding.algorithm in ("min_max_linear_quantize", "linear_quantize"):
        levels, offset = min_max_levels(bits, signed, symmetric)
        scale = (given["max"].astype(np.float64) - given["min"]) / levels
        with np.errstate(all="ignore"):
            zero = -given["min"] / scale - offset
        low, high = -offset, levels - offset
    else:
        return None
    return _checked(scale, zero, low, high, rank)


def _checked(scale: np.ndarray, zero: np.ndarray, low: int, high: int, rank: int) -> LinearCode | None:
    """The code, if its zero is one of the integers that hold its codes and its parameters lie along one dimension."""
    dtype = next((t for t in (DType.U8, DType.I8, DType.U16, DType.I16) if _holds(t, low, high)), None)
    if dtype is None or not (scale > 0).all() or not np.isfinite(zero).all():
        return None
    whole = np.round(zero)
    info = np.iinfo(dtype.numpy)
    if (np.abs(zero - whole) > INTEGER_ZERO).any() or (whole < info.min).any() or (whole > info.max).any():
        return None
    scale, whole = np.broadcast_arrays(scale, whole)
    wide = [d for d, n in enumerate(scale.shape) if n > 1]
    if len(wide) > 1 or (wide and wide[0] >= rank):
        return None
    axis = wide[0] if wide else None
    shape = (-1,) if wide else ()
    return LinearCode(scale.reshape(shape), whole.reshape(shape), low, high, dtype, axis)


def _holds(dtype: DType, low: int, high: int) -> bool:
    info = np.iinfo(dtype.numpy)
    return info.min <= low and high <= info.max


def codes_of(values: np.ndarray, code: LinearCode) -> np.ndarray:
    """The codes of numbers, halves rounded up (NNEF 1.0.5, 4.9.5)."""
    scale, zero = (
        p.reshape((1,) * (code.axis or 0) + p.shape + (1,) * (values.ndim - 1 - (code.axis or 0))) if p.ndim else p
        for p in (code.scale.astype(np.float32), code.zero.astype(np.float32))
    )
    steps = round_array(values.astype(np.float32) / scale) + zero
    return np.clip(steps, code.low, code.high).astype(code.dtype.numpy)


MOST_PLACES = 30
"""How far powers of two may lie apart to be codes of 32 bits."""


def power_codes(stored: Tensor, encoding: Encoding) -> tuple[np.ndarray, LinearCode] | None:
    """What ``logarithmic_quantize`` makes of stored numbers, or codes of it, as codes that are powers of two, of either
    sign, and zeros: what multiplies by one shifts by its exponent. They have 8 bits, or 32 where they lie far apart,
    and a scale for every item of the dimension that has a ``max`` for each. None where powers of one scale lie more
    than MOST_PLACES apart, or ``max`` differs along several dimensions."""
    wide = [d for d, n in enumerate(np.shape(encoding["max"])) if n > 1]
    if len(wide) > 1:
        return None
    values, axis = _powers(stored, encoding), wide[0] if wide else None
    exponents = np.frexp(np.abs(values))[1] - 1
    others, some = tuple(d for d in range(values.ndim) if d != axis), values != 0
    low = exponents.min(others, initial=2**15, where=some, keepdims=True)
    high = exponents.max(others, initial=-(2**15), where=some, keepdims=True)
    if (high - low).max(initial=0) > MOST_PLACES:
        return None
    low = np.where(high < low, 0, low)
    whole = np.sign(values) * np.exp2(np.where(some, exponents - low, 0))
    dtype = DType.I8 if np.abs(whole).max(initial=0) < 128 else DType.I32
    scale = np.exp2(low.astype(np.float64)).reshape(-1 if axis is not None else ())
    limits = (int(whole.min(initial=0)), int(whole.max(initial=0)))
    return whole.astype(dtype.numpy), LinearCode(scale, np.zeros(scale.shape), *limits, dtype, axis)


def _powers(stored: Tensor, encoding: Encoding) -> np.ndarray:
    """The numbers (float64) that a stored tensor has under a logarithmic encoding."""
    values = tensor_values(stored, DType.F32, encoding)
    if stored.item in CODED_ITEMS:
        return values.astype(np.float64)
    largest = np.asarray(encoding["max"], np.float32)
    largest = largest.reshape(largest.shape + (1,) * (values.ndim - largest.ndim)) if largest.ndim else largest
    with np.errstate(divide="ignore"):
        return logarithmic(values, largest, int(np.asarray(encoding["bits"]))).astype(np.float64)
