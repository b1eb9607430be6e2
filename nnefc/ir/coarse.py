"""Functions of F32 of which nothing but codes of 8 bits is made: 14 to 16 bits, defined by their operations.

Each operation is rounded to F32 on its own, to nearest even. So NumPy and every machine compute the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

Value = Any
"""A vector of floats, of integers of their width, or of truth values, as what computes represents it."""

EXP2 = (0.9999992, 0.6931216, 0.24024805, 0.055919513, 0.00956851)
"""2**f on |f| <= 1/2."""
EXPM1 = (0.999985, 0.50001264, 0.16767123, 0.041666374)
"""(exp(r) - 1) / r on |r| <= ln(2) / 2."""
ERF = (1.1283517, -0.37521043, 0.10802705, -0.01849496)
"""erf(x) / x in z = x**2 on 0 <= x <= 1."""
ERFC = (-2.6684365, -3.8060873, -1.2250956, -0.040317584)
"""log2(1 - erf(1 + t)) on 0 <= t <= ERF_ONE - 1."""
ERF_ONE = 3.95
"""From here on erf rounds to 1."""

_LN2 = math.log(2)
_MAGIC = 1.5 * 2.0**23
_MAGIC_BITS = 0x4B400000
"""Adding this number rounds to the nearest integer, which then is in the low bits."""


class Operations(Protocol):
    """Elementwise operations on vectors of floats, each rounded on its own. ``scale(x, k, i)`` is x * 2**k, rounded
    once, for 0.5 <= x <= 2; ``k`` and ``i`` are one integer as a float and as an integer. Shifts are to the left."""

    def const(self, x: float) -> Value: ...
    def iconst(self, x: int) -> Value: ...
    def add(self, a: Value, b: Value) -> Value: ...
    def sub(self, a: Value, b: Value) -> Value: ...
    def mul(self, a: Value, b: Value) -> Value: ...
    def div(self, a: Value, b: Value) -> Value: ...
    def abs(self, a: Value) -> Value: ...
    def lt(self, a: Value, b: Value) -> Value: ...
    def gt(self, a: Value, b: Value) -> Value: ...
    def select(self, mask: Value, a: Value, b: Value) -> Value: ...
    def bits(self, a: Value) -> Value: ...
    def from_bits(self, a: Value) -> Value: ...
    def iadd(self, a: Value, b: Value) -> Value: ...
    def isub(self, a: Value, b: Value) -> Value: ...
    def iand(self, a: Value, b: Value) -> Value: ...
    def ixor(self, a: Value, b: Value) -> Value: ...
    def ishl(self, a: Value, n: Value) -> Value: ...
    def scale(self, x: Value, k: Value, i: Value) -> Value: ...


class Arrays:
    """Operations on NumPy arrays, or scalars, of floats ``float`` and signed integers ``int`` of the same width. Run it
    under ``np.errstate(all="ignore")``."""

    def __init__(self, float: type[np.floating], int: type[np.signedinteger], unsigned: type[np.unsignedinteger]):
        self.float, self.int, self.unsigned = float, int, unsigned

    def const(self, x: float) -> Value:
        return self.float(x)

    def iconst(self, x: int) -> Value:
        return self.unsigned(x % (1 << 8 * self.int().itemsize)).astype(self.int)

    def add(self, a: Value, b: Value) -> Value:
        return a + b

    def sub(self, a: Value, b: Value) -> Value:
        return a - b

    def mul(self, a: Value, b: Value) -> Value:
        return a * b

    def div(self, a: Value, b: Value) -> Value:
        return np.divide(a, b)

    def abs(self, a: Value) -> Value:
        return np.abs(a)

    def lt(self, a: Value, b: Value) -> Value:
        return a < b

    def gt(self, a: Value, b: Value) -> Value:
        return a > b

    def select(self, mask: Value, a: Value, b: Value) -> Value:
        return np.where(mask, a, b)

    def bits(self, a: Value) -> Value:
        return a.view(self.int)

    def from_bits(self, a: Value) -> Value:
        return a.view(self.float)

    def iadd(self, a: Value, b: Value) -> Value:
        return a + b

    def isub(self, a: Value, b: Value) -> Value:
        return a - b

    def iand(self, a: Value, b: Value) -> Value:
        return a & b

    def ixor(self, a: Value, b: Value) -> Value:
        return a ^ b

    def ishl(self, a: Value, n: Value) -> Value:
        return a << n

    def scale(self, x: Value, k: Value, i: Value) -> Value:
        return np.ldexp(x, i)


def _at_most(v: Operations, x: Value, bound: float) -> Value:
    return v.select(v.gt(x, v.const(bound)), v.const(bound), x)


def _at_least(v: Operations, x: Value, bound: float) -> Value:
    return v.select(v.lt(x, v.const(bound)), v.const(bound), x)


def _polynomial(v: Operations, x: Value, coefficients: Sequence[float]) -> Value:
    """By Horner's scheme, of coefficients from the lowest power up."""
    y = v.const(coefficients[-1])
    for c in coefficients[-2::-1]:
        y = v.add(v.mul(y, x), v.const(c))
    return y


def _nearest(v: Operations, x: Value) -> tuple[Value, Value]:
    """``x``, below 2**21 in magnitude, rounded to an integer, as a float and as an integer."""
    t = v.add(x, v.const(_MAGIC))
    return v.sub(t, v.const(_MAGIC)), v.isub(v.bits(t), v.iconst(_MAGIC_BITS))


def _exp2(v: Operations, x: Value) -> Value:
    k, i = _nearest(v, x)
    return v.scale(_polynomial(v, v.sub(x, k), EXP2), k, i)


def _signed(v: Operations, y: Value, x: Value) -> Value:
    """``y``, which is not negative, with the sign of ``x``."""
    return v.from_bits(v.ixor(v.bits(y), v.iand(v.bits(x), v.iconst(1 << 31))))


def exp(v: Operations, x: Value) -> Value:
    """e**x."""
    return _exp2(v, v.mul(_at_least(v, _at_most(v, x, 89.0), -104.0), v.const(1 / _LN2)))


def sigmoid(v: Operations, x: Value) -> Value:
    """1 / (1 + e**-x)."""
    bounded = _at_least(v, _at_most(v, x, 30.0), -80.0)
    one = v.const(1.0)
    return v.div(one, v.add(_exp2(v, v.mul(bounded, v.const(-1 / _LN2))), one))


def tanh(v: Operations, x: Value) -> Value:
    """The hyperbolic tangent, as t / (t + 2) with t = expm1(2 |x|)."""
    a = _at_most(v, v.abs(x), 10.0)
    twice = v.add(a, a)
    k, i = _nearest(v, v.mul(twice, v.const(1 / _LN2)))
    r = v.sub(twice, v.mul(k, v.const(_LN2)))
    power = v.from_bits(v.ishl(v.iadd(i, v.iconst(127)), v.iconst(23)))
    t = v.add(v.mul(power, v.mul(r, _polynomial(v, r, EXPM1))), v.sub(power, v.const(1.0)))
    return _signed(v, v.div(t, v.add(t, v.const(2.0))), x)


def erf(v: Operations, x: Value) -> Value:
    """The error function: by a polynomial up to 1, as 1 - 2**q(|x|) from there on."""
    a, one = v.abs(x), v.const(1.0)
    near = v.mul(a, _polynomial(v, v.mul(a, a), ERF))
    far = v.sub(one, _exp2(v, _polynomial(v, v.sub(_at_most(v, a, ERF_ONE), one), ERFC)))
    return _signed(v, v.select(v.lt(a, one), near, far), x)


FUNCTIONS: dict[str, Callable[[Operations, Value], Value]] = {
    "coarse_exp": exp,
    "coarse_sigmoid": sigmoid,
    "coarse_tanh": tanh,
    "coarse_erf": erf,
}
"""By the operation's name in nnefc.ir.expr."""

MAX_RELATIVE_ERROR = {
    "coarse_exp": 2.0**-16,
    "coarse_sigmoid": 2.0**-16,
    "coarse_tanh": 2.0**-14,
    "coarse_erf": 2.0**-14,
}
"""The bound each function is held to where its result is a number of at least 2**-110."""


def evaluate(name: str, x: np.ndarray) -> np.ndarray:
    """The function ``name`` of FUNCTIONS of an array of F32, or of a scalar, as an array."""
    with np.errstate(all="ignore"):
        return np.asarray(FUNCTIONS[name](Arrays(np.float32, np.int32, np.uint32), np.asarray(x, np.float32)))
