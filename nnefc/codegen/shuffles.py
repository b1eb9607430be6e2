"""Instructions that move elements between the lanes of registers. See ``instructions`` for what an instruction is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from nnefc.codegen.device import Instruction
from nnefc.codegen.emit import emit_expr, to_memory, to_register
from nnefc.codegen.instructions import map_tile, operation, store_tile
from nnefc.codegen.spec import Access
from nnefc.codegen.tile import Accessor, Lattice, Offsets, index, load_i64
from nnefc.codegen.vecmath.llvm_vec import lane_numbers
from nnefc.ir.expr import Expr
from nnefc.ir.types import DType

_BITS = {DType.BOOL: DType.U8, DType.F16: DType.U16, DType.BF16: DType.U16}
"""As what an element is moved that registers hold otherwise than memory."""


def transpose(b: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Each square of as many lanes as there are vectors, a power of two, transposed; vectors are squares side by side.

    Step by step, one bit of the row number changes places with the same bit of the lane number (Eklundh, 1972)."""
    count, lanes, bit = len(rows), rows[0].type.count, 1
    rows = list(rows)
    while bit < count:
        low = [lane if not lane & bit else lanes + (lane ^ bit) for lane in range(lanes)]
        high = [lane | bit if not lane & bit else lanes + lane for lane in range(lanes)]
        for r in range(count):
            if not r & bit:
                pair = rows[r], rows[r | bit]
                rows[r], rows[r | bit] = (_shuffled(b, *pair, order) for order in (low, high))
        bit *= 2
    return rows


def _shuffled(b: ir.IRBuilder, x: ir.Value, y: ir.Value, lanes: Sequence[int]) -> ir.Value:
    return b.shuffle_vector(x, y, lane_numbers(lanes))


def map_transposed(lattice: Lattice, expr: Expr) -> Instruction:
    """map_transposed(p, offsets, g, count): store ``expr`` of all operands but the last to the last.

    The tile is square. Operand 0 moves by one element from row to row: it is read along its rows and transposed."""
    inputs = len(lattice.operands) - 1

    def meaning(p: Sequence[np.ndarray], offsets: Offsets, g: np.ndarray, count: int) -> None:
        args = [lattice.get(k, p, offsets, g, count) for k in range(inputs)]
        lattice.put(inputs, np.array(expr.evaluate(args)), p, offsets, g, count)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> None:
        p, offsets, g, count = args
        access = lattice.emitter(b, p, offsets, g, count)
        first = _columns(b, access, lattice, g, count)
        for r, value in enumerate(transpose(b, first)):
            operand = to_register(b, value, lattice.operands[0].dtype, lattice.target)
            values = [operand, *(access.load(k, r, 0) for k in range(1, inputs))]
            access.store(inputs, r, 0, emit_expr(b, expr, values, lattice.lanes, lattice.target))

    return operation("map_transposed", meaning, lambda p, offsets, g, count: types.void, emit)


def map_interleaved(lattice: Lattice, expr: Expr) -> Instruction:
    """map_interleaved(p, offsets, g, count): store ``expr`` of all operands but the last to the last, in which the rows
    of a lane lie together, and the lanes one after the other. No tile is masked."""
    inputs, rows, lanes = len(lattice.operands) - 1, lattice.rows, lattice.lanes
    plain = map_tile(lattice, (expr,), inputs)
    dtype = lattice.operands[inputs].dtype

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> None:
        p, offsets, g, count = args
        access = lattice.emitter(b, p, offsets, g, count)
        values = []
        for r in range(rows):
            operands = [access.load(k, r, 0) for k in range(inputs)]
            values.append(to_memory(b, emit_expr(b, expr, operands, lanes, lattice.target), dtype, lattice.target))
        values += [values[-1]] * (-len(values) % 2)
        pairs = [_shuffled(b, x, y, range(2 * lanes)) for x, y in zip(values[::2], values[1::2], strict=True)]
        merged = _shuffled(b, pairs[0], pairs[-1], [r * lanes + lane for lane in range(lanes) for r in range(rows)])
        address = b.gep(b.extract_value(p, inputs), [b.extract_value(offsets, inputs)], inbounds=True)
        for first in range(0, rows * lanes, lanes):
            part = _shuffled(b, merged, merged, range(first, first + lanes))
            place = b.gep(address, [index(first)], inbounds=True)
            b.store(part, b.bitcast(place, part.type.as_pointer()), align=dtype.size)

    return operation("map_interleaved", plain.meaning, lambda p, offsets, g, count: types.void, emit)


def store_turned(lattice: Lattice, expr: Expr, extras: Sequence[int], target_operand: int) -> Instruction:
    """store_turned(results, p, offsets, g, count): what ``store_tile`` does, for an operand that moves by one element
    from row to row: the tile is transposed, by blocks of as many rows as there are lanes, and a lane's rows of a block
    are stored together. No tile is masked."""
    lanes = lattice.lanes
    blocks = [range(r, min(r + lanes, lattice.rows)) for r in range(0, lattice.rows, lanes)]

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> None:
        results, p, offsets, g, count = args
        access, dtype = lattice.emitter(b, p, offsets, g, count), lattice.operands[target_operand].dtype
        tile = b.extract_value(results, 0)
        pointer, start = b.extract_value(p, target_operand), b.extract_value(offsets, target_operand)
        step = load_i64(b, g, index(lattice.lane_at + target_operand))
        for c, block in itertools.product(range(lattice.cols), blocks):
            values, rows = [], len(block)
            size = 1 << (rows - 1).bit_length()
            for r in block:
                operands = [b.extract_value(tile, r * lattice.cols + c), *(access.load(k, r, c) for k in extras)]
                values.append(to_memory(b, emit_expr(b, expr, operands, lanes, lattice.target), dtype, lattice.target))
            unused = [ir.Constant(values[0].type, ir.Undefined)] * (size - rows)
            turned = transpose(b, values + unused)
            for lane in range(lanes):
                piece = _shuffled(
                    b, turned[lane % size], turned[lane % size], range(lane // size * size, lane // size * size + rows)
                )
                place = b.add(start, b.add(b.mul(step, index(c * lanes + lane)), index(block.start)))
                address = b.bitcast(b.gep(pointer, [place], inbounds=True), piece.type.as_pointer())
                b.store(piece, address, align=dtype.size)

    plain = store_tile(lattice, expr, extras, target_operand)
    return operation("store_turned", plain.meaning, lambda results, p, offsets, g, count: types.void, emit)


def _columns(b: ir.IRBuilder, access: Accessor, lattice: Lattice, g: ir.Value, count: ir.Value) -> list[ir.Value]:
    """Operand 0 as it lies in memory: a vector along the rows for each lane; those beyond the end are 0."""
    dtype, lanes, vectors = lattice.operands[0].dtype, lattice.lanes, access.vectors
    pointer, offset = b.extract_value(access.p, 0), b.extract_value(access.offsets, 0)
    step = load_i64(b, g, index(lattice.lane_at))
    columns = []
    for lane in range(lanes):
        mask = None
        if lattice.masked:
            mask = vectors.below(b.select(b.icmp_signed("<", index(lane), count), index(lanes), index(0)))
        place = b.add(offset, b.mul(step, index(lane)))
        columns.append(vectors.load(pointer, place, Access.UNIT, None, _BITS.get(dtype, dtype), mask))
    return columns
