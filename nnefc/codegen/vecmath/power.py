"""Roots and powers."""

from __future__ import annotations

import math
from fractions import Fraction

from nnefc.codegen.vecmath.common import (
    LN2,
    at_least,
    at_most,
    double_word,
    fast_two_sum,
    flip,
    horner,
    nearest,
    sign_of,
    two_product,
    two_sum,
)
from nnefc.codegen.vecmath.exp_log import expm1_reduced, split_any
from nnefc.codegen.vecmath.provider import F32, F64, Value, Vec

POW = {
    "f32": (0.20000076, 0.1427355, 0.117096394),
    "f64": (
        0.2,
        0.14285714285713444,
        0.11111111111358236,
        0.09090909053012645,
        0.0769231109283338,
        0.06666479924178295,
        0.05888635892880431,
        0.051394217124279336,
        0.060150717770176276,
    ),
}
"""(atanh(s) - s - s**3 / 3) / s**5 in z = s**2, s = (m - 1) / (m + 1), sqrt(1/2) <= m <= sqrt(2)."""

TWO_OVER_LN2 = {"f32": double_word(2 / LN2, F32), "f64": double_word(2 / LN2, F64)}
THIRD = {"f32": double_word(Fraction(1, 3), F32), "f64": double_word(Fraction(1, 3), F64)}


def sqrt(v: Vec, x: Value) -> Value:
    """The square root, correctly rounded."""
    return v.sqrt(x)


def rsqrt(v: Vec, x: Value) -> Value:
    """1 / sqrt(x)."""
    return v.div(v.const(1.0), v.sqrt(x))


Pair = tuple[Value, Value]
"""A number as an unevaluated sum: the first part is the sum rounded."""


def _times(v: Vec, a: Pair, b: Pair) -> Pair:
    p, e = two_product(v, a[0], b[0])
    return fast_two_sum(v, p, v.fma(a[0], b[1], v.fma(a[1], b[0], e)))


def _log2_pair(v: Vec, x: Value) -> Pair:
    """log2 of a positive finite ``x`` with about 12 bits more than the format has.

    log(m) = 2 atanh(s), s = (m - 1) / (m + 1), with the first two terms of the series in pairs.
    """
    name, one = v.format.name, v.const(1.0)
    m, k = split_any(v, x)
    f = v.sub(m, one)
    below, lost = two_sum(v, m, one)
    s = v.div(f, below)
    product, error = two_product(v, s, below)
    remainder = v.sub(v.sub(v.sub(f, product), error), v.mul(s, lost))
    root: Pair = fast_two_sum(v, s, v.div(remainder, below))
    square = _times(v, root, root)
    high, low = THIRD[name]
    tail = v.mul(v.mul(square[0], square[0]), horner(v, square[0], POW[name]))
    third = _times(v, square, (v.const(high), v.const(low)))
    series = fast_two_sum(v, third[0], v.add(third[1], tail))
    total, rest = fast_two_sum(v, one, series[0])
    factor: Pair = (total, v.add(rest, series[1]))
    high, low = TWO_OVER_LN2[name]
    log = _times(v, _times(v, root, (v.const(high), v.const(low))), factor)
    total, rest = two_sum(v, k, log[0])
    return fast_two_sum(v, total, v.add(rest, log[1]))


def _exp2_pair(v: Vec, high: Value, low: Value) -> Value:
    """2**(high + low)."""
    bias = float(v.format.bias)
    t = at_least(v, at_most(v, high, bias + 2.0), -bias - 2.0 * v.format.precision)
    k, i = nearest(v, t, 1.0)
    first, second = double_word(LN2, v.format)
    r = v.sub(t, k)
    r = v.fma(r, v.const(first), v.fma(r, v.const(second), v.mul(low, v.const(first))))
    y = v.scale(v.add(expm1_reduced(v, r), v.const(1.0)), k, i)
    y = v.select(v.gt(high, t), v.const(math.inf), y)
    return v.select(v.lt(high, t), v.const(0.0), y)


def pow(v: Vec, x: Value, y: Value) -> Value:
    """x**y with the special cases of C99, annex F.9.4.4."""
    zero, one, infinity = v.const(0.0), v.const(1.0), v.const(math.inf)
    a = v.abs(x)
    bound = 2.0 ** (v.format.precision + 20)
    exponent = at_least(v, at_most(v, y, bound), -bound)
    edge = v.mor(v.eq(a, zero), v.eq(a, infinity))
    log, rest = _log2_pair(v, v.select(edge, one, a))
    high, error = two_product(v, exponent, log)
    result = _exp2_pair(v, high, v.fma(exponent, rest, error))
    extreme = v.mor(edge, v.eq(v.abs(y), infinity))
    vanishes = v.mxor(v.gt(a, one), v.gt(y, zero))
    result = v.select(extreme, v.select(vanishes, zero, infinity), result)
    return _special_power(v, x, y, v.select(v.eq(a, one), one, result))


def _special_power(v: Vec, x: Value, y: Value, magnitude: Value) -> Value:
    """Give |x|**y its sign; NaN for NaN and for a negative number to a fraction; 1 for x = 1 and y = 0."""
    zero, one, half = v.const(0.0), v.const(1.0), v.mul(y, v.const(0.5))
    whole = v.eq(v.trunc(y), y)
    odd = v.mand(whole, v.ne(v.trunc(half), half))
    result = flip(v, magnitude, v.select(odd, sign_of(v, x), v.iconst(0)))
    finite_negative = v.mand(v.lt(x, zero), v.gt(x, v.const(-math.inf)))
    fractional = v.mand(finite_negative, v.ne(v.trunc(y), y))
    invalid = v.mor(fractional, v.mor(v.ne(x, x), v.ne(y, y)))
    result = v.select(invalid, v.const(math.nan), result)
    return v.select(v.mor(v.eq(x, one), v.eq(y, zero)), one, result)
