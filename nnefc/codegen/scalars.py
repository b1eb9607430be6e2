"""The instructions of kernels that go element by element: tiles of one element, and scans.

See ``instructions`` for what an instruction is and for the names of operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from nnefc.codegen.device import Instruction
from nnefc.codegen.emit import emit_cast, emit_expr
from nnefc.codegen.instructions import operation
from nnefc.codegen.spec import Access
from nnefc.codegen.target import Target
from nnefc.codegen.tile import Lattice, Offsets, Tile, Vectors
from nnefc.ir.expr import Expr, cast_numpy
from nnefc.ir.types import DType


def one(dtype: DType) -> Tile:
    """The type of a tile of one element."""
    return Tile(dtype, 1, 1, 1)


def _wrap(b: ir.IRBuilder, tile: Tile, vector: ir.Value) -> ir.Value:
    return b.insert_value(ir.Constant(tile.llvm, ir.Undefined), vector, 0)


def load_element(dtype: DType, target: Target) -> Instruction:
    """load_element(q, i): element ``i`` at a pointer, as a tile of one."""
    tile = one(dtype)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        return _wrap(b, tile, Vectors(b, target, 1).load(args[0], args[1], Access.UNIT, None, dtype, None))

    return operation("load_element", lambda q, i: np.full((1, 1, 1), q[i]), lambda q, i: tile, emit)


def store_element(dtype: DType, target: Target) -> Instruction:
    """store_element(value, q, i): store a tile of one as element ``i`` at a pointer."""

    def meaning(value: np.ndarray, q: np.ndarray, i: int) -> None:
        q[i] = value[0, 0, 0]

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> None:
        vector = b.extract_value(args[0], 0)
        Vectors(b, target, 1).store(vector, args[1], args[2], Access.UNIT, None, dtype, None)

    return operation("store_element", meaning, lambda value, q, i: types.void, emit)


def _operands(b: ir.IRBuilder, kinds: Any, values: ir.Value, target: Target) -> list[ir.Value]:
    """The vectors of a tuple of tiles of one and integers."""
    parts = [b.extract_value(values, k) for k in range(len(kinds))]
    return [
        b.extract_value(part, 0) if isinstance(kind, Tile) else Vectors(b, target, 1).splat(part)
        for kind, part in zip(kinds, parts, strict=True)
    ]


def compute(expr: Expr, target: Target) -> Instruction:
    """compute(args): ``expr`` of a tuple of tiles of one; integers in it count as I64 elements."""
    tile = one(expr.dtype)

    def meaning(args: tuple[Any, ...]) -> np.ndarray:
        return np.broadcast_to(expr.evaluate([np.asarray(a) for a in args]), (1, 1, 1))

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        return _wrap(b, tile, emit_expr(b, expr, _operands(b, kinds[0], args[0], target), 1, target))

    return operation("compute", meaning, lambda args: tile, emit)


def holds(condition: Expr, target: Target) -> Instruction:
    """holds(args): whether a BOOL expression of such a tuple is true."""

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        vector = emit_expr(b, condition, _operands(b, kinds[0], args[0], target), 1, target)
        return b.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def meaning(args: tuple[Any, ...]) -> bool:
        return bool(condition.evaluate([np.asarray(a) for a in args]).reshape(()))

    return operation("holds", meaning, lambda args: types.boolean, emit)


def filled(tile: Tile, value: float | int | bool) -> Instruction:
    """filled(): a tile of equal elements."""
    return operation(
        "filled", lambda: tile.full(value), lambda: tile, lambda b, result, kinds, args: tile.constant(value)
    )


def scan_tile(lattice: Lattice, step: Expr, exclusive: bool) -> Instruction:
    """scan_tile(state, p, offsets, g, count): the next state, ``step`` of the state and operand 0. It is stored to
    operand 1, or if ``exclusive`` the state before, cast to that operand's type."""
    tile = Tile(step.dtype, 1, 1, lattice.lanes)
    dtype = lattice.operands[1].dtype

    def meaning(state: np.ndarray, p: Any, offsets: Offsets, g: np.ndarray, count: int) -> np.ndarray:
        following = step.evaluate([state, lattice.get(0, p, offsets, g, count)])
        lattice.put(1, cast_numpy(state if exclusive else following, dtype), p, offsets, g, count)
        return following

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        state, p, offsets, g, count = args
        access = lattice.emitter(b, p, offsets, g, count)
        old = b.extract_value(state, 0)
        new = emit_expr(b, step, [old, access.load(0, 0, 0)], lattice.lanes, lattice.target)
        shown = old if exclusive else new
        access.store(1, 0, 0, emit_cast(b, shown, step.dtype, dtype, lattice.target))
        return b.insert_value(state, new, 0)

    return operation("scan_tile", meaning, lambda state, p, offsets, g, count: tile, emit)
