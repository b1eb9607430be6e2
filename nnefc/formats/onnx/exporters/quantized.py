"""Codes as QuantizeLinear and DequantizeLinear; pseudo-quantization (NNEF 1.0.5, 4.9.5) step by step, rounded as NNEF
rounds."""

from __future__ import annotations

import numpy as np

from nnefc.formats.onnx.emit import Emitter, Ref, exporter
from nnefc.formats.onnx.exporters.elementwise import clamped, log2, rounded
from nnefc.ir.graph import Op
from nnefc.ir.types import DType
from nnefc.ops.quantized import min_max_levels, zero_point_range

Refs = list[Ref]


def _parameters(e: Emitter, x: Ref, parameters: Refs) -> tuple[Refs, dict[str, int]] | None:
    """Parameters as these nodes take them: numbers, or vectors along a dimension of ``x``; None if they are neither."""
    wide = {d for p in parameters for d, n in enumerate(p.shape) if n > 1}
    if len(wide) > 1:
        return None
    if not wide:
        return [e.reshape(p, ()) for p in parameters], {}
    (axis,) = wide
    count = [x.shape[axis]]
    return [e.expand(e.reshape(p, [p.shape[axis] if p.rank > axis else 1]), count) for p in parameters], {"axis": axis}


@exporter("quantize_linear")
def _quantize(e: Emitter, op: Op, x: Refs) -> Refs:
    value, scale, zero = x
    dtype = op.output.type.dtype
    found = _parameters(e, value, [scale, zero])
    limits = zero_point_range(op.attrs["bits"], op.attrs["signed"], op.attrs["symmetric"])
    info, even = np.iinfo(dtype.numpy), op.attrs["rounding"] == "even"
    if found is not None and even and limits == (info.min, info.max) and value.dtype is not DType.F64:
        (scale, zero), axis = found
        zero = e.cast(zero, dtype) if zero.array is None else e.constant(zero.array, dtype, "zero_point")
        operands = [e.cast(value, DType.F32), e.cast(scale, DType.F32), zero]
        return [e.node("QuantizeLinear", operands, dtype, value.shape, **axis)]
    wide = DType.F64 if value.dtype is DType.F64 else DType.F32
    value, scale, zeros = e.aligned([e.cast(value, wide), e.cast(scale, wide), e.cast(zero, wide)])
    steps = e.map("Div", value, scale)
    code = e.map("Add", e.map("Round", steps) if even else rounded(e, steps), zeros)
    low, high = (e.like(code, n) for n in limits)
    return [e.cast(clamped(e, code, low, high), dtype)]


@exporter("dequantize_linear")
def _dequantize(e: Emitter, op: Op, x: Refs) -> Refs:
    value, scale, zero = x
    dtype = op.output.type.dtype
    found = _parameters(e, value, [scale, zero])
    known_zero = zero.array is not None and not zero.array.any()
    if found is not None and dtype is not DType.F64 and (value.dtype is not DType.I32 or known_zero):
        (scale, zero), axis = found
        operands = [value, e.cast(scale, DType.F32), *([] if known_zero else [zero])]
        return [e.cast(e.node("DequantizeLinear", operands, DType.F32, value.shape, **axis), dtype)]
    wide = DType.F64 if dtype is DType.F64 else DType.F32
    value, scale, zero = e.aligned([e.cast(value, DType.I64), e.cast(scale, wide), e.cast(zero, DType.I64)])
    return [e.cast(e.map("Mul", e.cast(e.map("Sub", value, zero), wide), scale), dtype)]


@exporter("min_max_linear_quantize", "linear_quantize")
def _min_max(e: Emitter, op: Op, x: Refs) -> Refs:
    value, low, high = e.aligned(x)
    signed, symmetric = (bool(op.attrs.get(name, False)) for name in ("signed", "symmetric"))
    levels, offset = (e.like(value, n) for n in min_max_levels(op.attrs["bits"], signed, symmetric))
    span = e.map("Sub", high, low)
    place = e.map("Div", e.map("Sub", clamped(e, value, low, high), low), span)
    code = e.map("Sub", rounded(e, e.map("Mul", place, levels)), offset)
    part = e.map("Div", e.map("Add", code, offset), levels)
    return [e.map("Add", e.map("Mul", part, span), low)]


@exporter("zero_point_linear_quantize")
def _zero_point(e: Emitter, op: Op, x: Refs) -> Refs:
    value, zero_point, scale = e.aligned(x)
    bounds = zero_point_range(op.attrs["bits"], op.attrs["signed"], op.attrs["symmetric"])
    low, high = (e.like(value, n) for n in bounds)
    zero = e.cast(zero_point, value.dtype)
    code = clamped(e, e.map("Add", rounded(e, e.map("Div", value, scale)), zero), low, high)
    return [e.map("Mul", e.map("Sub", code, zero), scale)]


@exporter("logarithmic_quantize")
def _logarithmic(e: Emitter, op: Op, x: Refs) -> Refs:
    value, largest = e.aligned(x)
    high = e.map("Ceil", log2(e, largest))
    low = e.map("Sub", high, e.like(high, 2 ** op.attrs["bits"] - 1))
    code = rounded(e, clamped(e, log2(e, e.map("Abs", value)), low, high))
    return [e.map("Mul", e.map("Sign", value), e.map("Pow", e.like(code, 2), code))]
