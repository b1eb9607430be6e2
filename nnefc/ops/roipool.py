"""roi_pool: the largest element in each cell of a region (Fast R-CNN, Girshick, 2015), as MaxRoiPool in ONNX has it.

A region is a row (starts..., ends...) of ``rois`` in elements, rounded, halves away from zero; the end belongs to it,
and it has an element at least. Cells are the parts of the region widened to whole elements, so they may share some.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call, cast, cast_numpy, const, round_half_up, select
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import common_dtype, integers, require_kind, require_positive, shape_text, tensor
from nnefc.ops.primitive import register, require
from nnefc.ops.roi import FAR, batch_view, limited, region_corners

SPLIT = DType.F32
"""What the parts of a region are computed in, by the engines that define them."""


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """(R, C, output_size...) for an input (N, C, H, W), rois (R, 4) and batch indices (R)."""
    dtype = common_dtype(types[:2], ("input", "rois"), "f")
    x, rois, batch = (t.extents for t in types)
    require(len(x) == 4, f"input has shape {shape_text(x)}; it must have four dimensions")
    require(len(rois) == 2 and rois[1] == 4, f"rois has shape {shape_text(rois)}; it must be [N,4]")
    require_kind(types[2], "iu", "batch_index")
    require(batch == rois[:1], f"batch_index has shape {shape_text(batch)}; it must be [{rois[0]}]")
    size = integers(attrs, "output_size", (2,))
    require_positive(size, "output_size")
    return (tensor(dtype, (rois[0], x[1], *size)),)


def _rounded(x: np.ndarray) -> np.ndarray:
    """Whole numbers, halves away from zero, as I64 within -FAR .. FAR; 0 for a NaN."""
    with np.errstate(invalid="ignore"):
        away = np.copysign(round_half_up(np.abs(x)), x)
        return np.clip(cast_numpy(away, DType.I64), -FAR, FAR)


def _cells(rois: np.ndarray, axis: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the ``count`` cells of each region begin and end along a dimension: I64, (R, count)."""
    start, end = _rounded(rois[:, axis]), _rounded(rois[:, 2 + axis])
    part = (np.maximum(end - start + 1, 1).astype(SPLIT.numpy) / SPLIT.numpy.type(count))[:, None]
    number = np.arange(count, dtype=SPLIT.numpy)
    begin, stop = np.floor(number * part), np.ceil((number + 1) * part)
    return start[:, None] + begin.astype(np.int64), start[:, None] + stop.astype(np.int64)


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, rois, batch_index = arrays
    size = attrs["output_size"]
    (top, bottom), (left, right) = (_cells(rois, axis, count) for axis, count in enumerate(size))
    batch = np.clip(batch_index.astype(np.int64), 0, x.shape[0] - 1)
    output = np.zeros((rois.shape[0], x.shape[1], *size), x.dtype)
    for r, i, j in np.ndindex(rois.shape[0], *size):
        rows = slice(max(0, top[r, i]), max(0, bottom[r, i]))
        columns = slice(max(0, left[r, j]), max(0, right[r, j]))
        cell = x[batch[r], :, rows, columns]
        if cell.size:
            output[r, :, i, j] = cell.max((1, 2))
    return (output,)


def _rounded_expr(x: Expr) -> Expr:
    """As ``_rounded``."""
    below = call("lt", x, const(0, x.dtype))
    away = select(below, call("neg", call("round", call("neg", x))), call("round", x))
    return limited(cast(away, DType.I64), -FAR, FAR)


def _cells_view(b: ProgramBuilder, rois: View, axis: int, count: int) -> View:
    """As ``_cells``: I64, (R, count, 2)."""
    start, end = (_rounded_expr(arg(i, rois.dtype)) for i in (0, 1))
    one = const(1, DType.I64)
    extent = call("max", call("add", call("sub", end, start), one), one)
    part = call("div", cast(extent, SPLIT), const(count, SPLIT))
    b.reserve(2 * count)
    bounds = b.new((rois.shape[0], count, 2), DType.I64)
    for k, rounding in enumerate(("floor", "ceil")):
        number = b.const((np.arange(count, dtype=SPLIT.numpy) + k).reshape(1, count))
        edge = cast(call(rounding, call("mul", arg(2, SPLIT), part)), DType.I64)
        b.map(call("add", start, edge), [*region_corners(rois, axis), number], out=bounds.slice(2, k, 1).squeeze(2))
    return bounds


def _lower(b: ProgramBuilder, op: Op) -> None:
    x, rois = b.view(op.inputs[0]), b.view(op.inputs[1])
    bounds = [_cells_view(b, rois, axis, count) for axis, count in enumerate(op.attrs["output_size"])]
    b.put(op.output, b.box_reduce("max", x, batch_view(b, op, x.shape[0]), *bounds))


register("roi_pool", infer=_infer, reference=_reference, lower=_lower)
