"""Kernel families in which the order of elements matters: Scatter, Scan, Sort, Suppress. See ``ir.program``.

In all of them the leading dimensions ``p`` are independent of each other: what is done for one is done for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnefc.ir.expr import Expr, arg, call, cast, const, select
from nnefc.ir.program import Call
from nnefc.ir.types import DType
from nnefc.ir.view import View


@dataclass(frozen=True)
class Scatter(Call):
    """For each ``p``, for each ``t`` in row-major order, with ``i = index[p, t]``:
    ``output[p, i] = expr(output[p, i], updates[p, t])``.

    The last ``axes`` dimensions of ``index``, I64, and ``updates`` are ``t``; the last one of ``output`` is ``i``. The
    output holds values already. An index outside 0..n-1 is passed over; with ``check`` it makes the call fail.
    """

    expr: Expr
    index: View
    updates: View
    output: View
    axes: int
    check: bool

    def reads(self) -> tuple[View, ...]:
        return (self.index, self.updates, self.output)

    def writes(self) -> tuple[View, ...]:
        return (self.output,)


@dataclass(frozen=True)
class Scan(Call):
    """``output[p, t] = s[t + 1]``, or ``s[t]`` if ``exclusive``, with ``s[0] = start`` and ``s[t + 1] = step(s[t],
    x[p, t])``: cumulative sums and the like along the last dimension.

    ``step`` has the type of the state; the output's type is the state's, or one that it is cast to.
    """

    step: Expr
    start: float | int | bool
    x: View
    output: View
    exclusive: bool

    def reads(self) -> tuple[View, ...]:
        return (self.x,)

    def writes(self) -> tuple[View, ...]:
        return (self.output,)


@dataclass(frozen=True)
class Sort(Call):
    """The first k elements of each ``x[p, :]`` in order, and their I64 indices: k is the last extent of the outputs.

    The order is falling if ``largest``, else rising; equal elements come by index. A NaN counts as larger than all
    numbers and equal to other NaNs (as NumPy sorts), -0 and 0 as equal.
    """

    x: View
    values: View
    indices: View
    largest: bool

    def reads(self) -> tuple[View, ...]:
        return (self.x,)

    def writes(self) -> tuple[View, ...]:
        return (self.values, self.indices)


@dataclass(frozen=True)
class Suppress(Call):
    """Greedy non-maximum suppression: ``picked[p, :]`` are the numbers of the boxes that stay, by falling score.

    Candidates are the boxes of ``boxes`` (p, s, 4) whose score in ``scores`` (p, s) is above ``score_threshold``, by
    falling score, equal ones by number. A candidate stays unless it ``overlap``s one that stayed before. No more stay
    than ``picked`` has room for; what is left of it is -1, and ``count[p]`` says how many stayed; both are I64.
    ``order``, I64 (p, s), is scratch: what it holds afterwards is not specified.
    """

    boxes: View
    scores: View
    picked: View
    count: View
    order: View
    overlap: Expr
    score_threshold: float

    def reads(self) -> tuple[View, ...]:
        return (self.boxes, self.scores)

    def writes(self) -> tuple[View, ...]:
        return (self.picked, self.count, self.order)


def precedes(dtype: DType, largest: bool) -> Expr:
    """Whether an element ``$0`` with index ``$1`` comes before one ``$2`` with index ``$3`` in a ``Sort``."""
    x, i, y, j = arg(0, dtype), arg(1, DType.I64), arg(2, dtype), arg(3, DType.I64)
    first = call("gt" if largest else "lt", x, y)
    same, earlier = call("eq", x, y), call("lt", i, j)
    if dtype.kind == "f":
        nan_x, nan_y = call("ne", x, x), call("ne", y, y)
        above, below = (nan_x, nan_y) if largest else (nan_y, nan_x)
        first = call("or", first, call("and", above, call("not", below)))
        same = call("or", same, call("and", nan_x, nan_y))
    return call("or", first, call("and", same, earlier))


def overlaps(dtype: DType, threshold: float, center: bool) -> Expr:
    """Whether the boxes ``$0``..``$3`` and ``$4``..``$7`` have an intersection over union above ``threshold``.

    A box is two opposite corners (y, x, y, x), or if ``center`` (x, y, width, height) about its centre. Boxes without
    area overlap nothing (ONNX NonMaxSuppression). It is a conjunction, whose first part says whether they meet at all.
    """
    zero = const(0, dtype)
    spans = [_span([arg(k + d, dtype) for k in range(4)], a, center) for a in (0, 1) for d in (0, 4)]
    (low1, high1), (low2, high2), (low3, high3), (low4, high4) = spans
    sides = [call("sub", _least(high1, high2), _most(low1, low2)), call("sub", _least(high3, high4), _most(low3, low4))]
    shared = call("mul", *sides)
    first = call("mul", call("sub", high1, low1), call("sub", high3, low3))
    second = call("mul", call("sub", high2, low2), call("sub", high4, low4))
    union = call("sub", call("add", first, second), shared)
    above = call("gt", call("div", shared, union), const(threshold, dtype))
    for area in (first, second, union):
        above = call("and", above, call("gt", area, zero))
    return call("and", call("and", *(call("gt", side, zero) for side in sides)), above)


def _span(box: list[Expr], axis: int, center: bool) -> tuple[Expr, Expr]:
    """From where to where a box reaches along one of its axes."""
    if not center:
        return _least(box[axis], box[axis + 2]), _most(box[axis], box[axis + 2])
    half = call("mul", box[axis + 2], const(0.5, box[axis].dtype))
    return call("sub", box[axis], half), call("add", box[axis], half)


def _least(x: Expr, y: Expr) -> Expr:
    return call("min", x, y)


def _most(x: Expr, y: Expr) -> Expr:
    return call("max", x, y)


def combination(name: str, dtype: DType) -> Expr:
    """``$0`` and ``$1`` combined: add, mul, max, min (which keep a NaN), or none, which is ``$1``."""
    x, y = arg(0, dtype), arg(1, dtype)
    if name == "none":
        return y
    if name in ("add", "mul"):
        return call(name, x, y)
    better = call("gt" if name == "max" else "lt", x, y)
    return select(call("or", better, call("ne", x, x)) if dtype.kind == "f" else better, x, y)


def neutral(name: str, dtype: DType) -> float | int | bool:
    """What ``combination`` starts from: with it, any element gives itself."""
    if name in ("add", "mul"):
        return float(name == "mul") if dtype.kind == "f" else int(name == "mul")
    if dtype.kind == "f":
        return -np.inf if name == "max" else np.inf
    info = np.iinfo(dtype.numpy)
    return int(info.min if name == "max" else info.max)


def accumulated(name: str, dtype: DType) -> Expr:
    """The step of a ``Scan``: ``combination`` of the state and the element, 16-bit floats kept in F32."""
    state = DType.F32 if dtype.kind == "f" and dtype.bits == 16 else dtype
    return combination(name, state).substitute([arg(0, state), cast(arg(1, dtype), state)])
