"""The instructions of reductions: accumulators in tiles, lane by lane or folded over the lanes.

See ``instructions`` for what an instruction is and for the names of operands.
"""

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
from nnefc.codegen.tile import Lattice, Offsets, Tile, Vectors, fma, index
from nnefc.codegen.vecmath.llvm_vec import lane_numbers
from nnefc.ir.expr import Expr, arg, call, select
from nnefc.ir.types import DType

COMBINE = {"sum": "add", "prod": "mul", "max": "max", "min": "min", "all": "and", "any": "or"}


def identity(op: str, dtype: DType) -> float | int | bool:
    """What a reduction starts from."""
    if op in ("sum", "any"):
        return 0.0 if dtype.kind == "f" else 0
    if op == "prod":
        return 1.0 if dtype.kind == "f" else 1
    if op == "all":
        return True
    largest = op in ("min", "argmin")
    if dtype.kind == "f":
        return np.inf if largest else -np.inf
    if dtype is DType.BOOL:
        return largest
    info = np.iinfo(dtype.numpy)
    return int(info.max if largest else info.min)


def start(op: str, dtype: DType, rows: int, lanes: int) -> Instruction:
    """start(): the accumulator of a reduction: a tuple of one tile, or of values and indices for arg-reductions."""
    tiles = accumulator(op, dtype, rows, lanes)
    firsts = [identity(op, dtype), 0][: len(tiles)]

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        return struct(b, result, [t.constant(v) for t, v in zip(tiles, firsts, strict=True)])

    def meaning() -> tuple[np.ndarray, ...]:
        return tuple(t.full(v) for t, v in zip(tiles, firsts, strict=True))

    return operation("start", meaning, lambda: types.Tuple(list(tiles)), emit)


def accumulator(op: str, dtype: DType, rows: int, lanes: int) -> tuple[Tile, ...]:
    """The types of a reduction's accumulator."""
    value = Tile(dtype, rows, 1, lanes)
    return (value, Tile(DType.I64, rows, 1, lanes)) if op.startswith("arg") else (value,)


def struct(b: ir.IRBuilder, type_: types.Type, values: Sequence[ir.Value]) -> ir.Value:
    """A tuple: Numba keeps one of a single type as an array, any other as a structure."""
    elements = [v.type for v in values]
    uniform = isinstance(type_, types.UniTuple)
    packed = ir.Constant(
        ir.ArrayType(elements[0], len(elements)) if uniform else ir.LiteralStructType(elements), ir.Undefined
    )
    for k, value in enumerate(values):
        packed = b.insert_value(packed, value, k)
    return packed


def combined(op: str, dtype: DType) -> Expr:
    """What a reduction makes of what it has, ``$0``, and another element, ``$1``."""
    return call(COMBINE[op], arg(0, dtype), arg(1, dtype))


def _better(op: str, dtype: DType) -> Expr:
    return call("gt" if op == "argmax" else "lt", arg(1, dtype), arg(0, dtype))


def accumulate(
    lattice: Lattice, op: str, expr: Expr, inputs: int, stages: int, horizontal: bool, stored: bool = False
) -> Instruction:
    """accumulate(acc, results, p, offsets, g, count, t): take in ``expr`` of the first ``inputs`` operands and of the
    ``stages`` tiles ``results``. ``t`` numbers the element (its first lane, if ``horizontal``: lanes are elements). If
    ``stored``, the value of ``expr`` is stored to the last operand too (not for arg-reductions)."""
    output = len(lattice.operands) - 1

    def meaning(
        acc: tuple[np.ndarray, ...],
        results: Sequence[np.ndarray],
        p: Sequence[np.ndarray],
        offsets: Offsets,
        g: np.ndarray,
        count: int,
        t: int,
    ) -> tuple[np.ndarray, ...]:
        args = [*(lattice.get(k, p, offsets, g, count) for k in range(inputs)), *results[:stages]]
        value = np.broadcast_to(expr.evaluate(args), acc[0].shape)
        if stored:
            lattice.put(output, value, p, offsets, g, count)
        valid = np.arange(lattice.lanes) < count if horizontal and lattice.masked else np.bool_(True)
        if len(acc) == 1:
            return (np.where(valid, combined(op, expr.dtype).evaluate([acc[0], value]), acc[0]),)
        better = _better(op, expr.dtype).evaluate([acc[0], value]) & valid
        number = t + (np.arange(lattice.lanes) if horizontal else 0)
        return np.where(better, value, acc[0]), np.where(better, number, acc[1])

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        acc, results, p, offsets, g, count, t = args
        access = lattice.emitter(b, p, offsets, g, count)
        tiles = [b.extract_value(results, k) for k in range(stages)]
        parts = [b.extract_value(acc, k) for k in range(len(kinds[0]))]
        keep = access.masks[0] if horizontal else None
        for n, r, c in access.each():
            values = [access.load(k, r, c) for k in range(inputs)] + [b.extract_value(tile, n) for tile in tiles]
            old = [b.extract_value(part, n) for part in parts]
            if stored:
                values = [emit_expr(b, expr, values, lattice.lanes, lattice.target)]
                access.store(output, r, c, values[0])
            taken = arg(0, expr.dtype) if stored else expr
            new = take_in(b, lattice, op, taken, values, old, t, horizontal)
            for k, value in enumerate(new):
                value = value if keep is None else b.select(keep, value, old[k])
                parts[k] = b.insert_value(parts[k], value, n)
        return struct(b, result, parts)

    return operation("accumulate", meaning, lambda acc, results, p, offsets, g, count, t: acc, emit)


def take_in(
    b: ir.IRBuilder,
    lattice: Lattice,
    op: str,
    expr: Expr,
    values: Sequence[ir.Value],
    old: Sequence[ir.Value],
    t: ir.Value,
    horizontal: bool,
) -> list[ir.Value]:
    """Emit the parts ``old`` of an accumulator's vector with ``expr`` of ``values``, element ``t``, taken in."""
    lanes, target = lattice.lanes, lattice.target
    if op == "sum" and expr.op == "mul" and expr.dtype.kind == "f":
        x, y = (emit_expr(b, e, values, lanes, target) for e in expr.args)
        return [fma(b, target, x, y, old[0])]
    value = emit_expr(b, expr, values, lanes, target)
    if len(old) == 1:
        return [emit_expr(b, combined(op, expr.dtype), [old[0], value], lanes, target)]
    better = emit_expr(b, _better(op, expr.dtype), [old[0], value], lanes, target)
    vectors = Vectors(b, target, lanes)
    number = vectors.strided_offsets(t, index(1)) if horizontal else vectors.splat(t)
    return [b.select(better, value, old[0]), b.select(better, number, old[1])]


def merge(dtype: DType, rows: int, lanes: int, target: Target) -> Instruction:
    """merge(acc, part): the accumulator of two sums, lane by lane."""

    def meaning(acc: tuple[np.ndarray, ...], part: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        return (acc[0] + part[0],)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        tile, part = (b.extract_value(a, 0) for a in args)
        for n in range(rows):
            pair = [b.extract_value(tile, n), b.extract_value(part, n)]
            tile = b.insert_value(tile, emit_expr(b, combined("sum", dtype), pair, lanes, target), n)
        return struct(b, result, [tile])

    return operation("merge", meaning, lambda acc, part: acc, emit)


def finish(op: str, dtype: DType, rows: int, lanes: int, target: Target, horizontal: bool) -> Instruction:
    """finish(acc): the reduced tile of an accumulator; if ``horizontal``, every lane holds the result of all."""
    tiles = accumulator(op, dtype, rows, lanes)

    def meaning(acc: tuple[np.ndarray, ...]) -> np.ndarray:
        if not horizontal:
            return acc[-1]
        parts = list(acc)
        width = lanes
        while width > 1:
            width //= 2
            low, high = [a[..., :width] for a in parts], [a[..., width : 2 * width] for a in parts]
            parts = [np.asarray(v) for v in _merge_meaning(op, dtype, low, high)]
        return np.broadcast_to(parts[-1], acc[-1].shape)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        out = ir.Constant(tiles[-1].llvm, ir.Undefined)
        for n in range(rows):
            parts = [b.extract_value(b.extract_value(args[0], k), n) for k in range(len(tiles))]
            if horizontal:
                parts = _fold_lanes(b, op, dtype, parts, lanes, target)
            out = b.insert_value(out, parts[-1], n)
        return out

    return operation("finish", meaning, lambda acc: tiles[-1], emit)


def _merge_exprs(op: str, dtype: DType) -> list[Expr]:
    """Merging two accumulators, ($0[, $1]) and ($2[, $3]) or ($0) and ($1)."""
    if not op.startswith("arg"):
        return [combined(op, dtype)]
    v, i, w, j = arg(0, dtype), arg(1, DType.I64), arg(2, dtype), arg(3, DType.I64)
    better = call("gt" if op == "argmax" else "lt", w, v)
    first = call("and", call("eq", w, v), call("lt", j, i))
    take = call("or", better, first)
    return [select(take, w, v), select(take, j, i)]


def _merge_meaning(op: str, dtype: DType, low: list[np.ndarray], high: list[np.ndarray]) -> list[np.ndarray]:
    return [e.evaluate([*low, *high]) for e in _merge_exprs(op, dtype)]


def _fold_lanes(
    b: ir.IRBuilder, op: str, dtype: DType, parts: list[ir.Value], lanes: int, target: Target
) -> list[ir.Value]:
    width = lanes
    while width > 1:
        half = width // 2
        low = [_lanes(b, v, range(half)) for v in parts]
        high = [_lanes(b, v, range(half, width)) for v in parts]
        parts = [emit_expr(b, e, [*low, *high], half, target) for e in _merge_exprs(op, dtype)]
        width = half
    return [_lanes(b, v, [0] * lanes) for v in parts]


def _lanes(b: ir.IRBuilder, vector: ir.Value, lanes: Sequence[int]) -> ir.Value:
    return b.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), lane_numbers(lanes))
