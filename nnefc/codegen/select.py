"""Kernel selection: for each call, the kernel instance, its operands and its geometry. Pure rules, no trial runs."""

from __future__ import annotations

import math
from collections.abc import Callable

from nnefc.codegen.choice import (
    CHUNK,
    ENOUGH_UNITS,
    Choice,
    access_of,
    chunked,
    lane_loop,
    only_bytes,
    operands_of,
    split_units,
    vector_lanes,
)
from nnefc.codegen.kernels.interleave import InterleaveKernel
from nnefc.codegen.kernels.map import MapKernel, Wide
from nnefc.codegen.kernels.transpose import TransposeKernel
from nnefc.codegen.nest import Loop, Nest, collapsed, flattened, nest, ordered, unit_loop, volume, without
from nnefc.codegen.pack import Panels
from nnefc.codegen.packing import byte_packing
from nnefc.codegen.select_contract import select_contract
from nnefc.codegen.select_indexed import (
    select_box,
    select_gather,
    select_scan,
    select_scatter,
    select_sort,
    select_suppress,
)
from nnefc.codegen.select_rows import select_reduce, select_row
from nnefc.codegen.select_window import select_window
from nnefc.codegen.select_winograd import select_winograd
from nnefc.codegen.spec import Access
from nnefc.codegen.target import Target
from nnefc.codegen.winograd import Winograd
from nnefc.ir.expr import arg
from nnefc.ir.program import BoxReduce, Call, Gather, Map, Reduce, Row
from nnefc.ir.sequential import Scan, Scatter, Sort, Suppress
from nnefc.ir.window import Window

MOST_PLANES = 4
"""Planes that are put side by side in registers."""


def select(call: Call, target: Target) -> Choice:
    """The kernel for a call (its contractions packed). Pure in the call and the target."""
    return _SELECT[type(call)](call, target)


def _map(call: Map, target: Target) -> Choice:
    views = call.inputs + call.outputs
    count, lanes = len(views), vector_lanes(target)
    loops = collapsed(ordered(nest(call.outputs[0].shape, views), len(call.inputs))) or (unit_loop(count),)
    special = _turned(call, loops, target) or _interleaved(call, loops, target)
    if special is not None:
        return special
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
        _wide(call, lane, target),
    )
    geometry = (row.extent, lane.extent, *row.strides, *lane.strides, *flattened(outer))
    return Choice(spec, views, geometry, volume(outer))


def _wide(call: Map, lane: Loop, target: Target) -> Wide | None:
    """How many elements a map does at once: registers of bytes where it knows nothing but bytes, or up to four vectors
    where these are packed to bytes; None where there are not as many that lie together."""
    lanes, last = vector_lanes(target), len(lane.strides) - 1
    cols = min(lane.extent // lanes, 4)
    if any(s != 1 for s in lane.strides[len(call.inputs) : last + 1]) or cols < 2:
        return None
    if all(access_of(lane, k) is not Access.STRIDED for k in range(last)) and all(map(only_bytes, call.exprs)):
        return Wide(1, target.vector_bytes) if cols == 4 else None
    packed = all(byte_packing(e, lanes, target) is not None for e in call.exprs)
    return Wide(cols, lanes) if packed else None


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


def _interleaved(call: Map, loops: Nest, target: Target) -> Choice | None:
    """The kernel that puts planes of bytes side by side, where a few elements of the output lie together whose inputs
    do not, and those of neighbours, which follow, have inputs that do; else None."""
    views, lanes = (*call.inputs, *call.outputs), vector_lanes(target)
    last = len(views) - 1
    row = next((p for p in loops if p.strides[last] == 1 and 2 <= p.extent <= MOST_PLANES), None)
    if row is None or len(call.outputs) != 1 or call.outputs[0].dtype.size != 1:
        return None
    lane = next((p for p in loops if p.strides[last] == row.extent and p.extent >= lanes), None)
    if lane is None or any(access_of(lane, k) is Access.STRIDED for k in range(last)):
        return None
    if any(v.overlaps(call.outputs[0]) for v in call.inputs):
        return None
    rest = tuple(p for p in loops if p is not row and p is not lane)
    if volume(rest) < ENOUGH_UNITS:
        lane, parts = chunked(lane, lanes, CHUNK)
        rest += parts
    spec = InterleaveKernel(
        call.exprs[0],
        operands_of(views, lane, row),
        len(rest),
        row.extent,
        lanes,
        lane.extent >= lanes,
        lane.extent % lanes != 0,
    )
    return Choice(spec, views, (lane.extent, *row.strides, *lane.strides, *flattened(rest)), volume(rest))


_SELECT: dict[type, Callable[..., Choice]] = {
    Map: _map,
    Reduce: select_reduce,
    Row: select_row,
    Window: select_window,
    Panels: select_contract,
    Winograd: select_winograd,
    Gather: select_gather,
    BoxReduce: select_box,
    Scatter: select_scatter,
    Scan: select_scan,
    Sort: select_sort,
    Suppress: select_suppress,
}
