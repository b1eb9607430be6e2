"""The integer form of an encoding: what QuantizeLinear and DequantizeLinear can say of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnefc.formats.onnx.emit import Emitter, Ref
from nnefc.ir.encoding import Encoding
from nnefc.ir.graph import Tensor
from nnefc.ir.types import DType
from nnefc.ops.quantized import min_max_levels, zero_point_range

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


def _parameters(e: Emitter, code: LinearCode, dtype: DType) -> tuple[list[Ref], dict[str, int]]:
    refs = [e.constant(code.scale, dtype, "scale"), e.constant(code.zero, code.dtype, "zero_point")]
    return refs, ({} if code.axis is None else {"axis": code.axis})


def pseudo_quantized(e: Emitter, x: Ref, code: LinearCode) -> Ref:
    """QuantizeLinear and DequantizeLinear; codes that the stored type has and the encoding has not are cut off."""
    parameters, axis = _parameters(e, code, x.dtype)
    info = np.iinfo(code.dtype.numpy)
    if (code.low, code.high) != (info.min, info.max):
        rank = x.rank - 1 - (code.axis or 0)
        bounds = [(b - code.zero) * code.scale for b in (code.low, code.high)]
        low, high = (e.constant(b.reshape(b.shape + (1,) * rank) if b.ndim else b, x.dtype) for b in bounds)
        x = e.map("Min", e.map("Max", x, low), high)
    codes = e.node("QuantizeLinear", [x, *parameters], code.dtype, x.shape, **axis)
    return e.node("DequantizeLinear", [codes, *parameters], x.dtype, x.shape, **axis)


def dequantized(e: Emitter, stored: Tensor, name: str, code: LinearCode, dtype: DType) -> Ref | None:
    """DequantizeLinear of stored codes, or None if they do not fit the type of the zero point."""
    data = stored.data
    info = np.iinfo(code.dtype.numpy)
    if data.size and (data.min() < info.min or data.max() > info.max):
        return None
    codes = Ref(e.fresh(f"{name}_codes"), code.dtype, data.shape, data.astype(code.dtype.numpy, copy=False))
    parameters, axis = _parameters(e, code, dtype)
    return e.node("DequantizeLinear", [codes, *parameters], dtype, data.shape, **axis)
