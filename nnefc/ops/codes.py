"""Codes of real numbers, and back: quantize_linear and dequantize_linear.

real = (code - zero point) scale. Quotients and products are computed in F32, those of F64 in F64. With 8 or 16 bits and
halves rounded to even, these are ONNX's operators; with halves rounded up, the two steps of NNEF's
``zero_point_linear_quantize``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, call, cast, const
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType, TensorType
from nnefc.ops.common import aligned, common_dtype, integer, one_of, require_broadcastable, require_kind, tensor
from nnefc.ops.elementwise import clamp_array, round_array
from nnefc.ops.primitive import register, require
from nnefc.ops.quantized import zero_point_range

MIN_BITS, MAX_BITS = 2, 16
"""Bits that codes may have."""
SUMS = (DType.U8, DType.I8, DType.U16, DType.I16, DType.I32)
"""Element types that are dequantized: codes, and sums of products of codes."""
ROUNDINGS = ("even", "up")
"""Where halves go: to the even neighbour, as in ONNX, or up: floor(x + 0.5), as in NNEF."""
NAMES = ("x", "scale", "zero_point")

Types = Sequence[TensorType]
Arrays = Sequence[np.ndarray]


def _parameters(types: Types) -> None:
    for type_, name in zip(types[1:], NAMES[1:], strict=True):
        require_broadcastable(type_.extents, name, types[0].extents, "x")


def _infer_quantize(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    """The codes of x, of the least type that holds those of ``bits`` and ``signed``."""
    common_dtype(types[:2], NAMES[:2], "f")
    require_kind(types[2], "iu", NAMES[2])
    _parameters(types)
    bits = integer(attrs, "bits")
    require(MIN_BITS <= bits <= MAX_BITS, f"bits = {bits}; codes have {MIN_BITS} to {MAX_BITS} bits")
    one_of(attrs, "rounding", ROUNDINGS)
    return (tensor(code_type(bits, bool(attrs["signed"])), types[0].extents),)


def code_type(bits: int, signed: bool) -> DType:
    """The element type that stores codes of so many bits."""
    if bits <= 8:
        return DType.I8 if signed else DType.U8
    return DType.I16 if signed else DType.U16


def _infer_dequantize(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    """The real numbers, of the type of the scale."""
    dtype = common_dtype((types[0], types[2]), (NAMES[0], NAMES[2]), "iu")
    require(dtype in SUMS, f"x has elements of type {dtype}; codes have 8 or 16 bits, sums of products 32")
    require_kind(types[1], "f", "scale")
    _parameters(types)
    return (tensor(types[1].dtype, types[0].extents),)


def _wide(dtype: DType) -> DType:
    return DType.F64 if dtype is DType.F64 else DType.F32


def _range(attrs: Attrs) -> tuple[int, int]:
    return zero_point_range(attrs["bits"], bool(attrs["signed"]), bool(attrs["symmetric"]))


def _quantize(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, scale, zero = aligned(arrays)
    wide, dtype = _wide(DType.of(x.dtype)).numpy, code_type(attrs["bits"], bool(attrs["signed"]))
    rounded = np.rint if attrs["rounding"] == "even" else round_array
    with np.errstate(all="ignore"):
        code = rounded(x.astype(wide) / scale.astype(wide)) + zero.astype(wide)
        low, high = (wide.type(n) for n in _range(attrs))
        return (clamp_array(code, low, high).astype(dtype.numpy),)


def _dequantize(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, scale, zero = aligned(arrays)
    wide = _wide(DType.of(scale.dtype)).numpy
    steps = x.astype(np.int64) - zero.astype(np.int64)
    return ((steps.astype(wide) * scale.astype(wide)).astype(scale.dtype),)


def quantized_expr(x: Expr, scale: Expr, zero: Expr, limits: tuple[int, int], rounding: str, dtype: DType) -> Expr:
    """The code: x / scale rounded, moved by the zero point and cut off at the ends of the codes' range."""
    wide = _wide(x.dtype)
    code = call(ROUND[rounding], call("div", cast(x, wide), cast(scale, wide)))
    low, high = (const(n, wide) for n in limits)
    return cast(call("max", call("min", call("add", code, number(zero, wide)), high), low), dtype)


ROUND = {"even": "round_even", "up": "round"}
"""Expressions' names of the roundings."""


def number(x: Expr, dtype: DType) -> Expr:
    """``x`` converted; done now for a number."""
    return const(x.number(), dtype) if x.op == "const" else cast(x, dtype)


def dequantized_expr(x: Expr, scale: Expr, zero: Expr) -> Expr:
    """(x - zero) scale, the difference exact."""
    wide = _wide(scale.dtype)
    exact = DType.I64 if x.dtype is DType.I32 else DType.I32
    steps = cast(x, exact)
    if not (zero.op == "const" and zero.value == 0):
        steps = call("sub", steps, number(zero, exact))
    return cast(call("mul", cast(steps, wide), cast(scale, wide)), scale.dtype)


def _lower_quantize(builder: ProgramBuilder, op: Op) -> None:
    out = op.output.type
    limits, rounding = _range(op.attrs), str(op.attrs["rounding"])

    def expr(x: Expr, scale: Expr, zero: Expr) -> Expr:
        return quantized_expr(x, scale, zero, limits, rounding, out.dtype)

    builder.put(op.output, builder.elementwise(expr, op.inputs, shape=out.extents))


def _lower_dequantize(builder: ProgramBuilder, op: Op) -> None:
    builder.put(op.output, builder.elementwise(dequantized_expr, op.inputs, shape=op.output.type.extents))


register("quantize_linear", infer=_infer_quantize, reference=_quantize, lower=_lower_quantize)
register("dequantize_linear", infer=_infer_dequantize, reference=_dequantize, lower=_lower_dequantize)
