"""Codes of real numbers, and back: quantize_linear and dequantize_linear, with the meaning of ONNX's operators.

real = (code - zero point) scale. Quotients and products are computed in F32, those of F64 in F64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, call, cast, const
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType, TensorType
from nnefc.ops.common import aligned, common_dtype, integer, require_broadcastable, require_kind, tensor
from nnefc.ops.elementwise import clamp_array
from nnefc.ops.primitive import register, require

CODES = {(8, False): DType.U8, (8, True): DType.I8, (16, False): DType.U16, (16, True): DType.I16}
"""Element types of codes, by their bits and whether they are signed."""
SUMS = (*CODES.values(), DType.I32)
"""Element types that are dequantized: codes, and sums of products of codes."""
NAMES = ("x", "scale", "zero_point")

Types = Sequence[TensorType]
Arrays = Sequence[np.ndarray]


def _parameters(types: Types) -> None:
    for type_, name in zip(types[1:], NAMES[1:], strict=True):
        require_broadcastable(type_.extents, name, types[0].extents, "x")


def _infer_quantize(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    """The codes of x, of the type that ``bits`` and ``signed`` say."""
    common_dtype(types[:2], NAMES[:2], "f")
    require_kind(types[2], "iu", NAMES[2])
    _parameters(types)
    return (tensor(_code_type(attrs), types[0].extents),)


def _code_type(attrs: Attrs) -> DType:
    bits = integer(attrs, "bits")
    require((bits, False) in CODES, f"bits = {bits}; codes have 8 or 16 bits")
    return CODES[bits, bool(attrs["signed"])]


def _infer_dequantize(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    """The real numbers, of the type of the scale."""
    dtype = common_dtype((types[0], types[2]), (NAMES[0], NAMES[2]), "iu")
    require(dtype in SUMS, f"x has elements of type {dtype}; codes have 8 or 16 bits, sums of products 32")
    require_kind(types[1], "f", "scale")
    _parameters(types)
    return (tensor(types[1].dtype, types[0].extents),)


def _wide(dtype: DType) -> DType:
    return DType.F64 if dtype is DType.F64 else DType.F32


def _limits(dtype: DType) -> tuple[int, int]:
    info = np.iinfo(dtype.numpy)
    return int(info.min), int(info.max)


def _quantize(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, scale, zero = aligned(arrays)
    wide, dtype = _wide(DType.of(x.dtype)).numpy, _code_type(attrs)
    with np.errstate(all="ignore"):
        code = np.rint(x.astype(wide) / scale.astype(wide)) + zero.astype(wide)
        low, high = (wide.type(n) for n in _limits(dtype))
        return (clamp_array(code, low, high).astype(dtype.numpy),)


def _dequantize(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, scale, zero = aligned(arrays)
    wide = _wide(DType.of(scale.dtype)).numpy
    steps = x.astype(np.int64) - zero.astype(np.int64)
    return ((steps.astype(wide) * scale.astype(wide)).astype(scale.dtype),)


def quantized_expr(x: Expr, scale: Expr, zero: Expr, dtype: DType) -> Expr:
    """The code: x / scale rounded, halves to even, moved by the zero point and cut off at the ends of its type."""
    wide = _wide(x.dtype)
    code = call("round_even", call("div", cast(x, wide), cast(scale, wide)))
    low, high = (const(n, wide) for n in _limits(dtype))
    return cast(call("max", call("min", call("add", code, cast(zero, wide)), high), low), dtype)


def dequantized_expr(x: Expr, scale: Expr, zero: Expr) -> Expr:
    """(x - zero) scale, the difference exact."""
    wide = _wide(scale.dtype)
    exact = DType.I64 if x.dtype is DType.I32 else wide
    steps = cast(x, wide)
    if not (zero.op == "const" and zero.value == 0):
        steps = cast(call("sub", cast(x, exact), cast(zero, exact)), wide)
    return cast(call("mul", steps, cast(scale, wide)), scale.dtype)


def _lower_quantize(builder: ProgramBuilder, op: Op) -> None:
    out = op.output.type
    codes = builder.elementwise(lambda x, s, z: quantized_expr(x, s, z, out.dtype), op.inputs, shape=out.extents)
    builder.put(op.output, codes)


def _lower_dequantize(builder: ProgramBuilder, op: Op) -> None:
    builder.put(op.output, builder.elementwise(dequantized_expr, op.inputs, shape=op.output.type.extents))


register("quantize_linear", infer=_infer_quantize, reference=_quantize, lower=_lower_quantize)
register("dequantize_linear", infer=_infer_dequantize, reference=_dequantize, lower=_lower_dequantize)
