"""Compute the polynomial coefficients of nnefc/codegen/vecmath.

    python bench/vecmath_fit.py [NAME ...]

Weighted minimax fits by iterated least squares (C. L. Lawson, Contributions to the Theory of Linear Least Maximum
Approximation, thesis, UCLA, 1961) on Chebyshev points. The
coefficients are then rounded to the element type one after another, from the lowest power up, the rest being fitted
again each time, so that the rounding of one is made good by the others. Prints for each table the largest weighted
error as a power of two, and the coefficients from the lowest power up. Needs mpmath (extra ``test``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np

Function = Callable[[mp.mpf], mp.mpf]
mp.mp.dps = 70


@dataclass(frozen=True)
class Fit:
    """A polynomial of ``terms`` coefficients for ``function`` on [low, high]; ``weight`` scales its error."""

    function: Function
    weight: Function
    low: mp.mpf
    high: mp.mpf
    terms: dict[str, int]


def even(series: Function) -> Function:
    """A function of x as one of z = x * x."""
    return lambda z: series(mp.sqrt(z))


LN2 = mp.log(2)
QUARTER_PI = mp.pi / 4
FITS = {
    "EXP": Fit(
        lambda r: (mp.expm1(r) - r) / r**2,
        lambda r: abs(r),
        -LN2 / 2 * mp.mpf("1.002"),
        LN2 / 2 * mp.mpf("1.002"),
        {"f32": 5, "f64": 11},
    ),
    "LOG_F32": Fit(
        lambda f: (mp.log1p(f) - f + f**2 / 2) / f**3,
        lambda f: f**2,
        mp.sqrt(0.5) - 1,
        mp.sqrt(2) - 1,
        {"f32": 8},
    ),
    "LOG_F64": Fit(
        even(lambda s: 2 * (mp.atanh(s) - s) / s**3), lambda z: z, mp.mpf(0), mp.mpf("0.029438"), {"f64": 7}
    ),
    "POW": Fit(
        even(lambda s: (mp.atanh(s) - s - s**3 / 3) / s**5),
        lambda z: z**2,
        mp.mpf(0),
        mp.mpf("0.029438"),
        {"f32": 3, "f64": 9},
    ),
    "SIN": Fit(
        even(lambda r: (mp.sin(r) - r) / r**3), lambda z: z, mp.mpf(0), QUARTER_PI**2 * 1.001, {"f32": 3, "f64": 6}
    ),
    "COS": Fit(
        even(lambda r: (mp.cos(r) - 1 + r**2 / 2) / r**4),
        lambda z: z**2,
        mp.mpf(0),
        QUARTER_PI**2 * 1.001,
        {"f32": 3, "f64": 6},
    ),
    "ASIN": Fit(even(lambda s: (mp.asin(s) - s) / s**3), lambda z: z, mp.mpf(0), mp.mpf("0.25"), {"f32": 5, "f64": 12}),
    "ATAN": Fit(
        even(lambda s: (mp.atan(s) - s) / s**3),
        lambda z: z,
        mp.mpf(0),
        mp.tan(mp.pi / 8) ** 2 * mp.mpf("1.001"),
        {"f32": 5, "f64": 11},
    ),
    "ERF": Fit(even(lambda x: mp.erf(x) / x - 1), lambda z: mp.mpf(1), mp.mpf(0), mp.mpf(1), {"f32": 7, "f64": 13}),
    "ERFC_F32": Fit(lambda t: -mp.log(mp.erfc(t + 1)), lambda t: mp.erfc(t + 1), mp.mpf(0), mp.mpf("2.95"), {"f32": 8}),
    "FAST_EXP2": Fit(
        lambda f: mp.mpf(2) ** f, lambda f: mp.mpf(2) ** -f, mp.mpf("-0.501"), mp.mpf("0.501"), {"f32": 5}
    ),
    "FAST_EXPM1": Fit(
        lambda r: mp.expm1(r) / r,
        lambda r: r / mp.expm1(r),
        -LN2 / 2 * mp.mpf("1.002"),
        LN2 / 2 * mp.mpf("1.002"),
        {"f32": 4},
    ),
    "FAST_ERF": Fit(even(lambda x: mp.erf(x) / x), lambda z: mp.mpf(1), mp.mpf(0), mp.mpf(1), {"f32": 4}),
    "FAST_ERFC": Fit(
        lambda t: mp.log(mp.erfc(t + 1), 2), lambda t: mp.erfc(t + 1), mp.mpf(0), mp.mpf("2.95"), {"f32": 4}
    ),
    "ERFC_F64": Fit(
        lambda t: -mp.log(mp.erfc(t + 1)), lambda t: mp.erfc(t + 1), mp.mpf(0), mp.mpf("4.95"), {"f64": 18}
    ),
}


def minimax(points: list[mp.mpf], values: list[mp.mpf], weights: list[mp.mpf], terms: int) -> list[mp.mpf]:
    """The coefficients of 1 ... x**(terms-1) with nearly the least weighted maximum error on the points."""
    emphasis = [mp.mpf(1)] * len(points)
    for _ in range(12):
        scale = [w**2 * u for w, u in zip(weights, emphasis, strict=True)]
        moments = [mp.fsum(s * x**k for s, x in zip(scale, points, strict=True)) for k in range(2 * terms - 1)]
        right = [mp.fsum(s * y * x**k for s, x, y in zip(scale, points, values, strict=True)) for k in range(terms)]
        normal = mp.matrix([[moments[i + j] for j in range(terms)] for i in range(terms)])
        coefficients = list(mp.lu_solve(normal, mp.matrix(right)))
        errors = [
            abs(w * (y - mp.polyval(coefficients[::-1], x))) for x, y, w in zip(points, values, weights, strict=True)
        ]
        emphasis = [u * e for u, e in zip(emphasis, errors, strict=True)]
        mean = mp.fsum(emphasis) / len(emphasis)
        emphasis = [u / mean for u in emphasis]
    return coefficients


def nearest(x: mp.mpf, dtype: str) -> float:
    """``x`` rounded to the element type."""
    return float(np.float32(float(x))) if dtype == "f32" else float(x)


def fit(task: Fit, dtype: str) -> tuple[list[float], float]:
    """Rounded coefficients and log2 of the largest weighted error they leave."""
    middle, half, count = (task.low + task.high) / 2, (task.high - task.low) / 2, 160
    points = [middle - half * mp.cos(mp.pi * (i + mp.mpf("0.5")) / count) for i in range(count)]
    weights = [task.weight(x) for x in points]
    values = [task.function(x) for x in points]
    terms, rounded = task.terms[dtype], []
    rest, scaled = values, weights
    for k in range(terms):
        c = nearest(minimax(points, rest, scaled, terms - k)[0], dtype)
        rounded.append(c)
        rest = [(y - c) / x for x, y in zip(points, rest, strict=True)]
        scaled = [w * abs(x) for x, w in zip(points, scaled, strict=True)]
    largest = max(abs(w * y) for w, y in zip(scaled, rest, strict=True))
    return rounded, float(mp.log(largest, 2))


def main(names: list[str]) -> None:
    for name in names or FITS:
        for dtype in FITS[name].terms:
            coefficients, error = fit(FITS[name], dtype)
            shown = [str(np.float32(c)) if dtype == "f32" else repr(c) for c in coefficients]
            if [nearest(mp.mpf(s), dtype) for s in shown] != coefficients:
                raise ArithmeticError(f"{name} {dtype}: the printed coefficients do not read back")
            print(f"{name} {dtype}: error 2^{error:.1f}\n    ({', '.join(shown)})", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
