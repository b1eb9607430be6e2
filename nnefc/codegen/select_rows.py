"""Selection of reductions and rows: which dimension makes the lanes, and how rows and units divide the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from nnefc.codegen.choice import (
    Choice,
    access_cost,
    lane_loop,
    operands_of,
    split_units,
    vector_lanes,
    waste,
)
from nnefc.codegen.kernels.rows import RowsKernel
from nnefc.codegen.nest import (
    Loop,
    Nest,
    collapsed,
    divisor,
    flattened,
    nest,
    ordered,
    unit_loop,
    volume,
    without,
)
from nnefc.codegen.spec import Access, Operand
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr, arg, const
from nnefc.ir.expr import call as call_expr
from nnefc.ir.program import Reduce, Row
from nnefc.ir.types import DType
from nnefc.ir.view import View

MANY_TERMS = 256
"""Terms per lane beyond which a sum is taken in blocks."""
FOLD_COST = 12.0
"""What folding the lanes of one vector costs, in vector operations."""


@dataclass(frozen=True)
class _Split:
    """A call's index space, cut into what stays (kept) and what is reduced; see RowsKernel for ``stored``."""

    views: tuple[View, ...]
    kept: Nest
    reduced: Nest
    stored: bool = False


def _rows(
    split: _Split, stages: tuple[tuple[str, Expr], ...], final: Expr, inputs: int, mapped: bool, target: Target
) -> Choice:
    """The kernel for reductions and what follows them: lanes along a kept or along a reduced dimension."""
    lanes, count = vector_lanes(target), len(split.views)
    indexed = any(op.startswith("arg") for op, _ in stages)
    kept = split.kept or (unit_loop(count),)
    reduced = split.reduced or (unit_loop(count),)
    v = lane_loop(kept, lanes)
    weights = [1.0] * count
    vertical = volume(reduced) * access_cost(kept[v], weights) * waste(kept[v].extent, lanes) / lanes
    candidates = [len(reduced) - 1] if indexed else list(range(len(reduced)))
    h = min(candidates, key=lambda k: (access_cost(reduced[k], weights) * waste(reduced[k].extent, lanes), -k))
    across = volume(without(reduced, h)) * math.ceil(reduced[h].extent / lanes)
    horizontal = across * access_cost(reduced[h], weights) + FOLD_COST * len(stages)
    shape = _Shape(stages, final, inputs, mapped)
    if vertical <= horizontal:
        return _along(replace(split, kept=kept, reduced=reduced), v, shape, target)
    return _across(replace(split, kept=kept, reduced=reduced), h, shape, target)


@dataclass(frozen=True)
class _Shape:
    """What of a RowsKernel does not depend on how its loops are divided."""

    stages: tuple[tuple[str, Expr], ...]
    final: Expr
    inputs: int
    mapped: bool


def _along(split: _Split, at: int, shape: _Shape, target: Target) -> Choice:
    """Lanes along the kept dimension ``at``. If there is no other, its vectors are the rows, as many in a unit as there
    are accumulators, where it divides so."""
    count, lanes = len(split.views), vector_lanes(target)
    lane, rest = split.kept[at], without(split.kept, at)
    most = 1 if shape.mapped else 4 if target.vector_registers == 16 or len(shape.stages[0][0]) > 3 else 8
    if not rest and lane.extent > lanes and lane.extent % lanes == 0:
        vectors = lane.extent // lanes
        each = divisor(vectors, most)
        steps = [tuple(s * n for s in lane.strides) for n in (each * lanes, lanes)]
        rest = (Loop(vectors // each, steps[0]), Loop(each, steps[1]))
        lane = Loop(lanes, lane.strides)
    row, outer = (rest[-1], rest[:-1]) if rest else (unit_loop(count), rest)
    rows = 1 << (min(most, row.extent).bit_length() - 1)
    operands = operands_of(split.views, lane, row)
    return _choice(split, shape, operands, (row, lane, split.reduced[-1]), outer, split.reduced[:-1], rows, target)


def _across(split: _Split, at: int, shape: _Shape, target: Target) -> Choice:
    """Lanes along the reduced dimension ``at``."""
    count = len(split.views)
    lane, above = split.reduced[at], without(split.reduced, at)
    row, outer = split_units(split.kept, count)
    operands = operands_of(split.views, lane)
    if not shape.mapped:
        stored = tuple(
            o if o.access is Access.TABLE else Operand(o.dtype, Access.UNIT) for o in operands[shape.inputs :]
        )
        operands = operands[: shape.inputs] + stored
    return _choice(split, shape, operands, (row, lane, None), outer, above, 1, target)


def _choice(
    split: _Split,
    shape: _Shape,
    operands: tuple[Operand, ...],
    loops: tuple[Loop, Loop, Loop | None],
    outer: Nest,
    above: Nest,
    rows: int,
    target: Target,
) -> Choice:
    """The kernel whose ``loops`` are the rows, the lanes and, unless the lanes are reduced, the innermost reduced."""
    row, lane, inner = loops
    lanes = vector_lanes(target)
    terms = volume(above) * (inner.extent if inner else math.ceil(lane.extent / lanes))
    spec = RowsKernel(
        shape.stages,
        shape.final,
        shape.mapped,
        operands,
        shape.inputs,
        len(outer),
        len(above),
        rows,
        lanes,
        lane.extent >= lanes,
        lane.extent % lanes != 0,
        inner is None,
        split.stored,
        terms > MANY_TERMS,
    )
    inner = inner or unit_loop(len(split.views))
    strides = (*row.strides, *lane.strides, *inner.strides)
    extents = (row.extent, lane.extent, volume(above), inner.extent)
    return Choice(spec, split.views, (*extents, *strides, *flattened(outer), *flattened(above)), volume(outer))


def select_reduce(call: Reduce, target: Target) -> Choice:
    views = (*call.inputs, *call.extras, call.output)
    rank = call.output.rank
    still = (0,) * call.axes
    inputs = len(call.inputs)
    kept = nest(call.output.shape, [v.strides[:rank] for v in views])
    reduced = nest(
        call.inputs[0].shape[rank:] if call.inputs else (),
        [v.strides[rank:] if k < inputs else still for k, v in enumerate(views)],
    )
    if not call.op.startswith("arg"):
        reduced = ordered(reduced, 0)
    value = DType.I64 if call.op.startswith("arg") else call.expr.dtype
    final = call.post if call.post is not None else arg(0, value)
    split = _Split(views, collapsed(ordered(kept, len(views) - 1)), collapsed(reduced))
    return _rows(split, ((call.op, call.expr),), final, inputs, False, target)


def select_row(call: Row, target: Target) -> Choice:
    views = (*call.inputs, call.output)
    rank = call.output.rank - call.axes
    loops = nest(call.output.shape, views)
    last = len(views) - 1
    final = _read_back(call)
    kept, reduced = collapsed(ordered(loops[:rank], last)), collapsed(ordered(loops[rank:], last))
    split = _Split(views, kept, reduced, final is not None)
    return _rows(split, call.stages, _by_reciprocal(call, final or call.expr), len(call.inputs), True, target)


def _read_back(call: Row) -> Expr | None:
    """The final expression of a Row with the elements of its last stage read from the output, where that stage leaves
    them; None where this spares no function, or inputs are read besides, which the output may lie upon."""
    inputs, (_, elements) = len(call.inputs), call.stages[-1]
    if elements.dtype is not call.output.dtype or not elements.has_function():
        return None
    final = _with_argument(call.expr, elements, arg(inputs + len(call.stages), elements.dtype))
    return None if any(k < inputs for k in final.arguments()) else final


def _by_reciprocal(call: Row, final: Expr) -> Expr:
    """The final expression of a Row with one division for each row, not each element, where it divides by the sum of
    exponentials of what is at most 0, once 0, which is 1 or more: softmax. Costs half a unit in the last place."""
    inputs = len(call.inputs)
    for k, (op, term) in enumerate(call.stages):
        differences = (
            call_expr("sub", value, arg(inputs + most, value.dtype))
            for most, (least, value) in enumerate(call.stages[:k])
            if least == "max" and value.dtype.kind == "f"
        )
        if op == "sum" and term in [call_expr("exp", difference) for difference in differences]:
            final = _multiplied(final, arg(inputs + k, term.dtype))
    return final


def _multiplied(expr: Expr, total: Expr) -> Expr:
    """The expression with divisions by ``total`` as products with its reciprocal."""
    args = tuple(_multiplied(a, total) for a in expr.args)
    if expr.op == "div" and args[1] == total:
        return call_expr("mul", args[0], call_expr("div", const(1.0, total.dtype), total))
    return replace(expr, args=args) if args else expr


def _with_argument(expr: Expr, old: Expr, new: Expr) -> Expr:
    if expr == old:
        return new
    return replace(expr, args=tuple(_with_argument(a, old, new) for a in expr.args))
