"""Functions of f32 for those who ask for speed rather than for the last bits: fewer terms and approximate reciprocals.

Results depend on the target: where there is no instruction for an approximate reciprocal, it is a quotient.
"""

from __future__ import annotations

from collections.abc import Callable

from nnefc.codegen.vecmath.common import LN2, at_least, at_most, flip, horner, nearest, power_of_two, sign_of
from nnefc.codegen.vecmath.provider import Value, Vec
from nnefc.ir.coarse import ERF, ERF_ONE, ERFC, EXP2, EXPM1


def exp2(v: Vec, x: Value, factor: float) -> Value:
    """2**(x * factor)."""
    k, i = nearest(v, x, factor)
    return v.scale(horner(v, v.fma(x, v.const(factor), v.neg(k)), EXP2), k, i)


def exp(v: Vec, x: Value) -> Value:
    """e**x."""
    return exp2(v, at_least(v, at_most(v, x, 89.0), -104.0), float(1 / LN2))


def sigmoid(v: Vec, x: Value) -> Value:
    """1 / (1 + e**-x)."""
    bounded = at_least(v, at_most(v, x, 30.0), -87.0)
    return v.reciprocal(v.add(exp2(v, bounded, float(-1 / LN2)), v.const(1.0)))


def tanh(v: Vec, x: Value) -> Value:
    """The hyperbolic tangent, as t / (t + 2) with t = expm1(2 |x|)."""
    t = expm1_double(v, at_most(v, v.abs(x), 10.0))
    return flip(v, v.mul(t, v.reciprocal(v.add(t, v.const(2.0)))), sign_of(v, x))


def expm1_double(v: Vec, x: Value) -> Value:
    """e**(2 x) - 1."""
    k, i = nearest(v, x, float(2 / LN2))
    r = v.fma(k, v.const(float(-LN2)), v.add(x, x))
    power = power_of_two(v, i)
    return v.fma(power, v.mul(r, horner(v, r, EXPM1)), v.sub(power, v.const(1.0)))


def erf(v: Vec, x: Value) -> Value:
    """The error function: by a polynomial up to 1, as 1 - 2**q(|x|) from there on."""
    a, one = v.abs(x), v.const(1.0)
    near = v.mul(a, horner(v, v.mul(a, a), ERF))
    t = v.sub(at_most(v, a, ERF_ONE), one)
    far = v.sub(one, exp2(v, horner(v, t, ERFC), 1.0))
    return flip(v, v.select(v.lt(a, one), near, far), sign_of(v, x))


FAST: dict[str, Callable[[Vec, Value], Value]] = {"exp": exp, "sigmoid": sigmoid, "tanh": tanh, "erf": erf}
"""By the operation's name, as in FUNCTIONS."""

MAX_RELATIVE_ERROR = {"exp": 2.0**-16, "sigmoid": 2.0**-13, "tanh": 2.0**-13, "erf": 2.0**-14}
"""The bound each function is held to where its result is a normal number of at least 2**-120."""
