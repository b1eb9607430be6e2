"""An operation of ours: non-maximum suppression (ONNX NonMaxSuppression), with a bound on what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import arg, call, const, select
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.sequential import Scan, Scatter, Suppress, accumulated, combination, overlaps
from nnefc.ir.types import INTEGER, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import common_dtype, integer, shape_text, tensor
from nnefc.ops.primitive import register, require

UNUSED = -1
"""What rows of the result hold that no box needed."""


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    common_dtype(types, ("boxes", "scores"), "f")
    boxes, scores = (t.extents for t in types)
    fits = len(boxes) == 3 and len(scores) == 3 and boxes == (scores[0], scores[2], 4)
    require(
        fits,
        f"boxes has shape {shape_text(boxes)} and scores has shape {shape_text(scores)}; they must be [N,S,4] and "
        "[N,C,S]",
    )
    most = integer(attrs, "max_output")
    require(most > 0, f"max_output = {most} must be positive")
    for name in ("iou_threshold", "score_threshold"):
        require(isinstance(attrs[name], float), f"{name} = {attrs[name]!r} must be a number")
    bound = scores[0] * scores[1] * min(most, scores[2])
    return tensor(INTEGER, (bound, 3)), tensor(INTEGER, (1,))


def _corners(box: np.ndarray, center: bool) -> tuple[np.ndarray, np.ndarray]:
    """The lower and the upper corner of a box."""
    if center:
        half = box[2:] * box.dtype.type(0.5)
        return box[:2] - half, box[:2] + half
    return np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])


def _overlap(a: np.ndarray, b: np.ndarray, threshold: float, center: bool) -> bool:
    """Whether intersection over union is above the threshold; boxes without area overlap nothing."""
    (low_a, high_a), (low_b, high_b) = _corners(a, center), _corners(b, center)
    sides = np.minimum(high_a, high_b) - np.maximum(low_a, low_b)
    areas = [np.prod(high_a - low_a), np.prod(high_b - low_b)]
    if not (np.all(sides > 0) and areas[0] > 0 and areas[1] > 0):
        return False
    shared = np.prod(sides)
    union = areas[0] + areas[1] - shared
    return bool(union > 0 and shared / union > a.dtype.type(threshold))


def _suppress(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    boxes, scores = arrays
    rows: list[tuple[int, int, int]] = []
    for n, c in np.ndindex(scores.shape[:2]):
        above = np.flatnonzero(scores[n, c] > scores.dtype.type(attrs["score_threshold"]))
        kept: list[int] = []
        for s in above[np.argsort(-scores[n, c, above], kind="stable")]:
            hit = any(_overlap(boxes[n, s], boxes[n, t], attrs["iou_threshold"], attrs["center"]) for t in kept)
            if len(kept) < attrs["max_output"] and not hit:
                kept.append(int(s))
        rows += [(n, c, s) for s in kept]
    result = np.full((scores.shape[0] * scores.shape[1] * min(attrs["max_output"], scores.shape[2]), 3), UNUSED)
    result[: len(rows)] = np.reshape(rows, (-1, 3))
    return result.astype(np.int64), np.array([len(rows)], np.int64)


def _numbers(b: ProgramBuilder, count: int, axis: int, shape: Sequence[int]) -> View:
    """0, 1, ... along an axis of a shape, the same along the others."""
    b.reserve(count)
    line = b.const(np.arange(count, dtype=np.int64))
    strides = tuple(line.strides[0] if d == axis else 0 for d in range(len(shape)))
    return replace(line, shape=tuple(shape), strides=strides)


def _lower(b: ProgramBuilder, op: Op) -> None:
    """Boxes are picked for each class of each image apart; sums of their counts then say where they go."""
    boxes, scores = (b.view(v) for v in op.inputs)
    attrs, dtype = op.attrs, scores.dtype
    n, c, s = scores.shape
    most = min(attrs["max_output"], s)
    picked, count, order = (b.new(shape, INTEGER) for shape in ((n, c, most), (n, c), (n, c, s)))
    wide = boxes.expand_dims(1).broadcast_to((n, c, s, 4))
    overlap = overlaps(dtype, attrs["iou_threshold"], attrs["center"])
    b.emit(Suppress(wide, scores, picked, count, order, overlap, attrs["score_threshold"]))

    before = b.new((n, c), INTEGER)
    flat, flat_before = b.reshape(count, (n * c,)), b.reshape(before, (n * c,))
    b.emit(Scan(accumulated("add", INTEGER), 0, flat, flat_before, True))
    i, used, start = (arg(k, INTEGER) for k in range(3))
    place = select(call("lt", i, used), call("add", start, i), const(UNUSED, INTEGER))
    places = b.map(place, [_numbers(b, most, 2, picked.shape), count, before])

    rows = b.new((3, n, c, most), INTEGER)
    for k, source in enumerate((_numbers(b, n, 0, picked.shape), _numbers(b, c, 1, picked.shape), picked)):
        b.copy(source, rows.slice(0, k, 1).squeeze(0))
    result = b.fill(b.new(op.outputs[0].type.extents, INTEGER), UNUSED)
    index = replace(places, shape=(3, *places.shape), strides=(0, *places.strides))
    b.emit(Scatter(combination("none", INTEGER), index, rows, result.transpose((1, 0)), 3, False))
    b.put(op.outputs[0], result)
    b.put(op.outputs[1], b.reduce("sum", [flat], 1).expand_dims(0))


register("non_max_suppression", infer=_infer, reference=_suppress, lower=_lower)
