"""What values an expression can take: bounds by which conversions to integers need not saturate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnefc.ir.expr import ROUNDING, Expr, round_half_up
from nnefc.ir.types import DType


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high``, and, for floats, whether a NaN is possible."""

    low: float
    high: float
    nan: bool = False

    def within(self, dtype: DType) -> bool:
        """Whether every value, cut to an integer, is one of an integer type."""
        info = np.iinfo(dtype.numpy)
        return not self.nan and int(info.min) - 1 < self.low and self.high < int(info.max) + 1


def every(dtype: DType) -> Interval:
    """All values of a type."""
    if dtype.kind == "f":
        return Interval(-math.inf, math.inf, True)
    if dtype is DType.BOOL:
        return Interval(0, 1)
    info = np.iinfo(dtype.numpy)
    return Interval(int(info.min), int(info.max))


def bounds_of(expr: Expr) -> Interval:
    """Bounds of an expression, whatever its arguments are."""
    return every(expr.dtype) if expr.op == "arg" else interval_of(expr, [bounds_of(a) for a in expr.args])


def interval_of(node: Expr, operands: Sequence[Interval]) -> Interval:
    """Bounds of a node by those of its operands. What is not known is every value of its type.

    Rounding to a float type, or to an integer, is monotone: bounds that are rounded are bounds of what is rounded."""
    unknown = every(node.dtype)
    if node.op == "const" and isinstance(node.value, float | int):
        return Interval(node.value, node.value) if node.value == node.value else unknown
    if node.op == "cast":
        return _cast(operands[0], node.args[0].dtype, node.dtype)
    if node.op in ("min", "max") and node.dtype is not DType.BOOL:
        return _extreme(node.op, *operands)
    if node.op in ROUNDING and node.dtype.kind == "f":
        return _rounded(node.op, operands[0])
    if node.op in ("add", "sub") and node.dtype.kind in "iu":
        x, y = operands
        low, high = (x.low + y.low, x.high + y.high) if node.op == "add" else (x.low - y.high, x.high - y.low)
        return Interval(low, high) if unknown.low <= low and high <= unknown.high else unknown
    return unknown


def _cast(x: Interval, source: DType, goal: DType) -> Interval:
    unknown = every(goal)
    if goal.kind == "f":
        low, high = (_in_type(v, goal) for v in (x.low, x.high))
        return Interval(low, high, x.nan)
    if source.kind == "f":
        low, high = (min(max(v, unknown.low), unknown.high) for v in (x.low, x.high))
        return Interval(min(low, 0), max(high, 0)) if x.nan else Interval(math.trunc(low), math.trunc(high))
    return x if unknown.low <= x.low and x.high <= unknown.high and goal is not DType.BOOL else unknown


def _in_type(value: float, dtype: DType) -> float:
    with np.errstate(over="ignore"):
        return float(dtype.numpy.type(value))


def _extreme(op: str, x: Interval, y: Interval) -> Interval:
    """Where ``x`` is a NaN, the result is ``y``."""
    if op == "min":
        return Interval(min(x.low, y.low), y.high if x.nan else min(x.high, y.high), y.nan)
    return Interval(y.low if x.nan else max(x.low, y.low), max(x.high, y.high), y.nan)


def _rounded(op: str, x: Interval) -> Interval:
    low, high = (_round(op, v) for v in (x.low, x.high))
    return Interval(low, high, x.nan)


def _round(op: str, value: float) -> float:
    if math.isinf(value):
        return value
    if op == "round":
        return float(round_half_up(np.asarray(value)))
    return float({"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "round_even": np.rint}[op](value))
