"""What all kernel selection shares: a choice, and rules about lanes, units and how operands lie along them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nnefc.codegen.nest import Loop, Nest, divisor, unit_loop, volume
from nnefc.codegen.spec import Access, KernelSpec, Operand
from nnefc.codegen.target import Target
from nnefc.ir.expr import FUNCTIONS, Expr
from nnefc.ir.types import DType
from nnefc.ir.view import Role, View

ACCESS_COST = {Access.SAME: 1.0, Access.UNIT: 1.0, Access.SECOND: 2.0, Access.STRIDED: 8.0}
"""What an element costs to read or write, in elements that lie together."""
FUNCTION_COST = 12
"""What a vector function (exp, sin, ...) takes, in additions."""
NOT_ARITHMETIC = frozenset({"arg", "const", "cast", "select"})
"""Nodes of expressions that are no floating-point operation."""
ENOUGH_UNITS = 16
"""Work units beyond which inner dimensions stay inside the unit."""
CHUNK = 4096
"""Elements of a one-dimensional map that make a unit."""


@dataclass(frozen=True)
class Choice:
    """A kernel instance for a call. ``views`` are its pointer operands in order; the error flag may follow them."""

    spec: KernelSpec
    views: tuple[View, ...]
    geometry: tuple[int, ...]
    units: int


def vector_lanes(target: Target) -> int:
    """Lanes of kernels of mixed element types: those of 4-byte elements."""
    return target.vector_bytes // 4


def only_bytes(expr: Expr) -> bool:
    """Whether every value in an expression is a byte."""
    return expr.dtype in (DType.U8, DType.I8) and all(map(only_bytes, expr.args))


def arithmetic(expr: Expr, function: int = 1) -> int:
    """The operations of an expression, a vector function counting ``function``."""
    own = 0 if expr.op in NOT_ARITHMETIC else function if expr.op in FUNCTIONS else 1
    return own + sum(arithmetic(a, function) for a in expr.args)


def access_of(loop: Loop, operand: int) -> Access:
    """How an operand lies along a lane loop."""
    stride = loop.strides[operand]
    if stride == 0 and loop.extent > 1:
        return Access.SAME
    if stride == 1 or loop.extent == 1:
        return Access.UNIT
    return Access.SECOND if stride == 2 else Access.STRIDED


def access_cost(loop: Loop, weights: Sequence[float]) -> float:
    """The relative cost of one vector operation's memory accesses along a lane loop."""
    return 1 + sum(w * ACCESS_COST[access_of(loop, k)] for k, w in enumerate(weights))


def waste(extent: int, lanes: int) -> float:
    """Lanes computed per lane wanted."""
    return math.ceil(extent / lanes) * lanes / extent


def lane_loop(loops: Nest, lanes: int) -> int:
    """The loop whose elements make vectors at the least cost; the innermost of equals."""
    weights = [1.0] * len(loops[0].strides)
    costs = [access_cost(p, weights) * waste(p.extent, lanes) for p in loops]
    return min(range(len(loops)), key=lambda k: (costs[k], -k))


def operands_of(views: Sequence[View], lane: Loop, row: Loop | None = None) -> tuple[Operand, ...]:
    """The operands of a tile whose lanes lie along a loop, and whose rows along another if there is one."""
    return tuple(
        Operand(v.dtype, Access.TABLE)
        if v.buffer.role is Role.TABLE
        else Operand(v.dtype, access_of(lane, k), row is not None and row.extent > 1 and row.strides[k] != 0)
        for k, v in enumerate(views)
    )


def split_units(rest: Nest, count: int) -> tuple[Loop, Nest]:
    """The row loop, done inside a unit, and the loops over units: rows are as long as leaves enough of these."""
    if not rest:
        return unit_loop(count), rest
    *above, row = rest
    each = divisor(row.extent, max(1, row.extent * volume(tuple(above)) // ENOUGH_UNITS))
    if each == 1:
        return unit_loop(count), rest
    if each < row.extent:
        above.append(Loop(row.extent // each, tuple(s * each for s in row.strides)))
    return Loop(each, row.strides), tuple(above)


def chunked(lane: Loop, lanes: int, most: int) -> tuple[Loop, Nest]:
    """A lane loop cut into chunks of at most ``most`` elements that make units, where it divides well."""
    chunk = divisor(lane.extent, most)
    if lane.extent <= most or chunk < 8 * lanes:
        return lane, ()
    return Loop(chunk, lane.strides), (Loop(lane.extent // chunk, tuple(s * chunk for s in lane.strides)),)
