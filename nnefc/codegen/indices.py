"""Instructions on indices that are read from tensors. See ``instructions`` for what an instruction is and for the names
of operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from nnefc.codegen.device import Instruction
from nnefc.codegen.emit import emit_expr
from nnefc.codegen.instructions import operation
from nnefc.codegen.target import Target
from nnefc.codegen.tile import INT, Lattice, Offsets, Tile, Vectors, index, load_i64
from nnefc.ir.expr import arg, cast
from nnefc.ir.types import DType

INDEX_ERROR = 1
"""The error code of an index outside its range."""


def splat_integer(dtype: DType, lanes: int, target: Target) -> Instruction:
    """splat_integer(i): a tile of one vector whose elements are ``i`` converted to ``dtype``."""
    tile = Tile(dtype, 1, 1, lanes)
    convert = cast(arg(0, DType.I64), dtype)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        vector = emit_expr(b, convert, [Vectors(b, target, lanes).splat(args[0])], lanes, target)
        return b.insert_value(ir.Constant(tile.llvm, ir.Undefined), vector, 0)

    return operation("splat_integer", lambda i: tile.full(i), lambda i: tile, emit)


def checked_index(check: bool) -> Instruction:
    """checked_index(i, n, flag): ``i`` clamped to 0 .. n-1; if ``check``, an ``i`` outside also sets the error flag."""

    def meaning(i: int, n: int, flag: np.ndarray) -> int:
        if check and not 0 <= i < n:
            flag[0] = INDEX_ERROR
        return min(max(i, 0), n - 1)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        i, n, flag = args
        if check:
            with b.if_then(b.icmp_unsigned(">=", i, n), likely=False):
                b.store(ir.Constant(ir.IntType(32), INDEX_ERROR), flag, align=4)
        zero, last = index(0), b.sub(n, index(1))
        i = b.select(b.icmp_signed("<", i, zero), zero, i)
        return b.select(b.icmp_signed(">", i, last), last, i)

    return operation("checked_index", meaning, lambda i, n, flag: INT, emit)


def load_index() -> Instruction:
    """load_index(q, offset): an I64 element as an integer."""
    return operation(
        "load_index",
        lambda q, offset: int(q[offset]),
        lambda q, offset: INT,
        lambda b, result, kinds, args: b.load(b.gep(args[0], [args[1]], inbounds=True), align=8),
    )


def gather_tile(lattice: Lattice, check: bool) -> Instruction:
    """gather_tile(p, offsets, g, count, n, stride): operands are index, x, out, flag; per lane, out = x[clamped index *
    stride], the index I64; if ``check``, an index outside 0 .. n-1 sets the error flag."""
    operands = lattice.operands

    def meaning(p: Any, offsets: Offsets, g: np.ndarray, count: int, n: int, stride: int) -> None:
        places, valid = lattice.places(1, offsets, g, count)
        numbers = lattice.get(0, p, offsets, g, count)
        if check and ((numbers < 0) | (numbers >= n))[valid].any():
            p[3][0] = INDEX_ERROR
        places = places + np.clip(numbers, 0, n - 1) * stride
        result = np.zeros(places.shape, operands[1].dtype.numpy)
        result[valid] = p[1][places[valid]]
        lattice.put(2, result, p, offsets, g, count)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> None:
        p, offsets, g, count, n, stride = args
        access = lattice.emitter(b, p, offsets, g, count)
        vectors, mask = access.vectors, access.masks[0]
        numbers = access.load(0, 0, 0)
        size = vectors.splat(n)
        zero, last = vectors.splat(index(0)), vectors.splat(b.sub(n, index(1)))
        if check:
            outside = b.icmp_unsigned(">=", numbers, size)
            outside = outside if mask is None else b.and_(outside, mask)
            bits = b.bitcast(outside, ir.IntType(lattice.lanes))
            with b.if_then(b.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0)), likely=False):
                b.store(ir.Constant(ir.IntType(32), INDEX_ERROR), b.extract_value(p, 3), align=4)
        numbers = b.select(b.icmp_signed("<", numbers, zero), zero, numbers)
        numbers = b.select(b.icmp_signed(">", numbers, last), last, numbers)
        step = load_i64(b, g, index(lattice.lane_at + 1))
        places = b.add(
            vectors.strided_offsets(b.extract_value(offsets, 1), step), b.mul(numbers, vectors.splat(stride))
        )
        value = vectors.gather(b.extract_value(p, 1), places, operands[1].dtype, mask)
        access.store(2, 0, 0, value)

    return operation("gather_tile", meaning, lambda p, offsets, g, count, n, stride: types.void, emit)
