"""The NumPy meaning of the vector operations: the same sequence of roundings, on arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from nnefc.codegen.vecmath.provider import Format, Value
from nnefc.ir.coarse import Arrays


class NumpyVec(Arrays):
    """Vec on NumPy arrays (or scalars) of ``format``; integers are signed. Run it under ``np.errstate(all="ignore")``.

    With ``fused``, ``fma`` rounds once, as the instruction does; else it is a product and a sum.
    """

    def __init__(self, format: Format, *, fused: bool = True):
        small = format.bits == 32
        super().__init__(format.dtype.numpy.type, np.int32 if small else np.int64, np.uint32 if small else np.uint64)
        self.format = format
        self.fused = fused

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        if not self.fused:
            return a * b + c
        return _fma32(a, b, c) if self.format.bits == 32 else _fma64(a, b, c)

    def neg(self, a: Value) -> Value:
        return -a

    def sqrt(self, a: Value) -> Value:
        return np.sqrt(a)

    def floor(self, a: Value) -> Value:
        return np.floor(a)

    def ceil(self, a: Value) -> Value:
        return np.ceil(a)

    def trunc(self, a: Value) -> Value:
        return np.trunc(a)

    def le(self, a: Value, b: Value) -> Value:
        return a <= b

    def ge(self, a: Value, b: Value) -> Value:
        return a >= b

    def eq(self, a: Value, b: Value) -> Value:
        return a == b

    def ne(self, a: Value, b: Value) -> Value:
        return a != b

    def mand(self, a: Value, b: Value) -> Value:
        return a & b

    def mor(self, a: Value, b: Value) -> Value:
        return a | b

    def mxor(self, a: Value, b: Value) -> Value:
        return a ^ b

    def imul(self, a: Value, b: Value) -> Value:
        return a * b

    def ior(self, a: Value, b: Value) -> Value:
        return a | b

    def ilshr(self, a: Value, n: Value) -> Value:
        return (a.view(self.unsigned) >> n.view(self.unsigned)).view(self.int)

    def iashr(self, a: Value, n: Value) -> Value:
        return a >> n

    def ieq(self, a: Value, b: Value) -> Value:
        return a == b

    def reciprocal(self, a: Value) -> Value:
        return np.divide(self.const(1.0), a)

    def lookup(self, name: str, table: tuple[int, ...], index: Value) -> Value:
        return np.asarray(table, self.unsigned).view(self.int)[index]

    def where_any(
        self, mask: Value, then: Callable[[], Sequence[Value]], otherwise: Sequence[Value]
    ) -> Sequence[Value]:
        return then() if np.any(mask) else otherwise


def _two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _odd_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b in f64, rounded to odd: an inexact sum ends in a set bit, so that rounding it again does no harm."""
    s, e = _two_sum(a, b)
    bits = np.asarray(s).view(np.int64)
    toward = np.where((e > 0) == (s > 0), 1, -1)
    adjust = np.isfinite(s) & (e != 0) & (bits & 1 == 0)
    return np.where(adjust, bits + toward, bits).view(np.float64)


def _fma32(a: Value, b: Value, c: Value) -> np.ndarray:
    """a * b + c in f32, rounded once: the product is exact in f64, and the sum is rounded to odd before to f32."""
    product = np.asarray(a, np.float64) * np.asarray(b, np.float64)
    return _odd_sum(product, np.asarray(c, np.float64)).astype(np.float32)


def _split(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    t = a * 134217729.0
    high = t - (t - a)
    return high, a - high


def _fma64(a: Value, b: Value, c: Value) -> np.ndarray:
    """a * b + c in f64, rounded once.

    S. Boldo, G. Melquiond, Emulation of FMA and Correctly Rounded Sums: Proved Algorithms Using Rounding to Odd, IEEE
    Transactions on Computers 57 (2008); elements near the ends of the exponent range go through rational numbers.
    """
    a, b, c = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (a, b, c)))
    (ah, al), (bh, bl) = _split(a), _split(b)
    high = a * b
    low = al * bl - (((high - ah * bh) - al * bh) - ah * bl)
    th, tl = _two_sum(c, low)
    vh, vl = _two_sum(high, th)
    result = np.asarray(vh + _odd_sum(tl, vl))
    size, other = np.abs(high), np.abs(c)
    exact = (a == 0) | (b == 0)
    plain = exact | ~np.isfinite(a) | ~np.isfinite(b) | ~np.isfinite(c)
    negligible = ~plain & (size < 2.0**-900) & (other > 2.0**-800)
    result = np.where(plain, high + c, np.where(negligible, c, result))
    hard = ~plain & ~negligible & ((size < 2.0**-900) | (size > 2.0**960) | (other > 2.0**960))
    hard |= ~plain & ((np.abs(a) > 2.0**960) | (np.abs(b) > 2.0**960))
    for i in zip(*np.nonzero(hard), strict=True) if result.ndim else [()] * int(hard):
        result[i] = _fma_rational(float(a[i]), float(b[i]), float(c[i]))
    return result


def _fma_rational(a: float, b: float, c: float) -> float:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    try:
        return float(exact) if exact else a * b + c
    except OverflowError:
        return float("inf") if exact > 0 else float("-inf")
