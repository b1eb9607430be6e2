"""Functions of f32 of which nothing but codes of 8 bits is made: 14 to 16 bits, by fewer terms.

Quotients are products with reciprocals of full precision, so that targets differ as little as in other functions.
"""

from __future__ import annotations

from collections.abc import Callable

from nnefc.codegen.vecmath import fast
from nnefc.codegen.vecmath.common import LN2, at_least, at_most, flip, sign_of
from nnefc.codegen.vecmath.provider import Value, Vec


def _reciprocal(v: Vec, a: Value) -> Value:
    """1 / a for a number that is neither tiny nor huge: an approximation, and a step of Newton's."""
    r = v.reciprocal(a)
    return v.mul(r, v.fma(v.neg(a), r, v.const(2.0)))


def sigmoid(v: Vec, x: Value) -> Value:
    """1 / (1 + e**-x)."""
    bounded = at_least(v, at_most(v, x, 30.0), -80.0)
    return _reciprocal(v, v.add(fast.exp2(v, bounded, float(-1 / LN2)), v.const(1.0)))


def tanh(v: Vec, x: Value) -> Value:
    """The hyperbolic tangent, as t / (t + 2) with t = expm1(2 |x|)."""
    t = fast.expm1_double(v, at_most(v, v.abs(x), 10.0))
    return flip(v, v.mul(t, _reciprocal(v, v.add(t, v.const(2.0)))), sign_of(v, x))


COARSE: dict[str, Callable[[Vec, Value], Value]] = {
    "coarse_exp": fast.exp,
    "coarse_sigmoid": sigmoid,
    "coarse_tanh": tanh,
    "coarse_erf": fast.erf,
}
"""By the operation's name in nnefc.ir.expr."""

MAX_RELATIVE_ERROR = {
    "coarse_exp": 2.0**-16,
    "coarse_sigmoid": 2.0**-16,
    "coarse_tanh": 2.0**-14,
    "coarse_erf": 2.0**-14,
}
"""The bound each function is held to where its result is a number of at least 2**-110."""
