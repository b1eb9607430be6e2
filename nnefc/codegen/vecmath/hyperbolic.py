"""Hyperbolic functions, their inverses and the logistic function, on exp and log1p."""

from __future__ import annotations

import math

from nnefc.codegen.vecmath.common import at_least, at_most, flip, power_of_two, sign_of
from nnefc.codegen.vecmath.exp_log import (
    EXP_RANGE,
    exp_clamped,
    expm1_parts,
    expm1_reduced,
    log1p_plus,
    reduce_exp,
)
from nnefc.codegen.vecmath.provider import Value, Vec


def sigmoid(v: Vec, x: Value) -> Value:
    """1 / (1 + e**-x), also where that is subnormal."""
    low, _ = EXP_RANGE[v.format.name]
    e = exp_clamped(v, at_least(v, v.neg(v.abs(x)), low))
    one = v.const(1.0)
    return v.div(v.select(v.lt(x, v.const(0.0)), e, one), v.add(one, e))


def tanh(v: Vec, x: Value) -> Value:
    """The hyperbolic tangent, as t / (t + 2) with t = expm1(2 |x|)."""
    a = v.abs(x)
    r, _, i = reduce_exp(v, at_most(v, v.add(a, a), 0.75 * (v.format.precision + 2)))
    power = power_of_two(v, i)
    t = v.fma(power, expm1_reduced(v, r), v.sub(power, v.const(1.0)))
    return flip(v, v.div(t, v.add(t, v.const(2.0))), sign_of(v, x))


def sinh(v: Vec, x: Value) -> Value:
    """The hyperbolic sine, as h + h / (2 h + 1) with h = expm1(|x|) / 2."""
    a = at_most(v, v.abs(x), EXP_RANGE[v.format.name][1] + 0.5)
    t, _, quarter = expm1_parts(v, a, 2)
    h = v.fma(quarter, t, v.sub(quarter, v.const(0.25)))
    h = v.add(h, h)
    y = v.add(h, v.div(h, v.add(v.add(h, h), v.const(1.0))))
    y = v.select(v.gt(h, v.const(2.0 ** (v.format.precision + 1))), h, y)
    y = v.select(v.lt(a, v.const(2.0 ** -(v.format.precision // 2))), a, y)
    return flip(v, y, sign_of(v, x))


def cosh(v: Vec, x: Value) -> Value:
    """The hyperbolic cosine, as h + 1 / (4 h) with h = e**|x| / 2."""
    t, _, quarter = expm1_parts(v, at_most(v, v.abs(x), EXP_RANGE[v.format.name][1] + 0.5), 2)
    h = v.fma(quarter, t, quarter)
    h = v.add(h, h)
    return v.add(h, v.div(v.const(0.25), h))


def asinh(v: Vec, x: Value) -> Value:
    """The inverse of sinh, as log1p(|x| + x**2 / (1 + sqrt(1 + x**2)))."""
    a, one = v.abs(x), v.const(1.0)
    square = v.mul(a, a)
    argument = v.add(a, v.div(square, v.add(one, v.sqrt(v.add(square, one)))))
    return flip(v, _log1p_or_double(v, a, argument), sign_of(v, x))


def acosh(v: Vec, x: Value) -> Value:
    """The inverse of cosh, as log1p(t + sqrt(t (t + 2))) with t = x - 1; NaN below 1."""
    t = v.sub(x, v.const(1.0))
    argument = v.add(t, v.sqrt(v.mul(t, v.add(t, v.const(2.0)))))
    y = _log1p_or_double(v, x, argument)
    return v.select(v.ge(x, v.const(1.0)), y, v.const(math.nan))


def _log1p_or_double(v: Vec, x: Value, argument: Value) -> Value:
    """log1p(argument), or log(2 x) where ``x`` is so large that 1 does not count."""
    big = v.gt(x, v.const(2.0 ** (v.format.precision + 1)))
    extra = v.select(big, v.const(1.0), v.const(0.0))
    return log1p_plus(v, v.select(big, x, argument), extra)


def atanh(v: Vec, x: Value) -> Value:
    """The inverse of tanh, as log1p(2 |x| / (1 - |x|)) / 2; NaN beyond 1."""
    a = v.abs(x)
    y = log1p_plus(v, v.div(v.add(a, a), v.sub(v.const(1.0), a)), None)
    y = v.select(v.le(a, v.const(1.0)), v.mul(y, v.const(0.5)), v.const(math.nan))
    return flip(v, y, sign_of(v, x))
