"""Vector math of our own: transcendental functions, each written once over a provider of elementwise operations.

Every function takes a provider ``v`` (NumpyVec: arrays; LlvmVec: LLVM vector IR) and vectors of its format, f32 or f64,
and returns one. MAX_ULP states the largest error in units in the last place, over all arguments and with or without
fused multiply-add; docs/vecmath.md tells the methods.
"""

from __future__ import annotations

from collections.abc import Callable

from nnefc.codegen.vecmath import exp_log, hyperbolic, power, special, trig
from nnefc.codegen.vecmath.provider import Value

FUNCTIONS: dict[str, Callable[..., Value]] = {
    "exp": exp_log.exp,
    "expm1": exp_log.expm1,
    "log": exp_log.log,
    "log1p": exp_log.log1p,
    "log2": exp_log.log2,
    "sqrt": power.sqrt,
    "rsqrt": power.rsqrt,
    "pow": power.pow,
    "sin": trig.sin,
    "cos": trig.cos,
    "tan": trig.tan,
    "asin": trig.asin,
    "acos": trig.acos,
    "atan": trig.atan,
    "sinh": hyperbolic.sinh,
    "cosh": hyperbolic.cosh,
    "tanh": hyperbolic.tanh,
    "asinh": hyperbolic.asinh,
    "acosh": hyperbolic.acosh,
    "atanh": hyperbolic.atanh,
    "sigmoid": hyperbolic.sigmoid,
    "erf": special.erf,
}
"""By the operation's name in nnefc.ir.expr; ``pow`` takes two vectors, the others one."""

MAX_ULP: dict[str, float] = {
    "exp": 1.25,
    "expm1": 2.0,
    "log": 1.25,
    "log1p": 1.25,
    "log2": 2.0,
    "sqrt": 0.5,
    "rsqrt": 1.5,
    "pow": 1.5,
    "sin": 1.25,
    "cos": 1.25,
    "tan": 1.25,
    "asin": 1.0,
    "acos": 1.5,
    "atan": 2.0,
    "sinh": 2.0,
    "cosh": 2.0,
    "tanh": 2.0,
    "asinh": 2.0,
    "acosh": 1.25,
    "atanh": 2.0,
    "sigmoid": 2.0,
    "erf": 1.5,
}
"""The bound each function is held to. An ulp of the exact result is that of the format, subnormal numbers included."""
