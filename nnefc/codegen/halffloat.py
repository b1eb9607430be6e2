"""Conversions between f32 registers and 16-bit floats in memory, rounded to nearest even, without library calls."""

from __future__ import annotations

from llvmlite import ir

from nnefc.codegen.vecmath.llvm_vec import FLOATS, Instructions, float_splat, int_splat

I16, I32 = ir.IntType(16), ir.IntType(32)


def widen_bf16(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """bfloat16 bits (<lanes x i16>) as f32."""
    lanes = x.type.count
    high = b.shl(b.zext(x, ir.VectorType(I32, lanes)), int_splat(32, lanes, 16))
    return b.bitcast(high, ir.VectorType(FLOATS[32], lanes))


def narrow_bf16(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """f32 as bfloat16 bits (<lanes x i16>); a NaN stays one."""
    lanes = x.type.count
    bits = b.bitcast(x, ir.VectorType(I32, lanes))
    sixteen = int_splat(32, lanes, 16)
    tie = b.and_(b.lshr(bits, sixteen), int_splat(32, lanes, 1))
    near = b.add(bits, b.add(tie, int_splat(32, lanes, 0x7FFF)))
    quiet = b.or_(bits, int_splat(32, lanes, 0x400000))
    kept = b.select(b.fcmp_unordered("uno", x, x), quiet, near)
    return b.trunc(b.lshr(kept, sixteen), ir.VectorType(I16, lanes))


def widen_f16(b: ir.IRBuilder, x: ir.Value, target: Instructions) -> ir.Value:
    """IEEE half bits (<lanes x i16>) as f32."""
    lanes = x.type.count
    floats, ints = ir.VectorType(FLOATS[32], lanes), ir.VectorType(I32, lanes)
    if target.f16c:
        return b.fpext(b.bitcast(x, ir.VectorType(ir.HalfType(), lanes)), floats)
    wide = b.zext(x, ints)
    size = b.shl(b.and_(wide, int_splat(32, lanes, 0x7FFF)), int_splat(32, lanes, 13))
    finite = b.bitcast(b.fmul(b.bitcast(size, floats), float_splat(32, lanes, 2.0**112)), ints)
    special = b.or_(size, int_splat(32, lanes, 0x7F800000))
    size = b.select(b.icmp_unsigned(">=", size, int_splat(32, lanes, 0x7C00 << 13)), special, finite)
    sign = b.shl(b.and_(wide, int_splat(32, lanes, 0x8000)), int_splat(32, lanes, 16))
    return b.bitcast(b.or_(size, sign), floats)


def narrow_f16(b: ir.IRBuilder, x: ir.Value, target: Instructions) -> ir.Value:
    """f32 as IEEE half bits (<lanes x i16>)."""
    lanes = x.type.count
    floats, ints = ir.VectorType(FLOATS[32], lanes), ir.VectorType(I32, lanes)
    if target.f16c:
        return b.bitcast(b.fptrunc(x, ir.VectorType(ir.HalfType(), lanes)), ir.VectorType(I16, lanes))
    bits = b.bitcast(x, ints)
    size = b.and_(bits, int_splat(32, lanes, 0x7FFFFFFF))
    tie = b.and_(b.lshr(size, int_splat(32, lanes, 13)), int_splat(32, lanes, 1))
    rebased = b.add(size, b.add(tie, int_splat(32, lanes, 0xFFF - (112 << 23))))
    normal = b.lshr(rebased, int_splat(32, lanes, 13))
    half = int_splat(32, lanes, 126 << 23)
    shifted = b.bitcast(b.fadd(b.bitcast(size, floats), float_splat(32, lanes, 0.5)), ints)
    subnormal = b.sub(shifted, half)
    code = b.select(b.icmp_unsigned("<", size, int_splat(32, lanes, 113 << 23)), subnormal, normal)
    nan = b.icmp_unsigned(">", size, int_splat(32, lanes, 255 << 23))
    special = b.select(nan, int_splat(32, lanes, 0x7E00), int_splat(32, lanes, 0x7C00))
    code = b.select(b.icmp_unsigned(">=", size, int_splat(32, lanes, 143 << 23)), special, code)
    sign = b.and_(b.lshr(bits, int_splat(32, lanes, 16)), int_splat(32, lanes, 0x8000))
    return b.trunc(b.or_(code, sign), ir.VectorType(I16, lanes))


def narrow_f64_to_odd(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """f64 as f32, rounded to odd, so that a second rounding to half precision is as good as one."""
    lanes = x.type.count
    ints = ir.VectorType(ir.IntType(64), lanes)
    bits = b.bitcast(x, ints)
    lost, unit = int_splat(64, lanes, (1 << 29) - 1), int_splat(64, lanes, 1 << 29)
    sticky = b.select(b.icmp_unsigned("!=", b.and_(bits, lost), int_splat(64, lanes, 0)), unit, int_splat(64, lanes, 0))
    odd = b.or_(b.and_(bits, b.not_(lost)), sticky)
    return b.fptrunc(b.bitcast(odd, x.type), ir.VectorType(FLOATS[32], lanes))
