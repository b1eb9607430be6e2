"""Linear codes as QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import numpy as np

from nnefc.formats.onnx.emit import Emitter, Ref
from nnefc.ir.types import DType
from nnefc.ops.linear_code import LinearCode


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


def dequantized(e: Emitter, data: np.ndarray, name: str, code: LinearCode, dtype: DType) -> Ref | None:
    """DequantizeLinear of stored codes, or None if they do not fit the type of the zero point; those of 32 bits have
    none."""
    info = np.iinfo(code.dtype.numpy)
    if data.size and (data.min() < info.min or data.max() > info.max):
        return None
    codes = Ref(e.fresh(f"{name}_codes"), code.dtype, data.shape, data.astype(code.dtype.numpy, copy=False))
    parameters, axis = _parameters(e, code, dtype)
    parameters = parameters[:1] if code.dtype is DType.I32 else parameters
    return e.node("DequantizeLinear", [codes, *parameters], dtype, data.shape, **axis)
