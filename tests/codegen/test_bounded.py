"""Bounds of expressions hold, and what is converted to integers by one instruction is what saturating gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_emit import OTHERS, TARGETS, assert_same, awkward, emitted
from vectorjit import Compiled

from nnefc.codegen.intervals import Interval, every, interval_of
from nnefc.codegen.objectfile import RUNTIME_SYMBOLS, undefined_symbols
from nnefc.codegen.target import Target
from nnefc.ir.expr import ROUNDING, Expr, arg, call, cast, const
from nnefc.ir.types import DType

F32, I32, U8 = DType.F32, DType.I32, DType.U8
INTEGERS = [t for t in DType if t.kind in "iu"]

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def cut(x: Expr, low: float | None, high: float | None) -> Expr:
    x = x if low is None else call("max", x, const(low, x.dtype))
    return x if high is None else call("min", x, const(high, x.dtype))


def cases() -> dict[str, Expr]:
    """Casts of floats that are bounded on both sides, above only, below only, just beyond a type, or not at all."""
    x = arg(0, F32)
    ends = [(0, 255), (-128, 127), (-0.99, 255.99), (-1, 256), (None, 255), (None, 2.0**31), (None, 2147483520.0)]
    ends += [(0, None), (-(2.0**31), 2147483520.0), (-(2.0**31) - 256, 0), (None, None), (-3.5, 3.5), (0, 3e9)]
    found = {}
    for n, (low, high) in enumerate(ends):
        for op in ("none", "round_even", "floor"):
            value = cut(x, low, high)
            value = value if op == "none" else call(op, value)
            for goal in (DType.I8, U8, DType.U16, I32, DType.U32):
                found[f"{n}_{op}_{goal}"] = cast(value, goal)
    code = call("add", cast(call("round_even", cut(x, None, 248)), I32), const(7, I32))
    found["code"] = cast(call("max", code, const(0, I32)), U8)
    reversed_min = call("min", const(255, F32), x)  # a NaN stays one
    found["nan"] = cast(reversed_min, I32)
    return found


@pytest.mark.parametrize("text", [*TARGETS, "x86_64-unknown-linux-gnu:x86-64-v3", *OTHERS])
def test_bounded_casts_are_numpys(text: str) -> None:
    target = Target.parse(text)
    lanes = target.vector_bytes // 4
    found = {f"{name}_{n}": (e, [F32], n) for name, e in cases().items() for n in {lanes, lanes // 2}}
    code = Compiled(found, target)
    assert set(undefined_symbols(code.object)) <= RUNTIME_SYMBOLS
    if target.arch != Target.host().arch or target.isa - Target.host().isa:
        return
    x = np.resize(np.concatenate([awkward(F32), np.arange(-300, 300, 0.25, np.float32)]), 64 * 60)
    for name, (expr, _, _) in found.items():
        assert_same(code(name, x), expr.evaluate([x]), name)


def test_codes_take_one_conversion() -> None:
    """Bounded above, a float is converted without the comparisons that saturating takes."""
    assert "fptosi.sat" not in emitted(cases()["code"], F32) and "ps2dq" in emitted(cases()["code"], F32)
    assert "fptosi.sat" in emitted(cases()["nan"], F32)


def bounds(expr: Expr) -> Interval:
    return every(expr.dtype) if expr.op == "arg" else interval_of(expr, [bounds(a) for a in expr.args])


def drawn(rng: np.random.Generator, depth: int) -> Expr:
    """An expression of what bounds are known of, and of what is not."""
    if depth == 0 or rng.random() < 0.15:
        dtype = [F32, DType.F64, *INTEGERS][int(rng.integers(2 + len(INTEGERS)))]
        if rng.random() < 0.3:
            return const(int(rng.integers(0, 100)), dtype)
        return arg(0, dtype)
    x = drawn(rng, depth - 1)
    kind = int(rng.integers(6))
    if kind == 0:
        return cast(x, [F32, DType.F16, *INTEGERS][int(rng.integers(2 + len(INTEGERS)))])
    if kind == 1:
        return call(sorted(ROUNDING)[int(rng.integers(len(ROUNDING)))], x)
    y = cast(drawn(rng, depth - 1), x.dtype) if rng.random() < 0.5 else const(int(rng.integers(-9, 300)) % 128, x.dtype)
    pair = (x, y) if rng.random() < 0.7 else (y, x)
    return call(("min", "max", "add", "sub", "mul")[int(rng.integers(5))], *pair)


def test_bounds_hold() -> None:
    rng = np.random.default_rng(5)
    tight = 0
    for _ in range(3000):
        expr = drawn(rng, 5)
        found = bounds(expr)
        (dtype,) = {a.dtype for a in _arguments(expr)} if len({a.dtype for a in _arguments(expr)}) == 1 else (None,)
        if dtype is None:
            continue
        y = expr.evaluate([awkward(dtype)]).astype(np.float64 if expr.dtype.kind == "f" else object)
        missing = [v for v in y.reshape(-1) if not (found.nan if v != v else found.low <= v <= found.high)]
        assert not missing, (str(expr), found, missing)
        tight += found != every(expr.dtype)
    assert tight > 300


def _arguments(expr: Expr) -> list[Expr]:
    return [expr] if expr.op == "arg" else [a for e in expr.args for a in _arguments(e)]


def test_bounds_of_rounded_values() -> None:
    x = call("min", arg(0, F32), const(2.5, F32))
    assert bounds(call("round_even", x)) == Interval(-math.inf, 2.0)
    assert bounds(cast(call("round", x), I32)) == Interval(-(2**31), 3)
    assert bounds(cast(arg(0, F32), U8)) == Interval(0, 255)
