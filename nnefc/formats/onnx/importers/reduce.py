"""Reductions of ONNX, arg-reductions, softmax and its kin, and running sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import MAX_FOLDED, Scope
from nnefc.ir.types import DType

AXES_AS_INPUT = 18
"""The opset from which ``axes`` is an input of all reductions (of ReduceSum from 13)."""

Axes = tuple[int, ...]
Reduction = Callable[[Scope, Any, Axes], Any]


def axis_of(s: Scope, axis: int, rank: int, what: str = "axis") -> int:
    """An axis counted from the front. Raises InvalidModelError outside the rank."""
    if not -rank <= axis < rank:
        raise s.invalid(f"{what} is {axis}; it must be {-rank} to {rank - 1}, as the tensor has {rank} dimensions")
    return axis % rank


def axes_of(s: Scope, axes: Sequence[int], rank: int) -> Axes:
    """Axes counted from the front, in order. Raises InvalidModelError outside the rank, and for repetitions."""
    found = sorted(axis_of(s, int(a), rank, "an item of axes") for a in axes)
    if len(set(found)) != len(found):
        raise s.invalid(f"axes = {list(axes)} names a dimension twice")
    return tuple(found)


def _sum(s: Scope, x: Any, axes: Axes) -> Any:
    return s.op("sum_reduce", [x], axes=axes)


def _plain(kind: str) -> Reduction:
    return lambda s, x, axes: s.op(kind, [x], axes=axes)


def _extreme(kind: str, logical: str) -> Reduction:
    return lambda s, x, axes: s.op(logical if s.dtype(x) is DType.BOOL else kind, [x], axes=axes)


def _log_sum_exp(s: Scope, x: Any, axes: Axes) -> Any:
    """Without overflow: the maximum is taken out of the sum, unless it is infinite."""
    most = s.op("max_reduce", [x], axes=axes)
    finite = s.op("select", [s.op("lt", [s.op("abs", [most]), math.inf]), most, 0.0])
    total = _sum(s, s.op("exp", [s.op("sub", [x, finite])]), axes)
    return s.op("add", [s.op("log", [total]), finite])


def _root(s: Scope, x: Any, axes: Axes) -> Any:
    """The L2 norm; of integers by way of F64."""
    dtype = s.dtype(x)
    wide = x if dtype.kind == "f" else s.cast(x, DType.F64)
    return s.cast(s.op("sqrt", [_sum(s, s.op("sqr", [wide]), axes)]), dtype)


def _log_sum(s: Scope, x: Any, axes: Axes) -> Any:
    return s.op("log", [_sum(s, x, axes)])


def _of_floats(reduction: Reduction) -> Reduction:
    """A reduction with a logarithm, of integers by way of F64."""

    def run(s: Scope, x: Any, axes: Axes) -> Any:
        dtype = s.dtype(x)
        return reduction(s, x, axes) if dtype.kind == "f" else s.cast(reduction(s, s.cast(x, DType.F64), axes), dtype)

    return run


REDUCTIONS: dict[str, Reduction] = {
    "ReduceSum": _sum,
    "ReduceMean": _plain("mean_reduce"),
    "ReduceProd": _plain("prod_reduce"),
    "ReduceMax": _extreme("max_reduce", "any_reduce"),
    "ReduceMin": _extreme("min_reduce", "all_reduce"),
    "ReduceL1": lambda s, x, axes: _sum(s, s.op("abs", [x]), axes),
    "ReduceL2": _root,
    "ReduceSumSquare": lambda s, x, axes: _sum(s, s.op("sqr", [x]), axes),
    "ReduceLogSum": _of_floats(_log_sum),
    "ReduceLogSumExp": _of_floats(_log_sum_exp),
}
ELEMENTS: dict[str, str] = {"ReduceL1": "abs", "ReduceL2": "abs", "ReduceSumSquare": "sqr", "ReduceLogSum": "log"}
"""What a reduction without axes still does to each element, where noop_with_empty_axes is set."""


@importer(*REDUCTIONS)
def _reduce(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    rank = s.rank(x)
    if n.version >= AXES_AS_INPUT or (n.op_type == "ReduceSum" and n.version >= 13):
        axes = s.known_ints(n.input(1), "axes") if n.input(1) is not None else []
        if not axes and n.attr("noop_with_empty_axes", 0):
            return [s.op(ELEMENTS[n.op_type], [x]) if n.op_type in ELEMENTS else x]
    else:
        axes = list(n.attr("axes", []))
    found = axes_of(s, axes or range(rank), rank)
    if isinstance(x, np.ndarray) and x.size == 0:
        return [_of_nothing(s, n.op_type, x, found, bool(n.attr("keepdims", 1)))]
    result = REDUCTIONS[n.op_type](s, x, found)
    return [result if n.attr("keepdims", 1) else without(s, result, found)]


def without(s: Scope, x: Imported, axes: Sequence[int]) -> Any:
    """The tensor without these dimensions, of extent 1."""
    return s.reshape(x, [d for i, d in enumerate(s.shape(x)) if i not in axes])


NEUTRAL: dict[str, float] = {"ReduceProd": 1, "ReduceMax": -math.inf, "ReduceMin": math.inf, "ReduceMean": math.nan}
"""What reductions of no elements give, if not 0 or its logarithm."""


def _of_nothing(s: Scope, kind: str, x: np.ndarray, axes: Axes, keep: bool) -> np.ndarray:
    """The reduction of an array without elements, which is known at import."""
    shape = [1 if i in axes else d for i, d in enumerate(x.shape) if keep or i not in axes]
    dtype = s.dtype(x)
    number = NEUTRAL.get(kind, -math.inf if "Log" in kind else 0)
    if not math.isfinite(number) and dtype.kind != "f":
        if dtype is DType.BOOL or number != number:
            number = number < 0 if dtype is not DType.BOOL else number > 0
        else:
            info = np.iinfo(dtype.numpy)
            number = info.min if number < 0 else info.max
    return np.full(shape, number, dtype.numpy)


@importer("ArgMax", "ArgMin")
def _arg(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    axis = axis_of(s, n.attr("axis", 0), s.rank(x))
    last = n.attr("select_last_index", 0)
    source = reversed_along(s, x, axis) if last else x
    index = s.op(f"{n.op_type.lower()}_reduce", [source], axes=[axis])
    if last:
        index = s.op("sub", [s.shape(x)[axis] - 1, index])
    return [index if n.attr("keepdims", 1) else without(s, index, [axis])]


def reversed_along(s: Scope, x: Imported, axis: int) -> Any:
    """The elements of a dimension from the last to the first."""
    extent = s.shape(x)[axis]
    return s.op("slice", [x], axes=[axis], begin=[extent - 1], end=[-extent - 1], stride=[-1])


# ---- softmax


def _over(s: Scope, n: Node, x: Any) -> tuple[Axes, Any]:
    """The axes that a softmax is taken over: below opset 13 all from ``axis`` on."""
    rank = s.rank(x)
    if n.version < 13:
        axis = n.attr("axis", 1)
        first = rank if axis == rank else axis_of(s, axis, rank)
        return tuple(range(first, rank)), x
    return (axis_of(s, n.attr("axis", -1), rank),), x


@importer("Softmax")
def _softmax(s: Scope, n: Node) -> Sequence[Imported]:
    axes, x = _over(s, n, n.need(0))
    return [s.op("softmax", [x], axes=axes)]


@importer("LogSoftmax")
def _log_softmax(s: Scope, n: Node) -> Sequence[Imported]:
    axes, x = _over(s, n, n.need(0))
    shifted = s.op("sub", [x, s.op("max_reduce", [x], axes=axes)])
    return [s.op("sub", [shifted, s.op("log", [_sum(s, s.op("exp", [shifted]), axes)])])]


@importer("Hardmax")
def _hardmax(s: Scope, n: Node) -> Sequence[Imported]:
    """1 at the first maximum, 0 elsewhere."""
    axes, x = _over(s, n, n.need(0))
    shape = s.shape(x)
    count = math.prod(shape[a] for a in axes)
    if count > MAX_FOLDED:
        raise s.unsupported(f"a Hardmax of {count} elements; at most {MAX_FOLDED} are")
    order = np.arange(count).reshape([d if i in axes else 1 for i, d in enumerate(shape)])
    hit = s.op("eq", [order, s.op("argmax_reduce", [x], axes=axes)])
    return [s.cast(hit, s.dtype(x))]


@importer("CumSum", "CumProd")
def _cumulate(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    axis = s.known_integer(n.need(1), "axis")
    flags = {name: bool(n.attr(name, 0)) for name in ("exclusive", "reverse")}
    kind = "sum" if n.op_type == "CumSum" else "prod"
    return [s.op("cumulate", [x], axis=axis_of(s, axis, s.rank(x)), reduction=kind, **flags)]
