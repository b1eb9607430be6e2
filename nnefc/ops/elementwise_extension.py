"""Element-wise operations of the extension: rows of the table of ``nnefc.ops.elementwise``.

They have the meanings that other formats and libraries of numerics give them; docs/operations.md states each.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nnefc.ir.expr import Expr, call, cast, const, select
from nnefc.ir.types import DType
from nnefc.ops.elementwise import Row, binary_row, like, named, unary_row, wide

# ---- NumPy meanings


def _erf(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _shift(x: np.ndarray, places: np.ndarray, function: np.ufunc) -> np.ndarray:
    """Beyond the width, and by a negative number of places, everything is shifted out."""
    width = x.dtype.itemsize * 8
    out = (places < 0) | (places >= width)
    last = function(function(x, x.dtype.type(width - 1)), x.dtype.type(1))
    return np.where(out, last, function(x, np.where(out, 0, places).astype(x.dtype)))


def _remainder(function: np.ufunc) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The remainder of a division; of integers by 0 it is the dividend."""

    def remainder(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.dtype.kind == "f":
            return np.asarray(function(x, y))
        return np.where(y == 0, x, function(x, np.where(y == 0, 1, y).astype(y.dtype)))

    return remainder


def _infinite(x: np.ndarray, negative: bool, positive: bool) -> np.ndarray:
    return (np.isneginf(x) & negative) | (np.isposinf(x) & positive)


def _clipped_line(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.clip(alpha * x.astype(np.float64) + beta, 0, 1)


# ---- expressions


def _keep_nan(op: str) -> Callable[[Expr, Expr], Expr]:
    """``max`` or ``min`` that is NaN where an operand is."""

    def expr(x: Expr, y: Expr) -> Expr:
        better = call("gt" if op == "max" else "lt", x, y)
        return select(call("or", better, call("ne", x, x)) if x.dtype.kind == "f" else better, x, y)

    return expr


def _fmod(x: Expr, y: Expr) -> Expr:
    """x - trunc(x / y) y. Floats below 64 bits are computed in F64, where products with quotients below 2^29 are exact;
    a quotient that was rounded up to an integer shows in the sign of the difference, and is corrected."""
    if x.dtype.kind != "f":
        return call("sub", x, call("mul", call("div", x, y), y))
    a, b = cast(x, DType.F64), cast(y, DType.F64)
    zero = like(a, 0.0)
    rest = call("sub", a, call("mul", call("trunc", call("div", a, b)), b))
    size = call("abs", b)
    over = call("or", call("and", call("lt", rest, zero), call("gt", a, zero)),
                call("and", call("gt", rest, zero), call("lt", a, zero)))  # fmt: skip
    fixed = select(over, call("add", rest, select(call("gt", a, zero), size, call("neg", size))), rest)
    whole = call("and", call("eq", size, like(size, math.inf)), call("lt", call("abs", a), like(a, math.inf)))
    return cast(select(whole, a, fixed), x.dtype)


def _mod(x: Expr, y: Expr) -> Expr:
    """The remainder with the sign of the divisor."""
    rest = _fmod(x, y)
    if x.dtype.kind == "u":
        return rest
    zero = like(x, 0)
    signs_differ = call("xor", call("lt", rest, zero), call("lt", y, zero))
    wanted = call("and", call("and", call("ne", rest, zero), call("ne", y, zero)), signs_differ)
    return select(wanted, call("add", rest, y), rest)


def _infinite_expr(x: Expr, negative: bool, positive: bool) -> Expr:
    if negative and positive:
        return call("eq", call("abs", x), like(x, math.inf))
    if negative or positive:
        return call("eq", x, like(x, -math.inf if negative else math.inf))
    return const(False, DType.BOOL)


def _clamped_line(x: Expr, alpha: float, beta: float) -> Expr:
    """Between 0 and 1, which come first: a NaN then stays."""
    line = call("add", call("mul", x, like(x, alpha)), like(x, beta))
    return call("min", like(x, 1.0), call("max", like(x, 0.0), line))


def _gelu_expr(x: Expr) -> Expr:
    half = call("mul", x, like(x, 0.5))
    return call("mul", half, call("add", call("erf", call("mul", x, like(x, math.sqrt(0.5)))), like(x, 1.0)))


def _gelu_tanh_expr(x: Expr) -> Expr:
    """0.5 x (1 + tanh u) is x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    factor = 2 * math.sqrt(2 / math.pi)
    cubic = call("add", call("mul", call("mul", x, x), like(x, factor * 0.044715)), like(x, factor))
    return call("mul", x, call("sigmoid", call("mul", x, cubic)))


def _mish_expr(x: Expr) -> Expr:
    """tanh(log(1 + e)) is n / (n + 2), n = e (e + 2), e = e^x; where e is large it is 1."""
    e = call("exp", call("min", x, like(x, 20.0)))
    n = call("mul", e, call("add", e, like(x, 2.0)))
    return call("mul", x, call("div", n, call("add", n, like(x, 2.0))))


def _celu_expr(x: Expr, alpha: float) -> Expr:
    negative = call("mul", like(x, alpha), call("expm1", call("div", x, like(x, alpha))))
    return select(call("lt", x, like(x, 0.0)), negative, x)


# ---- the table

ROWS: tuple[Row, ...] = (
    unary_row("erf", "f", wide(_erf), named("erf")),
    unary_row("trunc", "f", np.trunc, named("trunc")),
    unary_row("round_even", "f", np.rint, named("round_even")),
    binary_row("maximum", "fiu", np.maximum, _keep_nan("max")),
    binary_row("minimum", "fiu", np.minimum, _keep_nan("min")),
    binary_row("mod", "fiu", _remainder(np.mod), _mod),
    binary_row("fmod", "fiu", _remainder(np.fmod), _fmod),
    unary_row("is_nan", "f", np.isnan, lambda x: call("ne", x, x)),
    unary_row("is_inf", "f", _infinite, _infinite_expr, "detect_negative", "detect_positive"),
    binary_row("xor", "b", np.logical_xor, named("xor")),
    unary_row("bitwise_not", "iu", np.invert, named("not")),
    binary_row("bitwise_and", "iu", np.bitwise_and, named("and")),
    binary_row("bitwise_or", "iu", np.bitwise_or, named("or")),
    binary_row("bitwise_xor", "iu", np.bitwise_xor, named("xor")),
    binary_row("shift_left", "iu", lambda x, y: _shift(x, y, np.left_shift), named("shl")),
    binary_row("shift_right", "iu", lambda x, y: _shift(x, y, np.right_shift), named("shr")),
    unary_row("hard_sigmoid", "f", _clipped_line, _clamped_line, "alpha", "beta"),
    unary_row(
        "hard_swish",
        "f",
        wide(lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
        lambda x: call("mul", x, _clamped_line(x, 1 / 6, 0.5)),
    ),
    unary_row("gelu_erf", "f", wide(lambda x: x * 0.5 * (1 + _erf(x * math.sqrt(0.5)))), _gelu_expr),
    unary_row(
        "gelu_tanh",
        "f",
        wide(lambda x: x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        _gelu_tanh_expr,
    ),
    unary_row("mish", "f", wide(lambda x: x * np.tanh(np.logaddexp(x, 0.0))), _mish_expr),
    unary_row(
        "celu",
        "f",
        lambda x, alpha: np.where(x < 0, alpha * np.expm1(x.astype(np.float64) / alpha), x),
        _celu_expr,
        "alpha",
    ),
    unary_row(
        "softsign",
        "f",
        wide(lambda x: x / (1 + np.abs(x))),
        lambda x: call("div", x, call("add", like(x, 1.0), call("abs", x))),
    ),
)

for _row in ROWS:
    _row.register()
