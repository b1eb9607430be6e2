"""Hyperbolic functions, their inverses and the logistic function, on exp and log1p."""

from __future__ import annotations

import math

from nnefc.codegen.vecmath.common import (
    at_least,
    at_most,
    flip,
    power_of_two,
    sign_of,
    two_product,
    two_sum,
)
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
    """1 / (1 + e**-x), also where that is subnormal.

    As m - m q with m = min(e**x, 1) and q = m / (1 + e**x): the quotient's errors count by ``m`` only."""
    low, high = EXP_RANGE[v.format.name]
    e = exp_clamped(v, at_least(v, at_most(v, x, high - 1.0), low))
    m = at_most(v, e, 1.0)
    return v.fma(v.neg(m), v.div(m, v.add(e, v.const(1.0))), m)


def tanh(v: Vec, x: Value) -> Value:
    """The hyperbolic tangent, which is t / (t + 2) with t = expm1(2 |x|).

    As h - h q with m = min(t, 2), h = m / 2 and q = m / (t + 2): the quotient's errors count by ``h`` only."""
    a = v.abs(x)
    r, _, i = reduce_exp(v, at_most(v, v.add(a, a), 0.75 * (v.format.precision + 2)))
    power = power_of_two(v, i)
    t = v.fma(power, expm1_reduced(v, r), v.sub(power, v.const(1.0)))
    m = at_most(v, t, 2.0)
    h = v.mul(m, v.const(0.5))
    y = v.fma(v.neg(h), v.div(m, v.add(t, v.const(2.0))), h)
    return flip(v, y, sign_of(v, x))


def sinh(v: Vec, x: Value) -> Value:
    """The hyperbolic sine: with h = expm1(|x|) / 2 and g = h / (2 h + 1) it is h + g, and as well 2 h - 2 h g, in which
    the quotient's errors count little while ``h`` is small; there what h lost is added, times about its derivative."""
    a = at_most(v, v.abs(x), EXP_RANGE[v.format.name][1] + 0.5)
    t, _, quarter = expm1_parts(v, a, 2)
    less = v.sub(quarter, v.const(0.25))
    h = v.fma(quarter, t, less)
    lost = v.fma(quarter, t, v.sub(less, h))
    h = v.add(h, h)
    double = v.add(h, h)
    g = v.div(h, v.add(double, v.const(1.0)))
    near = v.add(double, v.fma(v.neg(double), g, v.mul(lost, v.const(3.2))))
    y = v.select(v.lt(h, v.const(0.5)), near, v.add(h, g))
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
    """The inverse of cosh, as log1p(t + sqrt(t (t + 2))) with t = x - 1, the argument in two words where ``t`` is
    small; NaN below 1."""
    t = v.sub(x, v.const(1.0))
    factor, lost = two_sum(v, t, v.const(2.0))
    product, error = two_product(v, t, factor)
    root = v.sqrt(product)
    square, rest = two_product(v, root, root)
    remainder = v.add(v.sub(v.sub(product, square), rest), v.fma(t, lost, error))
    argument, lost = two_sum(v, t, root)
    low = v.add(lost, v.div(remainder, v.add(root, root)))
    small = v.mand(v.gt(t, v.const(0.0)), v.lt(t, v.const(16.0)))
    y = _log1p_or_double(v, x, argument, v.select(small, low, v.const(0.0)))
    return v.select(v.ge(x, v.const(1.0)), y, v.const(math.nan))


def _log1p_or_double(v: Vec, x: Value, argument: Value, low: Value | None = None) -> Value:
    """log1p(argument + low), or log(2 x) where ``x`` is so large that 1 does not count."""
    big = v.gt(x, v.const(2.0 ** (v.format.precision + 1)))
    extra = v.select(big, v.const(1.0), v.const(0.0))
    return log1p_plus(v, v.select(big, x, argument), extra, low)


def atanh(v: Vec, x: Value) -> Value:
    """The inverse of tanh, as log1p(2 |x| / (1 - |x|)) / 2; NaN beyond 1."""
    a = v.abs(x)
    y = log1p_plus(v, v.div(v.add(a, a), v.sub(v.const(1.0), a)), None)
    y = v.select(v.le(a, v.const(1.0)), v.mul(y, v.const(0.5)), v.const(math.nan))
    return flip(v, y, sign_of(v, x))
