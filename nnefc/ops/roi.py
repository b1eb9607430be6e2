"""Regions of interest (NNEF 1.0.5, section 4.6).

A region is a row (starts..., ends...) of ``rois``, in elements of the feature map, the end exclusive. What the
specification leaves open: a batch index outside the input is clamped; pooling leaves out what lies outside the feature
map and an empty cell gives 0; resampling repeats the edge of the feature map.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnefc.ir.expr import cast_numpy, round_half_up
from nnefc.ir.graph import Attrs
from nnefc.ir.types import DType, TensorType
from nnefc.ops.common import common_dtype, integers, one_of, require_kind, require_positive, shape_text, tensor
from nnefc.ops.geometry import last
from nnefc.ops.primitive import register, require
from nnefc.ops.resample import METHODS

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


register("avg_roi_pool", infer=_infer_roi, reference=_reference_avg_roi_pool)
register("max_roi_pool", infer=_infer_roi, reference=_reference_max_roi_pool)
register("roi_resample", infer=_infer_resample, reference=_reference_roi_resample)
register("avg_roi_align", infer=_infer_align, reference=_reference_avg_roi_align)
register("max_roi_align", infer=_infer_align, reference=_reference_max_roi_align)
