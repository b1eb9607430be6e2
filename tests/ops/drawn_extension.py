"""Drawn cases of the operations of NNEFC_operations, and of those of the standard on types that only it allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from drawn import broadcasting, logicals, scalars, shapes
from op_cases import Case

UNARY = "erf trunc round_even hard_sigmoid hard_swish gelu_erf gelu_tanh mish celu softsign is_nan is_inf".split()
BINARY = "maximum minimum mod fmod".split()
BITWISE = "bitwise_and bitwise_or bitwise_xor".split()
INTEGERS = [np.dtype(t) for t in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")]


def whole(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Small integers, and now and then any."""
    info = np.iinfo(dtype)
    small = rng.integers(max(info.min, -9), 10, tuple(shape), dtype)
    any_ = rng.integers(info.min, info.max, tuple(shape), dtype, endpoint=True)
    return np.where(rng.random(tuple(shape)) < 0.2, any_, small).astype(dtype)


def with_edges(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Some elements replaced by halves, infinities and NaN."""
    edges = rng.choice(np.array([np.nan, np.inf, -np.inf, 0.5, -0.5, 1.5, 2.5, -2.5, 0.0], x.dtype), x.shape)
    return np.where(rng.random(x.shape) < 0.2, edges, x)


def elementwise() -> Iterator[Case]:
    """The element-wise operations of the extension."""
    rng = np.random.default_rng(11)
    for name in UNARY:
        for shape in [(), *shapes(rng, 4)]:
            yield Case(name, [scalars(rng, shape)])
    for shape in shapes(rng, 3):
        edged = with_edges(rng, scalars(rng, shape))
        for name in ("trunc", "round_even", "is_nan", "is_inf", "hard_sigmoid"):
            yield Case(name, [edged])
        yield Case("is_inf", [edged], {"detect_negative": False})
        yield Case("is_inf", [edged], {"detect_positive": False})
        yield Case("is_inf", [edged], {"detect_negative": False, "detect_positive": False})
        yield Case("celu", [scalars(rng, shape)], {"alpha": 0.5})
        yield Case("hard_sigmoid", [scalars(rng, shape)], {"alpha": 0.25, "beta": 0.75})
        yield Case("xor", [logicals(rng, shape), logicals(rng, broadcasting(rng, shape))])
    for name in BINARY:
        for shape in shapes(rng, 4):
            yield Case(name, [scalars(rng, shape), scalars(rng, broadcasting(rng, shape), 0.3)])
            yield Case(name, [scalars(rng, shape), -scalars(rng, broadcasting(rng, shape), 0.3)])
        yield Case(name, [scalars(rng, (3, 8)), 1.5])
    for name in ("maximum", "minimum"):
        yield Case(name, [with_edges(rng, scalars(rng, (9, 31))), with_edges(rng, scalars(rng, (9, 31)))])


def integers() -> Iterator[Case]:
    """Operations on integers of every width."""
    rng = np.random.default_rng(12)
    for dtype in INTEGERS:
        (shape,) = shapes(rng, 1, (3,))
        x, y = whole(rng, shape, dtype), whole(rng, broadcasting(rng, shape), dtype)
        for name in (*BINARY, *BITWISE, "add", "sub", "mul", "div", "min", "max", "lt", "eq", "shift_right"):
            yield Case(name, [x, y])
        yield Case("shift_left", [x, np.abs(y) % 11])
        yield Case("pow", [x, np.abs(y) % 5])
        for name in ("bitwise_not", "neg", "abs", "sign", "relu", "sqr"):
            yield Case(name, [x])
        axes = {"axes": [int(rng.integers(3))]}
        for name in "sum_reduce mean_reduce prod_reduce max_reduce min_reduce argmax_reduce".split():
            yield Case(name, [x], axes)
        yield Case("pad", [x], {"padding": [(1, 2), (0, 3), (2, 0)], "value": 3.0})
        yield Case("matmul", [whole(rng, (2, 7, 9), dtype), whole(rng, (1, 9, 8), dtype)])
    signed = whole(rng, (7, 9), np.dtype("i8"))
    yield Case("pow", [np.array([[-2], [-1], [0], [1], [2]]), np.arange(-3, 4)[None]])
    yield Case("prelu", [signed, np.arange(-4, 5)[None]])


def codes() -> Iterator[Case]:
    """quantize_linear and dequantize_linear: halves, values beyond the codes, parameters for all, per item, per one."""
    rng = np.random.default_rng(14)
    for i, dtype in enumerate([np.dtype(t) for t in ("u1", "i1", "u2", "i2", "u1", "i1")]):
        info = np.iinfo(dtype)
        coded = {"bits": info.bits, "signed": dtype.kind == "i"}
        for form in ((), (1,), (1, 9), (5, 1, 7), (5, 9, 7)):
            scale = np.asarray(0.01 + rng.random(form), np.float32)
            zero = np.asarray(rng.integers(info.min, info.max, form, dtype, endpoint=True))
            x = np.round(4 * rng.standard_normal((5, 9, 7)) * (50, 3)[i % 2]).astype(np.float32) / 4
            x[0, 0, :4] = (np.inf, -np.inf, 1e30, -1e30)
            yield Case("quantize_linear", [x, scale, zero], coded)
            any_ = rng.integers(info.min, info.max, (5, 9, 7), dtype, endpoint=True)
            yield Case("dequantize_linear", [any_, scale, zero])
    for bits in (2, 3, 5, 8, 12, 16):
        for signed, symmetric, rounding in ((False, False, "up"), (True, False, "up"), (True, True, "even")):
            modes = {"bits": bits, "signed": signed, "symmetric": symmetric, "rounding": rounding}
            x = np.round(4 * rng.standard_normal((3, 9)) * 2**bits).astype(np.float32) / 8
            scale, zero = np.array((0.25, 0.75)[bits % 2], np.float32), np.array(int(rng.integers(2)), np.int64)
            yield Case("quantize_linear", [x, scale, zero], modes)
    sums = rng.integers(-(2**31), 2**31, (3, 17), np.int32)
    scale = (0.01 + rng.random((1, 17))).astype(np.float32)
    for zero in (np.zeros((), np.int32), rng.integers(-(2**31), 2**31, (1, 17), np.int32)):
        yield Case("dequantize_linear", [sums, scale, zero])
    for half in (np.float16, np.float64):
        x = scalars(rng, (3, 9)).astype(half)
        yield Case("quantize_linear", [x, np.array(0.03, half), np.array(7, np.int8)], {"signed": True})
        yield Case(
            "dequantize_linear", [whole(rng, (3, 9), np.dtype("i1")), np.array(0.03, half), np.array(7, np.int8)]
        )


def floats() -> Iterator[Case]:
    """Operations on half precision, and products of floats."""
    rng = np.random.default_rng(13)
    for shape in shapes(rng, 4):
        x, y = (scalars(rng, s, 0.5, 2) for s in (shape, broadcasting(rng, shape)))
        yield Case("prod_reduce", [x], {"axes": [int(rng.integers(len(shape)))]})
        for name in ("add", "mul", "div", "maximum", "fmod"):
            yield Case(name, [x.astype(np.float16), y.astype(np.float16)])
    long = scalars(rng, (3, 700)).astype(np.float16)
    for name in ("sum_reduce", "mean_reduce", "max_reduce", "argmin_reduce"):
        yield Case(name, [long], {"axes": [1]})
    yield Case("matmul", [scalars(rng, (3, 33)).astype(np.float16), scalars(rng, (33, 7)).astype(np.float16)])
    yield Case("pad", [logicals(rng, (3, 4))], {"padding": [(1, 1), (0, 2)]})


def normalizations() -> Iterator[Case]:
    """Normalizations of rows with an affine map."""
    rng = np.random.default_rng(14)
    for shape in shapes(rng, 6, (2, 3, 4)):
        x = scalars(rng, shape)
        axes = sorted(int(a) for a in rng.permutation(len(shape))[: rng.integers(1, len(shape))])
        row = tuple(n if i in axes else 1 for i, n in enumerate(shape))
        scale, offset = scalars(rng, row), scalars(rng, row)
        yield Case("layer_normalization", [x, scale, offset], {"axes": axes, "epsilon": 1e-3})
        yield Case("rms_normalization", [x, scale], {"axes": axes, "epsilon": 1e-3})
    yield Case("layer_normalization", [scalars(rng, (7, 33)), 1.0, 0.0], {"axes": [1], "epsilon": 1e-5})


@cache
def families() -> dict[str, tuple[Case, ...]]:
    """All drawn cases, by family."""
    return {
        "elementwise extension": tuple(elementwise()),
        "integers": tuple(integers()),
        "codes": tuple(codes()),
        "other floats": tuple(floats()),
        "normalizations of rows": tuple(normalizations()),
    }
