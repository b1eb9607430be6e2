"""Normalizations: softmax (NNEF 1.0.5, 4.9.1), local, l1, l2 and batch normalization (4.9.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call, cast, const
from nnefc.ir.graph import Attrs, Op, Operand
from nnefc.ir.types import DType, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import (
    aligned,
    broadcast_shape,
    common_dtype,
    integers,
    require_axes,
    require_kind,
    require_positive,
    tensor,
)
from nnefc.ops.primitive import Reference, register
from nnefc.ops.reduce import rows_last

# ---- shapes


def _infer_axes(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """The input's type; ``axes`` must name dimensions of it."""
    (input_,) = types
    require_kind(input_, "f", "the input")
    require_axes(integers(attrs, "axes"), input_.rank)
    return (tensor(input_.dtype, input_.extents),)


def _infer_local(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """The input's type; ``size`` must have a positive item for each of its dimensions."""
    (input_,) = types
    require_kind(input_, "f", "input")
    size = integers(attrs, "size", [input_.rank], ", the rank of the input")
    require_positive(size, "size")
    return (tensor(input_.dtype, input_.extents),)


_BATCH = ("input", "mean", "variance", "offset", "scale")


def _infer_batch(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, _BATCH, "f")
    return (tensor(dtype, broadcast_shape([t.extents for t in types], _BATCH)),)


# ---- meanings


def _in_float64(function: Callable[[np.ndarray, Attrs], np.ndarray]) -> Reference:
    """A function of one tensor computed in float64 and rounded once."""

    def reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
        (x,) = arrays
        with np.errstate(all="ignore"):
            return (np.asarray(function(x.astype(np.float64), attrs)).astype(x.dtype),)

    return reference


def _softmax(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    e = np.exp(x - np.max(x, attrs["axes"], keepdims=True))
    return e / np.sum(e, attrs["axes"], keepdims=True)


def _l1(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    norm = np.sum(np.abs(x), attrs["axes"], keepdims=True)
    return x / _floor(norm + attrs["bias"], attrs["epsilon"])


def _l2(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    norm = np.sqrt(np.sum(x * x, attrs["axes"], keepdims=True))
    return x / _floor(norm + attrs["bias"], attrs["epsilon"])


def _floor(x: np.ndarray, low: float) -> np.ndarray:
    return np.where(x > low, x, low)


def _window_mean(x: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The sum over a window of ``size`` around each element, zeros outside, divided by the window's whole volume."""
    for axis, extent in enumerate(size):
        before = (extent - 1) // 2
        after = extent - 1 - before
        n = x.shape[axis]
        total = np.zeros_like(x)
        for i in range(n):
            window = np.arange(max(i - before, 0), min(i + after, n - 1) + 1)
            total[(slice(None),) * axis + (i,)] = np.take(x, window, axis).sum(axis)
        x = total / extent
    return x


def _response(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    sigma = attrs["bias"] + attrs["alpha"] * _window_mean(x * x, attrs["size"])
    return x / sigma ** attrs["beta"]


def _centred(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    return x - _window_mean(x, attrs["size"])


def _variance(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    deviation = np.sqrt(_window_mean(x * x, attrs["size"]))
    return x / _floor(deviation + attrs["bias"], attrs["epsilon"])


def _batch(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, mean, variance, offset, scale = (a.astype(np.float64) for a in aligned(arrays))
    with np.errstate(all="ignore"):
        y = offset + scale * (x - mean) / np.sqrt(variance + attrs["epsilon"])
    return (np.asarray(y).astype(arrays[0].dtype),)


# ---- lowering


def _lower_row(
    builder: ProgramBuilder, op: Op, stages: Callable[[DType], list[tuple[str, Expr]]], expr: Callable[[Expr], Expr]
) -> None:
    """One Row over the dimensions ``axes``; ``expr`` builds its map from nothing but the element type's ``$0``."""
    view = builder.view(op.inputs[0])
    axes = op.attrs["axes"]
    if not axes:
        view, axes = view.expand_dims(view.rank), (view.rank,)
    rows, order = rows_last(view, axes)
    out = builder.row(stages(view.dtype), expr(arg(0, view.dtype)), [rows], len(axes))
    out = out.transpose(sorted(range(view.rank), key=lambda d: order[d]))
    builder.put(op.output, out if op.attrs["axes"] else out.squeeze(out.rank - 1))


def _lower_softmax(builder: ProgramBuilder, op: Op) -> None:
    def shifted(dtype: DType) -> Expr:
        return call("exp", call("sub", arg(0, dtype), arg(1, dtype)))

    _lower_row(
        builder,
        op,
        lambda dtype: [("max", arg(0, dtype)), ("sum", shifted(dtype))],
        lambda x: call("div", shifted(x.dtype), arg(2, x.dtype)),
    )


def _lower_norm(power: int) -> Callable[[ProgramBuilder, Op], None]:
    def lower(builder: ProgramBuilder, op: Op) -> None:
        def term(dtype: DType) -> Expr:
            x = arg(0, dtype)
            return call("abs", x) if power == 1 else call("mul", x, x)

        def quotient(x: Expr) -> Expr:
            total = arg(1, x.dtype)
            return call("div", x, _bounded(total if power == 1 else call("sqrt", total), op.attrs))

        _lower_row(builder, op, lambda dtype: [("sum", term(dtype))], quotient)

    return lower


def _bounded(norm: Expr, attrs: Attrs) -> Expr:
    """max(norm + bias, epsilon)."""
    biased = call("add", norm, const(attrs["bias"], norm.dtype))
    return call("max", biased, const(attrs["epsilon"], norm.dtype))


def _window_sum(
    builder: ProgramBuilder, view: View, size: Sequence[int], post: Callable[[Expr, Expr], Expr], square: bool
) -> View:
    """``post(mean, x)`` with the mean of ``x`` (or of its squares) over windows as in ``_window_mean``.

    A window never needs to reach further than the tensor: what lies outside is zero."""
    x = arg(0, view.dtype)
    pads, taps = [], []
    for extent, n in zip(size, view.shape, strict=True):
        before = min((extent - 1) // 2, n - 1)
        after = min(extent - 1 - (extent - 1) // 2, n - 1)
        pads.append((before, after))
        taps.append(before + after + 1)
    axes = [d for d, t in enumerate(taps) if t != 1]
    ones = [1] * len(axes)
    windows = builder.pad(view, pads).window(axes, [taps[d] for d in axes], ones, ones)
    volume = const(math.prod(size), view.dtype)
    mean = call("div", x, volume)
    term = call("mul", x, x) if square else x
    result = post(mean, arg(1, view.dtype))
    if not axes:
        whole = call("div", term, volume)
        return builder.map(post(whole, x), [view])
    return builder.reduce("sum", [windows], len(axes), expr=term, post=result, extras=[view], order=view.dense_order)


def _power(base: Expr, exponent: float) -> Expr:
    if exponent == 1.0:
        return base
    return call("sqrt", base) if exponent == 0.5 else call("pow", base, const(exponent, base.dtype))


def _lower_response(builder: ProgramBuilder, op: Op) -> None:
    def post(mean: Expr, x: Expr) -> Expr:
        scaled = call("mul", const(op.attrs["alpha"], x.dtype), mean)
        sigma = call("add", const(op.attrs["bias"], x.dtype), scaled)
        return call("div", x, _power(sigma, op.attrs["beta"]))

    builder.put(op.output, _window_sum(builder, builder.view(op.inputs[0]), op.attrs["size"], post, True))


def _centre(builder: ProgramBuilder, source: Operand, size: Sequence[int]) -> View:
    return _window_sum(builder, builder.view(source), size, lambda mean, x: call("sub", x, mean), False)


def _scale(builder: ProgramBuilder, view: View, attrs: Attrs) -> View:
    def post(mean: Expr, x: Expr) -> Expr:
        return call("div", x, _bounded(call("sqrt", mean), attrs))

    return _window_sum(builder, view, attrs["size"], post, True)


def _lower_mean(builder: ProgramBuilder, op: Op) -> None:
    builder.put(op.output, _centre(builder, op.inputs[0], op.attrs["size"]))


def _lower_variance(builder: ProgramBuilder, op: Op) -> None:
    builder.put(op.output, _scale(builder, builder.view(op.inputs[0]), op.attrs))


def _lower_contrast(builder: ProgramBuilder, op: Op) -> None:
    builder.put(op.output, _scale(builder, _centre(builder, op.inputs[0], op.attrs["size"]), op.attrs))


def _lower_batch(builder: ProgramBuilder, op: Op) -> None:
    """input * factor + shift, where both are computed in the shape of the parameters. Half precision is computed in F32
    and rounded once."""
    x, mean, variance, offset, scale = op.inputs
    dtype = op.output.type.dtype
    wide = DType.F64 if dtype is DType.F64 else DType.F32
    epsilon = const(op.attrs["epsilon"], wide)

    def factor(scale: Expr, variance: Expr) -> Expr:
        root = call("sqrt", call("add", cast(variance, wide), epsilon))
        return call("div", cast(scale, wide), root)

    def shift(offset: Expr, mean: Expr, factor: Expr) -> Expr:
        return call("sub", cast(offset, wide), call("mul", cast(mean, wide), factor))

    def affine(x: Expr, factor: Expr, shift: Expr) -> Expr:
        return cast(call("add", call("mul", cast(x, wide), factor), shift), dtype)

    slope = builder.elementwise(factor, [scale, variance])
    level = builder.elementwise(shift, [offset, mean, slope])
    builder.put(op.output, builder.elementwise(affine, [x, slope, level], shape=op.output.type.extents))


register("softmax", infer=_infer_axes, reference=_in_float64(_softmax), lower=_lower_softmax)
register("l1_normalization", infer=_infer_axes, reference=_in_float64(_l1), lower=_lower_norm(1))
register("l2_normalization", infer=_infer_axes, reference=_in_float64(_l2), lower=_lower_norm(2))
register("local_response_normalization", infer=_infer_local, reference=_in_float64(_response), lower=_lower_response)
register("local_mean_normalization", infer=_infer_local, reference=_in_float64(_centred), lower=_lower_mean)
register("local_variance_normalization", infer=_infer_local, reference=_in_float64(_variance), lower=_lower_variance)
register(
    "local_contrast_normalization",
    infer=_infer_local,
    reference=_in_float64(lambda x, attrs: _variance(_centred(x, attrs), attrs)),
    lower=_lower_contrast,
)
register("batch_normalization", infer=_infer_batch, reference=_batch, lower=_lower_batch)
