"""Reductions (NNEF 1.0.5, 4.4) and moments (4.9.6). Reduced dimensions stay, with extent 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call, cast, const
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import INTEGER, DType, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import integers, require_axes, require_kind, tensor
from nnefc.ops.elementwise import integer_quotient
from nnefc.ops.primitive import register

# ---- shapes


def _infer(kinds: str, result: DType | None = None, count: int = 1) -> Callable[..., tuple[TensorType, ...]]:
    """The rule of a reduction of elements of ``kinds`` into ``count`` tensors of type ``result`` (default: alike)."""

    def infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
        require_kind(types[0], kinds, "input")
        axes = integers(attrs, "axes")
        require_axes(axes, types[0].rank)
        shape = tuple(1 if i in axes else d for i, d in enumerate(types[0].extents))
        return (tensor(result or types[0].dtype, shape),) * count

    return infer


# ---- meanings


def _sum(x: np.ndarray, axes: tuple[int, ...], normalize: bool) -> np.ndarray:
    total = np.sum(x, axes, dtype=np.float64 if x.dtype.kind == "f" else x.dtype, keepdims=True)
    if normalize:
        count = math.prod(x.shape[a] for a in axes)
        total = (
            total / count if x.dtype.kind == "f" else integer_quotient(np.asarray(total), np.asarray(count, x.dtype))
        )
    return np.asarray(total).astype(x.dtype)


def _arg(function: Callable[..., np.ndarray]) -> Callable[..., tuple[np.ndarray, ...]]:
    """The row-major position of the first extreme element within the reduced dimensions, in their own order."""

    def reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
        (x,) = arrays
        axes = sorted(attrs["axes"])
        kept = [d for d in range(x.ndim) if d not in axes]
        rows = np.transpose(x, kept + axes).reshape([x.shape[d] for d in kept] + [-1])
        shape = [1 if d in axes else n for d, n in enumerate(x.shape)]
        return (function(rows, -1).reshape(shape).astype(np.int64),)

    return reference


def _fold(function: Callable[..., np.ndarray]) -> Callable[..., tuple[np.ndarray, ...]]:
    return lambda arrays, attrs: (np.asarray(function(arrays[0], axis=attrs["axes"], keepdims=True)),)


def _prod(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    product = np.prod(x, attrs["axes"], dtype=np.float64 if x.dtype.kind == "f" else x.dtype, keepdims=True)
    return (np.asarray(product).astype(x.dtype),)


def _moments(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    wide = x.astype(np.float64)
    mean = _sum(wide, attrs["axes"], True)
    return mean.astype(x.dtype), _sum((wide - mean) ** 2, attrs["axes"], True).astype(x.dtype)


# ---- lowering


def rows_last(view: View, axes: Sequence[int]) -> tuple[View, tuple[int, ...]]:
    """The view with the dimensions ``axes`` last, in their own order, and the permutation that made it."""
    order = (*(d for d in range(view.rank) if d not in axes), *sorted(axes))
    return view.transpose(order), order


def keep_dims(view: View, axes: Sequence[int]) -> View:
    """The result of a reduction with its reduced dimensions put back, with extent 1."""
    for axis in sorted(axes):
        view = view.expand_dims(axis)
    return view


def divided(dtype: DType, count: int) -> Expr | None:
    """``$0 / count`` as the end of a reduction, or None where that is ``$0``."""
    return None if count == 1 else call("div", arg(0, dtype), const(count, dtype))


def adds_up_in(dtype: DType) -> DType:
    """The type in which sums of elements are computed: F32 for half precision, rounded once in the end."""
    return DType.F32 if dtype in (DType.F16, DType.BF16) else dtype


def _lower(name: str) -> Callable[[ProgramBuilder, Op], None]:
    def lower(builder: ProgramBuilder, op: Op) -> None:
        view = builder.view(op.inputs[0])
        axes = tuple(a for a in op.attrs["axes"] if view.shape[a] != 1)
        count = math.prod(view.shape[a] for a in axes)
        normalize = name == "mean" or (name == "sum" and bool(op.attrs["normalize"]))
        if not axes:
            out = builder.fill(builder.new(view.shape, INTEGER), 0) if name.startswith("arg") else view
        else:
            rows, _ = rows_last(view, axes)
            kind = "sum" if name == "mean" else name
            wide = adds_up_in(view.dtype) if kind in ("sum", "prod") else view.dtype
            post = divided(wide, count) if normalize else None
            if wide is not view.dtype:
                post = cast(arg(0, wide) if post is None else post, view.dtype)
            reduced = builder.reduce(kind, [rows], len(axes), expr=cast(arg(0, view.dtype), wide), post=post)
            out = keep_dims(reduced, axes)
        builder.put(op.output, out)

    return lower


def _lower_moments(builder: ProgramBuilder, op: Op) -> None:
    view = builder.view(op.inputs[0])
    axes = op.attrs["axes"]
    dtype = view.dtype
    rows, _ = rows_last(view, axes)
    post = divided(dtype, math.prod(view.shape[a] for a in axes))
    mean = builder.reduce("sum", [rows], len(axes), post=post) if axes else view
    centred = call("sub", arg(0, dtype), arg(1, dtype))
    squared = call("mul", centred, centred)
    wide = mean.broadcast_to(mean.shape + (1,) * len(axes))
    variance = builder.reduce("sum", [rows, wide], len(axes), expr=squared, post=post)
    for output, result in zip(op.outputs, (mean, variance), strict=True):
        builder.put(output, keep_dims(result, axes))


register(
    "sum_reduce",
    infer=_infer("fiu"),
    reference=lambda arrays, attrs: (_sum(arrays[0], attrs["axes"], attrs["normalize"]),),
    lower=_lower("sum"),
)
register(
    "mean_reduce",
    infer=_infer("fiu"),
    reference=lambda arrays, attrs: (_sum(arrays[0], attrs["axes"], True),),
    lower=_lower("mean"),
)
register("prod_reduce", infer=_infer("fiu"), reference=_prod, lower=_lower("prod"))
register("max_reduce", infer=_infer("fiu"), reference=_fold(np.max), lower=_lower("max"))
register("min_reduce", infer=_infer("fiu"), reference=_fold(np.min), lower=_lower("min"))
register("all_reduce", infer=_infer("b"), reference=_fold(np.all), lower=_lower("all"))
register("any_reduce", infer=_infer("b"), reference=_fold(np.any), lower=_lower("any"))
register("argmax_reduce", infer=_infer("fiu", INTEGER), reference=_arg(np.argmax), lower=_lower("argmax"))
register("argmin_reduce", infer=_infer("fiu", INTEGER), reference=_arg(np.argmin), lower=_lower("argmin"))
register("moments", infer=_infer("f", None, 2), reference=_moments, lower=_lower_moments)
