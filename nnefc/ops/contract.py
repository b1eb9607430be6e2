"""Convolutions and deconvolutions, separable ones too (NNEF 1.0.5, sections 4.3.1 and 4.9.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.graph import Attrs, Literal, Op, Operand
from nnefc.ir.types import TensorType
from nnefc.ir.view import View
from nnefc.ops.common import (
    align,
    common_dtype,
    integer,
    integers,
    one_of,
    shape_text,
    tensor,
)
from nnefc.ops.depthwise import channel_bias, is_depthwise, product, slide_filters, tap_weights
from nnefc.ops.geometry import (
    BORDERS,
    Axes,
    at_tap,
    bordered_view,
    check_bordered,
    down_axes,
    extended,
    last,
    overlap_add,
    phase_outputs,
    phase_windows,
    reverse_plan,
    taps,
    up_axes,
    window_view,
)
from nnefc.ops.primitive import register, require
from nnefc.ops.product import NO_BIAS, added_bias
from nnefc.ops.slide import slides_well

Shape = Sequence[int]

FEW_CHANNELS = 16
"""Below so many, an image is convolved as well where its planes lie one after another: it is padded as it lies."""

NAMES = ("input", "filter", "bias")
SEPARABLE_NAMES = ("input", "plane_filter", "point_filter", "bias")


@dataclass(frozen=True)
class Convolution:
    """The extents of a convolution or deconvolution: ``groups`` groups, each from ``inner`` to ``outer`` channels."""

    batch: int
    groups: int
    inner: int
    outer: int
    axes: Axes
    border: str
    reverse: bool

    @property
    def output_shape(self) -> tuple[int, ...]:
        """N, C, spatial."""
        spatial = (a.upscaled if self.reverse else a.downscaled for a in self.axes)
        return (self.batch, self.groups * self.outer, *spatial)

    @property
    def reaches(self) -> tuple[tuple[int, int], ...]:
        """How far each spatial dimension of the input is extended by its border."""
        if not self.reverse:
            return tuple(a.reach for a in self.axes)
        return tuple(a.reverse_reach if self.border != "constant" else (0, 0) for a in self.axes)


def _check_operands(x: Shape, w: Shape) -> None:
    require(len(x) >= 3, f"input has shape {shape_text(x)}; it must have a batch, a channel and a spatial dimension")
    require(
        len(w) == len(x),
        f"filter has shape {shape_text(w)}, of rank {len(w)}; it must have the input's rank, {len(x)}",
    )


def _group_count(attrs: Attrs, depthwise: int) -> int:
    groups = integer(attrs, "groups")
    require(groups >= 0, f"groups = {groups}; it must be positive, or 0 for one group per channel")
    return groups or depthwise


def convolution(x: Shape, w: Shape, attrs: Attrs) -> Convolution:
    """The extents of ``conv`` for operands of these shapes. Raises InvalidModelError where they do not fit."""
    _check_operands(x, w)
    groups = _group_count(attrs, x[1])
    require(
        w[1] * groups == x[1],
        f"filter has shape {shape_text(w)}: its {w[1]} channels times {groups} groups must be the input's {x[1]}",
    )
    require(
        w[0] % groups == 0,
        f"filter has shape {shape_text(w)}: its batch dimension {w[0]} must be a multiple of the {groups} groups",
    )
    border = one_of(attrs, "border", BORDERS)
    axes = down_axes(x[2:], w[2:], attrs, first=2)
    check_bordered(x, ((0, 0), (0, 0), *(a.reach for a in axes)))
    return Convolution(x[0], groups, w[1], w[0] // groups, axes, border, reverse=False)


def deconvolution(x: Shape, w: Shape, attrs: Attrs) -> Convolution:
    """The extents of ``deconv``. Raises InvalidModelError where the shapes do not fit.

    The filter's batch dimension is the input's channels. With ``groups = 0`` there are as many groups as the output has
    channels: what output_shape says, else as many as the input has.
    """
    _check_operands(x, w)
    wanted = integers(attrs, "output_shape", (len(x), 0), ", as many as the input has dimensions")
    groups = _group_count(attrs, wanted[1] if wanted else x[1])
    require(
        w[0] == x[1],
        f"filter has shape {shape_text(w)}: its batch dimension {w[0]} must be the input's {x[1]} channels",
    )
    require(
        groups > 0 and w[0] % groups == 0,
        f"filter has shape {shape_text(w)}: its batch dimension {w[0]} must be a multiple of the {groups} groups",
    )
    channels = w[1] * groups
    require(
        not wanted or wanted[:2] == (x[0], channels),
        f"output_shape = {shape_text(wanted)} must begin with the batch extent {x[0]} and {channels} channels "
        f"({w[1]} of the filter times {groups} groups)",
    )
    border = one_of(attrs, "border", BORDERS)
    axes = up_axes(x[2:], w[2:], attrs, wanted[2:], first=2)
    result = Convolution(x[0], groups, w[0] // groups, w[1], axes, border, reverse=True)
    check_bordered(x, ((0, 0), (0, 0), *result.reaches))
    return result


def _check_bias(bias: Shape, output: Shape) -> None:
    allowed = all(n == 1 for d, n in enumerate(bias) if d != 1) and len(bias) <= len(output)
    require(
        allowed and (len(bias) < 2 or bias[1] in (1, output[1])),
        f"bias has shape {shape_text(bias)}; it must be a number, or have the shape [1,{output[1]}] of the output's "
        "channels",
    )


def _infer_conv(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, NAMES, "f")
    x, w, bias = (t.extents for t in types)
    output = convolution(x, w, attrs).output_shape
    _check_bias(bias, output)
    return (tensor(dtype, output),)


def _infer_deconv(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, NAMES, "f")
    x, w, bias = (t.extents for t in types)
    output = deconvolution(x, w, attrs).output_shape
    _check_bias(bias, output)
    return (tensor(dtype, output),)


def _conv(inputs: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, w, bias = inputs
    c = convolution(x.shape, w.shape, attrs)
    wide = extended(x.astype(np.float64), c.reaches, c.border)
    filters = w.reshape(c.groups, c.outer, c.inner, *w.shape[2:])
    pixels = c.output_shape[2:]
    total = np.zeros((c.batch, c.groups, c.outer, int(np.prod(pixels))))
    for tap in taps(c.axes):
        seen = at_tap(wide, c.axes, tap).reshape(c.batch, c.groups, c.inner, -1)
        total += filters[last(tap)].astype(np.float64) @ seen
    return (total.reshape(c.output_shape) + align(bias, x.ndim)).astype(x.dtype)


def _deconv(inputs: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, w, bias = inputs
    c = deconvolution(x.shape, w.shape, attrs)
    wide = extended(x.astype(np.float64), c.reaches, c.border)
    pixels = wide.shape[2:]
    seen = wide.reshape(c.batch, c.groups, c.inner, -1)
    filters = w.reshape(c.groups, c.inner, c.outer, *w.shape[2:]).swapaxes(1, 2).astype(np.float64)

    def term(tap: tuple[int, ...]) -> np.ndarray:
        return (filters[last(tap)] @ seen).reshape(c.batch, c.groups * c.outer, *pixels)

    total = overlap_add(c.axes, c.reaches, c.output_shape[:2], term)
    return (total + align(bias, x.ndim)).astype(x.dtype)


def _reference_conv(inputs: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (_conv(inputs, attrs),)


def _reference_deconv(inputs: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (_deconv(inputs, attrs),)


# ---- separable: a depth-wise and a point-wise (de)convolution, as the bodies in section 4.9.2 say

_NO_WINDOW = Attrs(border="constant", padding=(), stride=(), dilation=(), output_shape=())


def _point_attrs(attrs: Attrs) -> Attrs:
    return _NO_WINDOW.updated(groups=attrs["groups"])


def _plane_attrs(attrs: Attrs) -> Attrs:
    return attrs.updated(groups=0)


def _infer_separable_conv(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, SEPARABLE_NAMES, "f")
    x, plane, point, bias = (t.extents for t in types)
    planes = convolution(x, plane, _plane_attrs(attrs)).output_shape
    tensor(dtype, planes, "the depth-wise result")
    output = convolution(planes, point, _point_attrs(attrs)).output_shape
    _check_bias(bias, output)
    return (tensor(dtype, output),)


def _infer_separable_deconv(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, SEPARABLE_NAMES, "f")
    x, plane, point, bias = (t.extents for t in types)
    points = deconvolution(x, point, _point_attrs(attrs)).output_shape
    tensor(dtype, points, "the point-wise result")
    output = deconvolution(points, plane, _plane_attrs(attrs)).output_shape
    _check_bias(bias, output)
    return (tensor(dtype, output),)


def _reference_separable_conv(inputs: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, plane, point, bias = inputs
    planes = _conv((x, plane, np.zeros((), x.dtype)), _plane_attrs(attrs))
    return (_conv((planes, point, bias), _point_attrs(attrs)),)


def _reference_separable_deconv(inputs: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, plane, point, bias = inputs
    points = _deconv((x, point, np.zeros((), x.dtype)), _point_attrs(attrs))
    return (_deconv((points, plane, bias), _plane_attrs(attrs)),)


# ---- lowering


def _correlate(b: ProgramBuilder, seen: View, filters: View, bias: Operand, output: View) -> None:
    """Write a grouped correlation.

    ``seen`` is (N, G, I, pixels..., taps...), ``filters`` (G, O, I, taps...), ``output`` (N, G, O, pixels...); there
    may be fewer dimensions of taps than of pixels.
    """
    count, inside = output.rank - 3, filters.rank - 3
    groups, outer, _ = filters.shape[:3]
    post, addend = added_bias(b, bias, output)
    extra = None if addend is None else channel_bias(addend, groups, outer)
    if is_depthwise(filters):
        weights = tap_weights(b, filters)
        for _ in range(count):
            weights = weights.expand_dims(3)
        extras = [] if extra is None else [extra.expand_dims(0)]
        b.reduce("sum", [seen, weights], inside, expr=product(seen.dtype), post=post, extras=extras, out=output)
        return
    # Reduced dimensions go by falling step in x: innermost is what lies next to each other in memory.
    taps_at = range(3 + count, 3 + count + inside)
    reduced = sorted((2, *taps_at), key=lambda d: -seen.strides[d])
    pixels = range(3, 3 + count)
    x = seen.transpose((1, 0, *pixels, *reduced))
    w = filters.transpose((0, *(2 if d == 2 else d - count for d in reduced), 1))
    target = output.transpose((1, 0, *pixels, 2))
    if groups == 1:
        x, w, target = x.squeeze(0), w.squeeze(0), target.squeeze(0)
    extras = []
    if extra is not None:
        for _ in range(count + 1):
            extra = extra.expand_dims(1)
        extras = [extra.squeeze(0) if groups == 1 else extra]
    b.contract(x, w, groups=int(groups > 1), reduced=inside + 1, post=post, extras=extras, out=target)


def _without_units(filters: View) -> View:
    """A filter (G, O, I, taps...) without the dimensions of one tap, as windows have none."""
    for d in reversed(range(3, filters.rank)):
        if filters.shape[d] == 1:
            filters = filters.squeeze(d)
    return filters


def _lowered_conv(b: ProgramBuilder, x: View, w: View, bias: Operand, attrs: Attrs) -> View:
    c = convolution(x.shape, w.shape, attrs)
    filters = _without_units(w.split_dim(0, (c.groups, c.outer)))
    output = b.new(c.output_shape, x.dtype, channels_last(x.rank))
    if is_depthwise(filters) and slides_well(x, c.axes):
        slide_filters(b, x, filters, bias, c.axes, c.border, output)
        return output
    order = x.dense_order if x.shape[1] < FEW_CHANNELS else None
    wide = bordered_view(b, x, c.reaches, c.border, order=order).split_dim(1, (c.groups, c.inner))
    seen, _ = window_view(wide, c.axes)
    _correlate(b, seen, filters, bias, output.split_dim(1, (c.groups, c.outer)))
    return output


def _lowered_deconv(b: ProgramBuilder, x: View, w: View, bias: Operand, attrs: Attrs) -> View:
    c = deconvolution(x.shape, w.shape, attrs)
    plan = reverse_plan(c.axes, c.reaches)
    source = plan.source(b, x, c.border).split_dim(1, (c.groups, c.inner))
    rank = x.rank + 1
    filters = w.split_dim(0, (c.groups, c.inner)).transpose((0, 2, 1, *range(3, rank)))
    output = b.new(c.output_shape, x.dtype, channels_last(x.rank))
    grouped = output.split_dim(1, (c.groups, c.outer))
    for phases in plan.combinations():
        target = phase_outputs(grouped, phases)
        if any(p.size == 0 for p in phases):
            _fill_bias(b, bias, target)
            continue
        chosen = filters
        for d, p in enumerate(phases, 3):
            chosen = chosen.slice(d, p.tap, p.size, p.tap_step)
        seen, _ = phase_windows(source, phases)
        _correlate(b, seen, _without_units(chosen), bias, target)
    return output


def _fill_bias(b: ProgramBuilder, bias: Operand, target: View) -> None:
    """Outputs (N, G, O, pixels...) that no tap reaches hold the bias alone."""
    if isinstance(bias, Literal):
        b.fill(target, bias.value)
    else:
        b.copy(channel_bias(b.view(bias), *target.shape[1:3]).expand_dims(0), target)


def _lower_conv(b: ProgramBuilder, op: Op) -> None:
    x, w, bias = op.inputs
    b.put(op.output, _lowered_conv(b, b.view(x), b.view(w), bias, op.attrs))


def _lower_deconv(b: ProgramBuilder, op: Op) -> None:
    x, w, bias = op.inputs
    b.put(op.output, _lowered_deconv(b, b.view(x), b.view(w), bias, op.attrs))


def _lower_separable_conv(b: ProgramBuilder, op: Op) -> None:
    x, plane, point, bias = op.inputs
    planes = _lowered_conv(b, b.view(x), b.view(plane), NO_BIAS, _plane_attrs(op.attrs))
    b.put(op.output, _lowered_conv(b, planes, b.view(point), bias, _point_attrs(op.attrs)))


def _lower_separable_deconv(b: ProgramBuilder, op: Op) -> None:
    x, plane, point, bias = op.inputs
    points = _lowered_deconv(b, b.view(x), b.view(point), NO_BIAS, _point_attrs(op.attrs))
    b.put(op.output, _lowered_deconv(b, points, b.view(plane), bias, _plane_attrs(op.attrs)))


register("conv", infer=_infer_conv, reference=_reference_conv, lower=_lower_conv)
register("deconv", infer=_infer_deconv, reference=_reference_deconv, lower=_lower_deconv)
register(
    "separable_conv",
    infer=_infer_separable_conv,
    reference=_reference_separable_conv,
    lower=_lower_separable_conv,
)
register(
    "separable_deconv",
    infer=_infer_separable_deconv,
    reference=_reference_separable_deconv,
    lower=_lower_separable_deconv,
)
