"""Hyperbolic functions, their inverses and the logistic function, on exp and log1p."""

from __future__ import annotations

import math

from nnefc.codegen.vecmath.common import (
    LN2,
    at_least,
    at_most,
    flip,
    horner,
    rounded,
    sign_of,
    two_product,
    two_sum,
)
from nnefc.codegen.vecmath.exp_log import (
    EXP,
    EXP_RANGE,
    LN2_PARTS,
    exp_clamped,
    expm1_parts,
    log1p_plus,
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
    """The hyperbolic tangent, which is u / (u + 1) with u = expm1(2 |x|) / 2 = p (r + r**2 q(r)) + (p - 1) / 2, where
    |x| = k ln(2) / 2 + r and p = 2**k.

    As h - h q with h = min(u, 1) and q = h / (u + 1): the quotient's errors count by ``h`` only."""
    a = at_most(v, v.abs(x), 0.375 * (v.format.precision + 2))
    biased = v.const(v.format.magic + v.format.bias)
    shifted = v.fma(a, v.const(float(2 / LN2)), biased)  # its low bits are the exponent field of p
    power = v.from_bits(v.ishl(v.bits(shifted), v.iconst(v.format.fraction)))
    r = _less_half_logarithms(v, a, v.sub(shifted, biased))
    terms = [c * 2.0 ** (i + 1) for i, c in enumerate(EXP[v.format.name])]
    half = v.const(0.5)
    u = v.fma(power, v.fma(v.mul(r, r), horner(v, r, terms), r), v.fma(power, half, v.neg(half)))
    h = at_most(v, u, 1.0)
    return flip(v, v.fma(v.neg(h), v.div(h, v.add(u, v.const(1.0))), h), sign_of(v, x))


def _less_half_logarithms(v: Vec, x: Value, k: Value) -> Value:
    """x - k ln(2) / 2 for a small integer ``k``. One number does where products are exact before a sum and ln(2), as it
    is in f32, lies near a number of the format: within a sixteenth of an ulp."""
    if v.fused and v.format.bits == 32:
        return v.fma(k, v.const(-rounded(LN2, v.format) / 2), x)
    high, low = LN2_PARTS[v.format.name]
    return v.fma(k, v.const(-low / 2), v.fma(k, v.const(-high / 2), x))


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
