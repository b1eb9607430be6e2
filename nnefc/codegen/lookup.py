"""Tables in expressions: the entries that the lanes of a register of bytes name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from llvmlite import ir

from nnefc.codegen.vecmath.llvm_vec import FLOATS, Instructions, int_splat, intrinsic, lane_numbers
from nnefc.ir.expr import Expr
from nnefc.ir.types import DType

I32 = ir.IntType(32)
BYTES = ir.VectorType(ir.IntType(8), 64)
"""Half of a table of bytes, and what one instruction looks up."""


def lookup(b: ir.IRBuilder, node: Expr, x: Sequence[ir.Value], target: Instructions) -> ir.Value:
    """The entries of a ``table``, as memory would hold them, that ``x``, the registers of its operands, names: the
    first is a vector of bytes, the second, if the table is an operand, its address."""
    which, *operand = x
    entries = operand[0] if operand else _constant(b.module, node)
    if node.dtype.size == 1 and target.byte_permutes:
        return _permuted(b, entries, which)
    element = FLOATS[node.dtype.bits] if node.dtype in (DType.F32, DType.F64) else ir.IntType(8 * node.dtype.size)
    entries = b.bitcast(entries, element.as_pointer())
    result: ir.Value = ir.Constant(ir.VectorType(element, which.type.count), ir.Undefined)
    for lane in range(which.type.count):
        at = ir.Constant(I32, lane)
        number = b.zext(b.extract_element(which, at), ir.IntType(64))
        entry = _unchanging(b, b.load(b.gep(entries, [number]), align=node.dtype.size))
        result = b.insert_element(result, entry, at)
    return result


def _unchanging(b: ir.IRBuilder, load: ir.Value) -> ir.Value:
    """A load from memory that nothing writes to, which may so be done once for many stores."""
    load.set_metadata("invariant.load", b.module.add_metadata([]))
    return load


def _constant(module: ir.Module, node: Expr) -> ir.Value:
    """The table as a constant of the module, the same for equal tables."""
    assert isinstance(node.value, bytes)
    kind, name = ir.ArrayType(ir.IntType(8), len(node.value)), f"table.{hashlib.sha256(node.value).hexdigest()}"
    known = module.globals.get(name)
    if known is not None:
        return known
    entries = ir.GlobalVariable(module, kind, name)
    entries.linkage, entries.global_constant, entries.align = "internal", True, 64
    entries.initializer = ir.Constant(kind, bytearray(node.value))
    return entries


def _permuted(b: ir.IRBuilder, entries: ir.Value, which: ir.Value) -> ir.Value:
    """Both halves of the table are looked up at once, 64 lanes at a time; the highest bit says which half is meant."""
    quarters = b.bitcast(entries, BYTES.as_pointer())
    low, high, negative_low, negative_high = (
        _unchanging(b, b.load(b.gep(quarters, [ir.Constant(I32, k)]), align=1)) for k in range(4)
    )
    lanes, pieces = which.type.count, []
    for start in range(0, lanes, 64):
        part = _lanes(b, which, [min(start + k, lanes - 1) for k in range(64)]) if lanes != 64 else which
        name = "llvm.x86.avx512.vpermi2var.qi.512"
        below = intrinsic(b, name, BYTES, [low, part, high])
        above = intrinsic(b, name, BYTES, [negative_low, part, negative_high])
        pieces.append(b.select(b.icmp_signed("<", part, int_splat(8, 64, 0)), above, below))
    while len(pieces) > 1:
        pairs = zip(pieces[::2], pieces[1::2], strict=True)
        pieces = [_lanes(b, x, list(range(2 * x.type.count)), y) for x, y in pairs]
    return pieces[0] if lanes >= 64 else _lanes(b, pieces[0], list(range(lanes)))


def _lanes(b: ir.IRBuilder, x: ir.Value, lanes: list[int], y: ir.Value | None = None) -> ir.Value:
    return b.shuffle_vector(x, x if y is None else y, lane_numbers(lanes))
