"""The instructions of windows on 8-bit codes: four lines of a column become one 32-bit lane per channel.

A vector of bytes is as many channels of one pixel. Of four lines their bytes are interleaved, within each 128 bits, so
that a lane of 32 bits holds one channel's four codes; four vectors hold all channels, the quarters. One instruction
multiplies a quarter by weights of the same order. Packing the four quarters of sums to bytes restores the channels'
order. See ``instructions`` for what an instruction is and for the names of operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from nnefc.codegen.device import Instruction
from nnefc.codegen.dots import GROUP, Part, as_bits, way
from nnefc.codegen.emit import emit_expr, to_memory
from nnefc.codegen.instructions import operation
from nnefc.codegen.packing import byte_packing, packed_bytes, packed_halves
from nnefc.codegen.reductions import struct
from nnefc.codegen.spec import Access
from nnefc.codegen.tapshape import BLOCK, Taps
from nnefc.codegen.tile import I32, Offsets, Tile, Vectors, index, load_i64
from nnefc.codegen.vecmath.llvm_vec import int_splat, lane_numbers
from nnefc.ir.types import DType

BYTE = ir.IntType(8)


# ---- bytes of four lines


def _shuffled(b: ir.IRBuilder, x: ir.Value, y: ir.Value, order: Sequence[int]) -> ir.Value:
    return b.shuffle_vector(x, y, lane_numbers(order))


def _zipped(b: ir.IRBuilder, x: ir.Value, y: ir.Value, unit: int) -> tuple[ir.Value, ir.Value]:
    """Elements of ``unit`` bytes of both, one after the other, from the first and the second half of each block."""
    kind = ir.VectorType(ir.IntType(8 * unit), x.type.count * x.type.element.width // (8 * unit))
    x, y = b.bitcast(x, kind), b.bitcast(y, kind)
    count, each = kind.count, BLOCK // unit
    halves = []
    for half in (0, each // 2):
        order = [
            which
            for i in range(0, count, each)
            for k in range(half, half + each // 2)
            for which in (i + k, count + i + k)
        ]
        halves.append(_shuffled(b, x, y, order))
    return halves[0], halves[1]


def _interleaved(b: ir.IRBuilder, rows: Sequence[ir.Value], width: int) -> list[ir.Value]:
    """The four quarters, as 32-bit lanes, of four vectors of bytes."""
    pairs = [_zipped(b, x, y, 1) for x, y in (rows[:2], rows[2:])]
    quarters = [q for half in range(2) for q in _zipped(b, pairs[0][half], pairs[1][half], 2)]
    return [b.bitcast(q, ir.VectorType(I32, width // GROUP)) for q in quarters]


def _load(b: ir.IRBuilder, pointer: ir.Value, offset: ir.Value, kind: ir.VectorType) -> ir.Value:
    address = b.gep(pointer, [offset], inbounds=True)
    return b.load(b.bitcast(address, kind.as_pointer()), align=kind.element.width // 8 if _integer(kind) else 4)


def _integer(kind: ir.VectorType) -> bool:
    return isinstance(kind.element, ir.IntType)


def _extra(b: ir.IRBuilder, taps: Taps, k: int, p: ir.Value, offset: ir.Value) -> list[ir.Value]:
    """The quarters of an extra at an offset, in registers."""
    operand, vectors = taps.operands[k], Vectors(b, taps.target, taps.lanes)
    pointer = b.extract_value(p, k)
    if operand.access is Access.SAME:
        return [vectors.load(pointer, offset, Access.SAME, None, operand.dtype, None)] * GROUP
    whole = Vectors(b, taps.target, taps.width).load(pointer, offset, Access.UNIT, None, operand.dtype, None)
    return [_shuffled(b, whole, whole, taps.quarter(q)) for q in range(GROUP)]


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
        known: dict[tuple[int, int], ir.Value] = {}

        def weights(t: int | None, k: int) -> ir.Value:
            if t is None or not taps.weighted:
                return int_splat(8, taps.width, int(t is not None))
            if (t, k) not in known:
                step = b.mul(index(t), load_i64(b, g, index(taps.places.height + 5)))
                step = b.add(step, b.mul(index(k), load_i64(b, g, index(taps.places.column + 1))))
                known[t, k] = _load(b, b.extract_value(p, 1), b.add(b.extract_value(offsets, 1), step), whole)
            return known[t, k]

        zero = Vectors(b, taps.target, taps.width).splat(b.trunc(load_i64(b, g, index(taps.places.zero)), BYTE))
        zeros = spec.codes(b, b.bitcast(zero, ir.VectorType(I32, lanes)))
        flat, sums = [], [int_splat(32, lanes, 0)] * GROUP
        for o, k, group in taps.used:
            rows = [weights(taps.tap(o, group, j), k) for j in range(GROUP)]
            for q, codes in enumerate(_interleaved(b, rows, taps.width)):
                part = spec.weights(b, codes)
                flat += [b.bitcast(v, tiles[0].llvm.element) for v in part]
                if o == 0:
                    sums[q] = spec.add(b, sums[q], zeros, part)
        starts = [int_splat(32, lanes, 0)] * GROUP
        if taps.addend is not None:
            starts = _extra(b, taps, taps.addend, p, b.extract_value(offsets, taps.addend))
        starts = [b.sub(first, s) for first, s in zip(starts, sums, strict=True)]
        held = [flat, starts, *(_extra(b, taps, k, p, b.extract_value(offsets, k)) for k in kept)]
        return struct(b, result, [_tile(b, t, values) for t, values in zip(tiles, held, strict=True)])

    return operation("prepare", meaning, lambda p, offsets, g: types.Tuple(tiles), emit)


def _tile(b: ir.IRBuilder, tile: Tile, vectors: Sequence[ir.Value]) -> ir.Value:
    value = ir.Constant(tile.llvm, ir.Undefined)
    for k, v in enumerate(vectors):
        value = b.insert_value(value, v, k)
    return value


# ---- a tile


def slide_codes(taps: Taps, left: int, right: int) -> Instruction:
    """slide_codes(held, p, offsets, x, y, g): store a tile of windows. ``held`` is what ``prepare`` gave; ``offsets``
    are of the first window, ``x`` is the place of its first column in line 0 of the map, ``y`` its first line. Lines
    outside the map are passed over, and so are ``left`` columns at the beginning and ``right`` at the end."""
    reach = (taps.rows - 1) * taps.stride[1] + taps.size[1]
    at, last = taps.places, len(taps.operands) - 1

    def moved(offsets: Any, k: int, line: Any, row: Any, g: np.ndarray) -> int:
        return int(offsets[k] + line * int(g[at.line + k]) + row * int(g[at.window + k]))

    def meaning(held: Any, p: Sequence[np.ndarray], offsets: Offsets, x: int, y: int, g: np.ndarray) -> None:
        weights, start = held
        zero, channels = int(g[at.zero]), np.arange(taps.width)
        seen = np.full((taps.height, reach, taps.width), zero, np.int32)
        for i in range(taps.height):
            for j in range(left, reach - right):
                if 0 <= y + i < int(g[at.height + 3]):
                    seen[i, j] = p[0][x + (y + i) * int(g[at.height + 4]) + j * int(g[at.column]) + channels]
        for o, r in np.ndindex(taps.lines, taps.rows):
            first, column = o * taps.stride[0], r * taps.stride[1]
            window = seen[first : first + taps.size[0], column : column + taps.size[1]]
            args = {0: start + (window * weights).sum((0, 1), dtype=np.int32)}
            for k in taps.extras():
                places = moved(offsets, k, o, r, g) + channels * int(taps.operands[k].access is Access.UNIT)
                args[k - taps.first + 1] = p[k][places]
            for k in taps.tables():
                args[k - taps.first + 1] = p[k][offsets[k] + np.arange(256)]
            value = taps.stored.evaluate([args.get(k, args[0]) for k in range(last - taps.first + 1)])
            p[last][moved(offsets, last, o, r, g) + channels] = value

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> None:
        _Emitter(b, taps, kinds, args, reach, left, right).emit()

    return operation("slide_codes", meaning, lambda held, p, offsets, x, y, g: types.void, emit)


class _Emitter:
    """Emits a tile, one half of the quarters after the other, so that the weights of a half stay in registers; column
    by column: a window is done as soon as its last column is in."""

    def __init__(
        self,
        b: ir.IRBuilder,
        taps: Taps,
        kinds: Any,
        args: Sequence[ir.Value],
        reach: int,
        left: int,
        right: int,
    ):
        self.b, self.taps, self.reach = b, taps, reach
        held, self.p, self.offsets, self.x, self.y, self.g = args
        self.inside = range(left, reach - right)
        self.way = way(taps.target, taps.lanes)
        self.bytes = ir.VectorType(BYTE, taps.width)
        self.tiles = [b.extract_value(held, k) for k in range(len(kinds[0]))]
        self.packing = byte_packing(taps.stored, taps.lanes, taps.target)
        zero = b.trunc(load_i64(b, self.g, index(taps.places.zero)), BYTE)
        self.zeros = Vectors(b, taps.target, taps.width).splat(zero)

    def emit(self) -> None:
        lines = self._lines()
        first = self._half(lines, 0)
        for (o, r), second in self._half(lines, 1).items():
            self._store([*first[o, r], *second], o, r)

    def _half(self, lines: Sequence[tuple[ir.Value, ir.Value]], half: int) -> dict[tuple[int, int], list[ir.Value]]:
        """Two quarters of each window, packed to one vector where there is an instruction."""
        taps, which = self.taps, (2 * half, 2 * half + 1)
        sums: dict[tuple[int, int], list[ir.Value]] = {}
        done: dict[tuple[int, int], list[ir.Value]] = {}
        for j in range(self.reach):
            groups = [_interleaved(self.b, rows, taps.width) for rows in self._column(lines, j)]
            codes = [[self.way.codes(self.b, quarters[q]) for q in which] for quarters in groups]
            for o, r in np.ndindex(taps.lines, taps.rows):
                k = j - r * taps.stride[1]
                if 0 <= k < taps.size[1]:
                    if k == 0:
                        sums[o, r] = [self.b.extract_value(self.tiles[1], q) for q in which]
                    self._take(sums[o, r], codes, which, o, k)
                    if k == taps.size[1] - 1:
                        done[o, r] = self._final(sums.pop((o, r)), which, o, r)
        return done

    def _lines(self) -> list[tuple[ir.Value, ir.Value]]:
        """For each line of x that the tile sees its address at the first column, and the step from column to column:
        none, at zero points, for a line outside the map."""
        b, at = self.b, self.taps.places
        outside = cgutils.alloca_once(b, self.bytes)
        b.store(self.zeros, outside, align=1)
        extent, step, column = (load_i64(b, self.g, index(k)) for k in (at.height + 3, at.height + 4, at.column))
        pointer = b.extract_value(self.p, 0)
        outside = b.bitcast(outside, pointer.type)
        found = []
        for i in range(self.taps.height):
            line = b.add(self.y, index(i))
            within = b.icmp_unsigned("<", line, extent)
            address = b.gep(pointer, [b.add(self.x, b.mul(line, step))])
            found.append((b.select(within, address, outside), b.select(within, column, index(0))))
        return found

    def _column(self, lines: Sequence[tuple[ir.Value, ir.Value]], j: int) -> list[list[ir.Value]]:
        """The bytes of each group of lines in a column."""
        rows = [
            _load(self.b, address, self.b.mul(step, index(j)), self.bytes) if j in self.inside else self.zeros
            for address, step in lines
        ]
        rows += [int_splat(8, self.taps.width, 0)] * (-len(rows) % GROUP)
        return [rows[k : k + GROUP] for k in range(0, len(rows), GROUP)]

    def _take(
        self, sums: list[ir.Value], codes: Sequence[Sequence[Part]], which: Sequence[int], o: int, k: int
    ) -> None:
        """Take the taps ``k`` of a line of windows into sums of the quarters ``which``."""
        bits = self.way.bits
        for group, quarters in enumerate(codes):
            if (o, k, group) in self.taps.used:
                first = self.taps.used.index((o, k, group)) * GROUP
                for n, (q, x) in enumerate(zip(which, quarters, strict=True)):
                    at = (first + q) * len(bits)
                    held = [self.b.extract_value(self.tiles[0], at + m) for m in range(len(bits))]
                    weights = tuple(as_bits(self.b, v, m) for v, m in zip(held, bits, strict=True))
                    sums[n] = self.way.add(self.b, sums[n], x, weights)

    def _place(self, k: int, o: int, r: int) -> ir.Value:
        b, at = self.b, self.taps.places
        offset = b.extract_value(self.offsets, k)
        offset = b.add(offset, b.mul(index(o), load_i64(b, self.g, index(at.line + k))))
        return b.add(offset, b.mul(index(r), load_i64(b, self.g, index(at.window + k))))

    def _final(self, sums: Sequence[ir.Value], which: Sequence[int], o: int, r: int) -> list[ir.Value]:
        """What is stored of two quarters of a window: one vector of 16 bits if it is packed, else two of bytes."""
        b, taps = self.b, self.taps
        kept = taps.kept()
        extras: dict[int, list[ir.Value]] = {}
        for k in taps.extras():
            if k in kept:
                tile = self.tiles[2 + kept.index(k)]
                extras[k - taps.first + 1] = [b.extract_value(tile, q) for q in range(GROUP)]
            else:
                extras[k - taps.first + 1] = _extra(b, taps, k, self.p, self._place(k, o, r))
        value = taps.stored if self.packing is None else self.packing.value
        found = []
        for total, q in zip(sums, which, strict=True):
            args = [extras[k][q] if k in extras else total for k in range(len(taps.operands))]
            args = [x if table is None else table for x, table in zip(args, self._tables(), strict=True)]
            found.append(emit_expr(b, value, args, taps.lanes, taps.target))
        if self.packing is not None:
            return [packed_halves(b, found, self.packing.zero)]
        return [to_memory(b, v, DType.U8, taps.target) for v in found]

    def _tables(self) -> list[ir.Value]:
        """By argument of what is stored the address of a table; None for others."""
        first, found = self.taps.first - 1, [None] * len(self.taps.operands)
        for k in self.taps.tables():
            found[k - first] = self.b.gep(self.b.extract_value(self.p, k), [self.b.extract_value(self.offsets, k)])
        return found

    def _store(self, parts: Sequence[ir.Value], o: int, r: int) -> None:
        b, last = self.b, len(self.taps.operands) - 1
        if self.packing is None:
            found = self._merged(parts)
        else:
            codes = packed_bytes(b, parts[0], parts[1])
            found = emit_expr(b, self.packing.after, [codes, *self._tables()], self.taps.width, self.taps.target)
        address = b.gep(b.extract_value(self.p, last), [self._place(last, o, r)], inbounds=True)
        b.store(found, b.bitcast(address, self.bytes.as_pointer()), align=1)

    def _merged(self, quarters: Sequence[ir.Value]) -> ir.Value:
        """The bytes of four quarters in the order of the channels."""
        b, lanes = self.b, self.taps.lanes
        halves = [_shuffled(b, x, y, range(2 * lanes)) for x, y in (quarters[:2], quarters[2:])]
        order = [q * lanes + GROUP * i + t for i in range(lanes // GROUP) for q in range(GROUP) for t in range(GROUP)]
        return _shuffled(b, halves[0], halves[1], order)
