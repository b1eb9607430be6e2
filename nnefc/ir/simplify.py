"""Scalar expressions in fewer or cheaper operations, with the same value but for rounding.

Rules are of two kinds: exact ones (numbers are folded, identities dropped, a quotient by a power of two becomes a
product), and recognised functions, which replace several functions by one that is as good: 1 / (1 + exp(-u)) and
1 + tanh(u) by way of sigmoid, and tanh(log(1 + exp(u))), the heart of mish, as a quotient of polynomials of exp(u).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from nnefc.ir.expr import Expr, call, const
from nnefc.ir.types import DType

HALVES = frozenset({DType.F16, DType.BF16})
"""Rounded after every operation, so only exact rules apply."""
SATURATED = 20.0
"""From here on tanh(log(1 + exp(u))) is 1 also in F64."""


def simplified(expr: Expr) -> Expr:
    """The expression after all rules, from the leaves up; the same object where none fits."""
    args = tuple(map(simplified, expr.args))
    if any(a is not b for a, b in zip(args, expr.args, strict=True)):
        expr = Expr(expr.op, args, expr.dtype, expr.value)
    for rule in _RULES:
        found = rule(expr)
        if found is not None:
            return simplified(found)
    return expr


def _number(expr: Expr) -> float | None:
    return float(expr.value) if expr.op == "const" and expr.value is not None and expr.dtype.kind == "f" else None


def _folded(expr: Expr) -> Expr | None:
    """An operation on numbers alone is done now."""
    if not expr.args or any(a.op != "const" for a in expr.args):
        return None
    value = expr.evaluate([]).item() if expr.dtype not in HALVES else None
    return const(value, expr.dtype) if isinstance(value, (bool, int, float)) and math.isfinite(value) else None


def _identity(expr: Expr) -> Expr | None:
    """x * 1, x / 1, x - 0 and -(-x)."""
    if expr.op == "neg" and expr.args[0].op == "neg":
        return expr.args[0].args[0]
    if len(expr.args) != 2:
        return None
    x, y = expr.args
    neutral = {"mul": 1.0, "div": 1.0, "sub": 0.0}.get(expr.op)
    if neutral is not None and _number(y) == neutral:
        return x
    return y if expr.op == "mul" and _number(x) == 1.0 else None


def _exact_quotient(expr: Expr) -> Expr | None:
    """x / 2**k as a product."""
    divisor = _number(expr.args[1]) if expr.op == "div" else None
    if divisor is None or not divisor or math.isinf(divisor) or expr.dtype in HALVES:
        return None
    significand, exponent = math.frexp(divisor)
    exact = abs(significand) == 0.5 and abs(exponent) < 100
    return call("mul", expr.args[0], const(1 / divisor, expr.dtype)) if exact else None


def _clamped_twice(expr: Expr) -> Expr | None:
    """max(max(x, a), b) and min(min(x, a), b) for numbers."""
    if expr.op not in ("max", "min") or expr.args[0].op != expr.op:
        return None
    (inner, b) = expr.args
    x, a = inner.args
    if _number(a) is None or _number(b) is None:
        return None
    return call(expr.op, x, call(expr.op, a, b))


def _scaled_twice(expr: Expr) -> Expr | None:
    """x * a * b for numbers."""
    if expr.op != "mul" or expr.args[0].op != "mul" or expr.dtype in HALVES:
        return None
    (inner, b) = expr.args
    x, a = inner.args
    first, second = _number(a), _number(b)
    if first is None or second is None:
        return None
    product = first * second
    safe = product == 0.0 or 1e-30 < abs(product) < 1e30
    return call("mul", x, const(product, expr.dtype)) if safe else None


def _logistic(expr: Expr) -> Expr | None:
    """1 / (1 + exp(-u)) and exp(u) / (1 + exp(u))."""
    if expr.op != "div" or expr.dtype in HALVES:
        return None
    above, power = expr.args[0], _one_plus(expr.args[1])
    if power is None or power.op != "exp":
        return None
    (u,) = power.args
    if above == power:
        return call("sigmoid", u)
    return call("sigmoid", _negated(u)) if _number(above) == 1.0 else None


def _negated(u: Expr) -> Expr:
    """-u; of a product with a number, that number's sign is turned."""
    if u.op == "neg":
        return u.args[0]
    for k in (0, 1) if u.op == "mul" else ():
        value = _number(u.args[k])
        if value is not None:
            return call("mul", u.args[1 - k], const(-value, u.dtype))
    return call("neg", u)


def _one_plus(expr: Expr) -> Expr | None:
    """u of 1 + u."""
    if expr.op != "add":
        return None
    x, y = expr.args
    return y if _number(x) == 1.0 else x if _number(y) == 1.0 else None


def _factors(expr: Expr) -> Iterator[Expr]:
    if expr.op == "mul":
        for a in expr.args:
            yield from _factors(a)
    else:
        yield expr


def _half_tanh(expr: Expr) -> Expr | None:
    """c * ... * (1 + tanh(u)) as 2 c * ... * sigmoid(2 u)."""
    if expr.op != "mul" or expr.dtype in HALVES:
        return None
    factors = list(_factors(expr))
    for k, factor in enumerate(factors):
        inner = _one_plus(factor)
        if inner is not None and inner.op == "tanh":
            u = call("mul", inner.args[0], const(2.0, expr.dtype))
            scale = 2.0 * math.prod(n for n in map(_number, factors) if n is not None)
            rest = [f for f in (*factors[:k], *factors[k + 1 :]) if _number(f) is None]
            return _product([*rest, call("sigmoid", u)], scale)
    return None


def _product(factors: list[Expr], scale: float) -> Expr:
    result, *rest = factors
    for factor in rest:
        result = call("mul", result, factor)
    return result if scale == 1.0 else call("mul", result, const(scale, result.dtype))


def _mish(expr: Expr) -> Expr | None:
    """tanh(log(1 + e)) with e = exp(u), as n / (n + 2) with n = e (e + 2)."""
    if expr.op != "tanh" or expr.dtype in HALVES:
        return None
    (log,) = expr.args
    power = _one_plus(log.args[0]) if log.op == "log" else log.args[0] if log.op == "log1p" else None
    if power is None or power.op != "exp":
        return None
    e = call("exp", call("min", const(SATURATED, expr.dtype), power.args[0]))
    n = call("mul", e, call("add", e, const(2.0, expr.dtype)))
    return call("div", n, call("add", n, const(2.0, expr.dtype)))


_RULES: tuple[Callable[[Expr], Expr | None], ...] = (
    _folded,
    _identity,
    _exact_quotient,
    _clamped_twice,
    _scaled_twice,
    _logistic,
    _half_tanh,
    _mish,
)
