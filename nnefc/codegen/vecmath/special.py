"""The error function."""

from __future__ import annotations

from nnefc.codegen.vecmath.common import LN2, at_most, flip, horner, nearest, sign_of
from nnefc.codegen.vecmath.exp_log import EXP
from nnefc.codegen.vecmath.provider import Value, Vec

ERF = {
    "f32": (0.12837917, -0.3761263, 0.11283618, -0.026855126, 0.005190734, -0.00080307614, 7.920368e-05),
    "f64": (
        0.1283791670955126,
        -0.3761263890318409,
        0.11283791670971084,
        -0.02686617064808117,
        0.005223977653657365,
        -0.0008548328615993008,
        0.00012055389922636886,
        -1.4926988263460691e-05,
        1.6483017304031e-06,
        -1.658020789956737e-07,
        1.6182363221233583e-08,
        -1.7166591941359408e-09,
        1.5603714034226554e-10,
    ),
}
"""erf(x) / x - 1 in z = x**2 on 0 <= x <= 1."""

ERFC = {
    "f32": (1.8496056, 2.6389623, 0.8431908, 0.04109864, -0.0088985255, 0.0006444352, 0.0004737749, -0.00013719162),
    "f64": (
        1.8496055099332482,
        2.638967514234783,
        0.8431072563591642,
        0.04156109802898768,
        -0.010033825212953406,
        0.0019779013965668724,
        -0.00023731707392284435,
        -2.6294761931740014e-05,
        2.7196238103147877e-05,
        -9.667900756410508e-06,
        2.128690260524576e-06,
        -2.0257144835087274e-07,
        -5.9145061032233065e-08,
        3.3805653742946525e-08,
        -8.625041678641359e-09,
        1.3371942701172169e-09,
        -1.2115827085003385e-10,
        4.948434570887846e-12,
    ),
}
"""-log(1 - erf(1 + t)) on 0 <= t <= ERF_ONE - 1."""

ERF_ONE = {"f32": 3.95, "f64": 5.95}
"""From here on erf rounds to 1."""


def erf(v: Vec, x: Value) -> Value:
    """The error function: by a polynomial up to 1, as 1 - e**-q(|x|) from there on."""
    name, one = v.format.name, v.const(1.0)
    a = v.abs(x)
    near = v.fma(a, horner(v, v.mul(a, a), ERF[name]), a)
    t = v.sub(at_most(v, a, ERF_ONE[name]), one)
    y = v.neg(horner(v, t, ERFC[name]))
    k, i = nearest(v, y, float(1 / LN2))
    r = v.fma(k, v.const(-float(LN2)), y)
    far = v.sub(one, v.scale(horner(v, r, (1.0, 1.0, *EXP[name])), k, i))
    return flip(v, v.select(v.lt(a, one), near, far), sign_of(v, x))
