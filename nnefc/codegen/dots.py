"""The instruction that sums products of 8-bit codes in groups of four, or of BF16 in pairs, by what each target has.

See ``instructions`` for what an instruction is and for the names of operands.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from nnefc.codegen.device import Instruction
from nnefc.codegen.groups import GROUP
from nnefc.codegen.instructions import operation
from nnefc.codegen.target import Target
from nnefc.codegen.tile import I32, Tile, Vectors, fma, index
from nnefc.codegen.vecmath.llvm_vec import int_splat, intrinsic, lane_numbers

PAIR = 2
"""Numbers of BF16 that do."""

Part = tuple[ir.Value, ...]
"""Four codes of each lane, prepared for a way of summing their products."""


def dot(tiles: tuple[Tile, ...], target: Target, group: int = GROUP) -> Instruction:
    """dot(accs, x, xo, rs, w, wo): acc[r, c, l] += sum over j < 4 of x[xo + r * rs + j] * w[wo + 4 * o + j] for each of
    a tuple of I32 accumulators of as many rows, x being U8 and w I8; o counts their outputs, those of the first first.
    Sums are modulo 2**32, the same on every path.

    With a ``group`` of eight each byte of w holds two weights v of 4 bits, for j in its lower half and for j + 4 in its
    upper one, and acc[r, c, l] += sum over j < 8 of x[xo + r * rs + j] * 16 * v[j].

    With a group of PAIR, accumulators are F32, and x and w BF16: to acc[r, c, l] the second products
    x[xo + r * rs + 1] * w[wo + 2 * o + 1] are added, then the first. Instructions of a CPU may round once for both, and
    take subnormal numbers for 0.
    """
    rows, each = tiles[0].rows, min(group, GROUP)
    parts = group // each
    starts = [sum(t.cols * t.lanes for t in tiles[:k]) for k in range(len(tiles))]
    columns = [(k, c, starts[k] + c * t.lanes) for k, t in enumerate(tiles) for c in range(t.cols)]

    def meaning(
        accs: tuple[np.ndarray, ...], x: np.ndarray, xo: int, rs: int, w: np.ndarray, wo: int
    ) -> tuple[np.ndarray, ...]:
        left = x[xo + np.arange(rows)[:, None] * rs + np.arange(group)].astype(tiles[0].dtype.numpy)
        found = []
        for acc, t, start in zip(accs, tiles, starts, strict=True):
            first = wo + each * start
            codes = w[first : first + each * t.cols * t.lanes].reshape(t.cols, t.lanes, each)
            halves = [codes] if parts == 1 else [codes << 4, codes & -16]
            right = np.concatenate(halves, -1).astype(t.dtype.numpy)
            for j in reversed(range(group)):
                acc = acc + left[:, j, None, None] * right[..., j]
            found.append(acc)
        return tuple(found)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        accs, x, xo, rs, w, wo = args
        x, w = b.gep(x, [xo], inbounds=True), b.gep(w, [wo], inbounds=True)
        held = [b.extract_value(accs, k) for k in range(len(tiles))]
        ways = [(pair_way if group == PAIR else way)(target, t.lanes) for t in tiles]
        right = []
        for k, _, at in columns:
            address = b.gep(w, [index(each * at)], inbounds=True)
            codes = b.load(b.bitcast(address, ir.VectorType(I32, tiles[k].lanes).as_pointer()), align=1)
            right.append(codes)
        prepared = [
            [ways[k].weights(b, codes if parts == 1 else _half(b, codes, part)) for part in range(parts)]
            for (k, _, _), codes in zip(columns, right, strict=True)
        ]
        for r, part in itertools.product(range(rows), range(parts)):
            address = b.gep(x, [b.add(b.mul(rs, index(r)), index(each * part))], inbounds=True)
            four = b.load(b.bitcast(address, I32.as_pointer()), align=1)
            left = [w.codes(b, Vectors(b, target, t.lanes).splat(four)) for w, t in zip(ways, tiles, strict=True)]
            for (k, c, _), weights in zip(columns, prepared, strict=True):
                n = r * tiles[k].cols + c
                total = ways[k].add(b, b.extract_value(held[k], n), left[k], weights[part])
                held[k] = b.insert_value(held[k], total, n)
        for k, value in enumerate(held):
            accs = b.insert_value(accs, value, k)
        return accs

    return operation("dot", meaning, lambda accs, x, xo, rs, w, wo: types.Tuple(tiles), emit)


def dot_pixels(tiles: tuple[Tile, ...], lines: int, target: Target, neighbours: bool) -> Instruction:
    """dot_pixels(accs, w, wo, x, xo, gs, ls): acc[r, c, l] += sum over j < 4 of x[xo + n * ls + p + j * gs] *
    w[wo + 4 * r + j] for as many times ``tiles`` as there are ``lines``: n is the line, and p counts its pixels, those
    of the first tile first. If ``neighbours``, gs is 1. Accumulators are I32, w is I8 and x U8; sums are modulo 2**32.
    """
    rows = tiles[0].rows
    starts = [sum(t.cols * t.lanes for t in tiles[:k]) for k in range(len(tiles))]
    every = [(n, at, t) for n in range(lines) for at, t in zip(starts, tiles, strict=True)]
    columns = [(k, c, n, at + c * t.lanes) for k, (n, at, t) in enumerate(every) for c in range(t.cols)]

    def meaning(
        accs: tuple[np.ndarray, ...], w: np.ndarray, wo: int, x: np.ndarray, xo: int, gs: int, ls: int
    ) -> tuple[np.ndarray, ...]:
        left = w[wo + np.arange(GROUP * rows)].astype(np.int32).reshape(rows, 1, 1, GROUP)
        found = []
        for acc, (n, at, t) in zip(accs, every, strict=True):
            pixels = np.arange(t.cols * t.lanes)[:, None] + np.arange(GROUP) * (1 if neighbours else gs)
            right = x[xo + n * ls + at + pixels].astype(np.int32).reshape(t.cols, t.lanes, GROUP)
            found.append(acc + (left * right).sum(-1, dtype=np.int32))
        return tuple(found)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        accs, w, wo, x, xo, gs, ls = args
        w, x = b.gep(w, [wo], inbounds=True), b.gep(x, [xo], inbounds=True)
        begin = [x, *(b.gep(x, [b.mul(ls, index(n))], inbounds=True) for n in range(1, lines))]
        held = [b.extract_value(accs, k) for k in range(len(every))]
        ways = [way(target, t.lanes) for t in tiles]
        right = []
        for k, _, n, at in columns:
            address = b.gep(begin[n], [index(at)], inbounds=True)
            codes = _groups(b, address, None if neighbours else gs, every[k][2].lanes)
            right.append(ways[k % len(tiles)].codes(b, codes))
        for r in range(rows):
            address = b.bitcast(b.gep(w, [index(GROUP * r)], inbounds=True), I32.as_pointer())
            four = b.load(address, align=1)
            left = [q.weights(b, Vectors(b, target, t.lanes).splat(four)) for q, t in zip(ways, tiles, strict=True)]
            for (k, c, _, _), codes in zip(columns, right, strict=True):
                n, part = r * every[k][2].cols + c, k % len(tiles)
                total = ways[part].add(b, b.extract_value(held[k], n), codes, left[part])
                held[k] = b.insert_value(held[k], total, n)
        for k, value in enumerate(held):
            accs = b.insert_value(accs, value, k)
        return accs

    return operation("dot_pixels", meaning, lambda accs, w, wo, x, xo, gs, ls: types.Tuple(tiles * lines), emit)


def _groups(b: ir.IRBuilder, x: ir.Value, step: ir.Value | None, lanes: int) -> ir.Value:
    """Four codes ``step`` apart (None: neighbours) for each of ``lanes`` neighbours, as i32 lanes."""

    def load(at: ir.Value) -> ir.Value:
        place = b.gep(x, [at], inbounds=True)
        return b.load(b.bitcast(place, ir.VectorType(ir.IntType(8), lanes).as_pointer()), align=1)

    def mixed(u: ir.Value, v: ir.Value, numbers: Sequence[int]) -> ir.Value:
        return b.shuffle_vector(u, v, lane_numbers(numbers))

    if step is None:
        low, high = load(index(0)), load(index(GROUP - 1))
        places = [lane + j for lane in range(lanes) for j in range(GROUP)]
        both = mixed(low, high, range(2 * lanes))
        groups = mixed(both, both, [k if k < lanes else k + lanes - (GROUP - 1) for k in places])
    else:
        planes = [load(b.mul(step, index(j))) for j in range(GROUP)]
        first, last = (mixed(planes[k], planes[k + 1], range(2 * lanes)) for k in (0, 2))
        groups = mixed(first, last, [j * lanes + lane for lane in range(lanes) for j in range(GROUP)])
    return b.bitcast(groups, ir.VectorType(I32, lanes))


def times(tiles: tuple[Tile, ...], target: Target) -> Instruction:
    """times(accs, factor): each of a tuple of I32 accumulators multiplied by a number, modulo 2**32."""

    def meaning(accs: tuple[np.ndarray, ...], factor: int) -> tuple[np.ndarray, ...]:
        return tuple(acc * np.int32(factor) for acc in accs)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        accs, factor = args
        number = b.trunc(factor, I32)
        for k, t in enumerate(tiles):
            splat, held = Vectors(b, target, t.lanes).splat(number), b.extract_value(accs, k)
            for n in range(t.rows * t.cols):
                held = b.insert_value(held, b.mul(b.extract_value(held, n), splat), n)
            accs = b.insert_value(accs, held, k)
        return accs

    return operation("times", meaning, lambda accs, factor: types.Tuple(tiles), emit)


def _half(b: ir.IRBuilder, codes: ir.Value, part: int) -> ir.Value:
    """16 times the weights in the lower (0) or upper halves of bytes."""
    lanes = codes.type.count
    codes = codes if part else b.shl(codes, int_splat(32, lanes, 4))
    return b.and_(codes, int_splat(32, lanes, 0xF0F0F0F0))


class Way(ABC):
    """How vectors of ``lanes`` groups are multiplied: what is made of codes and of weights, and what adds them up."""

    bits: tuple[int, ...] = (32,)
    """The width of the elements of each part of weights."""

    def __init__(self, lanes: int):
        self.lanes = lanes

    def codes(self, b: ir.IRBuilder, x: ir.Value) -> Part:
        """Of unsigned codes, as i32 lanes."""
        return (x,)

    def weights(self, b: ir.IRBuilder, w: ir.Value) -> Part:
        """Of signed weights, as i32 lanes."""
        return (w,)

    @abstractmethod
    def add(self, b: ir.IRBuilder, acc: ir.Value, x: Part, w: Part) -> ir.Value:
        """``acc`` and the sums of products."""


def as_bits(b: ir.IRBuilder, v: ir.Value, bits: int) -> ir.Value:
    """A vector as one of elements of ``bits``."""
    return b.bitcast(v, ir.VectorType(ir.IntType(bits), v.type.count * v.type.element.width // bits))


class _Vnni(Way):
    """x86's vpdpbusd: four u8 * s8 products and the sum before, in 32 bits."""

    def add(self, b: ir.IRBuilder, acc: ir.Value, x: Part, w: Part) -> ir.Value:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}"
        return intrinsic(b, name, acc.type, [acc, as_bits(b, x[0], 8), as_bits(b, w[0], 8)])


class _Madd(Way):
    """x86's pmaddwd on the even and on the odd bytes, widened to 16 bits: products of pairs fit 32 bits."""

    bits = (16, 16)
    _NAMES = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}

    def codes(self, b: ir.IRBuilder, x: ir.Value) -> Part:
        halves = as_bits(b, x, 16)
        low = int_splat(16, 2 * self.lanes, 255)
        return b.and_(halves, low), b.lshr(halves, int_splat(16, 2 * self.lanes, 8))

    def weights(self, b: ir.IRBuilder, w: ir.Value) -> Part:
        halves, eight = as_bits(b, w, 16), int_splat(16, 2 * self.lanes, 8)
        return b.ashr(b.shl(halves, eight), eight), b.ashr(halves, eight)

    def add(self, b: ir.IRBuilder, acc: ir.Value, x: Part, w: Part) -> ir.Value:
        name = self._NAMES[self.lanes]
        even, odd = (intrinsic(b, name, acc.type, [u, v]) for u, v in zip(x, w, strict=True))
        return b.add(acc, b.add(even, odd))


class _Usdot(Way):
    """AArch64's usdot."""

    def add(self, b: ir.IRBuilder, acc: ir.Value, x: Part, w: Part) -> ir.Value:
        return intrinsic(
            b, "llvm.aarch64.neon.usdot.v4i32.v16i8", acc.type, [acc, as_bits(b, x[0], 8), as_bits(b, w[0], 8)]
        )


class _Sdot(Way):
    """AArch64's sdot of codes less 128, and 128 times the sums of the weights."""

    bits = (8, 32)

    def codes(self, b: ir.IRBuilder, x: ir.Value) -> Part:
        return (b.xor(as_bits(b, x, 8), int_splat(8, GROUP * self.lanes, 128)),)

    def weights(self, b: ir.IRBuilder, w: ir.Value) -> Part:
        zero, less = int_splat(32, self.lanes, 0), int_splat(8, GROUP * self.lanes, -128)
        return as_bits(b, w, 8), self._sum(b, zero, less, as_bits(b, w, 8))

    def add(self, b: ir.IRBuilder, acc: ir.Value, x: Part, w: Part) -> ir.Value:
        return b.sub(self._sum(b, acc, x[0], w[0]), w[1])

    def _sum(self, b: ir.IRBuilder, acc: ir.Value, x: ir.Value, w: ir.Value) -> ir.Value:
        return intrinsic(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", ir.VectorType(I32, 4), [acc, x, w])


class _Wide(Way):
    """Any target's products of 32 bits, one byte of each group after the other."""

    bits = (32,) * GROUP

    def codes(self, b: ir.IRBuilder, x: ir.Value) -> Part:
        low = int_splat(32, self.lanes, 255)
        return tuple(b.and_(b.lshr(x, int_splat(32, self.lanes, 8 * j)), low) for j in range(GROUP))

    def weights(self, b: ir.IRBuilder, w: ir.Value) -> Part:
        top = int_splat(32, self.lanes, 24)
        return tuple(b.ashr(b.shl(w, int_splat(32, self.lanes, 24 - 8 * j)), top) for j in range(GROUP))

    def add(self, b: ir.IRBuilder, acc: ir.Value, x: Part, w: Part) -> ir.Value:
        for u, v in zip(x, w, strict=True):
            acc = b.add(acc, b.mul(u, v))
        return acc


def way(target: Target, lanes: int) -> Way:
    """The fastest that the target has for vectors of so many lanes."""
    whole: Callable[[int], Way] = _Wide
    if target.vnni:
        whole = _Vnni
    elif target.madd:
        whole = _Madd
    elif target.i8mm:
        whole = _Usdot
    elif target.dotprod:
        whole = _Sdot
    return (whole if 16 <= 4 * lanes <= target.vector_bytes else _Wide)(lanes)


# ---- pairs of BF16


class _Bfdot(Way):
    """x86's vdpbf16ps and AArch64's bfdot."""

    def __init__(self, lanes: int, target: Target):
        super().__init__(lanes)
        self.target = target

    def add(self, b: ir.IRBuilder, acc: ir.Value, x: Part, w: Part) -> ir.Value:
        if self.target.arch == "x86_64":
            name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * self.lanes}"
            return intrinsic(b, name, acc.type, [acc, x[0], w[0]])
        name = "llvm.aarch64.neon.bfdot.v4f32.v16i8"
        return intrinsic(b, name, acc.type, [acc, as_bits(b, x[0], 8), as_bits(b, w[0], 8)])


class _WidePairs(Way):
    """Any target's multiply-adds of F32: the second of each pair, then the first."""

    bits = (32, 32)

    def __init__(self, lanes: int, target: Target):
        super().__init__(lanes)
        self.target = target

    def codes(self, b: ir.IRBuilder, x: ir.Value) -> Part:
        return self.weights(b, x)

    def weights(self, b: ir.IRBuilder, w: ir.Value) -> Part:
        second = b.and_(w, int_splat(32, self.lanes, 0xFFFF0000))
        first = b.shl(w, int_splat(32, self.lanes, 16))
        floats = ir.VectorType(ir.FloatType(), self.lanes)
        return b.bitcast(second, floats), b.bitcast(first, floats)

    def add(self, b: ir.IRBuilder, acc: ir.Value, x: Part, w: Part) -> ir.Value:
        for u, v in zip(x, w, strict=True):
            acc = fma(b, self.target, u, v, acc)
        return acc


def pair_way(target: Target, lanes: int) -> Way:
    """The fastest that the target has for vectors of so many lanes of pairs."""
    whole = target.bfdot and 16 <= 4 * lanes <= target.vector_bytes
    return _Bfdot(lanes, target) if whole else _WidePairs(lanes, target)
