"""Circular functions for arguments of any size, and their inverses."""

from __future__ import annotations

import math

from nnefc.codegen.vecmath.common import (
    PI,
    double_word,
    fast_two_sum,
    flip,
    horner,
    nearest,
    parts,
    sign_of,
    small_float,
    two_product,
)
from nnefc.codegen.vecmath.provider import F32, F64, Format, Value, Vec

Pair = tuple[Value, Value]
"""A number as an unevaluated sum, the larger part first."""

SIN = {
    "f32": (-0.16666655, 0.008332191, -0.000195186),
    "f64": (
        -0.16666666666666632,
        0.008333333333322476,
        -0.00019841269829839296,
        2.7557313698669254e-06,
        -2.505075869683904e-08,
        1.5896808042138964e-10,
    ),
}
"""(sin(r) - r) / r**3 in z = r**2 on |r| <= pi / 4."""

COS = {
    "f32": (0.041666646, -0.0013887307, 2.4431818e-05),
    "f64": (
        0.0416666666666666,
        -0.001388888888887446,
        2.4801587289657002e-05,
        -2.755731439530054e-07,
        2.0875728324556354e-09,
        -1.1359876654135249e-11,
    ),
}
"""(cos(r) - 1 + r**2 / 2) / r**4 in z = r**2 on |r| <= pi / 4."""

ASIN = {
    "f32": (0.16666754, 0.07495253, 0.045475908, 0.024152853, 0.042210422),
    "f64": (
        0.16666666666665383,
        0.07500000000342887,
        0.044642856823617356,
        0.030381959325599377,
        0.022371753659674948,
        0.017359769053840617,
        0.013884618592142238,
        0.012173148829794738,
        0.006511409059070268,
        0.019572410899859963,
        -0.01629176852063937,
        0.031957413975359866,
    ),
}
"""(asin(s) - s) / s**3 in z = s**2 on 0 <= s <= 1/2."""

ATAN = {
    "f32": (-0.33333316, 0.19998531, -0.14244464, 0.10599725, -0.060913906),
    "f64": (
        -0.333333333333332,
        0.1999999999995377,
        -0.14285714280212405,
        0.11111110784160433,
        -0.090908977755667,
        0.07692060493667575,
        -0.0666310678855226,
        0.05847906134235458,
        -0.05039366725166472,
        0.03806579343720351,
        -0.017908194278763282,
    ),
}
"""(atan(s) - s) / s**3 in z = s**2 on |s| <= tan(pi / 8)."""

QUADRANT_BITS = {"f32": 11, "f64": 20}
"""Up to so many bits of the number of quarter turns, the reduction by subtraction is used."""


def _quarter_parts(format: Format) -> tuple[float, ...]:
    p, n = format.precision, QUADRANT_BITS[format.name]
    return parts(PI / 2, format, p - 1 - n, p, 2 * p - n)


QUARTER = {"f32": _quarter_parts(F32), "f64": _quarter_parts(F64)}
"""pi / 2 in four parts; a multiple of QUADRANT_BITS bits times each of the first three is exact."""

HALF_PI = {"f32": double_word(PI / 2, F32), "f64": double_word(PI / 2, F64)}
QUARTER_PI = {"f32": double_word(PI / 4, F32), "f64": double_word(PI / 4, F64)}


def _limbs(format: Format) -> tuple[int, ...]:
    """Two zeros, then the fraction of 2 / pi in limbs of half the format's width."""
    width = format.bits // 2
    count = (format.bias + 6 * width) // width + 4
    digits = int((2 / PI) * 2 ** (width * count))
    return (0, 0, *((digits >> (width * (count - 1 - i))) & ((1 << width) - 1) for i in range(count)))


LIMBS = {"f32": _limbs(F32), "f64": _limbs(F64)}


def reduce_quarters(v: Vec, a: Value) -> tuple[Value, Value, Value]:
    """r, e, k with a = k * pi / 2 + r + e modulo a turn, |r| <= pi / 4 (nearly) and ``e`` below half an ulp of ``r``.

    ``a`` is not negative; ``k`` is an integer of which the last two bits count. Cody and Waite's subtraction, with
    parts so long that all but the last are exact; above QUADRANT_BITS the method of Payne and Hanek.
    """
    name = v.format.name
    first, second, third, fourth = QUARTER[name]
    k, i = nearest(v, a, float(2 / PI))
    r = v.fma(k, v.const(-second), v.fma(k, v.const(-first), a))
    r, e = fast_two_sum(v, r, v.mul(k, v.const(-third)))
    r, e = fast_two_sum(v, r, v.fma(k, v.const(-fourth), e))
    big = v.gt(a, v.const(math.floor(2.0 ** QUADRANT_BITS[name] * 1.57)))
    fast = (r, e, i)

    def slow() -> list[Value]:
        exact = _payne_hanek(v, v.select(big, a, v.const(2.0**40)))
        return [v.select(big, s, f) for s, f in zip(exact, fast, strict=True)]

    r, e, i = v.where_any(big, slow, fast)
    return r, e, i


def _payne_hanek(v: Vec, a: Value) -> tuple[Value, Value, Value]:
    """As reduce_quarters, for arguments above the first part's range.

    M. Payne and R. Hanek, Radian Reduction for Trigonometric Functions, SIGNUM Newsletter 18 (1983): only those bits of
    2 / pi are multiplied that matter modulo four and within the wanted precision. Limbs are half an integer wide, so
    that products are exact; five of them follow the binary point.
    """
    width = v.format.bits // 2
    n, mask = v.iconst(width), v.iconst((1 << width) - 1)
    limbs, window = _significand_limbs(v, a)
    sums: list[Value] = [v.iconst(0)] * 7
    for p in range(6):
        for i in range(3):
            product = v.imul(limbs[i], window[i + p])
            sums[p + 1] = v.iadd(sums[p + 1], v.iand(product, mask))
            sums[p] = v.iadd(sums[p], v.ilshr(product, n))
    for p in range(6, 1, -1):
        sums[p - 1] = v.iadd(sums[p - 1], v.ilshr(sums[p], n))
        sums[p] = v.iand(sums[p], mask)
    up = v.iand(v.ilshr(sums[2], v.iconst(width - 1)), v.iconst(1))
    inverse = v.iand(v.isub(v.iconst(0), up), mask)
    high, low = v.const(0.0), v.const(0.0)
    for p in range(2, 7):
        limb = v.mul(small_float(v, v.ixor(sums[p], inverse)), v.const(2.0 ** (-width * (p - 1))))
        high, low = fast_two_sum(v, high, v.add(low, limb))
    half, rest = HALF_PI[v.format.name]
    r, e = two_product(v, high, v.const(half))
    r, e = fast_two_sum(v, r, v.fma(high, v.const(rest), v.fma(low, v.const(half), e)))
    sign = v.ishl(up, v.iconst(v.format.bits - 1))
    return flip(v, r, sign), flip(v, e, sign), v.iadd(sums[1], up)


def _significand_limbs(v: Vec, a: Value) -> tuple[list[Value], list[Value]]:
    """The significand of ``a``, shifted to a limb boundary, as three limbs, and the eight limbs of 2 / pi it needs."""
    format = v.format
    width, fraction = format.bits // 2, format.fraction
    n, mask = v.iconst(width), v.iconst((1 << width) - 1)
    bits = v.bits(a)
    exponent = v.isub(v.ilshr(bits, v.iconst(fraction)), v.iconst(format.bias + fraction - width))
    m = v.ior(v.iand(bits, v.iconst((1 << fraction) - 1)), v.iconst(1 << fraction))
    shift = v.iand(exponent, v.iconst(width - 1))
    low = v.ishl(v.iand(m, mask), shift)
    middle = v.iadd(v.ishl(v.ilshr(m, n), shift), v.ilshr(low, n))
    first = v.ilshr(exponent, v.iconst(width.bit_length() - 1))
    table = f"two_over_pi.{format.name}"
    window = [v.lookup(table, LIMBS[format.name], v.iadd(first, v.iconst(d))) for d in range(8)]
    return [v.iand(low, mask), v.iand(middle, mask), v.ilshr(middle, n)], window


def _sin_cos_reduced(v: Vec, r: Value, e: Value) -> tuple[Pair, Pair]:
    """sin and cos of r + e for |r| <= pi / 4 and ``e`` below an ulp of it, each as two words to be added."""
    one, name = v.const(1.0), v.format.name
    z = v.mul(r, r)
    s = v.fma(v.mul(r, z), horner(v, z, SIN[name]), e)
    half = v.mul(z, v.const(0.5))
    w = v.sub(one, half)
    rest = v.fma(v.mul(z, z), horner(v, z, COS[name]), v.neg(v.mul(r, e)))
    return (r, s), (w, v.add(v.sub(v.sub(one, w), half), rest))


def _circular(v: Vec, x: Value) -> tuple[Pair, Pair, Value]:
    """sin and cos of the rest of |x|, and the number of quarter turns; the first two are NaN for infinities."""
    a = v.abs(x)
    r, e, k = reduce_quarters(v, a)
    r = v.select(v.lt(a, v.const(math.inf)), r, v.const(math.nan))
    return *_sin_cos_reduced(v, r, e), k


def _turned(v: Vec, s: Pair, c: Pair, k: Value) -> Value:
    """sin(k * pi / 2 + r) from sin(r) and cos(r)."""
    odd = v.ieq(v.iand(k, v.iconst(1)), v.iconst(1))
    negative = v.ishl(v.iand(k, v.iconst(2)), v.iconst(v.format.bits - 2))
    return flip(v, v.select(odd, v.add(*c), v.add(*s)), negative)


def sin(v: Vec, x: Value) -> Value:
    """The sine; NaN for infinities."""
    return flip(v, _turned(v, *_circular(v, x)), sign_of(v, x))


def cos(v: Vec, x: Value) -> Value:
    """The cosine; NaN for infinities."""
    s, c, k = _circular(v, x)
    return _turned(v, s, c, v.iadd(k, v.iconst(1)))


def tan(v: Vec, x: Value) -> Value:
    """The tangent, of sine and cosine in two words; NaN for infinities."""
    s, c, k = _circular(v, x)
    k = v.iand(k, v.iconst(1))
    odd = v.ieq(k, v.iconst(1))
    (sh, sl), (ch, cl) = fast_two_sum(v, *s), fast_two_sum(v, *c)
    above, below = v.select(odd, ch, sh), v.select(odd, sh, ch)
    y = v.div(above, below)
    product, error = two_product(v, y, below)
    rest = v.fma(v.neg(y), v.select(odd, sl, cl), v.select(odd, cl, sl))
    rest = v.add(v.sub(v.sub(above, product), error), rest)
    turned = v.add(y, v.div(rest, below))
    turned = v.select(v.lt(v.abs(above), v.const(v.format.min_normal * 2.0**v.format.precision)), y, turned)
    return flip(v, turned, v.ixor(v.ishl(k, v.iconst(v.format.bits - 1)), sign_of(v, x)))


def _asin_reduced(v: Vec, a: Value) -> tuple[Value, Value, Value, Value]:
    """Whether a > 1/2; and two words s, rest: their sum is asin(a), or asin(sqrt((1 - a) / 2)) there."""
    big = v.gt(a, v.const(0.5))
    z = v.select(big, v.mul(v.sub(v.const(1.0), a), v.const(0.5)), v.mul(a, a))
    s = v.select(big, v.sqrt(z), a)
    rest = v.mul(v.mul(s, z), horner(v, z, ASIN[v.format.name]))
    return big, z, s, rest


def _far_asin(v: Vec, z: Value, s: Value, rest: Value) -> Value:
    """pi / 2 - 2 (s + rest) for s = sqrt(z), with the rounding error of the root taken off."""
    high, low = HALF_PI[v.format.name]
    double = v.add(s, s)
    square, error = two_product(v, s, s)
    root = v.div(v.sub(v.sub(z, square), error), double)
    rest = v.add(rest, v.select(v.gt(s, v.const(0.0)), root, s))
    w, e = fast_two_sum(v, v.const(high), v.neg(double))
    return v.add(w, v.add(v.sub(e, v.add(rest, rest)), v.const(low)))


def asin(v: Vec, x: Value) -> Value:
    """The inverse of sin, in [-pi / 2, pi / 2]; NaN beyond 1."""
    big, z, s, rest = _asin_reduced(v, v.abs(x))
    return flip(v, v.select(big, _far_asin(v, z, s, rest), v.add(s, rest)), sign_of(v, x))


def acos(v: Vec, x: Value) -> Value:
    """The inverse of cos, in [0, pi]; NaN beyond 1."""
    high, low = HALF_PI[v.format.name]
    negative = v.lt(x, v.const(0.0))
    big, _, s, rest = _asin_reduced(v, v.abs(x))
    y = v.add(s, rest)
    double = v.add(y, y)
    opposite = v.sub(v.const(2.0 * high), v.sub(double, v.const(2.0 * low)))
    near = v.sub(v.const(high), v.sub(flip(v, y, sign_of(v, x)), v.const(low)))
    return v.select(big, v.select(negative, opposite, double), near)


def atan(v: Vec, x: Value) -> Value:
    """The inverse of tan, in [-pi / 2, pi / 2]."""
    a, one, zero = v.abs(x), v.const(1.0), v.const(0.0)
    middle, far = v.gt(a, v.const(math.tan(math.pi / 8))), v.gt(a, v.const(math.tan(3 * math.pi / 8)))
    above = v.select(far, v.const(-1.0), v.select(middle, v.sub(a, one), a))
    below = v.select(far, a, v.select(middle, v.add(a, one), one))
    s = v.div(above, below)
    z = v.mul(s, s)
    (h1, l1), (h2, l2) = QUARTER_PI[v.format.name], HALF_PI[v.format.name]
    high = v.select(far, v.const(h2), v.select(middle, v.const(h1), zero))
    low = v.select(far, v.const(l2), v.select(middle, v.const(l1), zero))
    rest = v.fma(v.mul(s, z), horner(v, z, ATAN[v.format.name]), low)
    return flip(v, v.add(high, v.add(s, rest)), sign_of(v, x))
