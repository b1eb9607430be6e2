"""Hyperbolic functions, their inverses and the logistic function, on exp and log1p."""

from __future__ import annotations

import math

from nnefc.codegen.vecmath.common import LN2, at_least, at_most, flip, horner, power_of_two, sign_of
from nnefc.codegen.vecmath.exp_log import (
    EXP_RANGE,
    LN2_PARTS,
    expm1_parts,
    expm1_reduced,
    log1p_plus,
    reduce_exp,
)
from nnefc.codegen.vecmath.provider import Value, Vec

COTH = {
    "f32": (0.16666618, -0.002766002),
    "f64": (
        0.16666666666666552,
        -0.0027777777776676377,
        6.61375624529366e-05,
        -1.6533832390701093e-06,
        4.135882153940705e-08,
    ),
}
"""(r * coth(r / 2) - 2) / r**2 in z = r**2 on |r| <= ln(2) / 2."""


def sigmoid(v: Vec, x: Value) -> Value:
    """1 / (1 + e**-x), as n / (n + d) with n / d = e**x.

    x = k * ln(2) + r, n = 2**k * (c + r) and d = c - r with c = r * coth(r / 2), both scaled so that n is normal also
    where the result is not. The low bits of the float ``t`` are k and the scale."""
    high, low = LN2_PARTS[v.format.name]
    least, shift = EXP_RANGE[v.format.name][0], v.format.fraction + 2
    x = at_least(v, at_most(v, x, 0.75 * (v.format.precision + 2)), least)
    offset = v.const(v.format.magic + shift)
    t = v.fma(x, v.const(float(1 / LN2)), offset)
    k = v.sub(t, offset)
    r = v.fma(k, v.const(-low), v.fma(k, v.const(-high), x))
    z = v.mul(r, r)
    c = v.fma(z, horner(v, z, COTH[v.format.name]), v.const(2.0))
    n = v.from_bits(v.iadd(v.bits(v.add(c, r)), v.ishl(v.bits(t), v.iconst(v.format.fraction))))
    return v.div(n, v.fma(v.sub(c, r), v.const(2.0**shift), n))


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
