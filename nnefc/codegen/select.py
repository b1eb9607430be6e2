"""Kernel selection: for each call, the kernel instance, its operands and its geometry. Pure rules, no trial runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from nnefc.codegen.choice import (
    CHUNK,
    ENOUGH_UNITS,
    Choice,
    access_cost,
    access_of,
    chunked,
    lane_loop,
    operands_of,
    split_units,
    vector_lanes,
    waste,
)
from nnefc.codegen.kernels.contract import ContractKernel
from nnefc.codegen.kernels.map import MapKernel
from nnefc.codegen.kernels.rows import RowsKernel
from nnefc.codegen.kernels.transpose import TransposeKernel
from nnefc.codegen.nest import Loop, Nest, collapsed, flattened, nest, ordered, unit_loop, volume, without
from nnefc.codegen.pack import Panels, pixel_loops, reduced_loops, row_loop
from nnefc.codegen.select_indexed import (
    select_box,
    select_gather,
    select_scan,
    select_scatter,
    select_sort,
    select_suppress,
)
from nnefc.codegen.spec import Access, Operand
from nnefc.codegen.target import Target
from nnefc.ir.expr import UNARY_FLOAT, Expr, arg
from nnefc.ir.program import BoxReduce, Call, Gather, Map, Reduce, Row
from nnefc.ir.sequential import Scan, Scatter, Sort, Suppress
from nnefc.ir.types import DType
from nnefc.ir.view import View

FOLD_COST = 12.0
"""What folding the lanes of one vector costs, in vector operations."""


def select(call: Call, target: Target) -> Choice:
    """The kernel for a call (its contractions packed). Pure in the call and the target."""
    return _SELECT[type(call)](call, target)


def _map(call: Map, target: Target) -> Choice:
    views = call.inputs + call.outputs
    count, lanes = len(views), vector_lanes(target)
    loops = collapsed(ordered(nest(call.outputs[0].shape, views), len(call.inputs))) or (unit_loop(count),)
    turned = _turned(call, loops, target)
    if turned is not None:
        return turned
    k = lane_loop(loops, lanes)
    lane, rest = loops[k], without(loops, k)
    if not rest:
        lane, rest = chunked(lane, lanes, CHUNK)
    row, outer = split_units(rest, count)
    spec = MapKernel(
        call.exprs,
        operands_of(views, lane),
        len(call.inputs),
        len(outer),
        lanes,
        lane.extent >= lanes,
        lane.extent % lanes != 0,
    )
    geometry = (row.extent, lane.extent, *row.strides, *lane.strides, *flattened(outer))
    return Choice(spec, views, geometry, volume(outer))


def _turned(call: Map, loops: Nest, target: Target) -> Choice | None:
    """The kernel that transposes blocks, where the output is contiguous along one loop, and one input, which would have
    to be read a stride apart along it, along another that is long enough for a block; else None."""
    last = len(call.inputs)
    lane = next((p for p in loops if p.strides[last] == 1), None)
    if lane is None or len(call.outputs) != 1 or any(v.overlaps(call.outputs[0]) for v in call.inputs):
        return None
    apart = [k for k in range(last) if access_of(lane, k) is Access.STRIDED]
    if len(apart) != 1:
        return None
    (k,) = apart
    lanes = target.vector_bytes // max(4, call.inputs[k].dtype.size)
    row = next((p for p in loops if p.strides[k] == 1 and p.extent >= lanes), None)
    if row is None or lane.extent < lanes // 2:
        return None
    order = (k, *(j for j in range(last) if j != k), last)
    views = tuple((*call.inputs, call.outputs[0])[j] for j in order)
    args = [arg(order.index(j), v.dtype) for j, v in enumerate(call.inputs)]
    lane, row, *rest = (
        Loop(p.extent, tuple(p.strides[j] for j in order))
        for p in (lane, row, *(p for p in loops if p is not lane and p is not row))
    )
    blocks = Loop(math.ceil(row.extent / lanes), (*(s * lanes for s in row.strides), lanes))
    if blocks.extent * volume(tuple(rest)) < ENOUGH_UNITS:
        lane, parts = chunked(lane, lanes, CHUNK // lanes)
        rest += parts
    outer = (*(Loop(p.extent, (*p.strides, 0)) for p in rest), blocks)
    spec = TransposeKernel(
        call.exprs[0].substitute(args),
        operands_of(views, lane, row),
        len(outer),
        lanes,
        lane.extent >= lanes,
        lane.extent % lanes != 0,
    )
    geometry = (row.extent, lane.extent, *row.strides, *lane.strides, *flattened(outer))
    return Choice(spec, views, geometry, volume(outer))


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
    make = _rows_along if vertical <= horizontal else _rows_across
    at = v if vertical <= horizontal else h
    return make(replace(split, kept=kept, reduced=reduced), at, stages, final, inputs, mapped, target)


def _rows_along(
    split: _Split,
    at: int,
    stages: tuple[tuple[str, Expr], ...],
    final: Expr,
    inputs: int,
    mapped: bool,
    target: Target,
) -> Choice:
    views, kept, reduced = split.views, split.kept, split.reduced
    lanes, count = vector_lanes(target), len(views)
    lane, rest = kept[at], without(kept, at)
    row, outer = (rest[-1], rest[:-1]) if rest else (unit_loop(count), rest)
    most = 1 if mapped else 4 if target.vector_registers == 16 or len(stages[0][0]) > 3 else 8
    rows = 1 << (min(most, row.extent).bit_length() - 1)
    inner, above = reduced[-1], reduced[:-1]
    spec = RowsKernel(
        stages,
        final,
        mapped,
        operands_of(views, lane, row),
        inputs,
        len(outer),
        len(above),
        rows,
        lanes,
        lane.extent >= lanes,
        lane.extent % lanes != 0,
        False,
        split.stored,
    )
    geometry = (
        row.extent,
        lane.extent,
        volume(above),
        inner.extent,
        *row.strides,
        *lane.strides,
        *inner.strides,
        *flattened(outer),
        *flattened(above),
    )
    return Choice(spec, views, geometry, volume(outer))


def _rows_across(
    split: _Split,
    at: int,
    stages: tuple[tuple[str, Expr], ...],
    final: Expr,
    inputs: int,
    mapped: bool,
    target: Target,
) -> Choice:
    views, kept, reduced = split.views, split.kept, split.reduced
    lanes, count = vector_lanes(target), len(views)
    lane, above = reduced[at], without(reduced, at)
    row, outer = split_units(kept, count)
    operands = list(operands_of(views, lane))
    if not mapped:
        operands[inputs:] = [Operand(o.dtype, Access.UNIT) for o in operands[inputs:]]
    spec = RowsKernel(
        stages,
        final,
        mapped,
        tuple(operands),
        inputs,
        len(outer),
        len(above),
        1,
        lanes,
        lane.extent >= lanes,
        lane.extent % lanes != 0,
        True,
        split.stored,
    )
    geometry = (
        row.extent,
        lane.extent,
        volume(above),
        1,
        *row.strides,
        *lane.strides,
        *(0,) * count,
        *flattened(outer),
        *flattened(above),
    )
    return Choice(spec, views, geometry, volume(outer))


def _reduce(call: Reduce, target: Target) -> Choice:
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


def _row(call: Row, target: Target) -> Choice:
    views = (*call.inputs, call.output)
    rank = call.output.rank - call.axes
    loops = nest(call.output.shape, views)
    last = len(views) - 1
    final = _read_back(call)
    kept, reduced = collapsed(ordered(loops[:rank], last)), collapsed(ordered(loops[rank:], last))
    split = _Split(views, kept, reduced, final is not None)
    return _rows(split, call.stages, final or call.expr, len(call.inputs), True, target)


def _read_back(call: Row) -> Expr | None:
    """The final expression of a Row with the elements of its last stage read from the output, where that stage leaves
    them; None where this spares no function, or inputs are read besides, which the output may lie upon."""
    inputs, (_, elements) = len(call.inputs), call.stages[-1]
    if elements.dtype is not call.output.dtype or not _has_function(elements):
        return None
    final = _with_argument(call.expr, elements, arg(inputs + len(call.stages), elements.dtype))
    return None if any(k < inputs for k in final.arguments()) else final


def _has_function(expr: Expr) -> bool:
    return expr.op in UNARY_FLOAT or any(_has_function(a) for a in expr.args)


def _with_argument(expr: Expr, old: Expr, new: Expr) -> Expr:
    if expr == old:
        return new
    return replace(expr, args=tuple(_with_argument(a, old, new) for a in expr.args))


def _contract(call: Panels, target: Target) -> Choice:
    plain, tile = call.contract, call.tile
    views = (call.x, call.w, *plain.extras, plain.output)
    count = len(views)
    pixels = tuple(Loop(p.extent, (p.strides[0], 0, *p.strides[1:])) for p in pixel_loops(plain))
    k = row_loop(pixels)
    row = pixels[k] if k is not None else unit_loop(count)
    groups = nest(plain.output.shape[: plain.groups], [v.strides[: plain.groups] for v in views])
    outputs = plain.output.shape[-1]
    lane = Loop(outputs, (0, 1, *(v.strides[-1] for v in views[2:])))
    axis = plain.groups
    panel = Loop(call.w.shape[axis], (0, call.w.strides[axis], *(s * tile.width for s in lane.strides[2:])))
    panel = Loop(panel.extent, panel.strides) if panel.extent > 1 else unit_loop(count)
    outer = [Loop(p.extent, (*p.strides, 0)) for p in collapsed(groups)]
    if panel.extent > 1:
        outer.append(Loop(panel.extent, (*panel.strides, tile.width)))
    outer += [Loop(p.extent, (*p.strides, 0)) for p in without(pixels, k)]
    reduced = reduced_loops(call) or (Loop(1, (0,)),)
    inner, above = reduced[-1], reduced[:-1]
    operands = operands_of(views, lane, row)
    spec = ContractKernel(
        plain.post if plain.post is not None else arg(0, call.x.dtype),
        operands,
        len(outer),
        len(above),
        inner.strides[0] == 1,
        tile.rows,
        tile.cols,
        tile.lanes,
        outputs >= tile.width,
        outputs % tile.width != 0,
    )
    geometry = (
        row.extent,
        outputs,
        volume(above),
        inner.extent,
        inner.strides[0],
        *row.strides,
        *lane.strides,
        *flattened(tuple(outer)),
        *flattened(above),
    )
    return Choice(spec, views, geometry, volume(tuple(outer)))


_SELECT: dict[type, Callable[..., Choice]] = {
    Map: _map,
    Reduce: _reduce,
    Row: _row,
    Panels: _contract,
    Gather: select_gather,
    BoxReduce: select_box,
    Scatter: select_scatter,
    Scan: select_scan,
    Sort: select_sort,
    Suppress: select_suppress,
}
