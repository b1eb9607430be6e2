"""References and arguments for the vector functions, and the measure of error."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import numpy as np

from nnefc.codegen.vecmath import FUNCTIONS
from nnefc.codegen.vecmath.provider import Format
from nnefc.ir.expr import Expr, arg, call
from nnefc.ir.types import DType

WIDE: dict[str, Callable[..., np.ndarray]] = {
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": lambda x: np.frompyfunc(math.erf, 1, 1)(x).astype(np.float64),
    "sigmoid": lambda x: np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x))),
    "pow": np.power,
}
"""f64 references for the f32 functions, where NumPy has no function of that name; infinities are exact in them."""

EXACT: dict[str, Callable[..., mpmath.mpf]] = {
    "log2": lambda x: mpmath.log(x, 2),
    "rsqrt": lambda x: 1 / mpmath.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "pow": lambda x, y: mpmath.power(x, y),
}
"""References of any precision, where mpmath has no function of that name."""

EDGES = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 2.5, -2.5, 1e30, -1e30]


def wide(name: str) -> Callable[..., np.ndarray]:
    """The f64 reference of a function."""
    return WIDE.get(name) or getattr(np, name)


def expression(name: str, dtype: DType) -> tuple[Expr, list[DType]]:
    """The function as an expression, and the types of its arguments."""
    inputs = [dtype] * (2 if name == "pow" else 1)
    return call(name, *(arg(i, dtype) for i in range(len(inputs)))), inputs


def names() -> list[str]:
    """The names of the functions of one argument."""
    return [name for name in FUNCTIONS if name != "pow"]


def error_f32(got: np.ndarray, wide_reference: np.ndarray) -> np.ndarray:
    """The error of f32 results in ulp, infinite where only one is NaN; overflow counts as 2**128."""
    r, g = (np.where(np.isinf(x), np.copysign(2.0**128, x), x) for x in (wide_reference, got.astype(np.float64)))
    r = np.clip(r, -(2.0**128), 2.0**128)
    _, exponent = np.frexp(r)
    error = np.abs(g - r) * np.exp2(24.0 - np.maximum(exponent, -125))
    return np.where(np.isnan(g) | np.isnan(r), np.where(np.isnan(g) == np.isnan(r), 0.0, np.inf), error)


def error_exact(name: str, got: float, *x: float, format: Format) -> float:
    """The error of one finite result of finite arguments in ulp of the format, against a reference of 160 bits."""
    with mpmath.workprec(160):
        r = (EXACT.get(name) or getattr(mpmath, name))(*(mpmath.mpf(float(v)) for v in x))
        top = mpmath.mpf(2) ** (format.bias + 1)
        if isinstance(r, mpmath.mpc) or mpmath.isnan(r):
            return 0.0 if math.isnan(got) else math.inf
        if math.isnan(got):
            return math.inf
        r = max(-top, min(top, r))
        g = mpmath.sign(got) * top if math.isinf(got) else mpmath.mpf(float(got))
        exponent = max(mpmath.frexp(r)[1], 2 - format.bias)
        return float(abs(g - r) / mpmath.mpf(2) ** (exponent - format.precision))


def drawn(name: str, format: Format, count: int, seed: int) -> np.ndarray:
    """Awkward arguments: edges, any bit pattern, several scales, and for circular functions multiples of pi / 4."""
    rng = np.random.default_rng(seed)
    kind = format.dtype.numpy.type
    patterns = rng.integers(0, 2**format.bits, count, dtype=np.uint32 if format.bits == 32 else np.uint64).view(kind)
    far = 120.0 if format.bits == 32 else 800.0
    groups = [
        np.array(EDGES),
        patterns,
        rng.uniform(-1, 1, count),
        rng.uniform(-10, 10, count),
        rng.uniform(-far, far, count),
        1 + rng.normal(0, 1e-3, count),
        np.exp(rng.uniform(-12, 12, count)),
    ]
    if name in ("sin", "cos", "tan"):
        groups += [rng.integers(0, 2**22, count) * (math.pi / 4), rng.uniform(0, 4000, count)]
    with np.errstate(over="ignore"):
        return np.concatenate([g.astype(kind) for g in groups])


def drawn_powers(format: Format, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bases and exponents: each pair of edges, pairs whose power is representable, and small whole exponents."""
    rng = np.random.default_rng(seed)
    kind = format.dtype.numpy.type
    a, b = (g.ravel() for g in np.meshgrid(EDGES, EDGES))
    scale = format.bias * math.log(2)
    x = np.concatenate([np.exp(rng.uniform(-scale, scale, count)), np.abs(1 + rng.normal(0, 1e-2, count))])
    x = np.abs(x.astype(kind)).astype(np.float64)
    with np.errstate(all="ignore"):
        y = rng.uniform(-1.05, 1.03, len(x)) * scale / np.log(x)
        whole = rng.integers(-20, 20, count)
        bases = np.concatenate([a, x, rng.uniform(-9, 9, count)]).astype(kind)
        return bases, np.concatenate([b, y, whole]).astype(kind)
