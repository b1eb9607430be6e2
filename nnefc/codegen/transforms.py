"""Instructions on the vectors of scratch memory, and constant linear transforms of a tile. See ``instructions``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from nnefc.codegen.device import Instruction
from nnefc.codegen.instructions import operation
from nnefc.codegen.target import Target
from nnefc.codegen.tile import Tile, fma, index, splat_constant


def _numbers(tile: Tile, offset: int, step: int) -> np.ndarray:
    row = np.arange(tile.cols * tile.lanes)
    return (offset + np.arange(tile.rows)[:, None] * step + row).reshape(tile.rows, tile.cols, tile.lanes)


def _places(b: ir.IRBuilder, tile: Tile, q: ir.Value, offset: ir.Value, step: ir.Value) -> list[ir.Value]:
    """The address of every vector of a tile whose rows are ``step`` elements apart."""
    vector = tile.llvm.element.as_pointer()
    offsets = [b.add(offset, b.mul(step, index(r))) for r in range(tile.rows)]
    columns = [index(c * tile.lanes) for c in range(tile.cols)]
    return [b.bitcast(b.gep(q, [b.add(o, c)], inbounds=True), vector) for o in offsets for c in columns]


def load_rows(tile: Tile) -> Instruction:
    """load_rows(q, offset, step): the tile whose rows lie contiguously, ``step`` elements apart."""

    def meaning(q: np.ndarray, offset: int, step: int) -> np.ndarray:
        return q[_numbers(tile, offset, step)]

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        value = ir.Constant(tile.llvm, ir.Undefined)
        for n, place in enumerate(_places(b, tile, *args)):
            value = b.insert_value(value, b.load(place, align=tile.dtype.size), n)
        return value

    return operation("load_rows", meaning, lambda q, offset, step: tile, emit)


def store_rows(tile: Tile) -> Instruction:
    """store_rows(value, q, offset, step): what ``load_rows`` reads."""

    def meaning(value: np.ndarray, q: np.ndarray, offset: int, step: int) -> None:
        q[_numbers(tile, offset, step)] = value

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> None:
        for n, place in enumerate(_places(b, tile, *args[1:])):
            b.store(b.extract_value(args[0], n), place, align=tile.dtype.size)

    return operation("store_rows", meaning, lambda value, q, offset, step: types.void, emit)


Pairs = tuple[tuple[int, int], ...]


def linear(matrix: np.ndarray, source: Tile, target: Target, pairs: Pairs, *, inputs_paired: bool) -> Instruction:
    """linear(v): row ``i`` of the result is the sum over ``j`` of ``matrix[i, j]`` times row ``j`` of ``v``.

    ``pairs`` are rows (columns, if ``inputs_paired``) of the matrix of equal size that differ in signs only, as
    opposite points of interpolation give: their sum and difference share products."""
    rows, columns = matrix.shape
    result = Tile(source.dtype, rows, source.cols, source.lanes)
    halves = _halves(matrix.T, pairs).T if inputs_paired else _halves(matrix, pairs)

    def meaning(v: np.ndarray) -> np.ndarray:
        return np.tensordot(matrix.astype(v.dtype), v, 1).astype(v.dtype)

    def vector(b: ir.IRBuilder, v: list[ir.Value]) -> list[ir.Value]:
        v = _butterflies(b, v, pairs) if inputs_paired else v
        sums = [_sum(b, target, source, halves[i], v) for i in range(rows)]
        return sums if inputs_paired else _butterflies(b, sums, pairs)

    def emit(b: ir.IRBuilder, kind: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        value = ir.Constant(result.llvm, ir.Undefined)
        for c in range(source.cols):
            column = [b.extract_value(args[0], j * source.cols + c) for j in range(columns)]
            for i, y in enumerate(vector(b, column)):
                value = b.insert_value(value, y, i * source.cols + c)
        return value

    return operation("linear", meaning, lambda v: result, emit)


def _halves(matrix: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Rows ``a``, ``b`` of each pair as ``(a + b) / 2`` and ``(a - b) / 2``, of which every other entry is 0."""
    result = matrix.copy()
    for j, k in pairs:
        result[j], result[k] = (matrix[j] + matrix[k]) / 2, (matrix[j] - matrix[k]) / 2
    return result


def _butterflies(b: ir.IRBuilder, v: list[ir.Value], pairs: Pairs) -> list[ir.Value]:
    """Sum and difference of each pair."""
    v = list(v)
    for j, k in pairs:
        v[j], v[k] = b.fadd(v[j], v[k]), b.fsub(v[j], v[k])
    return v


def _sum(b: ir.IRBuilder, target: Target, tile: Tile, factors: np.ndarray, v: list[ir.Value]) -> ir.Value:
    """The sum of ``factors[j] * v[j]``; factors of 1 and -1 take no multiplication, those of 0 nothing."""
    terms = sorted(((float(f), x) for f, x in zip(factors, v, strict=True) if f), key=lambda t: (t[0] != 1, t[0] != -1))
    (first, total), *rest = terms
    if first != 1:
        total = b.fmul(total, splat_constant(tile.dtype, tile.lanes, first))
    for factor, x in rest:
        if abs(factor) == 1:
            total = b.fadd(total, x) if factor == 1 else b.fsub(total, x)
        else:
            total = fma(b, target, x, splat_constant(tile.dtype, tile.lanes, factor), total)
    return total
