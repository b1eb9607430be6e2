"""Exponentials and logarithms.

Reductions after W. J. Cody and W. Waite, Software Manual for the Elementary Functions (1980); polynomials from
bench/vecmath_fit.py.
"""

from __future__ import annotations

import math
from fractions import Fraction

from nnefc.codegen.vecmath.common import (
    LN2,
    at_least,
    at_most,
    horner,
    nearest,
    parts,
    power_of_two,
    sign_of,
    small_float,
    two_sum,
)
from nnefc.codegen.vecmath.provider import F32, F64, Value, Vec

LN2_PARTS = {"f32": parts(LN2, F32, 15), "f64": parts(LN2, F64, 42)}
"""ln 2 as two numbers; a binary exponent times the first is exact."""

EXP = {
    "f32": (0.5, 0.16666542, 0.041666444, 0.008366716, 0.0013936907),
    "f64": (
        0.5,
        0.16666666666666677,
        0.041666666666666685,
        0.0083333333333214,
        0.0013888888888872897,
        0.0001984126988675413,
        2.4801587350608906e-05,
        2.7557243535720414e-06,
        2.755725019494403e-07,
        2.5109285341678283e-08,
        2.0922371704269375e-09,
    ),
}
"""(exp(r) - 1 - r) / r**2 on |r| <= ln(2) / 2."""

EXP_RANGE = {"f32": (-104.0, 89.0), "f64": (-746.0, 710.0)}
"""Below, exp rounds to zero; above, to infinity."""

LOG_F32 = (0.33333316, -0.2500081, 0.20002298, -0.16624554, 0.14181031, -0.1312865, 0.12882374, -0.078605205)
"""(log1p(f) - f + f**2 / 2) / f**3 on sqrt(1/2) <= 1 + f <= sqrt(2)."""

LOG_F64 = (
    0.6666666666666734,
    0.399999999994167,
    0.28571428742011085,
    0.22222198606823024,
    0.18183562765639127,
    0.15314086799235724,
    0.1479561638449141,
)
"""2 * (atanh(s) - s) / s**3 in z = s**2, s = f / (2 + f), on the same range."""

SQRT_HALF = {"f32": 0x3F3504F3, "f64": 0x3FE6A09E667F3BCD}
"""The bits of sqrt(1/2)."""


def reduce_exp(v: Vec, x: Value) -> tuple[Value, Value, Value]:
    """r, k, k with x = k * ln(2) + r and |r| <= ln(2) / 2; ``k`` as a float and as an integer."""
    high, low = LN2_PARTS[v.format.name]
    k, i = nearest(v, x, float(1 / LN2))
    return v.fma(k, v.const(-low), v.fma(k, v.const(-high), x)), k, i


def expm1_reduced(v: Vec, r: Value) -> Value:
    """exp(r) - 1 for |r| <= ln(2) / 2."""
    return v.fma(v.mul(r, r), horner(v, r, EXP[v.format.name]), r)


def exp_clamped(v: Vec, x: Value) -> Value:
    """exp(x) where ``x`` lies within EXP_RANGE or is NaN."""
    r, k, i = reduce_exp(v, x)
    return v.scale(horner(v, r, (1.0, 1.0, *EXP[v.format.name])), k, i)


def exp(v: Vec, x: Value) -> Value:
    """e**x."""
    low, high = EXP_RANGE[v.format.name]
    return exp_clamped(v, at_least(v, at_most(v, x, high), low))


def expm1(v: Vec, x: Value) -> Value:
    """e**x - 1."""
    _, high = EXP_RANGE[v.format.name]
    bounded = at_least(v, at_most(v, x, high), -0.75 * (v.format.precision + 2))
    t, k, half = expm1_parts(v, bounded, 1)
    y = v.fma(half, t, v.sub(half, v.const(0.5)))
    y = v.select(v.eq(k, v.const(0.0)), t, v.add(y, y))
    return v.from_bits(v.ior(v.bits(y), sign_of(v, x)))


def expm1_parts(v: Vec, x: Value, less: int) -> tuple[Value, Value, Value]:
    """t, k, s with exp(x) = 2**k * (1 + t) and s = 2**(k - less), which stays finite where exp overflows."""
    r, k, i = reduce_exp(v, x)
    return expm1_reduced(v, r), k, power_of_two(v, v.isub(i, v.iconst(less)))


def split_exponent(v: Vec, x: Value) -> tuple[Value, Value]:
    """m, k with x = m * 2**k and sqrt(1/2) <= m < sqrt(2), for a positive normal ``x``; ``k`` is an integer."""
    offset, fraction = v.iconst(SQRT_HALF[v.format.name]), v.iconst(v.format.fraction)
    i = v.isub(v.bits(x), offset)
    mantissa = v.iand(i, v.iconst((1 << v.format.fraction) - 1))
    return v.from_bits(v.iadd(mantissa, offset)), v.iashr(i, fraction)


def split_any(v: Vec, x: Value) -> tuple[Value, Value]:
    """m, k as of split_exponent for any positive ``x``; ``k`` is a float."""
    subnormal = v.lt(x, v.const(v.format.min_normal))
    m, i = split_exponent(v, v.select(subnormal, v.mul(x, v.const(2.0**v.format.precision)), x))
    k = small_float(v, i)
    return m, v.select(subnormal, v.sub(k, v.const(float(v.format.precision))), k)


def log1p_rest(v: Vec, f: Value) -> Value:
    """log1p(f) - f for sqrt(1/2) <= 1 + f <= sqrt(2)."""
    half_square = v.mul(v.mul(v.const(0.5), f), f)
    if v.format.bits == 32:
        cube = v.mul(v.mul(f, f), f)
        return v.fma(cube, horner(v, f, LOG_F32), v.neg(half_square))
    s = v.div(f, v.add(v.const(2.0), f))
    z = v.mul(s, s)
    return v.sub(v.mul(s, v.fma(z, horner(v, z, LOG_F64), half_square)), half_square)


def join_log(v: Vec, k: Value, f: Value, c: Value | None = None) -> Value:
    """k * ln(2) + log1p(f) + c for a tiny ``c``."""
    high, low = LN2_PARTS[v.format.name]
    small = v.mul(k, v.const(low)) if c is None else v.fma(k, v.const(low), c)
    return v.fma(k, v.const(high), v.add(f, v.add(log1p_rest(v, f), small)))


def special_log(v: Vec, x: Value, y: Value) -> Value:
    """``y``, or what a logarithm of ``x`` is where that is zero, negative, infinite or NaN."""
    edge = v.select(v.eq(x, v.const(0.0)), v.const(-math.inf), v.const(math.nan))
    y = v.select(v.gt(x, v.const(0.0)), y, edge)
    return v.select(v.eq(x, v.const(math.inf)), x, y)


def log(v: Vec, x: Value) -> Value:
    """The natural logarithm: -inf for 0, NaN for negative numbers."""
    m, k = split_any(v, x)
    return special_log(v, x, join_log(v, k, v.sub(m, v.const(1.0))))


def log2(v: Vec, x: Value) -> Value:
    """The logarithm to base 2, exact for powers of two."""
    high = float(v.format.dtype.numpy.type(float(1 / LN2)))
    low = float(1 / LN2 - Fraction(high))
    m, k = split_any(v, x)
    f = v.sub(m, v.const(1.0))
    small = v.fma(f, v.const(low), v.mul(log1p_rest(v, f), v.const(high)))
    return special_log(v, x, v.add(k, v.fma(f, v.const(high), small)))


def log1p(v: Vec, x: Value) -> Value:
    """log(1 + x): -inf for -1, NaN below."""
    y = log1p_plus(v, x, None)
    y = v.select(v.eq(x, v.const(0.0)), x, y)
    edge = v.select(v.eq(x, v.const(-1.0)), v.const(-math.inf), v.const(math.nan))
    return v.select(v.gt(x, v.const(-1.0)), y, edge)


def log1p_plus(v: Vec, x: Value, extra: Value | None, low: Value | None = None) -> Value:
    """log(1 + x + low) + extra * ln(2) for x > -1; ``extra`` is a small integer as a float, ``low`` at most half an ulp
    of ``x``; None for zero."""
    one, zero = v.const(1.0), v.const(0.0)
    u, error = two_sum(v, one, x)
    m, i = split_exponent(v, u)
    k = small_float(v, i)
    direct = v.eq(k, zero)
    f = v.select(direct, x, v.sub(m, one))
    error = v.select(direct, zero, error)
    c = v.div(error if low is None else v.add(error, low), u)
    y = join_log(v, k if extra is None else v.add(k, extra), f, c)
    return v.select(v.eq(x, v.const(math.inf)), x, y)
