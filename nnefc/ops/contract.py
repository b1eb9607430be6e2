"""Matrix products and convolutions (NNEF 1.0.5, sections 4.3.1, 4.7 and 4.9.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnefc.ir.graph import Attrs
from nnefc.ir.types import TensorType
from nnefc.ops.common import (
    align,
    broadcast_shape,
    common_dtype,
    integer,
    integers,
    one_of,
    require_broadcastable,
    shape_text,
    tensor,
)
from nnefc.ops.geometry import (
    BORDERS,
    Axes,
    at_tap,
    check_bordered,
    down_axes,
    extended,
    last,
    overlap_add,
    taps,
    up_axes,
)
from nnefc.ops.primitive import register, require

Shape = Sequence[int]

CONV_NAMES = ("input", "filter", "bias")
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
    dtype = common_dtype(types, CONV_NAMES, "f")
    x, w, bias = (t.extents for t in types)
    output = convolution(x, w, attrs).output_shape
    _check_bias(bias, output)
    return (tensor(dtype, output),)


def _infer_deconv(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, CONV_NAMES, "f")
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


# ---- matrix products


def product_shape(a: Shape, b: Shape, transpose_a: bool, transpose_b: bool, names: tuple[str, str]) -> tuple[int, ...]:
    """The shape of a matrix product, batch dimensions broadcast. Raises InvalidModelError where shapes do not fit."""
    first, second = names
    require(
        len(a) == len(b) and len(a) >= 2,
        f"{first} has shape {shape_text(a)}, {second} has shape {shape_text(b)}; they must have one rank, of 2 or more",
    )
    rows, inner = (a[-1], a[-2]) if transpose_a else (a[-2], a[-1])
    columns, other = (b[-2], b[-1]) if transpose_b else (b[-1], b[-2])
    require(
        inner == other,
        f"{first} has shape {shape_text(a)}{' (transposed)' if transpose_a else ''} and {second} has shape "
        f"{shape_text(b)}{' (transposed)' if transpose_b else ''}: the inner extents {inner} and {other} must be equal",
    )
    return (*broadcast_shape((a[:-2], b[:-2]), names), rows, columns)


def _product(a: np.ndarray, b: np.ndarray, transpose_a: bool, transpose_b: bool) -> np.ndarray:
    """The product in float64."""
    left = a.swapaxes(-1, -2) if transpose_a else a
    right = b.swapaxes(-1, -2) if transpose_b else b
    return left.astype(np.float64) @ right.astype(np.float64)


def _infer_matmul(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, "AB", "f")
    a, b = (t.extents for t in types)
    return (tensor(dtype, product_shape(a, b, attrs["transposeA"], attrs["transposeB"], ("A", "B"))),)


def _reference_matmul(inputs: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    a, b = inputs
    return (_product(a, b, attrs["transposeA"], attrs["transposeB"]).astype(a.dtype),)


def _infer_linear(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, CONV_NAMES, "f")
    x, w, bias = (t.extents for t in types)
    output = product_shape(x, w, False, True, ("input", "filter"))
    require_broadcastable(bias, "bias", output, "the output")
    return (tensor(dtype, output),)


def _reference_linear(inputs: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, w, bias = inputs
    return ((_product(x, w, False, True) + align(bias, x.ndim)).astype(x.dtype),)


register("conv", infer=_infer_conv, reference=_reference_conv)
register("deconv", infer=_infer_deconv, reference=_reference_deconv)
register("separable_conv", infer=_infer_separable_conv, reference=_reference_separable_conv)
register("separable_deconv", infer=_infer_separable_deconv, reference=_reference_separable_deconv)
register("matmul", infer=_infer_matmul, reference=_reference_matmul)
register("linear", infer=_infer_linear, reference=_reference_linear)
