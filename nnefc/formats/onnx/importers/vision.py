"""Sampling and regions: GridSample, AffineGrid, RoiAlign, MaxRoiPool (operators of ai.onnx)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnefc.formats.onnx.importers.tables import check_table
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import MAX_FOLDED, Scope
from nnefc.ir.types import DType
from nnefc.ops.primitive import require

_METHODS = {"bilinear": "linear", "linear": "linear", "nearest": "nearest", "bicubic": "cubic", "cubic": "cubic"}


@importer("GridSample")
def _grid_sample(s: Scope, n: Node) -> Sequence[Imported]:
    mode = str(n.attr("mode", "linear"))
    require(mode in _METHODS, f"mode = {mode!r} is unknown; it must be one of {', '.join(_METHODS)}")
    x = n.need(0)
    dtype = s.dtype(x)
    wide = x if dtype.kind == "f" or mode == "nearest" else s.cast(x, DType.F64)
    result = s.op(
        "grid_sample",
        [wide, n.need(1)],
        method=_METHODS[mode],
        padding=str(n.attr("padding_mode", "zeros")),
        align_corners=bool(n.attr("align_corners", 0)),
    )
    return (s.cast(result, dtype),)


@importer("AffineGrid")
def _affine_grid(s: Scope, n: Node) -> Sequence[Imported]:
    """The coordinates of every output element, with a 1 appended, times each matrix."""
    theta, size = n.need(0), s.known_ints(n.need(1), "size")
    spatial = size[2:]
    require(all(extent > 0 for extent in size), f"size = {size} has items that are not positive")
    require(len(spatial) in (2, 3), f"size = {size} must have four or five items")
    if math.prod(max(1, extent) for extent in spatial) > MAX_FOLDED:
        raise s.unsupported(f"size = {size}: a grid of more than {MAX_FOLDED} points")
    require(s.shape(theta) == (size[0], len(spatial), len(spatial) + 1), f"theta has shape {s.shape(theta)}")
    check_table(s, *spatial, len(spatial) + 1)
    steps = []
    for extent in spatial:
        if n.attr("align_corners", 0):
            steps.append(np.linspace(-1.0, 1.0, extent) if extent > 1 else np.zeros(1))
        else:
            steps.append((2 * np.arange(extent) + 1) / extent - 1)
    grid = np.meshgrid(*steps, indexing="ij")
    points = np.stack([*reversed(grid), np.ones(spatial)], -1).reshape(1, -1, len(spatial) + 1)
    result = s.op("matmul", [points.astype(s.dtype(theta).numpy), theta], transposeB=True)
    return (s.reshape(result, (size[0], *spatial, len(spatial))),)


@importer("RoiAlign")
def _roi_align(s: Scope, n: Node) -> Sequence[Imported]:
    x, rois, batch = n.need(0), n.need(1), n.need(2)
    dtype = s.dtype(x)
    default = "half_pixel" if n.version >= 16 else "output_half_pixel"
    coordinates = str(n.attr("coordinate_transformation_mode", default))
    require(
        coordinates in ("half_pixel", "output_half_pixel"),
        f"coordinate_transformation_mode = {coordinates!r} must be 'half_pixel' or 'output_half_pixel'",
    )
    size = [int(n.attr("output_height", 1)), int(n.attr("output_width", 1))]
    half = coordinates == "half_pixel"
    placed = s.op("mul", [s.cast(rois, dtype), float(n.attr("spatial_scale", 1.0))])
    if half:
        placed = s.op("sub", [placed, 0.5])
    result = s.op(
        "roi_align",
        [x, s.op("gather", [placed, np.array([1, 0, 3, 2])], axis=1), batch],
        output_size=size,
        sampling_rate=_sampling_rate(s, n, placed, size, half),
        mode=str(n.attr("mode", "avg")),
        at_least_one=not half,
    )
    return (result,)


def _sampling_rate(s: Scope, n: Node, placed: Imported, size: Sequence[int], half: bool) -> list[int]:
    """The samples along either side of a cell. An adaptive rate must come out the same for all regions."""
    ratio = int(n.attr("sampling_ratio", 0))
    require(ratio >= 0, f"sampling_ratio = {ratio}; it must not be negative")
    if ratio:
        return [ratio, ratio]
    if not isinstance(placed, np.ndarray):
        s.unsupported("sampling_ratio = 0 makes the number of samples depend on the regions, which are not known")
    rois = np.asarray(placed, np.float64)
    extents = np.maximum(rois[:, 2:] - rois[:, :2], -np.inf if half else 1.0)[:, ::-1]
    rates = np.unique(np.maximum(np.ceil(extents / np.asarray(size)), 1), axis=0)
    if len(rates) != 1:
        s.unsupported("sampling_ratio = 0 gives these regions different numbers of samples")
    return [int(rates[0][0]), int(rates[0][1])]


@importer("MaxRoiPool")
def _max_roi_pool(s: Scope, n: Node) -> Sequence[Imported]:
    """A region is (batch index, x, y, x, y), in elements after the scale."""
    x, rois = n.need(0), n.need(1)
    require(s.rank(rois) == 2 and s.shape(rois)[1] == 5, f"rois has the shape {list(s.shape(rois))}; it must be [N,5]")
    size = [int(v) for v in n.need_attr("pooled_shape")]
    corners = s.op("mul", [rois, float(n.attr("spatial_scale", 1.0))])
    batch = s.op("slice", [rois], axes=[1], begin=[0], end=[1])
    result = s.op(
        "roi_pool",
        [
            x,
            s.op("gather", [corners, np.array([2, 1, 4, 3])], axis=1),
            s.cast(s.reshape(batch, s.shape(rois)[:1]), DType.I64),
        ],
        output_size=size,
    )
    return (result,)


@importer("NonMaxSuppression")
def _non_max_suppression(s: Scope, n: Node) -> Sequence[Imported]:
    """The exact rows where boxes and scores are known, else as many rows as there may be; -1 fills what is not used."""
    boxes, scores = n.need(0), n.need(1)
    require(s.dtype(scores).kind == "f", f"the scores are of type {s.dtype(scores)}; they must be floats")
    limits = []
    for index, name in ((2, "max_output_boxes_per_class"), (3, "iou_threshold"), (4, "score_threshold")):
        given = n.input(index)
        limits.append(None if given is None else s.known_number(given, name))
    most = int(limits[0] or 0)
    if most <= 0:
        raise s.unsupported("max_output_boxes_per_class = 0 gives an empty tensor, which is not supported")
    lowest = float(np.finfo(s.dtype(scores).numpy).min)
    indices, count = s.op(
        "non_max_suppression",
        [boxes, scores],
        max_output=min(most, s.extents(scores, 3, "scores")[2]),
        iou_threshold=float(limits[1] or 0.0),
        score_threshold=lowest if limits[2] is None else float(limits[2]),
        center=bool(n.attr("center_point_box", 0)),
    )
    if isinstance(indices, np.ndarray) and isinstance(count, np.ndarray):
        return (indices[: int(count[0])],)
    s.builder.notes.append(
        f"NonMaxSuppression: the result has {s.shape(indices)[0]} rows, the most there may be; -1 fills unused ones"
    )
    return (indices,)
