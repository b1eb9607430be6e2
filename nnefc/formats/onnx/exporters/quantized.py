"""Pseudo-quantization (NNEF 1.0.5, 4.9.5) step by step as ONNX nodes, rounded as NNEF rounds."""

from __future__ import annotations

from nnefc.formats.onnx.emit import Emitter, Ref, exporter
from nnefc.formats.onnx.exporters.elementwise import clamped, log2, rounded
from nnefc.ir.graph import Op
from nnefc.ops.quantized import min_max_levels, zero_point_range

Refs = list[Ref]


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
