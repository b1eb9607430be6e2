"""Up- and down-sampling as ONNX nodes."""

from __future__ import annotations

import numpy as np

from nnefc.formats.onnx.emit import Emitter, Ref, exporter
from nnefc.formats.onnx.exporters.shape import picked
from nnefc.formats.onnx.exporters.windows import average
from nnefc.ir.graph import Attrs, Op
from nnefc.ops.common import border_index
from nnefc.ops.geometry import down_axes
from nnefc.ops.resample import linear_positions

Refs = list[Ref]
MODES = {"symmetric": "half_pixel", "asymmetric": "asymmetric", "aligned": "align_corners"}


@exporter("nearest_downsample")
def _nearest_downsample(e: Emitter, op: Op, x: Refs) -> Refs:
    parts = [(d, 0, x[0].shape[d] // f, f) for d, f in enumerate(op.attrs["factor"], 2)]
    return [e.slices(x[0], parts)]


@exporter("area_downsample")
def _area_downsample(e: Emitter, op: Op, x: Refs) -> Refs:
    size = (1, 1, *op.attrs["factor"])
    attrs = Attrs(padding=((0, 0),) * len(size), stride=size, dilation=())
    return [average(e, x[0], down_axes(x[0].shape, size, attrs), "constant")]


def _resize(e: Emitter, x: Ref, shape: tuple[int, ...], **attrs: str) -> Ref:
    return e.node("Resize", [x, None, None, e.constant(shape)], x.dtype, shape, **attrs)


@exporter("nearest_upsample")
def _nearest_upsample(e: Emitter, op: Op, x: Refs) -> Refs:
    attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return [_resize(e, x[0], op.output.type.extents, **attrs)]


@exporter("multilinear_upsample")
def _multilinear_upsample(e: Emitter, op: Op, x: Refs) -> Refs:
    """Resize where it does the same in two dimensions; else each dimension as a weighted sum of two."""
    value, method, border = x[0], op.attrs["method"], op.attrs["border"]
    edges = border == "replicate" or method == "aligned"
    if value.rank == 4 and edges and min(value.shape[2:]) > 1:
        modes = {"mode": "linear", "coordinate_transformation_mode": MODES[method]}
        return [_resize(e, value, op.output.type.extents, **modes)]
    for axis, factor in enumerate(op.attrs["factor"], 2):
        if factor > 1:
            value = _interpolated(e, value, axis, factor, method, border)
    return [value]


def _interpolated(e: Emitter, x: Ref, axis: int, factor: int, method: str, border: str) -> Ref:
    before, u = linear_positions(x.shape[axis], factor, method)
    terms = []
    for place, weight in ((before, 1 - u), (before + 1, u)):
        index = border_index(border, place, x.shape[axis])
        weights = e.constant(weight.reshape((-1,) + (1,) * (x.rank - 1 - axis)), x.dtype, hint="weights")
        terms.append(e.map("Mul", picked(e, x, axis, np.asarray(index)), weights))
    return e.map("Add", *terms)
