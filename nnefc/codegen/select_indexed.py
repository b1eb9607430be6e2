"""Kernel selection for calls that go by indices or in order: gathers, boxes, scatters, scans, sorts, suppression."""

from __future__ import annotations

from nnefc.codegen.choice import Choice, chunked, lane_loop, operands_of, vector_lanes
from nnefc.codegen.kernels.box import BoxKernel
from nnefc.codegen.kernels.gather import GatherKernel
from nnefc.codegen.kernels.scan import ScanKernel
from nnefc.codegen.kernels.scatter import ScatterKernel
from nnefc.codegen.kernels.sort import SortKernel
from nnefc.codegen.kernels.suppress import SuppressKernel
from nnefc.codegen.nest import Loop, Nest, collapsed, flattened, nest, ordered, unit_loop, volume, without
from nnefc.codegen.target import Target
from nnefc.ir.program import BoxReduce, Gather
from nnefc.ir.sequential import Scan, Scatter, Sort, Suppress

SMALL_CHUNK = 256
"""Lanes of a scatter or a scan that make a unit, where nothing else does."""


def select_gather(call: Gather, target: Target) -> Choice:
    """Vectors of elements with an index each, or of neighbours that share one."""
    x, index, out, axis = call.x, call.index, call.output, call.axis
    lanes = vector_lanes(target)
    after = x.rank - axis - 1
    x_strides = (*x.strides[:axis], *(0,) * (index.rank - call.batch), *x.strides[axis + 1 :])
    between = axis - call.batch
    i_strides = (*index.strides[: call.batch], *(0,) * between, *index.strides[call.batch :], *(0,) * after)
    loops = collapsed(ordered(nest(out.shape, [i_strides, x_strides, out]), 2)) or (unit_loop(3),)
    k = lane_loop(loops, lanes)
    lane, outer = loops[k], without(loops, k)
    along = lane.extent > 1 and lane.strides[0] != 0
    spec = GatherKernel(
        operands_of((index, x, out), lane),
        len(outer),
        lanes,
        lane.extent >= lanes,
        lane.extent % lanes != 0,
        along,
        call.check,
    )
    geometry = (
        x.shape[axis],
        x.strides[axis],
        lane.extent,
        0,
        0,
        0,
        *lane.strides,
        *flattened(outer),
    )
    return Choice(spec, (index, x, out), geometry, volume(outer))


def select_box(call: BoxReduce, target: Target) -> Choice:
    """A unit per box and place in it, lanes along the channels."""
    x, batch, rows, columns, out = call.x, call.batch, call.rows, call.columns, call.output
    lanes = vector_lanes(target)
    images, channels, height, width = x.shape
    lane = Loop(channels, (x.strides[1], 0, 0, 0, out.strides[1]))
    outer = (
        Loop(out.shape[0], (0, batch.strides[0], rows.strides[0], columns.strides[0], out.strides[0])),
        Loop(out.shape[2], (0, 0, rows.strides[1], 0, out.strides[2])),
        Loop(out.shape[3], (0, 0, 0, columns.strides[1], out.strides[3])),
    )
    spec = BoxKernel(
        call.op, operands_of((x, batch, rows, columns, out), lane), lanes, channels >= lanes, channels % lanes != 0
    )
    geometry = (
        images,
        height,
        width,
        channels,
        x.strides[0],
        x.strides[2],
        x.strides[3],
        rows.strides[2],
        columns.strides[2],
        *(0,) * 5,
        *lane.strides,
        *flattened(outer),
    )
    return Choice(spec, (x, batch, rows, columns, out), geometry, volume(outer))


def _scatter_nests(call: Scatter) -> tuple[Nest, Nest]:
    """The loops over independent places and over the updates of one; operands are those of the kernel."""
    views = (call.index, call.output, call.updates, call.output)
    kept, still = call.output.rank - 1, (0,) * call.axes
    places = nest(call.output.shape[:-1], [v.strides[:kept] for v in views])
    strides = [still if v is call.output else v.strides[kept:] for v in views]
    return collapsed(ordered(places, 3)), collapsed(nest(call.updates.shape[kept:], strides))


def select_scatter(call: Scatter, target: Target) -> Choice:
    """Lanes that share an index go as vectors, others one by one; units are independent places."""
    lanes = vector_lanes(target)
    places, updates = _scatter_nests(call)
    loops = places or (unit_loop(4),)
    k = lane_loop(loops, lanes)
    lane, outer = loops[k], without(loops, k)
    along = lane.extent == 1 or lane.strides[0] != 0
    if not outer:
        lane, outer = chunked(lane, lanes, SMALL_CHUNK)
    views = (call.index, call.output, call.updates, call.output)
    spec = ScatterKernel(
        call.expr,
        operands_of(views, lane),
        len(outer),
        len(updates),
        lanes,
        lane.extent >= lanes,
        lane.extent % lanes != 0,
        along,
        call.check,
    )
    extents = (call.output.shape[-1], call.output.strides[-1], lane.extent, volume(updates))
    geometry = (*extents, *lane.strides, *flattened(outer), *flattened(updates))
    return Choice(spec, views, geometry, volume(outer))


def select_scan(call: Scan, target: Target) -> Choice:
    """Lanes along a kept dimension, or one where there is none."""
    views = (call.x, call.output)
    loops = nest(call.x.shape, views)
    kept, scanned = collapsed(ordered(loops[:-1], 1)) or (unit_loop(2),), loops[-1]
    lanes = vector_lanes(target)
    k = lane_loop(kept, lanes)
    lane, outer = kept[k], without(kept, k)
    lanes = lanes if lane.extent > 1 else 1
    if not outer:
        lane, outer = chunked(lane, lanes, SMALL_CHUNK)
    spec = ScanKernel(
        call.step,
        call.start,
        operands_of(views, lane),
        call.exclusive,
        len(outer),
        lanes,
        lane.extent >= lanes,
        lane.extent % lanes != 0,
    )
    geometry = (scanned.extent, lane.extent, *lane.strides, *scanned.strides, *flattened(outer))
    return Choice(spec, views, geometry, volume(outer))


def select_sort(call: Sort, target: Target) -> Choice:
    """A unit per row."""
    views = (call.x, call.values, call.indices)
    outer = collapsed(nest(call.x.shape[:-1], [v.strides[:-1] for v in views]))
    spec = SortKernel(call.x.dtype, len(outer), call.largest)
    geometry = (call.x.shape[-1], call.values.shape[-1], *(v.strides[-1] for v in views), *flattened(outer))
    return Choice(spec, views, geometry, volume(outer))


def select_suppress(call: Suppress, target: Target) -> Choice:
    """A unit per list of boxes."""
    boxes, scores, picked, count, order = views = (call.boxes, call.scores, call.picked, call.count, call.order)
    kept = scores.rank - 1
    outer = collapsed(nest(scores.shape[:-1], [v.strides[:kept] for v in views]))
    spec = SuppressKernel(scores.dtype, call.overlap, call.score_threshold, len(outer))
    steps = (*boxes.strides[-2:], scores.strides[-1], picked.strides[-1], order.strides[-1])
    geometry = (scores.shape[-1], picked.shape[-1], *steps, *flattened(outer))
    return Choice(spec, views, geometry, volume(outer))
