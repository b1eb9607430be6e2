"""Conversions of f32 to integers by one instruction, where it is known that what saturates does not occur."""

from __future__ import annotations

from llvmlite import ir

from nnefc.codegen.intervals import Interval
from nnefc.codegen.vecmath.llvm_vec import Instructions, intrinsic
from nnefc.ir.types import DType

I32 = ir.IntType(32)
_X86 = {
    4: ("llvm.x86.sse2.cvtps2dq", "llvm.x86.sse2.cvttps2dq"),
    8: ("llvm.x86.avx.cvt.ps2dq.256", "llvm.x86.avx.cvtt.ps2dq.256"),
    16: ("llvm.x86.avx512.mask.cvtps2dq.512", "llvm.x86.avx512.mask.cvttps2dq.512"),
}
"""By lanes: to the nearest, halves to even; and toward zero."""


def bounded_conversion(
    b: ir.IRBuilder, x: ir.Value, nearest: ir.Value | None, bounds: Interval, goal: DType, target: Instructions
) -> ir.Value | None:
    """The f32 vector ``x``, within ``bounds``, as integers of type ``goal``, toward zero; None where this needs more
    than one conversion. ``nearest`` is what ``x`` is the rounding of, halves to even, if it is one."""
    lanes = x.type.count
    whole = ir.VectorType(I32, lanes)
    if bounds.within(DType.I32):
        if goal.bits > 32 or not bounds.within(goal):
            return None
        found = b.fptosi(x, whole)
        return found if goal.bits == 32 else b.trunc(found, ir.VectorType(ir.IntType(goal.bits), lanes))
    low_open = Interval(0, bounds.high, bounds.nan).within(DType.I32)
    if goal is not DType.I32 or not low_open or lanes not in _X86 or 4 * lanes > target.indefinite:
        return None
    to_nearest, toward_zero = _X86[lanes]
    name, value = (toward_zero, x) if nearest is None else (to_nearest, nearest)
    rest = [ir.Constant(whole, None), ir.Constant(ir.IntType(16), -1), I32(4)] if lanes == 16 else []
    return intrinsic(b, name, whole, [value, *rest])
