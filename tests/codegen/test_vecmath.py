"""Vector functions: their error, their special values, and that NumPy and every target compute the same bits."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from skips import skip
from vecmath_cases import (
    EDGES,
    drawn,
    drawn_powers,
    error_exact,
    error_f32,
    expression,
    names,
    wide,
)
from vectorjit import Compiled

from nnefc.codegen.objectfile import RUNTIME_SYMBOLS, undefined_symbols
from nnefc.codegen.target import Target
from nnefc.codegen.vecmath import FUNCTIONS, MAX_ULP
from nnefc.codegen.vecmath.common import LN2, PI
from nnefc.codegen.vecmath.fast import FAST, MAX_RELATIVE_ERROR
from nnefc.codegen.vecmath.numpy_vec import NumpyVec
from nnefc.codegen.vecmath.provider import F32, F64, FORMATS, Format
from nnefc.ir import coarse
from nnefc.ir.expr import COARSE
from nnefc.ir.types import DType

HOST = "host"
TARGETS = [HOST, "x86_64-unknown-linux-gnu:x86-64-v2", "x86_64-unknown-linux-gnu:x86-64"]
OTHERS = ["aarch64-unknown-linux-gnu", "riscv64-unknown-linux-gnu:generic-rv64+m+a+f+d+c+v"]
DTYPES = [DType.F32, DType.F64]

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@functools.cache
def compiled(text: str) -> Compiled:
    """All functions for a target, 64 bytes of lanes at a time."""
    target = Target.parse(text)
    table = {f"{n}_{t}": (*expression(n, t), 64 // t.size) for n in FUNCTIONS for t in DTYPES}
    return Compiled(table, target)


def runnable(text: str) -> Compiled:
    if Target.parse(text).arch != Target.host().arch:
        skip("running code for other CPUs")
    return compiled(text)


def same_bits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    unsigned = np.dtype(f"u{a.itemsize}")
    return (a.view(unsigned) == b.view(unsigned)) | (np.isnan(a) & np.isnan(b))


def arguments(name: str, format: Format, count: int, seed: int) -> tuple[np.ndarray, ...]:
    return drawn_powers(format, count, seed) if name == "pow" else (drawn(name, format, count, seed),)


@pytest.mark.parametrize("text", [*TARGETS, *OTHERS])
def test_no_library_function_is_called(text: str) -> None:
    assert set(undefined_symbols(compiled(text).object)) <= RUNTIME_SYMBOLS


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_and_targets_compute_the_same_bits(name: str, dtype: DType) -> None:
    """The fused NumPy meaning is the host's code; the other one that of both x86 targets without fma."""
    x = arguments(name, FORMATS[dtype], 700, seed=1)
    for text in TARGETS:
        code, target = runnable(text), Target.parse(text)
        expected = FUNCTIONS[name](NumpyVec(FORMATS[dtype], fused=target.fma), *x)
        assert expected.dtype == dtype.numpy
        got = code(f"{name}_{dtype}", *x)
        wrong = ~same_bits(got, expected)
        assert not wrong.any(), (text, [v[wrong][:3] for v in (*x, got, expected)])


def dense(name: str, step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every step-th f32 number of all, and the f64 results there."""
    block = step << 20
    for start in range(0, 1 << 32, block):
        x = np.arange(start, min(start + block, 1 << 32), step, dtype=np.uint32).view(np.float32)
        yield x, wide(name)(x.astype(np.float64))


def check_dense(name: str, step: int) -> None:
    for x, reference in dense(name, step):
        results = [runnable(text)(f"{name}_f32", x) for text in TARGETS[:1]]
        results.append(FUNCTIONS[name](NumpyVec(F32, fused=False), x))
        for got in results:
            error = error_f32(got, reference)
            worst = int(np.argmax(error))
            assert error[worst] <= MAX_ULP[name], (x[worst], got[worst], reference[worst])
            if math.isfinite(x[worst]):
                assert error_exact(name, got[worst], x[worst], format=F32) == pytest.approx(error[worst], abs=0.01)


@pytest.mark.parametrize("name", names())
def test_error_over_all_f32(name: str) -> None:
    """Every 4093rd bit pattern; the worst is measured again against a reference of higher precision."""
    check_dense(name, 4093)


@pytest.mark.conformance
@pytest.mark.parametrize("name", names())
def test_error_over_all_f32_densely(name: str) -> None:
    check_dense(name, 251)


def test_error_of_f32_powers() -> None:
    x, y = drawn_powers(F32, 60_000, seed=2)
    reference = np.power(x.astype(np.float64), y.astype(np.float64))
    for got in (runnable(HOST)("pow_f32", x, y), FUNCTIONS["pow"](NumpyVec(F32, fused=False), x, y)):
        error = error_f32(got, reference)
        worst = int(np.argmax(error))
        assert error[worst] <= MAX_ULP["pow"], (x[worst], y[worst], got[worst], reference[worst])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_of_f64(name: str) -> None:
    x = arguments(name, F64, 150, seed=3)
    for got in (runnable(HOST)(f"{name}_f64", *x), FUNCTIONS[name](NumpyVec(F64, fused=False), *x)):
        for y, *values in zip(got, *x, strict=True):
            if all(map(math.isfinite, values)) and not poles(name, *values):
                assert error_exact(name, y, *values, format=F64) <= MAX_ULP[name], (values, y)


@pytest.mark.parametrize("text", TARGETS[:2])
@pytest.mark.parametrize("name", FAST)
def test_fast_functions_keep_their_bound(name: str, text: str) -> None:
    """Every 4093rd f32 pattern, where the result is a number that is not tiny; NaN stays, infinities have limits."""
    target = replace(Target.parse(text), fast_math=True)
    code = Compiled({name: (*expression(name, DType.F32), 16)}, target)
    for x, exact in dense(name, 4093):
        got = code(name, x).astype(np.float64)
        counts = np.isfinite(exact) & (np.abs(exact) >= 2.0**-120) & (np.abs(exact) < 2.0**127)
        error = np.abs(got[counts] - exact[counts]) / np.abs(exact[counts])
        assert error.max(initial=0) <= MAX_RELATIVE_ERROR[name]
        assert (np.isnan(got) == np.isnan(exact)).all()
    ends = np.array([-np.inf, np.inf, 0.0, -0.0], np.float32)
    np.testing.assert_allclose(code(name, ends), wide(name)(ends.astype(np.float64)), rtol=2.0**-13, atol=2.0**-120)


@pytest.mark.parametrize("text", TARGETS)
@pytest.mark.parametrize("name", COARSE)
def test_coarse_functions_are_their_meaning_and_keep_their_bound(name: str, text: str) -> None:
    """Every 4093rd f32 pattern: the same bits on all targets; a bound where the result is a number that is not tiny;
    infinities have limits, and NaN stays."""
    operation = COARSE[name]
    code = Compiled({name: (*expression(operation, DType.F32), 16)}, Target.parse(text))
    for x, exact in dense(name, 4093):
        got, meant = code(name, x), coarse.evaluate(operation, x)
        assert (np.isnan(got) == np.isnan(exact)).all()
        assert same_bits(got, meant).all()
        counts = np.isfinite(exact) & (np.abs(exact) >= 2.0**-110) & (np.abs(exact) < 2.0**127)
        error = np.abs(got.astype(np.float64)[counts] - exact[counts]) / np.abs(exact[counts])
        assert error.max(initial=0) <= coarse.MAX_RELATIVE_ERROR[operation]
    ends = np.array([-np.inf, np.inf, 0.0, -0.0], np.float32)
    np.testing.assert_allclose(code(name, ends), wide(name)(ends.astype(np.float64)), rtol=2.0**-14, atol=2.0**-110)


def poles(name: str, *x: float) -> bool:
    """Where the reference of any precision has no finite value of its own: the special values test these."""
    first = abs(x[0])
    return (name in ("log", "log2", "rsqrt", "pow") and first == 0) or (name in ("log1p", "atanh") and first == 1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", names())
def test_special_values_are_numpys(name: str, dtype: DType) -> None:
    """Zeros with their signs, infinities and NaN are where NumPy has them."""
    tiny = float(np.nextafter(dtype.numpy.type(0), dtype.numpy.type(1)))
    x = np.array([*EDGES, tiny, -tiny, math.nextafter(1, 2), -math.nextafter(1, 2)], dtype.numpy)
    expected = wide(name)(x.astype(np.float64)).astype(dtype.numpy)
    for fused in (True, False):
        got = FUNCTIONS[name](NumpyVec(FORMATS[dtype], fused=fused), x)
        special = ~np.isfinite(expected) | (expected == 0)
        assert same_bits(got[special], expected[special]).all(), (x[special], got[special], expected[special])
        assert np.isfinite(got[~special]).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_special_powers_are_numpys(dtype: DType) -> None:
    values = [*EDGES, 0.999, 1e-40, 2.0**24 + 2, 2.0**60, -(2.0**60), 7.0, -7.0, 1e-310]
    x, y = (g.ravel().astype(dtype.numpy) for g in np.meshgrid(values, values))
    expected = np.power(x, y)
    got = FUNCTIONS["pow"](NumpyVec(FORMATS[dtype]), x, y)
    special = ~np.isfinite(expected) | (expected == 0)
    wrong = special & ~same_bits(got, expected)
    assert not wrong.any(), list(zip(x[wrong], y[wrong], got[wrong], expected[wrong], strict=True))
    number = ~np.isnan(expected)
    assert np.array_equal(np.signbit(got[number]), np.signbit(expected[number]))


@pytest.mark.parametrize(
    ("x", "format"),
    [(16367173 * 2.0**72, F32), (6381956970095103 * 2.0**797, F64), (11.0, F32), (3216.9, F32), (1646100.5, F64)],
)
def test_hard_circular_arguments(x: float, format: Format) -> None:
    """The numbers nearest to a multiple of pi / 2 (J.-M. Muller, Elementary Functions, 11.2), and both reductions."""
    below = float(np.nextafter(format.dtype.numpy.type(x), format.dtype.numpy.type(0)))
    for fused in (True, False):
        v = NumpyVec(format, fused=fused)
        for name in ("sin", "cos", "tan"):
            for value in (x, -x, below):
                a = np.full(3, value, format.dtype.numpy)
                assert error_exact(name, FUNCTIONS[name](v, a)[0], float(a[0]), format=format) <= MAX_ULP[name]


def test_constants() -> None:
    with mpmath.workprec(1400):
        for found, exact, bits in ((PI, mpmath.pi, 1280), (LN2, mpmath.ln2, 256)):
            assert found == Fraction(int(mpmath.floor(+exact * mpmath.mpf(2) ** bits)), 1 << bits)


@pytest.mark.parametrize("format", [F32, F64], ids=["f32", "f64"])
def test_fused_multiply_add_rounds_once(format: Format) -> None:
    """Against rational numbers, over all exponents and where the product nearly cancels."""
    rng = np.random.default_rng(4)
    kind, unsigned = format.dtype.numpy.type, np.uint32 if format.bits == 32 else np.uint64
    a, b, c = rng.integers(0, 2**format.bits, (3, 600), dtype=unsigned).view(kind)
    near = rng.normal(size=(2, 600)).astype(kind)
    cancel = -(near[0] * near[1])
    low = np.array([2.0 ** -(format.bias - 1), 2.0 ** -(format.bias + 20), 0.0, -0.0], kind)
    a = np.concatenate([a, near[0], near[0] * low[0], low])
    b = np.concatenate([b, near[1], near[1], low[::-1]])
    c = np.concatenate([c, cancel, cancel * low[1], low])
    got = NumpyVec(format).fma(a, b, c)
    for x, y, z, r in zip(a, b, c, got, strict=True):
        if np.isfinite([x, y, z]).all():
            exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
            assert r == nearest(exact, kind), (x, y, z, r)


def nearest(exact: Fraction, kind: type[np.floating]) -> np.floating:
    """The number of the format nearest to a rational one, ties to even."""
    try:
        guess = kind(float(exact))
    except OverflowError:
        return kind(math.inf if exact > 0 else -math.inf)
    if np.isinf(guess):
        largest = Fraction(float(np.finfo(kind).max))
        half = largest - Fraction(float(np.nextafter(np.finfo(kind).max, kind(0))))
        return guess if abs(exact) >= largest + half / 2 else np.copysign(np.finfo(kind).max, guess)
    around = [np.nextafter(guess, kind(-math.inf)), guess, np.nextafter(guess, kind(math.inf))]
    bits = np.dtype(f"u{guess.itemsize}")
    return min(
        (v for v in around if np.isfinite(v)), key=lambda v: (abs(Fraction(float(v)) - exact), int(v.view(bits)) & 1)
    )
