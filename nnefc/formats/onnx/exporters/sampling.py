"""The extension's resize, grid_sample, roi_align and roi_pool as ONNX nodes."""

from __future__ import annotations

import numpy as np

from nnefc.errors import UnsupportedError
from nnefc.formats.onnx.emit import Emitter, Ref, exporter
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType
from nnefc.ops.resize import resized_axes

Refs = list[Ref]


@exporter("resize")
def _resize(e: Emitter, op: Op, x: Refs) -> Refs:
    """Resize where run-times have it; else a product with the matrix of the weights for each dimension."""
    value, attrs = x[0], op.attrs
    size = tuple(attrs["size"])
    still = all(
        (n, s, tuple(r)) == (m, 1.0, (0.0, 1.0))
        for n, s, m, r in zip(size[:2], attrs["scale"], value.shape, attrs["region"] or ((0.0, 1.0),) * 2, strict=False)
    )
    method, coordinates = attrs["method"], attrs["coordinates"]
    known = method == "nearest" or (still and value.rank == 4 and not attrs["antialias"])
    exact = all(np.float32(s) == np.float32(n / m) for n, s, m in zip(size, attrs["scale"], value.shape, strict=True))
    if known and exact and value.dtype.kind == "f" and coordinates != "tf_crop_and_resize":
        named = {"mode": method, "coordinate_transformation_mode": coordinates, "nearest_mode": attrs["rounding"]}
        if method == "cubic":
            named |= {"cubic_coeff_a": attrs["cubic_coefficient"], "exclude_outside": int(attrs["exclude_outside"])}
        return [e.node("Resize", [value, None, None, e.constant(size)], value.dtype, size, **named)]
    return [_by_taps(e, value, attrs)]


def _by_taps(e: Emitter, value: Ref, attrs: Attrs) -> Ref:
    outside = np.zeros((1,) * value.rank, bool)
    for taps in resized_axes(value.shape, attrs):
        along = (-1,) + (1,) * (value.rank - 1 - taps.axis)
        if attrs["method"] == "nearest":
            value = e.gather(value, e.constant(taps.index[:, 0], hint="index"), taps.axis)
        else:
            matrix = np.zeros((value.shape[taps.axis], taps.index.shape[0]))
            np.add.at(matrix, (taps.index.T, np.arange(taps.index.shape[0])), taps.weights.T)
            value = _times(e, value, matrix, taps.axis)
        outside = outside | taps.outside.reshape(along)
    if outside.any():
        value = e.where(e.constant(outside, DType.BOOL), e.like(value, attrs["extrapolation"]), value)
    return value


def _times(e: Emitter, x: Ref, matrix: np.ndarray, axis: int) -> Ref:
    """A dimension multiplied by a matrix (extent, results)."""
    order = [*(d for d in range(x.rank) if d != axis), axis]
    moved = e.transpose(x, order)
    weights = e.constant(matrix, x.dtype, hint="weights")
    product = e.node("MatMul", [moved, weights], x.dtype, (*moved.shape[:-1], matrix.shape[1]))
    return e.transpose(product, sorted(range(x.rank), key=lambda d: order[d]))


@exporter("grid_sample")
def _grid_sample(e: Emitter, op: Op, x: Refs) -> Refs:
    value, grid = x
    attrs = op.attrs
    align = bool(attrs["align_corners"])
    if not attrs["normalized"]:
        grid = _normalized(e, op, grid, value.shape[2:], align)
    named = {"mode": attrs["method"], "padding_mode": attrs["padding"], "align_corners": int(align)}
    shape = op.output.type.extents
    if value.rank != 3:
        return [e.node("GridSample", [value, grid], value.dtype, shape, **named)]
    n, c, count = shape
    plane = e.reshape(value, (n, c, 1, value.shape[2]))
    points = e.pad(e.reshape(grid, (n, 1, count, 1)), [(0, 0), (0, 0), (0, 0), (0, 1)])
    return [e.reshape(e.node("GridSample", [plane, points], value.dtype, (n, c, 1, count), **named), shape)]


def _normalized(e: Emitter, op: Op, grid: Ref, extents: tuple[int, ...], align: bool) -> Ref:
    """Positions in elements as numbers from -1 to 1; the last dimension comes first."""
    spans = np.array(extents[::-1], np.float64) - align
    if not spans.all():
        raise UnsupportedError("grid_sample by elements in a dimension of one aligned element").at(op.origin.location)
    moved = grid if align else e.map("Add", grid, e.like(grid, 0.5))
    scaled = e.map("Mul", moved, e.constant(2 / spans, grid.dtype))
    return e.map("Sub", scaled, e.like(grid, 1))


@exporter("roi_pool")
def _roi_pool(e: Emitter, op: Op, x: Refs) -> Refs:
    """MaxRoiPool, whose regions are (batch index, x, y, x, y)."""
    value, rois, batch_index = x
    index = e.cast(_inside(e, batch_index, value.shape[0]), rois.dtype)
    columns = [e.reshape(index, (*index.shape, 1)), e.gather(rois, e.constant([1, 0, 3, 2]), 1)]
    table = e.node("Concat", columns, rois.dtype, (rois.shape[0], 5), axis=1)
    named = {"pooled_shape": op.attrs["output_size"], "spatial_scale": 1.0}
    return [e.node("MaxRoiPool", [value, table], value.dtype, op.output.type.extents, **named)]


def _inside(e: Emitter, batch_index: Ref, count: int) -> Ref:
    """The batch indices, clamped to those of the input."""
    index = e.cast(batch_index, DType.I64)
    return e.node("Clip", [index, e.constant(0), e.constant(count - 1)], DType.I64, index.shape)


@exporter("roi_align")
def _roi_align(e: Emitter, op: Op, x: Refs) -> Refs:
    """RoiAlign, whose regions are (x, y, x, y) and, unless they are at least one element wide, half an element off. It
    samples both dimensions alike; what does not is written step by step."""
    value, rois, batch_index = x
    attrs = op.attrs
    index = _inside(e, batch_index, value.shape[0])
    if len(set(attrs["sampling_rate"])) > 1:
        return [_aligned(e, e.gather(value, index, 0), rois, attrs)]
    rois = e.gather(rois, e.constant([1, 0, 3, 2]), 1)
    wide = bool(attrs["at_least_one"])
    if not wide:
        rois = e.map("Add", rois, e.like(rois, 0.5))
    height, width = attrs["output_size"]
    named = {
        "coordinate_transformation_mode": "output_half_pixel" if wide else "half_pixel",
        "mode": attrs["mode"],
        "output_height": height,
        "output_width": width,
        "sampling_ratio": attrs["sampling_rate"][0],
    }
    return [e.node("RoiAlign", [value, rois, index], value.dtype, op.output.type.extents, **named)]


def _aligned(e: Emitter, maps: Ref, rois: Ref, attrs: Attrs) -> Ref:
    """The samples of the regions, each of its own feature map, and their mean or maximum."""
    size, rate = attrs["output_size"], attrs["sampling_rate"]
    fine = [n * r for n, r in zip(size, rate, strict=True)]
    rows, columns = (_axis_samples(e, maps, rois, d, fine[d], bool(attrs["at_least_one"])) for d in (0, 1))
    terms = []
    for row, row_weight in rows:
        picked = _taken(e, maps, row, 2)
        for column, column_weight in columns:
            weight = e.map("Mul", row_weight, column_weight)
            terms.append(e.map("Mul", _taken(e, picked, column, 3), weight))
    samples = e.map("Sum" if attrs["mode"] == "avg" else "Max", *terms)
    split = e.reshape(samples, (*samples.shape[:2], size[0], rate[0], size[1], rate[1]))
    return e.reduce("ReduceMean" if attrs["mode"] == "avg" else "ReduceMax", split, [3, 5], keep=False)


def _axis_samples(e: Emitter, maps: Ref, rois: Ref, axis: int, count: int, at_least_one: bool) -> list[tuple[Ref, Ref]]:
    """The places of the elements before and after each sample along a dimension, and their weights, which are 0 beyond
    one element outside: (R, 1, count, 1) or (R, 1, 1, count)."""
    extent = maps.shape[2 + axis]
    shape = (rois.shape[0], 1, count, 1) if axis == 0 else (rois.shape[0], 1, 1, count)
    start, end = (e.cast(e.slice(rois, 1, axis + k, 1), DType.F64) for k in (0, 2))
    length = e.map("Sub", end, start)
    if at_least_one:
        length = e.map("Max", length, e.like(length, 1))
    along = e.constant((np.arange(count)[None] + 0.5) / count, DType.F64)
    position = e.map("Add", start, e.map("Mul", length, along))
    late = e.map("GreaterOrEqual", position, e.like(position, -1), dtype=DType.BOOL)
    early = e.map("LessOrEqual", position, e.like(position, extent), dtype=DType.BOOL)
    inside = e.cast(e.map("And", late, early), DType.F64)
    missing = e.node("IsNaN", [position], DType.BOOL, position.shape)
    held = e.where(missing, e.like(position, 0), position)
    held = e.node("Clip", [held, e.like(held, 0), e.like(held, extent - 1)], DType.F64, held.shape)
    before = e.map("Floor", held)
    after = e.map("Min", e.map("Add", before, e.like(before, 1)), e.like(before, extent - 1))
    u = e.map("Sub", held, before)
    pairs = [(before, e.map("Sub", e.like(u, 1), u)), (after, u)]
    return [
        (e.reshape(e.cast(place, DType.I64), shape), e.reshape(e.cast(e.map("Mul", w, inside), maps.dtype), shape))
        for place, w in pairs
    ]


def _taken(e: Emitter, x: Ref, place: Ref, axis: int) -> Ref:
    """The elements of each region at its places along a dimension."""
    result = (*x.shape[:axis], place.shape[axis], *x.shape[axis + 1 :])
    return e.node("GatherElements", [x, e.expand(place, result)], x.dtype, result, axis=axis)
