"""The instructions of windows on 8-bit codes: four codes of a channel become one 32-bit lane.

A vector of bytes is as many channels of one pixel. Of four pixels (see ``tapbands``) the bytes are interleaved,
within each 128 bits, so that a lane of 32 bits holds one channel's four codes; four vectors hold all channels, the
quarters. One instruction multiplies a quarter by weights of the same order. Packing the four quarters of sums to bytes
restores the channels' order. See ``instructions`` for what an instruction is and for the names of operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from nnefc.codegen.device import Instruction
from nnefc.codegen.dots import GROUP, way
from nnefc.codegen.instructions import operation
from nnefc.codegen.reductions import struct
from nnefc.codegen.spec import Access
from nnefc.codegen.tapbands import Place, pairs
from nnefc.codegen.tapshape import BLOCK, Taps
from nnefc.codegen.tile import I32, Offsets, Tile, Vectors, index, load_i64
from nnefc.codegen.vecmath.llvm_vec import int_splat, lane_numbers
from nnefc.ir.types import DType

BYTE = ir.IntType(8)


# ---- bytes of four pixels


def shuffled(b: ir.IRBuilder, x: ir.Value, y: ir.Value, order: Sequence[int]) -> ir.Value:
    """The elements of two vectors, those of ``x`` first, that ``order`` names."""
    return b.shuffle_vector(x, y, lane_numbers(order))


def zipped(b: ir.IRBuilder, x: ir.Value, y: ir.Value, unit: int, half: int) -> ir.Value:
    """Elements of ``unit`` bytes of both, one after the other, from the first or the second half of each block."""
    kind = ir.VectorType(ir.IntType(8 * unit), x.type.count * x.type.element.width // (8 * unit))
    x, y = b.bitcast(x, kind), b.bitcast(y, kind)
    count, each = kind.count, BLOCK // unit
    starts = range(half * each // 2, count, each)
    return shuffled(b, x, y, [which for i in starts for k in range(i, i + each // 2) for which in (k, count + k)])


def quarters_of(b: ir.IRBuilder, x: ir.Value, y: ir.Value, width: int) -> list[ir.Value]:
    """Two quarters, as 32-bit lanes, of two vectors of pairs of bytes."""
    return [b.bitcast(zipped(b, x, y, 2, half), ir.VectorType(I32, width // GROUP)) for half in range(2)]


def load_vector(b: ir.IRBuilder, pointer: ir.Value, offset: ir.Value, kind: ir.VectorType) -> ir.Value:
    """A vector of bytes that lies ``offset`` bytes from an address."""
    return b.load(b.bitcast(b.gep(pointer, [offset], inbounds=True), kind.as_pointer()), align=1)


def extra_quarters(b: ir.IRBuilder, taps: Taps, k: int, p: ir.Value, offset: ir.Value) -> list[ir.Value]:
    """The quarters of an extra at an offset, in registers."""
    operand, vectors = taps.operands[k], Vectors(b, taps.target, taps.lanes)
    pointer = b.extract_value(p, k)
    if operand.access is Access.SAME:
        return [vectors.load(pointer, offset, Access.SAME, None, operand.dtype, None)] * GROUP
    whole = Vectors(b, taps.target, taps.width).load(pointer, offset, Access.UNIT, None, operand.dtype, None)
    return [shuffled(b, whole, whole, taps.quarter(q)) for q in range(GROUP)]


# ---- what stays for all windows of some channels


def prepare(taps: Taps) -> Instruction:
    """prepare(p, offsets, g): for ``taps.width`` channels, the weights in the order of the lines that they meet, what
    sums start from (the zero point is the code of 0: the sum of the weights times it, negated), and the extras that are
    the same for all windows."""
    lanes, kept = taps.lanes, taps.kept()
    spec = way(taps.target, lanes)

    tiles = [Tile(DType.I32, len(taps.used) * GROUP * len(spec.bits), 1, lanes), Tile(DType.I32, GROUP, 1, lanes)]
    tiles += [Tile(taps.operands[k].dtype, GROUP, 1, lanes) for k in kept]

    def meaning(p: Sequence[np.ndarray], offsets: Offsets, g: np.ndarray) -> tuple[Any, ...]:
        w = np.ones((*taps.size, taps.width), np.int32)
        if taps.weighted:
            for t, k in np.ndindex(*taps.size):
                at = offsets[1] + t * int(g[taps.places.height + 5]) + k * int(g[taps.places.column + 1])
                w[t, k] = p[1][at + np.arange(taps.width)]
        start = -int(g[taps.places.zero]) * w.sum((0, 1), dtype=np.int32)
        if taps.addend is not None:
            lanes = np.arange(taps.width) * int(taps.operands[taps.addend].access is Access.UNIT)
            start = start + p[taps.addend][offsets[taps.addend] + lanes]
        return w, start

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        p, offsets, g = args
        whole = ir.VectorType(BYTE, taps.width)
        known: dict[Place, ir.Value] = {}

        def weights(tap: Place | None) -> ir.Value:
            if tap is None or not taps.weighted:
                return int_splat(8, taps.width, int(tap is not None))
            if tap not in known:
                step = b.mul(index(tap[0]), load_i64(b, g, index(taps.places.height + 5)))
                step = b.add(step, b.mul(index(tap[1]), load_i64(b, g, index(taps.places.column + 1))))
                known[tap] = load_vector(b, b.extract_value(p, 1), b.add(b.extract_value(offsets, 1), step), whole)
            return known[tap]

        zero = Vectors(b, taps.target, taps.width).splat(b.trunc(load_i64(b, g, index(taps.places.zero)), BYTE))
        zeros = spec.codes(b, b.bitcast(zero, ir.VectorType(I32, lanes)))
        flat, sums = [], [int_splat(32, lanes, 0)] * GROUP
        once = [four for _, _, four in taps.fours(0)]
        for four in taps.used:
            twos = [[zipped(b, weights(x), weights(y), 1, half) for half in range(2)] for x, y in pairs(four)]
            quarters = [v for half in range(2) for v in quarters_of(b, twos[0][half], twos[1][half], taps.width)]
            for q, codes in enumerate(quarters):
                part = spec.weights(b, codes)
                flat += [b.bitcast(v, tiles[0].llvm.element) for v in part]
                if four in once:
                    sums[q] = spec.add(b, sums[q], zeros, part)
        starts = [int_splat(32, lanes, 0)] * GROUP
        if taps.addend is not None:
            starts = extra_quarters(b, taps, taps.addend, p, b.extract_value(offsets, taps.addend))
        starts = [b.sub(first, s) for first, s in zip(starts, sums, strict=True)]
        held = [flat, starts, *(extra_quarters(b, taps, k, p, b.extract_value(offsets, k)) for k in kept)]
        return struct(b, result, [_tile(b, t, values) for t, values in zip(tiles, held, strict=True)])

    return operation("prepare", meaning, lambda p, offsets, g: types.Tuple(tiles), emit)


def _tile(b: ir.IRBuilder, tile: Tile, vectors: Sequence[ir.Value]) -> ir.Value:
    value = ir.Constant(tile.llvm, ir.Undefined)
    for k, v in enumerate(vectors):
        value = b.insert_value(value, v, k)
    return value
