"""The instructions that kernels are made of: addresses, and what is done with tiles.

Each has two sides: a NumPy meaning, which runs when a kernel runs un-jitted, and the LLVM IR that it becomes.
``p`` is the kernel's tuple of pointers, ``g`` its geometry, ``offsets`` an element number per operand.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from nnefc.codegen.device import Instruction
from nnefc.codegen.emit import emit_expr
from nnefc.codegen.packing import packing_of, store_packed
from nnefc.codegen.spec import Access
from nnefc.codegen.target import Target
from nnefc.codegen.tile import I64, INT, Lattice, Offsets, Tile, Vectors, fma, index, load_i64
from nnefc.codegen.vecmath.llvm_vec import intrinsic, lane_numbers
from nnefc.ir.expr import Expr
from nnefc.ir.precision import wide_type
from nnefc.ir.types import DType


def operation(
    name: str, meaning: Callable[..., Any], result: Callable[..., Any], emit: Callable[..., Any]
) -> Instruction:
    """An instruction. ``meaning`` is what a Python call does, ``result(*types)`` the Numba type of a call, and
    ``emit(builder, result type, argument types, argument values)`` its LLVM value, or None for a void one."""

    def define(context: Any, *kinds: Any) -> Any:
        kind = result(*kinds)

        def generate(target: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = emit(builder, kind, kinds, args)
            return target.get_dummy_value() if value is None else value

        return kind(*kinds), generate

    # Numba folds the arguments of a call by the signature of what defines it.
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [context, *inspect.signature(result).parameters.values()]
    define.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Instruction(_named(meaning, name), define)


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    function.__name__ = name
    return function


# ---- addresses


def _geometry(g: np.ndarray, k: int) -> int:
    return int(g[k])


geometry = operation(
    "geometry", _geometry, lambda g, k: INT, lambda b, result, kinds, args: load_i64(b, args[0], args[1])
)
"""geometry(g, k): the k-th number of the launch's geometry."""


def _tuple_type(count: int) -> types.Type:
    return types.UniTuple(INT, count)


def _pack(b: ir.IRBuilder, values: Sequence[ir.Value]) -> ir.Value:
    result = ir.Constant(ir.ArrayType(I64, len(values)), ir.Undefined)
    for k, value in enumerate(values):
        result = b.insert_value(result, value, k)
    return result


def unit_offsets(count: int, dims: int) -> Instruction:
    """offsets(base, g, at, unit): ``base`` of each of ``count`` operands moved to the unit's place in ``dims`` loops.

    Geometry from ``at`` on holds, per loop from the outermost, its extent and the operands' strides."""

    def meaning(base: Offsets, g: np.ndarray, at: int, unit: int) -> Offsets:
        result = list(base)
        for d in reversed(range(dims)):
            row = g[at + d * (count + 1) :]
            place = unit % int(row[0]) if d else unit
            unit //= int(row[0])
            result = [o + place * int(row[1 + k]) for k, o in enumerate(result)]
        return tuple(result)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        base, g, at, unit = args
        offsets = [b.extract_value(base, k) for k in range(count)]
        for d in reversed(range(dims)):
            row = b.add(at, index(d * (count + 1)))
            place = unit
            if d:
                extent = load_i64(b, g, row)
                place, unit = b.urem(unit, extent), b.udiv(unit, extent)
            for k in range(count):
                stride = load_i64(b, g, b.add(row, index(1 + k)))
                offsets[k] = b.add(offsets[k], b.mul(place, stride))
        return _pack(b, offsets)

    return operation("unit_offsets", meaning, lambda base, g, at, unit: _tuple_type(count), emit)


def advance(count: int) -> Instruction:
    """advance(offsets, g, at, i): each offset plus ``i`` strides; the strides are the geometry from ``at`` on."""

    def meaning(offsets: Offsets, g: np.ndarray, at: int, i: int) -> Offsets:
        return tuple(o + i * int(g[at + k]) for k, o in enumerate(offsets))

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        offsets, g, at, i = args
        moved = []
        for k in range(count):
            stride = load_i64(b, g, b.add(at, index(k)))
            moved.append(b.add(b.extract_value(offsets, k), b.mul(i, stride)))
        return _pack(b, moved)

    return operation("advance", meaning, lambda offsets, g, at, i: _tuple_type(count), emit)


def zeros(count: int) -> Instruction:
    """zeros(): ``count`` zero offsets."""
    return operation(
        "zeros",
        lambda: (0,) * count,
        lambda: _tuple_type(count),
        lambda b, result, kinds, args: _pack(b, [index(0)] * count),
    )


# ---- maps


def map_tile(lattice: Lattice, exprs: tuple[Expr, ...], inputs: int) -> Instruction:
    """map_tile(p, offsets, g, count): store each expression of the first ``inputs`` operands to the operands after."""

    def meaning(p: Sequence[np.ndarray], offsets: Offsets, g: np.ndarray, count: int) -> None:
        args = [lattice.get(k, p, offsets, g, count) for k in range(inputs)]
        results = [np.array(e.evaluate(args)) for e in exprs]
        for k, result in enumerate(results):
            lattice.put(inputs + k, result, p, offsets, g, count)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> None:
        p, offsets, g, count = args
        access = lattice.emitter(b, p, offsets, g, count)
        packings = [packing_of(e, lattice, inputs + k) if lattice.cols > 1 else None for k, e in enumerate(exprs)]
        stored = [e if q is None else q.value for e, q in zip(exprs, packings, strict=True)]
        packed: dict[int, list[ir.Value]] = {k: [] for k, packing in enumerate(packings) if packing is not None}
        for _, r, c in access.each():
            values = [access.load(k, r, c) for k in range(inputs)]
            results = [emit_expr(b, e, values, lattice.lanes, lattice.target) for e in stored]
            for k, value in enumerate(results):
                if k in packed:
                    packed[k].append(value)
                else:
                    access.store(inputs + k, r, c, value)
        for k, packing in enumerate(packings):
            if packing is not None:
                tables = access.tables(range(inputs))
                store_packed(access, inputs + k, packing, access.each(), partial(_numbered, packed[k]), tables)

    return operation("map_tile", meaning, lambda p, offsets, g, count: types.void, emit)


def _numbered(values: Sequence[ir.Value], n: int, row: int, column: int) -> ir.Value:
    return values[n]


def store_tile(lattice: Lattice, expr: Expr, extras: Sequence[int], target_operand: int) -> Instruction:
    """store_tile(results, p, offsets, g, count): store ``expr`` of the tiles ``results`` and operands ``extras``; of
    wider tiles than the lattice the first lanes."""

    def meaning(
        results: Sequence[np.ndarray], p: Sequence[np.ndarray], offsets: Offsets, g: np.ndarray, count: int
    ) -> None:
        narrow = [np.asarray(t)[..., : lattice.lanes] for t in results]
        args = [*narrow, *(lattice.get(k, p, offsets, g, count) for k in extras)]
        lattice.put(target_operand, expr.evaluate(args), p, offsets, g, count)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> None:
        results, p, offsets, g, count = args
        access = lattice.emitter(b, p, offsets, g, count)
        tiles = [b.extract_value(results, k) for k in range(len(kinds[0]))]
        packing = packing_of(expr, lattice, target_operand)
        stored = expr if packing is None else packing.value

        def value(n: int, r: int, c: int) -> ir.Value:
            values = [_first_lanes(b, b.extract_value(t, n), lattice.lanes) for t in tiles]
            values += [access.load(k, r, c) for k in extras]
            return emit_expr(b, stored, values, lattice.lanes, lattice.target)

        if packing is not None:
            operands = [*[None] * len(tiles), *access.tables(extras)]
            store_packed(access, target_operand, packing, access.each(), value, operands)
            return
        for n, r, c in access.each():
            access.store(target_operand, r, c, value(n, r, c))

    return operation("store_tile", meaning, lambda results, p, offsets, g, count: types.void, emit)


def _first_lanes(b: ir.IRBuilder, vector: ir.Value, lanes: int) -> ir.Value:
    if vector.type.count == lanes:
        return vector
    return b.shuffle_vector(vector, vector, lane_numbers(range(lanes)))


def map_results(lattice: Lattice, expr: Expr, inputs: int, stages: int) -> Instruction:
    """map_results(results, p, offsets, g, count): store ``expr`` of the first ``inputs`` operands, of the ``stages``
    tiles ``results``, and of what the last operand holds, to the last operand."""
    output = len(lattice.operands) - 1

    def meaning(
        results: Sequence[np.ndarray], p: Sequence[np.ndarray], offsets: Offsets, g: np.ndarray, count: int
    ) -> None:
        args = [*(lattice.get(k, p, offsets, g, count) for k in range(inputs)), *results[:stages]]
        args.append(lattice.get(output, p, offsets, g, count))
        lattice.put(output, np.array(expr.evaluate(args)), p, offsets, g, count)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> None:
        results, p, offsets, g, count = args
        access = lattice.emitter(b, p, offsets, g, count)
        tiles = [b.extract_value(results, k) for k in range(stages)]
        for n, r, c in access.each():
            values = [access.load(k, r, c) for k in range(inputs)] + [b.extract_value(t, n) for t in tiles]
            values.append(access.load(output, r, c))
            access.store(output, r, c, emit_expr(b, expr, values, lattice.lanes, lattice.target))

    return operation("map_results", meaning, lambda results, p, offsets, g, count: types.void, emit)


def load_tile(lattice: Lattice, k: int) -> Instruction:
    """load_tile(p, offsets, g, count): the elements of operand ``k`` as a tile, half precision widened to F32.

    Lanes from ``count`` on are 0 and touch no memory."""
    tile = Tile(wide_type(lattice.operands[k].dtype), lattice.rows, lattice.cols, lattice.lanes)

    def meaning(p: Sequence[np.ndarray], offsets: Offsets, g: np.ndarray, count: int) -> np.ndarray:
        return lattice.get(k, p, offsets, g, count).astype(tile.dtype.numpy, copy=False)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        access = lattice.emitter(b, *args)
        value = ir.Constant(tile.llvm, ir.Undefined)
        for n, r, c in access.each():
            value = b.insert_value(value, access.load(k, r, c), n)
        return value

    return operation("load_tile", meaning, lambda p, offsets, g, count: tile, emit)


# ---- contractions


def zero_tiles(tiles: tuple[Tile, ...]) -> Instruction:
    """zero_tiles(): a tuple of accumulators of zeros."""

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        zeros = [t.constant(0.0) for t in tiles]
        alike = isinstance(result, types.UniTuple)
        return (
            ir.Constant(ir.ArrayType(zeros[0].type, len(zeros)), zeros) if alike else ir.Constant.literal_struct(zeros)
        )

    return operation("zero_tiles", lambda: tuple(t.full(0) for t in tiles), lambda: types.Tuple(tiles), emit)


def outer(tiles: tuple[Tile, ...], target: Target, x_type: DType, w_type: DType) -> Instruction:
    """outer(accs, x, xo, rs, w, wo): acc[r, c, l] += x[xo + r * rs] * w[wo + o] for each of a tuple of accumulators of
    as many rows; o counts their outputs, those of the first first. Half precision in memory is widened exactly."""
    meaning, emit = _outer(tiles, 1, target, x_type, w_type)
    return operation(
        "outer",
        lambda accs, x, xo, rs, w, wo: meaning(accs, x, xo, rs, w, wo, 0),
        lambda accs, x, xo, rs, w, wo: types.Tuple(tiles),
        lambda b, result, kinds, args: emit(b, result, kinds, (*args, index(0))),
    )


def outer_lines(tiles: tuple[Tile, ...], lines: int, target: Target, x_type: DType, w_type: DType) -> Instruction:
    """outer_lines(accs, x, xo, rs, w, wo, ls): ``outer`` for as many times ``tiles`` as there are ``lines``: the
    accumulators of line n take w[wo + n * ls + o]."""
    meaning, emit = _outer(tiles, lines, target, x_type, w_type)
    return operation("outer_lines", meaning, lambda accs, x, xo, rs, w, wo, ls: types.Tuple(tiles * lines), emit)


def _outer(
    tiles: tuple[Tile, ...], lines: int, target: Target, x_type: DType, w_type: DType
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The meaning and the emission of ``outer_lines``."""
    rows, sums = tiles[0].rows, tiles[0].dtype.numpy
    starts = [sum(t.cols * t.lanes for t in tiles[:k]) for k in range(len(tiles))]
    every = [(n, at, t) for n in range(lines) for at, t in zip(starts, tiles, strict=True)]
    columns = [(k, c, n, at + c * t.lanes) for k, (n, at, t) in enumerate(every) for c in range(t.cols)]

    def meaning(
        accs: tuple[np.ndarray, ...], x: np.ndarray, xo: int, rs: int, w: np.ndarray, wo: int, ls: int
    ) -> tuple[np.ndarray, ...]:
        column = x[xo + np.arange(rows) * rs].astype(sums)[:, None, None]
        places = [(wo + n * ls + at, t) for n, at, t in every]
        rights = [w[at : at + t.cols * t.lanes].astype(sums).reshape(t.cols, t.lanes) for at, t in places]
        return tuple(acc + column * right for acc, right in zip(accs, rights, strict=True))

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        accs, x, xo, rs, w, wo, ls = args
        x, w = b.gep(x, [xo], inbounds=True), b.gep(w, [wo], inbounds=True)
        begin = [w, *(b.gep(w, [b.mul(ls, index(n))], inbounds=True) for n in range(1, lines))]
        held = [b.extract_value(accs, k) for k in range(len(every))]
        right = []
        for k, _, n, at in columns:
            vectors = Vectors(b, target, every[k][2].lanes)
            right.append(vectors.load(begin[n], index(at), Access.UNIT, None, w_type, None))
        for r in range(rows):
            place = b.mul(rs, index(r))
            lefts = [Vectors(b, target, t.lanes).load(x, place, Access.SAME, None, x_type, None) for t in tiles]
            for (k, c, _, _), weights in zip(columns, right, strict=True):
                n, left = r * every[k][2].cols + c, lefts[k % len(tiles)]
                held[k] = b.insert_value(held[k], fma(b, target, left, weights, b.extract_value(held[k], n)), n)
        for k, value in enumerate(held):
            accs = b.insert_value(accs, value, k)
        return accs

    return meaning, emit


def _prefetch(q: np.ndarray, offset: int) -> None:
    """Memory holds what it held."""


def _emit_prefetch(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> None:
    address = b.bitcast(b.gep(args[0], [args[1]]), ir.IntType(8).as_pointer())
    read, second_level, data = (ir.Constant(ir.IntType(32), n) for n in (0, 2, 1))
    intrinsic(b, "llvm.prefetch.p0", ir.VoidType(), [address, read, second_level, data])


prefetch = operation("prefetch", _prefetch, lambda q, offset: types.void, _emit_prefetch)
"""prefetch(q, offset): ask for the cache line of an element, which need not be in the buffer, in the second level."""
