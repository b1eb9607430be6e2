"""Constants of any precision, and the arithmetic that functions share: error-free sums and products, scaling."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from nnefc.codegen.vecmath.provider import Format, Value, Vec

PI = Fraction(
    int(
        "3243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89452821E638D01377BE5466CF34E90C6CC0AC29B7C97"
        "C50DD3F84D5B5B54709179216D5D98979FB1BD1310BA698DFB5AC2FFD72DBD01ADFB7B8E1AFED6A267E96BA7C9045F12C7F9924A1994"
        "7B3916CF70801F2E2858EFC16636920D871574E69A458FEA3F4933D7E0D95748F728EB658718BCD5882154AEE7B54A41DC25A59B5",
        16,
    ),
    1 << 1280,
)
LN2 = Fraction(0xB17217F7D1CF79ABC9E3B39803F2F6AF40F343267298B62D8A0D175B8BAAFA2B, 1 << 256)


def parts(x: Fraction, format: Format, *grids: int) -> tuple[float, ...]:
    """``x`` as a sum: one part per grid, a multiple of 2**-grid, and the rest, each a number of the format."""
    found = []
    for grid in grids:
        part = Fraction(int(x * 2**grid), 2**grid)
        found.append(float(part))
        x -= part
    return (*found, rounded(x, format))


def rounded(x: Fraction, format: Format) -> float:
    """The positive ``x`` rounded to the format's precision."""
    exponent = format.precision
    while x and x * Fraction(2) ** exponent < 2 ** (format.precision - 1):
        exponent += 1
    while x * Fraction(2) ** exponent >= 2**format.precision:
        exponent -= 1
    return float(round(x * Fraction(2) ** exponent) / Fraction(2) ** exponent)


def double_word(x: Fraction, format: Format) -> tuple[float, float]:
    """The positive ``x`` as the nearest number of the format and the rest, rounded."""
    high = rounded(x, format)
    rest = x - Fraction(high)
    return high, rounded(rest, format) if rest >= 0 else -rounded(-rest, format)


def horner(v: Vec, x: Value, coefficients: Sequence[float]) -> Value:
    """The polynomial with these coefficients, from the lowest power up."""
    y = v.const(coefficients[-1])
    for c in coefficients[-2::-1]:
        y = v.fma(y, x, v.const(c))
    return y


def two_sum(v: Vec, a: Value, b: Value) -> tuple[Value, Value]:
    """The rounded sum and its error, exactly (D. E. Knuth, TAOCP 2, 4.2.2)."""
    s = v.add(a, b)
    t = v.sub(s, a)
    return s, v.add(v.sub(a, v.sub(s, t)), v.sub(b, t))


def fast_two_sum(v: Vec, a: Value, b: Value) -> tuple[Value, Value]:
    """The rounded sum and its error, exactly, where ``a`` is zero or not smaller than ``b`` (T. J. Dekker, 1971)."""
    s = v.add(a, b)
    return s, v.sub(b, v.sub(s, a))


def two_product(v: Vec, a: Value, b: Value) -> tuple[Value, Value]:
    """The rounded product and its error, exactly where neither over- nor underflows (Dekker, 1971, without fma)."""
    p = v.mul(a, b)
    if v.fused:
        return p, v.fma(a, b, v.neg(p))
    (ah, al), (bh, bl) = _halves(v, a), _halves(v, b)
    e = v.sub(v.sub(v.sub(p, v.mul(ah, bh)), v.mul(al, bh)), v.mul(ah, bl))
    return p, v.sub(v.mul(al, bl), e)


def _halves(v: Vec, a: Value) -> tuple[Value, Value]:
    t = v.mul(a, v.const(2.0 ** ((v.format.precision + 1) // 2) + 1))
    high = v.sub(t, v.sub(t, a))
    return high, v.sub(a, high)


def nearest(v: Vec, x: Value, scale: float) -> tuple[Value, Value]:
    """x * scale rounded to an integer near it, as a float and as an integer; right below 2**(fraction - 2)."""
    magic = v.format.magic
    t = v.fma(x, v.const(scale), v.const(magic))
    return v.sub(t, v.const(magic)), v.isub(v.bits(t), v.iconst(_bits(magic, v.format)))


def small_float(v: Vec, i: Value) -> Value:
    """An integer below 2**(fraction - 2) in magnitude as a float."""
    magic = v.format.magic
    return v.sub(v.from_bits(v.iadd(i, v.iconst(_bits(magic, v.format)))), v.const(magic))


def _bits(power: float, format: Format) -> int:
    """The bits of 1.5 times a power of two."""
    exponent = int(power / 1.5).bit_length() - 1
    return (exponent + format.bias << format.fraction) | (1 << (format.fraction - 1))


def power_of_two(v: Vec, k: Value) -> Value:
    """2**k for an integer ``k`` that gives a normal number."""
    return v.from_bits(v.ishl(v.iadd(k, v.iconst(v.format.bias)), v.iconst(v.format.fraction)))


def sign_of(v: Vec, x: Value) -> Value:
    """The sign bit of ``x``, the other bits zero."""
    return v.iand(v.bits(x), v.iconst(v.format.sign))


def flip(v: Vec, x: Value, sign: Value) -> Value:
    """``x``, negated where the sign bit ``sign`` is set."""
    return v.from_bits(v.ixor(v.bits(x), sign))


def at_most(v: Vec, x: Value, bound: float) -> Value:
    """``x``, or the bound where ``x`` is greater; NaN stays."""
    return v.select(v.gt(x, v.const(bound)), v.const(bound), x)


def at_least(v: Vec, x: Value, bound: float) -> Value:
    """``x``, or the bound where ``x`` is less; NaN stays."""
    return v.select(v.lt(x, v.const(bound)), v.const(bound), x)
