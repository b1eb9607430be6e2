"""Bytes from vectors of 32-bit integers, four vectors at a time, by x86's packing instructions.

``packuswb`` of ``packssdw`` of any 32-bit integers cuts them to 0 .. 255. So what a code is cut to at the ends of a
byte need not be computed, and a zero point is added half way, to twice as many elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from nnefc.codegen.emit import emit_expr
from nnefc.codegen.intervals import bounds_of
from nnefc.codegen.spec import Access
from nnefc.codegen.target import Target
from nnefc.codegen.tile import I32, Accessor, Lattice
from nnefc.codegen.vecmath.llvm_vec import int_splat, intrinsic, lane_numbers
from nnefc.ir.expr import Expr, arg, cast
from nnefc.ir.types import DType

I8, I16 = ir.IntType(8), ir.IntType(16)
_PACK = {
    4: ("llvm.x86.sse2.packssdw.128", "llvm.x86.sse2.packuswb.128"),
    8: ("llvm.x86.avx2.packssdw", "llvm.x86.avx2.packuswb"),
    16: ("llvm.x86.avx512.packssdw.512", "llvm.x86.avx512.packuswb.512"),
}
"""By lanes: 32 bits to 16, 16 to unsigned 8, in each 128 bits the first operand's before the second's."""
TOP = 255
MOST_ZERO = 32000
"""Zero points that sums of 16 bits hold beside any byte."""


CODE = arg(0, DType.U8)
"""A byte as it is packed."""


@dataclass(frozen=True)
class Packing:
    """A U8 expression as ``value``, I32, plus ``zero``, cut to 0 .. 255, and what ``after``, of bytes alone, makes of
    that byte, its ``$0``. There ``$k + 1`` is the expression's ``$k``, a table."""

    value: Expr
    zero: int
    after: Expr = CODE


def packing_of(expr: Expr, lattice: Lattice, operand: int) -> Packing | None:
    """How an expression is packed that is stored to an operand, as whole vectors of neighbours; None where it is not
    such a one, or the target has no instructions."""
    if lattice.masked or lattice.operands[operand].access is not Access.UNIT:
        return None
    return byte_packing(expr, lattice.lanes, lattice.target)


def byte_packing(expr: Expr, lanes: int, target: Target) -> Packing | None:
    """How an expression is packed from vectors of ``lanes``; None where it is no such one, or the target cannot."""
    if lanes not in _PACK or not target.madd or 4 * lanes > target.vector_bytes:
        return None
    if expr.op in ("table", "min", "max") and expr.dtype is DType.U8:
        return _with_after(expr, lanes, target)
    if expr.dtype is not DType.U8 or expr.op != "cast" or expr.args[0].dtype not in (DType.I32, DType.F32):
        return None
    value = expr.args[0]
    found = bounds_of(value)
    if value.dtype is DType.F32:
        return Packing(cast(value, DType.I32), 0) if found.within(DType.U8) else None
    if found.low < 0 or found.high > TOP:
        return None
    value = _without(value, "max", 0)
    value = _without(value, "min", TOP)
    value = _without(value, "max", 0)
    if value.op == "add" and value.args[1].op == "const" and abs(int(value.args[1].value or 0)) <= MOST_ZERO:
        first, zero = value.args[0], int(value.args[1].value or 0)
        bounds = bounds_of(first)
        if bounds.high + zero < 2**31 and bounds.low + zero >= -(2**31):
            return Packing(first, zero)
    return Packing(value, 0)


def _with_after(expr: Expr, lanes: int, target: Target) -> Packing | None:
    """A function of one packed byte, of numbers and of tables."""
    if any(a.op != "const" and expr.op != "table" for a in expr.args[1:]):
        return None
    inner = byte_packing(expr.args[0], lanes, target)
    if inner is None:
        return None
    rest = (arg(int(a.value or 0) + 1, a.dtype) if a.op == "arg" else a for a in expr.args[1:])
    return replace(inner, after=replace(expr, args=(inner.after, *rest)))


def _without(value: Expr, op: str, end: int) -> Expr:
    """The operand of a cut at an end of the bytes, which packing does."""
    if value.op == op and value.args[1].op == "const" and value.args[1].value == end:
        return value.args[0]
    return value


def store_packed(
    access: Accessor,
    operand: int,
    packing: Packing,
    places: Sequence[tuple[int, int, int]],
    emit: Callable[[int, int, int], ir.Value],
    tables: Sequence[ir.Value],
) -> None:
    """Store what ``emit(number, row, column)`` gives for each vector of a tile (``packing.value`` there) as bytes;
    ``tables[k]`` stands for the expression's ``$k`` where that is a table."""
    for first in range(0, len(places), 4):
        chunk = places[first : first + 4]
        values = [emit(*place) for place in chunk]
        packed = bytes_in_order(access.b, [*values, *[values[-1]] * (4 - len(chunk))], packing.zero)
        packed = emit_expr(access.b, packing.after, [packed, *tables], packed.type.count, access.lattice.target)
        for start, count in _runs(chunk):
            _, row, column = chunk[start]
            access.store_bytes(operand, row, column, packed, start * access.lattice.lanes, count * access.lattice.lanes)


def bytes_in_order(b: ir.IRBuilder, values: Sequence[ir.Value], zero: int) -> ir.Value:
    """The bytes of four vectors, one after the other."""
    mixed, lanes = interleaved_bytes(b, values, zero), values[0].type.count
    if lanes == 4:
        return mixed
    words = b.bitcast(mixed, ir.VectorType(I32, lanes))
    order = [4 * part + vector for vector in range(4) for part in range(lanes // 4)]
    words = b.shuffle_vector(words, words, lane_numbers(order))
    return b.bitcast(words, mixed.type)


def interleaved_bytes(b: ir.IRBuilder, values: Sequence[ir.Value], zero: int) -> ir.Value:
    """The bytes of four vectors, four of each after the other: those of their first 128 bits, then the second."""
    return packed_bytes(b, *(packed_halves(b, pair, zero) for pair in (values[:2], values[2:])))


def packed_halves(b: ir.IRBuilder, pair: Sequence[ir.Value], zero: int) -> ir.Value:
    """The elements of two vectors, and ``zero`` added to them, cut to 16 bits; four of each after the other."""
    lanes = pair[0].type.count
    half = intrinsic(b, _PACK[lanes][0], ir.VectorType(I16, 2 * lanes), pair)
    if not zero:
        return half
    return intrinsic(b, f"llvm.sadd.sat.v{2 * lanes}i16", half.type, [half, int_splat(16, 2 * lanes, zero)])


def packed_bytes(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """The elements of two vectors of 16 bits cut to bytes, eight of each after the other."""
    count = 2 * x.type.count
    return intrinsic(b, _PACK[count // 4][1], ir.VectorType(I8, count), [x, y])


def _runs(chunk: Sequence[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Parts of four vectors that lie one after the other in a row: of one, of an even and the next, or all."""
    rows = [row for _, row, _ in chunk]
    if len(rows) == 4 and rows[0] == rows[3]:
        return [(0, 4)]
    found = []
    for k in range(0, len(rows), 2):
        same = k + 1 < len(rows) and rows[k] == rows[k + 1]
        found += [(k, 2)] if same else [(j, 1) for j in range(k, min(k + 2, len(rows)))]
    return found
