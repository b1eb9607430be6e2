"""Reductions, softmax and normalizations as ONNX nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nnefc.formats.onnx.emit import Emitter, Ref, exporter
from nnefc.formats.onnx.exporters.elementwise import squared
from nnefc.formats.onnx.exporters.windows import average
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType
from nnefc.ops.geometry import down_axes

Refs = list[Ref]
REDUCTIONS = {"max_reduce": "ReduceMax", "min_reduce": "ReduceMin"}


@exporter(*REDUCTIONS)
def _reduction(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.reduce(REDUCTIONS[op.kind], x[0], op.attrs["axes"])]


@exporter("sum_reduce", "mean_reduce")
def _sum(e: Emitter, op: Op, x: Refs) -> Refs:
    """The mean of integers is the quotient of their sum."""
    axes, mean = op.attrs["axes"], op.kind == "mean_reduce" or op.attrs["normalize"]
    if mean and x[0].dtype.kind == "f":
        return [e.reduce("ReduceMean", x[0], axes)]
    total = e.reduce("ReduceSum", x[0], axes)
    return [e.map("Div", total, e.like(total, math.prod(x[0].shape[a] for a in axes))) if mean else total]


@exporter("all_reduce", "any_reduce")
def _logical(e: Emitter, op: Op, x: Refs) -> Refs:
    """Over numbers 0 and 1, which more run-times reduce than logicals."""
    if not op.attrs["axes"]:
        return x
    name = "ReduceMin" if op.kind == "all_reduce" else "ReduceMax"
    return [e.cast(e.reduce(name, e.cast(x[0], DType.I32), op.attrs["axes"]), DType.BOOL)]


@exporter("argmax_reduce", "argmin_reduce")
def _arg(e: Emitter, op: Op, x: Refs) -> Refs:
    """The first extreme element; several dimensions are taken as one, in their own order."""
    axes, shape = sorted(op.attrs["axes"]), x[0].shape
    name = "ArgMax" if op.kind == "argmax_reduce" else "ArgMin"
    kept = [d for d in range(len(shape)) if d not in axes]
    result = op.output.type.extents
    if len(axes) == 1:
        return [e.node(name, [x[0]], DType.I64, result, axis=axes[0], keepdims=1)]
    rows = e.reshape(e.transpose(x[0], kept + axes), [*(shape[d] for d in kept), math.prod(shape[d] for d in axes)])
    found = e.node(name, [rows], DType.I64, rows.shape[:-1], axis=len(kept), keepdims=0)
    return [e.reshape(found, result)]


@exporter("moments")
def _moments(e: Emitter, op: Op, x: Refs) -> Refs:
    axes = op.attrs["axes"]
    mean = e.reduce("ReduceMean", x[0], axes)
    variance = e.reduce("ReduceMean", squared(e, e.map("Sub", x[0], mean)), axes)
    return [e.map("Identity", mean) if mean is x[0] else mean, variance]


@exporter("softmax")
def _softmax(e: Emitter, op: Op, x: Refs) -> Refs:
    return [softmax(e, x[0], op.attrs["axes"])]


def softmax(e: Emitter, x: Ref, axes: Sequence[int]) -> Ref:
    """Over any number of dimensions; over none, 1."""
    axes, shape = sorted(axes), x.shape
    if len(axes) == 1:
        return e.node("Softmax", [x], x.dtype, shape, axis=axes[0])
    if not axes:
        rows = e.reshape(x, (*shape, 1))
        return e.reshape(e.node("Softmax", [rows], x.dtype, rows.shape, axis=-1), shape)
    kept = [d for d in range(len(shape)) if d not in axes]
    order = kept + axes
    moved = e.transpose(x, order)
    rows = e.reshape(moved, [*(shape[d] for d in kept), math.prod(shape[d] for d in axes)])
    result = e.reshape(e.node("Softmax", [rows], x.dtype, rows.shape, axis=len(kept)), moved.shape)
    return e.transpose(result, sorted(range(len(shape)), key=lambda d: order[d]))


# ---- normalizations


def _at_least(e: Emitter, norm: Ref, attrs: Attrs) -> Ref:
    """max(norm + bias, epsilon)."""
    if attrs["bias"]:
        norm = e.map("Add", norm, e.like(norm, attrs["bias"]))
    return e.map("Max", norm, e.like(norm, attrs["epsilon"]))


@exporter("l1_normalization")
def _l1(e: Emitter, op: Op, x: Refs) -> Refs:
    axes = op.attrs["axes"]
    norm = e.reduce("ReduceL1", x[0], axes) if axes else e.map("Abs", x[0])
    return [e.map("Div", x[0], _at_least(e, norm, op.attrs))]


@exporter("l2_normalization")
def _l2(e: Emitter, op: Op, x: Refs) -> Refs:
    axes = op.attrs["axes"]
    norm = e.reduce("ReduceL2", x[0], axes) if axes else e.map("Abs", x[0])
    return [e.map("Div", x[0], _at_least(e, norm, op.attrs))]


def _window_mean(e: Emitter, x: Ref, size: Sequence[int]) -> Ref:
    """The mean over a window around each element, zeros outside."""
    attrs = Attrs(padding=(), stride=(), dilation=())
    return average(e, x, down_axes(x.shape, size, attrs), "constant")


@exporter("local_response_normalization")
def _response(e: Emitter, op: Op, x: Refs) -> Refs:
    size, alpha, beta, bias = (op.attrs[n] for n in ("size", "alpha", "beta", "bias"))
    over_channels = all(n == 1 for d, n in enumerate(size) if d != 1)
    if x[0].rank == 4 and over_channels and size[1] % 2 == 1:
        return [e.map("LRN", x[0], alpha=alpha, beta=beta, bias=bias, size=size[1])]
    mean = _window_mean(e, squared(e, x[0]), size)
    sigma = e.map("Add", e.map("Mul", mean, e.like(mean, alpha)), e.like(mean, bias))
    return [e.map("Div", x[0], e.map("Pow", sigma, e.like(sigma, beta)))]


@exporter("local_mean_normalization")
def _local_mean(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("Sub", x[0], _window_mean(e, x[0], op.attrs["size"]))]


def _by_deviation(e: Emitter, x: Ref, attrs: Attrs) -> Ref:
    deviation = e.map("Sqrt", _window_mean(e, squared(e, x), attrs["size"]))
    return e.map("Div", x, _at_least(e, deviation, attrs))


@exporter("local_variance_normalization")
def _local_variance(e: Emitter, op: Op, x: Refs) -> Refs:
    return [_by_deviation(e, x[0], op.attrs)]


@exporter("local_contrast_normalization")
def _local_contrast(e: Emitter, op: Op, x: Refs) -> Refs:
    centred = e.map("Sub", x[0], _window_mean(e, x[0], op.attrs["size"]))
    return [_by_deviation(e, centred, op.attrs)]


@exporter("batch_normalization")
def _batch(e: Emitter, op: Op, x: Refs) -> Refs:
    value, mean, variance, offset, scale = x
    epsilon = op.attrs["epsilon"]
    if value.rank >= 2 and all(_per_channel(p, value.shape[1]) for p in x[1:]):
        rows = [e.reshape(p, (value.shape[1],)) for p in (scale, offset, mean, variance)]
        return [e.node("BatchNormalization", [value, *rows], value.dtype, value.shape, epsilon=epsilon)]
    value, mean, variance, offset, scale = e.aligned(x)
    deviation = e.map("Sqrt", e.map("Add", variance, e.like(variance, epsilon)))
    scaled = e.map("Div", e.map("Mul", scale, e.map("Sub", value, mean)), deviation)
    return [e.map("Add", scaled, offset)]


def _per_channel(parameter: Ref, channels: int) -> bool:
    """Whether a tensor holds one number for each item of dimension 1."""
    return parameter.rank >= 2 and parameter.shape[1] == channels == math.prod(parameter.shape)
