"""roi_align: pooling over bilinear samples of regions (Mask R-CNN, He et al., 2017), as RoiAlign in ONNX defines it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call, cast, const, select
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import common_dtype, integers, one_of, require_kind, require_positive, shape_text, tensor
from nnefc.ops.gridsample import flat_index
from nnefc.ops.primitive import register, require
from nnefc.ops.resample import split_spatial
from nnefc.ops.slide import reduce_windows

MODES = ("avg", "max")


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """(R, C, output_size...) for an input (N, C, H, W) and rois (R, 4)."""
    dtype = common_dtype(types[:2], ("input", "rois"), "f")
    x, rois, batch = (t.extents for t in types)
    one_of(attrs, "mode", MODES)
    require(len(x) == 4, f"input has shape {shape_text(x)}; it must have four dimensions")
    require(len(rois) == 2 and rois[1] == 4, f"rois has shape {shape_text(rois)}; it must be [N,4]")
    require_kind(types[2], "iu", "batch_index")
    require(batch == rois[:1], f"batch_index has shape {shape_text(batch)}; it must be [{rois[0]}]")
    sizes = []
    for name in ("output_size", "sampling_rate"):
        sizes.append(integers(attrs, name, (2,)))
        require_positive(sizes[-1], name)
    tensor(dtype, (rois[0], x[1], *(n * r for n, r in zip(*sizes, strict=True))), "the samples")
    return (tensor(dtype, (rois[0], x[1], *sizes[0])),)


def _axis_samples(
    rois: np.ndarray, axis: int, extent: int, count: int, at_least_one: bool
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """For each region and sample the elements before and after, and their weights: 0 beyond one element outside."""
    start = rois[:, axis : axis + 1]
    length = rois[:, axis + 2 : axis + 3] - start
    if at_least_one:
        length = np.maximum(length, 1.0)
    position = start + (np.arange(count) + 0.5) * length / count
    inside = (position >= -1) & (position <= extent)
    position = np.clip(np.nan_to_num(position), 0, extent - 1)
    before = np.floor(position).astype(np.int64)
    u = position - before
    return (before, np.minimum(before + 1, extent - 1)), ((1 - u) * inside, u * inside)


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, rois, batch_index = arrays
    size, rate = attrs["output_size"], attrs["sampling_rate"]
    wide = rois.astype(np.float64)
    batch = np.clip(batch_index.astype(np.int64), 0, x.shape[0] - 1)[:, None, None]
    axes = [_axis_samples(wide, d, x.shape[2 + d], size[d] * rate[d], attrs["at_least_one"]) for d in (0, 1)]
    terms = []
    for i, j in itertools.product((0, 1), repeat=2):
        weight = axes[0][1][i][:, :, None] * axes[1][1][j][:, None, :]
        picked = x[batch, :, axes[0][0][i][:, :, None], axes[1][0][j][:, None, :]].astype(np.float64)
        terms.append(picked * weight[..., None])
    samples = sum(terms, np.zeros(())) if attrs["mode"] == "avg" else np.max(terms, axis=0)
    cells = samples.reshape(rois.shape[0], size[0], rate[0], size[1], rate[1], x.shape[1])
    pooled = cells.mean((2, 4)) if attrs["mode"] == "avg" else cells.max((2, 4))
    return (pooled.transpose(0, 3, 1, 2).astype(x.dtype),)


# ---- lowering


def _lowered_axis(
    b: ProgramBuilder, rois: View, axis: int, extent: int, count: int, at_least_one: bool
) -> list[tuple[View, View]]:
    """As ``_axis_samples``: (index, weight) of the elements before and after, (R, count) each; positions in F64."""
    dtype, wide = DType.F64, DType.F64 if rois.dtype is DType.F64 else DType.F32
    start, end, number = cast(arg(0, rois.dtype), dtype), cast(arg(1, rois.dtype), dtype), arg(2, dtype)
    length = call("sub", end, start)
    if at_least_one:
        length = call("max", length, const(1.0, dtype))
    step = call("div", call("mul", number, length), const(float(count), dtype))
    b.reserve(count)
    numbers = b.const((np.arange(count) + 0.5).astype(dtype.numpy).reshape(1, count))
    corners = [rois.slice(1, axis, 1), rois.slice(1, axis + 2, 1)]
    position = b.map(call("add", start, step), [*corners, numbers])
    x = arg(0, dtype)
    inside = call("and", call("ge", x, const(-1.0, dtype)), call("le", x, const(float(extent), dtype)))
    held = call("min", call("max", x, const(0.0, dtype)), const(extent - 1.0, dtype))
    before = call("floor", held)
    after = call("min", call("add", before, const(1.0, dtype)), const(extent - 1.0, dtype))
    u, zero = call("sub", held, before), const(0.0, dtype)
    pairs = [(before, call("sub", const(1.0, dtype), u)), (after, u)]
    return [
        (b.map(cast(index, DType.I64), [position]), b.map(cast(select(inside, weight, zero), wide), [position]))
        for index, weight in pairs
    ]


def _samples(dtype: DType, wide: DType, mode: str) -> Expr:
    """The four elements times their weights (two along each dimension), added up or the largest."""
    terms = []
    for k, (i, j) in enumerate(itertools.product((0, 1), repeat=2)):
        weight = call("mul", arg(4 + i, wide), arg(6 + j, wide))
        terms.append(call("mul", cast(arg(k, dtype), wide), weight))
    join = "add" if mode == "avg" else "max"
    return call(join, call(join, terms[0], terms[1]), call(join, terms[2], terms[3]))


def _lower(b: ProgramBuilder, op: Op) -> None:
    x, rois = b.view(op.inputs[0]), b.view(op.inputs[1])
    attrs, mode = op.attrs, op.attrs["mode"]
    size, rate, extents = attrs["output_size"], attrs["sampling_rate"], x.shape[2:]
    limit = call("min", call("max", arg(0, DType.I64), const(0, DType.I64)), const(x.shape[0] - 1, DType.I64))
    batch = b.map(limit, [b.cast(b.view(op.inputs[2]), DType.I64)]).expand_dims(1).expand_dims(2)
    axes = [_lowered_axis(b, rois, d, extents[d], size[d] * rate[d], attrs["at_least_one"]) for d in (0, 1)]
    along = [[(i.expand_dims(2 - d), w.expand_dims(2 - d)) for i, w in taps] for d, taps in enumerate(axes)]
    pixels = b.reshape(x.transpose((0, 2, 3, 1)), (x.shape[0] * math.prod(extents), x.shape[1]))
    terms = [
        b.gather(pixels, b.map(flat_index(extents), [batch, i, j]), 0, check=False)
        for (i, _), (j, _) in itertools.product(*along)
    ]
    weights = [w.expand_dims(3) for taps in along for _, w in taps]
    wide = weights[0].dtype
    fine = b.map(_samples(x.dtype, wide, mode), [*terms, *weights]).transpose((0, 3, 1, 2))
    cells = split_spatial(fine, rate)
    count = [d for d, r in enumerate(rate) if r > 1]
    for d in reversed(range(2)):
        if rate[d] == 1:
            cells = cells.squeeze(4 + d)
    post = call("div", arg(0, wide), const(float(math.prod(rate)), wide)) if mode == "avg" else arg(0, wide)
    b.put(
        op.output, reduce_windows(b, "sum" if mode == "avg" else "max", [cells], len(count), post=cast(post, x.dtype))
    )


register("roi_align", infer=_infer, reference=_reference, lower=_lower)
