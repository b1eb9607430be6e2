"""Convolutions and matrix products as ONNX nodes."""

from __future__ import annotations

import math

from nnefc.formats.onnx.emit import Emitter, Ref, exporter
from nnefc.formats.onnx.exporters.shape import bordered
from nnefc.ir.graph import Attrs, Op
from nnefc.ops.contract import Convolution, convolution, deconvolution

Refs = list[Ref]
NO_WINDOW = Attrs(border="constant", padding=(), stride=(), dilation=(), output_shape=())


def _is_zero(bias: Ref) -> bool:
    return bias.array is not None and bias.rank == 0 and not bias.array.any()


def _bias_row(e: Emitter, bias: Ref, channels: int) -> Refs:
    """The bias as ONNX takes it: one item per channel; nothing where it is 0."""
    if _is_zero(bias):
        return []
    if math.prod(bias.shape) == channels:
        return [e.reshape(bias, (channels,))]
    return [e.expand(e.reshape(bias, (1,)), (channels,))]


def _added(e: Emitter, x: Ref, bias: Ref) -> Ref:
    return x if _is_zero(bias) else e.map("Add", x, e.trail(bias, x.rank))


def _columns(c: Convolution) -> dict[str, list[int]]:
    names = {"kernel_shape": "size", "strides": "stride", "dilations": "dilation"}
    return {name: [getattr(a, field) for a in c.axes] for name, field in names.items()}


def conv(e: Emitter, x: Ref, w: Ref, bias: Ref | None, attrs: Attrs) -> Ref:
    """A convolution; a border other than zeros, or negative padding, is written before it."""
    c = convolution(x.shape, w.shape, attrs)
    pads = [a.before for a in c.axes] + [a.after for a in c.axes]
    if c.border != "constant" or min(pads) < 0:
        x = bordered(e, x, [(0, 0), (0, 0), *c.reaches], c.border)
        pads = [0] * len(pads)
    row = _bias_row(e, bias, c.output_shape[1]) if bias is not None else []
    return e.node("Conv", [x, w, *row], x.dtype, c.output_shape, group=c.groups, pads=pads, **_columns(c))


def deconv(e: Emitter, x: Ref, w: Ref, bias: Ref | None, attrs: Attrs) -> Ref:
    """A deconvolution. Where ONNX cannot say the padding, the whole result is computed and then cut or grown."""
    c = deconvolution(x.shape, w.shape, attrs)
    naturals = [(a.downscaled - 1) * a.stride + a.span for a in c.axes]
    ends = [n - a.before - a.upscaled for a, n in zip(c.axes, naturals, strict=True)]
    named = {"group": c.groups, **_columns(c)}
    plain = c.border == "constant" or not any(map(any, c.reaches))
    if plain and all(a.before >= 0 and q > -a.stride for a, q in zip(c.axes, ends, strict=True)):
        row = _bias_row(e, bias, c.output_shape[1]) if bias is not None else []
        named["pads"] = [a.before for a in c.axes] + [max(q, 0) for q in ends]
        if min(ends) < 0:
            named["output_padding"] = [max(-q, 0) for q in ends]
        return e.node("ConvTranspose", [x, w, *row], x.dtype, c.output_shape, **named)
    wide = bordered(e, x, [(0, 0), (0, 0), *c.reaches], c.border)
    room = [(n - 1) * a.stride + a.span for n, a in zip(wide.shape[2:], c.axes, strict=True)]
    whole = e.node("ConvTranspose", [wide, w], x.dtype, (*c.output_shape[:2], *room), **named)
    crop = []
    for a, reach, n in zip(c.axes, c.reaches, room, strict=True):
        offset = a.before + reach[0] * a.stride
        crop.append((-offset, a.upscaled + offset - n))
    result = bordered(e, whole, [(0, 0), (0, 0), *crop], "constant")
    return result if bias is None else _added(e, result, bias)


@exporter("conv")
def _conv(e: Emitter, op: Op, x: Refs) -> Refs:
    value, w, bias = x
    return [conv(e, value, w, bias, op.attrs)]


@exporter("deconv")
def _deconv(e: Emitter, op: Op, x: Refs) -> Refs:
    value, w, bias = x
    return [deconv(e, value, w, bias, op.attrs)]


@exporter("separable_conv")
def _separable_conv(e: Emitter, op: Op, x: Refs) -> Refs:
    value, plane, point, bias = x
    planes = conv(e, value, plane, None, op.attrs.updated(groups=0))
    return [conv(e, planes, point, bias, NO_WINDOW.updated(groups=op.attrs["groups"]))]


@exporter("separable_deconv")
def _separable_deconv(e: Emitter, op: Op, x: Refs) -> Refs:
    value, plane, point, bias = x
    points = deconv(e, value, point, None, NO_WINDOW.updated(groups=op.attrs["groups"]))
    return [deconv(e, points, plane, bias, op.attrs.updated(groups=0))]


def _swapped(e: Emitter, x: Ref, swap: bool) -> Ref:
    return e.transpose(x, [*range(x.rank - 2), x.rank - 1, x.rank - 2]) if swap else x


@exporter("matmul")
def _matmul(e: Emitter, op: Op, x: Refs) -> Refs:
    a, b = _swapped(e, x[0], op.attrs["transposeA"]), _swapped(e, x[1], op.attrs["transposeB"])
    return [e.node("MatMul", [a, b], a.dtype, op.output.type.extents)]


@exporter("linear")
def _linear(e: Emitter, op: Op, x: Refs) -> Refs:
    value, w, bias = x
    shape = op.output.type.extents
    if value.rank == 2:
        addend = [] if _is_zero(bias) else [e.trail(bias, 2)]
        return [e.node("Gemm", [value, w, *addend], value.dtype, shape, transB=1)]
    return [_added(e, e.node("MatMul", [value, _swapped(e, w, True)], value.dtype, shape), bias)]
