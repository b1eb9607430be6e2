"""Regions of interest as ONNX nodes: what NNEF means by them, which is not what MaxRoiPool and RoiAlign compute."""

from __future__ import annotations

import math

import numpy as np

from nnefc.formats.onnx.emit import Emitter, Ref, exporter
from nnefc.formats.onnx.exporters.elementwise import rounded
from nnefc.ir.graph import Op
from nnefc.ir.types import DType
from nnefc.ops.roi import FAR

Refs = list[Ref]


def _limited(e: Emitter, x: Ref, low: float | int, high: float | int) -> Ref:
    return e.node("Clip", [x, e.like(x, low), e.like(x, high)], x.dtype, x.shape)


def _number(e: Emitter, x: Ref) -> Ref:
    """``x``, 0 where it is no number."""
    return e.where(e.node("IsNaN", [x], DType.BOOL, x.shape), e.like(x, 0), x)


def _maps(e: Emitter, x: Ref, batch_index: Ref) -> Ref:
    """The feature map of each region; a batch index outside the input is clamped."""
    index = e.reshape(e.cast(batch_index, DType.I64), batch_index.shape[:1])
    return e.gather(x, _limited(e, index, 0, x.shape[0] - 1), 0)


def _corners(e: Emitter, rois: Ref, axis: int) -> tuple[Ref, Ref]:
    """The starts and ends of the regions along a spatial dimension: (R, 1) each."""
    return e.slice(rois, 1, axis, 1), e.slice(rois, 1, rois.shape[1] // 2 + axis, 1)


# ---- pooling


def _inside(e: Emitter, rois: Ref, axis: int, count: int, extent: int) -> Ref:
    """Whether each element of a spatial dimension lies in each of the region's cells: BOOL, (R, count, extent)."""
    corners = []
    for corner in _corners(e, rois, axis):
        near = rounded(e, _limited(e, _number(e, corner), -FAR, FAR))
        corners.append(e.cast(near, DType.I64))
    start, end = corners
    size = e.map("Max", e.map("Sub", end, start), e.constant(0))
    cells = e.constant(count)
    offset = e.map("Mul", e.map("Div", size, cells), e.constant(np.arange(count)[None]))
    begin = e.map("Add", start, offset)
    stop = e.map("Add", begin, e.map("Div", e.map("Add", size, e.constant(count - 1)), cells))
    begin, stop = (e.reshape(b, (*b.shape, 1)) for b in (begin, stop))
    places = e.constant(np.arange(extent))
    late = e.map("GreaterOrEqual", places, begin, dtype=DType.BOOL)
    early = e.map("Less", places, stop, dtype=DType.BOOL)
    return e.map("And", late, early)


@exporter("avg_roi_pool", "max_roi_pool")
def _roi_pool(e: Emitter, op: Op, x: Refs) -> Refs:
    """Dimension by dimension. An empty cell gives 0."""
    value, rois, batch_index = x
    maximum = op.kind == "max_roi_pool"
    result = _maps(e, value, batch_index)
    held: Ref | None = None
    rank = value.rank
    for axis, count in enumerate(op.attrs["output_size"]):
        d = 2 + axis
        inside = _inside(e, rois, axis, count, value.shape[d])
        shape = (inside.shape[0], *(1,) * (d - 1), count, value.shape[d], *(1,) * (rank - 1 - d))
        wide = e.reshape(result, (*result.shape[:d], 1, *result.shape[d:]))
        fill = e.like(value, -math.inf if maximum else 0)
        chosen = e.where(e.reshape(inside, shape), wide, fill)
        result = e.reduce("ReduceMax" if maximum else "ReduceSum", chosen, [d + 1], keep=False)
        number = e.reduce("ReduceSum", e.cast(inside, value.dtype), [2], keep=False)
        number = e.reshape(number, (number.shape[0], *(1,) * (d - 1), count, *(1,) * (rank - 1 - d)))
        held = number if held is None else e.map("Mul", held, number)
    assert held is not None
    if not maximum:
        return [e.map("Div", result, e.map("Max", held, e.like(held, 1)))]
    empty = e.map("Equal", held, e.like(held, 0), dtype=DType.BOOL)
    return [e.where(empty, e.like(value, 0), result)]


# ---- resampling


def _positions(e: Emitter, rois: Ref, axis: int, count: int, extent: int, method: str) -> Ref:
    """Where the samples of each region lie: F64, (R, count), inside the feature map."""
    start, end = (e.cast(corner, DType.F64) for corner in _corners(e, rois, axis))
    size, number = e.map("Sub", end, start), np.arange(count, dtype=np.float64)[None]
    if method == "aligned":
        size = e.map("Sub", size, e.like(size, 1))
    shift = 0.5 if method == "symmetric" else 0.0
    step = e.map("Div", size, e.like(size, max(count - 1, 1) if method == "aligned" else count))
    along = e.map("Mul", step, e.constant(number + shift, DType.F64))
    if shift:
        along = e.map("Sub", along, e.like(along, shift))
    where = e.map("Add", start, along)
    return _limited(e, _number(e, where), 0, extent - 1)


def _resampled(e: Emitter, x: Refs, size: tuple[int, ...], method: str) -> Ref:
    value, rois, batch_index = x
    y = _maps(e, value, batch_index)
    for axis, count in enumerate(size):
        d, extent = 2 + axis, value.shape[2 + axis]
        where = _positions(e, rois, axis, count, extent, method)
        before = e.map("Floor", where)
        shape = (where.shape[0], *(1,) * (d - 1), count, *(1,) * (value.rank - 1 - d))
        weight = e.reshape(e.cast(e.map("Sub", where, before), value.dtype), shape)
        low = e.reshape(e.cast(before, DType.I64), shape)
        high = e.map("Min", e.map("Add", low, e.constant(1)), e.constant(extent - 1))
        result = (*y.shape[:d], count, *y.shape[d + 1 :])
        pair = [
            e.node("GatherElements", [y, e.expand(index, result)], y.dtype, result, axis=d) for index in (low, high)
        ]
        rest = e.map("Sub", e.like(weight, 1), weight)
        y = e.map("Add", e.map("Mul", pair[0], rest), e.map("Mul", pair[1], weight))
    return y


@exporter("roi_resample")
def _roi_resample(e: Emitter, op: Op, x: Refs) -> Refs:
    return [_resampled(e, x, op.attrs["output_size"], op.attrs["method"])]


@exporter("avg_roi_align", "max_roi_align")
def _roi_align(e: Emitter, op: Op, x: Refs) -> Refs:
    size, rate = op.attrs["output_size"], op.attrs["sampling_rate"]
    fine = tuple(n * r for n, r in zip(size, rate, strict=True))
    samples = _resampled(e, x, fine, op.attrs["resize_method"])
    split = e.reshape(samples, (*samples.shape[:2], *(n for pair in zip(size, rate, strict=True) for n in pair)))
    name = "ReduceMean" if op.kind == "avg_roi_align" else "ReduceMax"
    return [e.reduce(name, split, range(3, split.rank, 2), keep=False)]
