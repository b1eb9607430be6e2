"""Lines of windows on 8-bit codes: the instruction that goes along a line. See ``instructions`` for what one is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from nnefc.codegen.device import Instruction
from nnefc.codegen.dots import GROUP, Part, as_bits, way
from nnefc.codegen.emit import emit_expr, to_memory
from nnefc.codegen.instructions import operation
from nnefc.codegen.packing import byte_packing, packed_bytes, packed_halves
from nnefc.codegen.spec import Access
from nnefc.codegen.tapbands import Band, Place, Two, pairs
from nnefc.codegen.taps import BYTE, extra_quarters, load_vector, quarters_of, shuffled, zipped
from nnefc.codegen.tapshape import Four, Taps
from nnefc.codegen.tile import Offsets, Vectors, index, load_i64
from nnefc.ir.types import DType


def slide_codes(taps: Taps) -> Instruction:
    """slide_codes(held, p, offsets, y, g): store ``taps.lines`` lines of windows.

    ``held`` is what ``prepare`` gave; ``offsets`` are of the first window, that of x of column 0 in line 0 of the map,
    and ``y`` is the windows' first line. What is outside the map is passed over."""
    at, last = taps.places, len(taps.operands) - 1

    def moved(offsets: Any, k: int, line: Any, row: Any, g: np.ndarray) -> int:
        return int(offsets[k] + line * int(g[at.line + k]) + row * int(g[at.window + k]))

    def meaning(held: Any, p: Sequence[np.ndarray], offsets: Offsets, y: int, g: np.ndarray) -> None:
        weights, start = held
        zero, channels = int(g[at.zero]), np.arange(taps.width)
        for o, r in np.ndindex(taps.lines, int(g[at.windows])):
            window = np.full((*taps.size, taps.width), zero, np.int32)
            top, left = y + o * taps.stride[0], r * taps.stride[1] - int(g[at.before])
            for i, j in np.ndindex(*taps.size):
                if 0 <= top + i < int(g[at.height + 3]) and 0 <= left + j < int(g[at.columns]):
                    pixel = offsets[0] + (top + i) * int(g[at.height + 4]) + (left + j) * int(g[at.column])
                    window[i, j] = p[0][pixel + channels]
            args = {0: start + (window * weights).sum((0, 1), dtype=np.int32)}
            for k in taps.extras():
                places = moved(offsets, k, o, r, g) + channels * int(taps.operands[k].access is Access.UNIT)
                args[k - taps.first + 1] = p[k][places]
            for k in taps.tables():
                args[k - taps.first + 1] = p[k][offsets[k] + np.arange(256)]
            value = taps.stored.evaluate([args.get(k, args[0]) for k in range(last - taps.first + 1)])
            p[last][moved(offsets, last, o, r, g) + channels] = value

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> None:
        _Windows(_Line(b, taps, kinds, args)).emit()

    return operation("slide_codes", meaning, lambda held, p, offsets, y, g: types.void, emit)


class _Line:
    """Addresses along a line, and what is done with the sums of a window."""

    def __init__(self, b: ir.IRBuilder, taps: Taps, kinds: Any, args: Sequence[ir.Value]):
        self.b, self.taps, last = b, taps, len(taps.operands) - 1
        held, self.p, self.offsets, self.y, self.g = args
        self.way = way(taps.target, taps.lanes)
        self.bytes = ir.VectorType(BYTE, taps.width)
        self.tiles = [b.extract_value(held, k) for k in range(len(kinds[0]))]
        self.packing = byte_packing(taps.stored, taps.lanes, taps.target)
        zero = b.trunc(load_i64(b, self.g, index(taps.places.zero)), BYTE)
        self.zeros = Vectors(b, taps.target, taps.width).splat(zero)
        self.outside = cgutils.alloca_once(b, self.bytes)
        b.store(self.zeros, self.outside, align=1)
        self.columns = load_i64(b, self.g, index(taps.places.columns))
        self.count = load_i64(b, self.g, index(taps.places.windows))
        self.begin = b.neg(load_i64(b, self.g, index(taps.places.before)))
        self.lines = self._lines()
        self.tables = self._tables()
        self.firsts = {(k, o): self._first(k, o) for k in (*taps.extras(), last) for o in range(taps.lines)}

    def _lines(self) -> list[tuple[ir.Value, ir.Value]]:
        """For each line of x that windows see, its address at the first column of the first window, and the step from
        column to column: none, at zero points, for a line outside the map."""
        b, at = self.b, self.taps.places
        extent, step, column = (load_i64(b, self.g, index(k)) for k in (at.height + 3, at.height + 4, at.column))
        pointer = b.extract_value(self.p, 0)
        self.outside = b.bitcast(self.outside, pointer.type)
        found = []
        for i in range(self.taps.height):
            line = b.add(self.y, index(i))
            within = b.icmp_unsigned("<", line, extent)
            place = b.add(b.add(b.extract_value(self.offsets, 0), b.mul(line, step)), b.mul(self.begin, column))
            found.append((b.select(within, b.gep(pointer, [place]), self.outside), b.select(within, column, index(0))))
        return found

    def store(self, sums: Sequence[ir.Value], o: int, r: ir.Value) -> None:
        """Store what becomes of the sums of a window."""
        b, taps = self.b, self.taps
        kept = taps.kept()
        extras: dict[int, list[ir.Value]] = {}
        for k in taps.extras():
            if k in kept:
                tile = self.tiles[2 + kept.index(k)]
                extras[k - taps.first + 1] = [b.extract_value(tile, q) for q in range(GROUP)]
            else:
                extras[k - taps.first + 1] = extra_quarters(b, taps, k, self.p, self._place(k, o, r))
        value = taps.stored if self.packing is None else self.packing.value
        found = []
        for q, total in enumerate(sums):
            args = [extras[k][q] if k in extras else total for k in range(len(taps.operands))]
            args = [x if table is None else table for x, table in zip(args, self.tables, strict=True)]
            found.append(emit_expr(b, value, args, taps.lanes, taps.target))
        if self.packing is None:
            stored = self._merged([to_memory(b, v, DType.U8, taps.target) for v in found])
        else:
            halves = [packed_halves(b, pair, self.packing.zero) for pair in (found[:2], found[2:])]
            stored = emit_expr(b, self.packing.after, [packed_bytes(b, *halves), *self.tables], taps.width, taps.target)
        last = len(taps.operands) - 1
        address = b.gep(b.extract_value(self.p, last), [self._place(last, o, r)], inbounds=True)
        b.store(stored, b.bitcast(address, self.bytes.as_pointer()), align=1)

    def _tables(self) -> list[ir.Value]:
        """By argument of what is stored the address of a table; None for others."""
        first, found = self.taps.first - 1, [None] * len(self.taps.operands)
        for k in self.taps.tables():
            found[k - first] = self.b.gep(self.b.extract_value(self.p, k), [self.b.extract_value(self.offsets, k)])
        return found

    def _first(self, k: int, o: int) -> tuple[ir.Value, ir.Value]:
        """The place of the first window of a line in an operand, and the step from window to window."""
        b, at = self.b, self.taps.places
        line = b.mul(index(o), load_i64(b, self.g, index(at.line + k)))
        return b.add(b.extract_value(self.offsets, k), line), load_i64(b, self.g, index(at.window + k))

    def _place(self, k: int, o: int, r: ir.Value) -> ir.Value:
        first, step = self.firsts[k, o]
        return self.b.add(first, self.b.mul(r, step))

    def _merged(self, quarters: Sequence[ir.Value]) -> ir.Value:
        """The bytes of four quarters in the order of the channels."""
        b, lanes = self.b, self.taps.lanes
        halves = [shuffled(b, x, y, range(2 * lanes)) for x, y in (quarters[:2], quarters[2:])]
        order = [q * lanes + GROUP * i + t for i in range(lanes // GROUP) for q in range(GROUP) for t in range(GROUP)]
        return shuffled(b, halves[0], halves[1], order)


class _Windows:
    """The loop over the windows of a line. What the next window shares with a window, interleaved as it is, goes round
    in registers; a pair of pixels is two vectors, one of the first and one of the second half of each block."""

    def __init__(self, line: _Line):
        self.line, self.b = line, line.b
        self.two: dict[Two, list[ir.Value]] = {}
        self.four: dict[tuple[Band, int], list[Part]] = {}

    def emit(self) -> None:
        b, line, taps = self.b, self.line, self.line.taps
        fours, twos = taps.carried()
        self._at(line.begin, [address for address, _ in line.lines])
        starts = [*self._flat(fours, twos)]
        before, loop, after = b.block, b.append_basic_block("windows"), b.append_basic_block("after")
        b.branch(loop)
        b.position_at_end(loop)
        first = [index(0), line.begin, *(address for address, _ in line.lines), *starts]
        phis = [b.phi(v.type) for v in first]
        r, column, *others = phis
        count = len(line.lines)
        self._at(column, others[:count])
        self._unflat(fours, twos, others[count:])
        self._window(r)
        moved = [b.gep(a, [b.mul(s, index(taps.stride[1]))]) for a, (_, s) in zip(others, line.lines, strict=False)]
        kept = self._flat([(band, k + taps.stride[1]) for band, k in fours], [_moved(t, taps.stride[1]) for t in twos])
        following = [b.add(r, index(1)), b.add(column, index(taps.stride[1])), *moved, *kept]
        for phi, start, value in zip(phis, first, following, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(value, b.block)
        b.cbranch(b.icmp_signed("<", following[0], line.count), loop, after)
        b.position_at_end(after)

    def _at(self, column: ir.Value, addresses: Sequence[ir.Value]) -> None:
        """Go to a window: the number of its first column, and the address of that in each line."""
        self.column, self.addresses = column, list(addresses)
        self.two, self.four = {}, {}
        self._loaded: dict[Place, ir.Value] = {}

    def _window(self, r: ir.Value) -> None:
        line, taps = self.line, self.line.taps
        for o in range(taps.lines):
            sums = [self.b.extract_value(line.tiles[1], q) for q in range(GROUP)]
            for band, column, four in taps.fours(o):
                self._take(sums, self._four(band, column), four)
            line.store(sums, o, r)

    def _take(self, sums: list[ir.Value], codes: Sequence[Part], four: Four) -> None:
        """Take four taps into the sums of all quarters."""
        b, line, bits = self.b, self.line, self.line.way.bits
        first = line.taps.used.index(four) * GROUP
        for q, x in enumerate(codes):
            at = (first + q) * len(bits)
            held = [b.extract_value(line.tiles[0], at + m) for m in range(len(bits))]
            weights = tuple(as_bits(b, v, m) for v, m in zip(held, bits, strict=True))
            sums[q] = line.way.add(b, sums[q], x, weights)

    def _four(self, band: Band, column: int) -> list[Part]:
        """The quarters of what is taken at once."""
        if (band, column) not in self.four:
            first, second = (self._two(pair) for pair in pairs(band.places(column)))
            width = self.line.taps.width
            quarters = [q for x, y in zip(first, second, strict=True) for q in quarters_of(self.b, x, y, width)]
            self.four[band, column] = [self.line.way.codes(self.b, q) for q in quarters]
        return self.four[band, column]

    def _two(self, pair: Two) -> list[ir.Value]:
        if pair not in self.two:
            first, second = map(self._load, pair)
            self.two[pair] = [zipped(self.b, first, second, 1, half) for half in range(2)]
        return self.two[pair]

    def _load(self, place: Place) -> ir.Value:
        """A pixel; zero points outside the map, and below what windows reach."""
        b, line, (i, j) = self.b, self.line, place
        if i >= len(line.lines):
            return line.zeros
        if place not in self._loaded:
            inside = b.icmp_unsigned("<", b.add(self.column, index(j)), line.columns)
            address = b.gep(self.addresses[i], [b.mul(line.lines[i][1], index(j))])
            self._loaded[place] = load_vector(b, b.select(inside, address, line.outside), index(0), line.bytes)
        return self._loaded[place]

    def _flat(self, fours: Iterable[tuple[Band, int]], twos: Iterable[Two]) -> list[ir.Value]:
        parts = [v for band, k in fours for part in self._four(band, k) for v in part]
        return [*parts, *(v for pair in twos for v in self._two(pair))]

    def _unflat(self, fours: Sequence[tuple[Band, int]], twos: Sequence[Two], values: Sequence[ir.Value]) -> None:
        middle = len(values) - 2 * len(twos)
        each = max(middle // max(GROUP * len(fours), 1), 1)
        parts = [tuple(values[k : k + each]) for k in range(0, middle, each)]
        self.four = {key: parts[GROUP * n : GROUP * (n + 1)] for n, key in enumerate(fours)}
        self.two = {pair: list(values[middle + 2 * n : middle + 2 * n + 2]) for n, pair in enumerate(twos)}


def _moved(pair: Two, step: int) -> Two:
    (a, j), (b, k) = pair
    return (a, j + step), (b, k + step)
