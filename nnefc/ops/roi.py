"""Regions of interest (NNEF 1.0.5, section 4.6).

A region is a row (starts..., ends...) of ``rois``, in elements of the feature map, the end exclusive. What the
specification leaves open: a batch index outside the input is clamped; pooling leaves out what lies outside the feature
map and an empty cell gives 0; resampling repeats the edge of the feature map.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from nnefc.errors import UnsupportedError
from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.expr import Expr, arg, call, cast, cast_numpy, const, round_half_up
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import common_dtype, integers, one_of, require_kind, require_positive, shape_text, tensor
from nnefc.ops.geometry import last
from nnefc.ops.primitive import register, require
from nnefc.ops.resample import METHODS, split_spatial
from nnefc.ops.slide import reduce_windows

NAMES = ("input", "rois")
FAR = 2**31
"""Rounded coordinates are clamped to -FAR .. FAR, far outside of any feature map, so that integers cannot overflow."""

Types = Sequence[TensorType]
Arrays = Sequence[np.ndarray]


# ---- shapes


def _infer_roi(types: Types, attrs: Attrs, rate_name: str | None = None) -> tuple[TensorType, ...]:
    dtype = common_dtype(types[:2], NAMES, "f")
    x, rois, batch_index = (t.extents for t in types)
    require(len(x) >= 3, f"input has shape {shape_text(x)}; it must have a spatial dimension, the third")
    count = len(x) - 2
    per = " (one per spatial dimension of the input)"
    size = integers(attrs, "output_size", (count,), per)
    require_positive(size, "output_size")
    require(
        len(rois) == 2 and rois[1] == 2 * count,
        f"rois has shape {shape_text(rois)}; it must be [N,{2 * count}], a row of {count} starts and {count} ends each",
    )
    require_kind(types[2], "iu", "batch_index")
    require(
        batch_index in ((rois[0], 1), (rois[0],)),
        f"batch_index has shape {shape_text(batch_index)}; it must be [{rois[0]},1], one per row of rois",
    )
    if rate_name is not None:
        rate = integers(attrs, rate_name, (count,), per)
        require_positive(rate, rate_name)
        fine = [n * r for n, r in zip(size, rate, strict=True)]
        tensor(dtype, (rois[0], x[1], *fine), "the resampled regions")
    return (tensor(dtype, (rois[0], x[1], *size)),)


def _infer_resample(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    one_of(attrs, "method", METHODS)
    return _infer_roi(types, attrs)


def _infer_align(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    one_of(attrs, "resize_method", METHODS)
    return _infer_roi(types, attrs, "sampling_rate")


# ---- pooling


def _cells(rois: np.ndarray, axis: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the ``count`` cells of each region begin and end along spatial dimension ``axis``: int64, (N, count)."""
    with np.errstate(invalid="ignore"):
        corners = np.clip(cast_numpy(round_half_up(rois), DType.I64), -FAR, FAR)
    start, end = corners[:, axis], corners[:, rois.shape[1] // 2 + axis]
    extent = np.maximum(end - start, 0)
    begin = start[:, None] + np.arange(count) * (extent // count)[:, None]
    return begin, begin + -(-extent // count)[:, None]


def _batch(batch_index: np.ndarray, count: int) -> np.ndarray:
    return np.clip(batch_index.reshape(-1).astype(np.int64), 0, count - 1)


def _pool_regions(inputs: Arrays, attrs: Attrs, maximum: bool) -> tuple[np.ndarray, ...]:
    x, rois, batch_index = inputs
    size = attrs["output_size"]
    bounds = [_cells(rois, axis, count) for axis, count in enumerate(size)]
    batch = _batch(batch_index, x.shape[0])
    output = np.zeros((rois.shape[0], x.shape[1], *size), x.dtype)
    for r, *cell in np.ndindex(rois.shape[0], *size):
        inside = last(slice(max(0, b[r, i]), max(0, e[r, i])) for (b, e), i in zip(bounds, cell, strict=True))
        values = x[batch[r]][inside].reshape(x.shape[1], -1)
        if values.size:
            output[(r, slice(None), *cell)] = values.max(1) if maximum else values.mean(1, dtype=np.float64)
    return (output,)


def _reference_avg_roi_pool(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return _pool_regions(inputs, attrs, maximum=False)


def _reference_max_roi_pool(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return _pool_regions(inputs, attrs, maximum=True)


# ---- resampling


def sample_positions(start: np.ndarray, end: np.ndarray, count: int, method: str) -> np.ndarray:
    """Where ``count`` samples of each region lie: (N, count), in elements, 0 at the centre of the first.

    These are the positions i / f, (i - f0) / f and i / g of section 4.3.4 with f the ratio of ``count`` to the region's
    extent, counted from its start.
    """
    i = np.arange(count)
    start, extent = start[:, None], (end - start)[:, None]
    if method == "symmetric":
        return start + ((i + 0.5) * (extent / count) - 0.5)
    if method == "asymmetric":
        return start + i * (extent / count)
    return start + i * ((extent - 1) / max(count - 1, 1))


def _resample(inputs: Arrays, size: Sequence[int], method: str) -> np.ndarray:
    x, rois, batch_index = inputs
    corners = rois.astype(np.float64)
    y = x.astype(np.float64)[_batch(batch_index, x.shape[0])]
    for axis, count in enumerate(size):
        extent = x.shape[2 + axis]
        with np.errstate(invalid="ignore"):
            where = sample_positions(corners[:, axis], corners[:, len(size) + axis], count, method)
        where = np.clip(np.nan_to_num(where, nan=0.0), 0, extent - 1)
        before = np.floor(where)
        shape = (where.shape[0],) + (1,) * (axis + 1) + (count,) + (1,) * (len(size) - 1 - axis)
        u = (where - before).reshape(shape)
        j = before.astype(np.int64).reshape(shape)
        low = np.take_along_axis(y, j, 2 + axis)
        high = np.take_along_axis(y, np.minimum(j + 1, extent - 1), 2 + axis)
        y = (1 - u) * low + u * high
    return y


def _reference_roi_resample(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (_resample(inputs, attrs["output_size"], attrs["method"]).astype(inputs[0].dtype),)


def _align(inputs: Arrays, attrs: Attrs) -> np.ndarray:
    """The samples of each cell in a last dimension: (N, C, spatial..., samples)."""
    size, rate = attrs["output_size"], attrs["sampling_rate"]
    fine = _resample(inputs, [n * r for n, r in zip(size, rate, strict=True)], attrs["resize_method"])
    lead, count = fine.shape[:2], len(size)
    split = fine.reshape(lead + tuple(e for pair in zip(size, rate, strict=True) for e in pair))
    order = (0, 1, *range(2, 2 + 2 * count, 2), *range(3, 2 + 2 * count, 2))
    return split.transpose(order).reshape(*lead, *size, -1)


def _reference_avg_roi_align(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (_align(inputs, attrs).mean(-1).astype(inputs[0].dtype),)


def _reference_max_roi_align(inputs: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (_align(inputs, attrs).max(-1).astype(inputs[0].dtype),)


# ---- lowering


def batch_view(b: ProgramBuilder, op: Op, count: int) -> View:
    """The batch indices: I64, (R,), inside the input."""
    view = b.view(op.inputs[2])
    view = b.cast(view.squeeze(1) if view.rank == 2 else view, DType.I64)
    return b.map(limited(arg(0, DType.I64), 0, count - 1), [view])


def limited(x: Expr, low: float | int, high: float | int) -> Expr:
    """``x`` clamped; ``low`` for a NaN."""
    return call("min", call("max", x, const(low, x.dtype)), const(high, x.dtype))


def region_corners(rois: View, axis: int) -> tuple[View, View]:
    """The starts and ends of the regions along a spatial dimension: (R, 1) each."""
    return rois.slice(1, axis, 1), rois.slice(1, rois.shape[1] // 2 + axis, 1)


def _cells_view(b: ProgramBuilder, rois: View, axis: int, count: int) -> View:
    """As ``_cells``: I64, (R, count, 2)."""
    start, end = (limited(cast(call("round", arg(i, rois.dtype)), DType.I64), -FAR, FAR) for i in (0, 1))
    extent = call("max", call("sub", end, start), const(0, DType.I64))
    cells = const(count, DType.I64)
    begin = call("add", start, call("mul", arg(2, DType.I64), call("div", extent, cells)))
    stop = call("add", begin, call("div", call("add", extent, const(count - 1, DType.I64)), cells))
    b.reserve(count)
    number = b.const(np.arange(count).reshape(1, count))
    bounds = b.new((rois.shape[0], count, 2), DType.I64)
    for k, expr in enumerate((begin, stop)):
        b.map(expr, [*region_corners(rois, axis), number], out=bounds.slice(2, k, 1).squeeze(2))
    return bounds


def _single_cells(b: ProgramBuilder, regions: int, count: int) -> View:
    """Cells of one element each, in all regions: I64, (R, count, 2)."""
    b.reserve(2 * count)
    cells = np.stack([np.arange(count), np.arange(1, count + 1)], -1)[None]
    return b.const(cells).broadcast_to((regions, count, 2))


def _lower_roi_pool(b: ProgramBuilder, op: Op, mode: str) -> None:
    x, rois = b.view(op.inputs[0]), b.view(op.inputs[1])
    size = op.attrs["output_size"]
    regions, channels = rois.shape[0], x.shape[1]
    bounds = [_cells_view(b, rois, axis, count) for axis, count in enumerate(size)]
    batch = batch_view(b, op, x.shape[0])
    if len(size) == 2:
        b.put(op.output, b.box_reduce(mode, x, batch, *bounds))
        return
    # A box is a product, so that dimensions are pooled one by one, the last one first.
    for axis in reversed(range(len(size))):
        before, rest = x.shape[2 : 2 + axis], math.prod(x.shape[3 + axis :])
        flat = b.reshape(x, (x.shape[0], channels * math.prod(before), x.shape[2 + axis], rest))
        pooled = b.box_reduce(mode, flat, batch, bounds[axis], _single_cells(b, regions, rest))
        x = b.reshape(pooled, (regions, channels, *before, size[axis], *x.shape[3 + axis :]))
        b.reserve(regions)
        batch = b.const(np.arange(regions))
    b.put(op.output, b.dense(x, channels_last(x.rank)))


def _lower_avg_roi_pool(b: ProgramBuilder, op: Op) -> None:
    _lower_roi_pool(b, op, "mean")


def _lower_max_roi_pool(b: ProgramBuilder, op: Op) -> None:
    _lower_roi_pool(b, op, "max")


def _position(axis_extent: int, count: int, method: str, dtype: DType) -> Expr:
    """As ``sample_positions``, in F64 and clamped to the feature map, of start ``$0``, end ``$1`` and index ``$2``."""
    wide = DType.F64
    start, end = (cast(arg(i, dtype), wide) for i in (0, 1))
    index, extent = arg(2, wide), call("sub", end, start)
    if method == "aligned":
        step = call("div", call("sub", extent, const(1, wide)), const(max(count - 1, 1), wide))
        offset = call("mul", index, step)
    else:
        step = call("div", extent, const(count, wide))
        half = const(0.5, wide)
        shifted = call("sub", call("mul", call("add", index, half), step), half)
        offset = shifted if method == "symmetric" else call("mul", index, step)
    return limited(call("add", start, offset), 0, axis_extent - 1)


def _samples(
    b: ProgramBuilder, rois: View, axis: int, extent: int, count: int, method: str
) -> tuple[tuple[View, View], View]:
    """Where samples lie along a dimension: the elements before and after (I64), and the weight of the latter."""
    b.reserve(count)
    index = b.const(np.arange(count, dtype=np.float64).reshape(1, count))
    position = _position(extent, count, method, rois.dtype)
    before = cast(call("floor", position), DType.I64)
    after = call("min", call("add", before, const(1, DType.I64)), const(extent - 1, DType.I64))
    weight = cast(call("sub", position, call("floor", position)), rois.dtype)
    inputs = [*region_corners(rois, axis), index]
    low, high, u = (b.map(e, inputs) for e in (before, after, weight))
    return (low, high), u


def _along(view: View, axis: int, rank: int) -> View:
    """(R, n) as (R, 1, ..., n, ..., 1) of ``rank``, n at ``axis``."""
    for d in range(1, rank):
        if d != axis:
            view = view.expand_dims(d)
    return view


MAX_SPATIAL = 4
"""The most spatial dimensions that regions can be resampled in: there are two neighbours in each."""


def _lowered_resample(b: ProgramBuilder, op: Op, size: Sequence[int], method: str) -> View:
    """The resampled regions, with channels last in memory."""
    x, rois = b.view(op.inputs[0]), b.view(op.inputs[1])
    count = len(size)
    if count > MAX_SPATIAL:
        raise UnsupportedError(f"{op.kind} over {count} spatial dimensions; at most {MAX_SPATIAL} are supported")
    extents = x.shape[2:]
    samples = [_samples(b, rois, k, extents[k], size[k], method) for k in range(count)]
    batch = _along(batch_view(b, op, x.shape[0]).expand_dims(1), 1, count + 1)
    pixels = b.reshape(x.transpose(channels_last(x.rank)), (x.shape[0] * math.prod(extents), x.shape[1]))
    terms: list[View] = []
    for corner in itertools.product((0, 1), repeat=count):
        chosen = [
            _along(pair[k], d, count + 1) for d, (k, (pair, _)) in enumerate(zip(corner, samples, strict=True), 1)
        ]
        terms.append(b.gather(pixels, b.map(_flat_index(extents), [batch, *chosen]), 0, check=False))
    weights = [_along(u, d, count + 1) for d, (_, u) in enumerate(samples, 1)]
    blended = b.map(_interpolation(count, x.dtype), [*terms, *weights])
    return blended.transpose((0, count + 1, *range(1, count + 1)))


def _flat_index(extents: Sequence[int]) -> Expr:
    """The row-major number of the element at ``$1``, ``$2``, ... of the batch item ``$0``."""
    index = arg(0, DType.I64)
    for d, n in enumerate(extents, 1):
        index = call("add", call("mul", index, const(n, DType.I64)), arg(d, DType.I64))
    return index


def _interpolation(count: int, dtype: DType) -> Expr:
    """The blend of the 2 ** count corners that come first, by the weights of their later neighbours that follow."""
    values = [arg(i, dtype) for i in range(2**count)]
    for d in reversed(range(count)):
        u = arg(2**count + d, dtype)
        rest = call("sub", const(1, dtype), u)
        values = [
            call("add", call("mul", rest, low), call("mul", u, high))
            for low, high in zip(values[::2], values[1::2], strict=True)
        ]
    return values[0]


def _lower_roi_resample(b: ProgramBuilder, op: Op) -> None:
    b.put(op.output, _lowered_resample(b, op, op.attrs["output_size"], op.attrs["method"]))


def _lower_roi_align(b: ProgramBuilder, op: Op, mode: str, post: Expr | None) -> None:
    rate = op.attrs["sampling_rate"]
    fine = [n * r for n, r in zip(op.attrs["output_size"], rate, strict=True)]
    cells = split_spatial(_lowered_resample(b, op, fine, op.attrs["resize_method"]), rate)
    b.put(op.output, reduce_windows(b, mode, [cells], len(rate), post=post))


def _lower_avg_roi_align(b: ProgramBuilder, op: Op) -> None:
    dtype = op.output.type.dtype
    mean = call("div", arg(0, dtype), const(math.prod(op.attrs["sampling_rate"]), dtype))
    _lower_roi_align(b, op, "sum", mean)


def _lower_max_roi_align(b: ProgramBuilder, op: Op) -> None:
    _lower_roi_align(b, op, "max", None)


register("avg_roi_pool", infer=_infer_roi, reference=_reference_avg_roi_pool, lower=_lower_avg_roi_pool)
register("max_roi_pool", infer=_infer_roi, reference=_reference_max_roi_pool, lower=_lower_max_roi_pool)
register("roi_resample", infer=_infer_resample, reference=_reference_roi_resample, lower=_lower_roi_resample)
register("avg_roi_align", infer=_infer_align, reference=_reference_avg_roi_align, lower=_lower_avg_roi_align)
register("max_roi_align", infer=_infer_align, reference=_reference_max_roi_align, lower=_lower_max_roi_align)
