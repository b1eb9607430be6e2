"""Normalizations of whole rows with an affine map: layer_normalization (Ba et al., 2016; over other axes it is instance
or group normalization) and rms_normalization (Zhang and Sennrich, 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call, cast, const
from nnefc.ir.graph import Attrs, Literal, Op
from nnefc.ir.types import DType, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import aligned, common_dtype, integers, require_axes, require_broadcastable, tensor
from nnefc.ops.primitive import register, require
from nnefc.ops.reduce import rows_last

_NAMES = ("input", "scale", "offset")


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """The input's type. ``axes`` names at least one of its dimensions; the other operands broadcast to its shape."""
    names = _NAMES[: len(types)]
    dtype = common_dtype(types, names, "f")
    axes = integers(attrs, "axes")
    require(axes, "axes = []; it must name a dimension to normalize over")
    require_axes(axes, types[0].rank)
    for type_, name in zip(types[1:], names[1:], strict=True):
        require_broadcastable(type_.extents, name, types[0].extents, "the input")
    return (tensor(dtype, types[0].extents),)


def _reference_layer(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, scale, offset = (a.astype(np.float64) for a in aligned(arrays))
    centred = x - x.mean(attrs["axes"], keepdims=True)
    variance = np.square(centred).mean(attrs["axes"], keepdims=True)
    with np.errstate(all="ignore"):
        y = centred / np.sqrt(variance + attrs["epsilon"]) * scale + offset
    return (y.astype(arrays[0].dtype),)


def _reference_rms(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, scale = (a.astype(np.float64) for a in aligned(arrays))
    with np.errstate(all="ignore"):
        y = x / np.sqrt(np.square(x).mean(attrs["axes"], keepdims=True) + attrs["epsilon"]) * scale
    return (y.astype(arrays[0].dtype),)


def _lower(builder: ProgramBuilder, op: Op, centred: bool) -> None:
    """One Row. Half precision is computed in F32 and rounded once."""
    x = builder.view(op.inputs[0])
    wide = DType.F64 if x.dtype is DType.F64 else DType.F32
    rows, order = rows_last(x, op.attrs["axes"])
    views: list[View] = [rows]
    affine: list[Expr] = []
    for operand in op.inputs[1:]:
        if isinstance(operand, Literal):
            affine.append(const(operand.value, wide))
        else:
            affine.append(cast(arg(len(views), x.dtype), wide))
            views.append(builder.view(operand).broadcast_to(x.shape).transpose(order))
    element, count = cast(arg(0, x.dtype), wide), const(math.prod(x.shape[a] for a in op.attrs["axes"]), wide)
    stages: list[tuple[str, Expr]] = []
    if centred:
        stages.append(("sum", element))
        element = call("sub", element, call("div", arg(len(views), wide), count))
    stages.append(("sum", call("mul", element, element)))
    mean_square = call("div", arg(len(views) + len(stages) - 1, wide), count)
    norm = call("rsqrt", call("add", mean_square, const(op.attrs["epsilon"], wide)))
    result = call("mul", call("mul", element, norm), affine[0])
    if centred:
        result = call("add", result, affine[1])
    out = builder.row(stages, cast(result, x.dtype), views, len(op.attrs["axes"]))
    builder.put(op.output, out.transpose(sorted(range(x.rank), key=lambda d: order[d])))


register(
    "layer_normalization",
    infer=_infer,
    reference=_reference_layer,
    lower=lambda builder, op: _lower(builder, op, centred=True),
)
register(
    "rms_normalization",
    infer=_infer,
    reference=_reference_rms,
    lower=lambda builder, op: _lower(builder, op, centred=False),
)
