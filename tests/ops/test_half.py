"""Operations on half precision: lowered and compiled, against meanings that compute in float64 and round once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn import families
from drawn_windows import families as window_families
from op_cases import Case
from test_compiled import few, run

from nnefc.ir.types import DType

KINDS = (
    "add mul exp sigmoid sqrt select clamp sum_reduce mean_reduce max_reduce argmax_reduce moments softmax "
    "l2_normalization local_response_normalization batch_normalization matmul linear conv deconv separable_conv box "
    "max_pool avg_pool transpose concat pad gather"
).split()
ULPS = 4
"""How many units in the last place of the largest element a result may be off: steps of an expression are rounded."""
CASES = [c for family in (families() | window_families()).values() for c in family if c.kind in KINDS]
HALVES = [DType.F16, DType.BF16]


def narrowed(case: Case, dtype: DType) -> Case:
    """The case with half precision for f32 in every array."""
    arrays = [o.astype(dtype.numpy) if getattr(o, "dtype", None) == np.float32 else o for o in case.operands]
    return replace(case, operands=arrays)


def check(case: Case, got: list[np.ndarray], dtype: DType) -> None:
    epsilon = 2.0**-10 if dtype is DType.F16 else 2.0**-7
    for a, b in zip(got, case.reference(), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape, str(case)
        if b.dtype != dtype.numpy:
            np.testing.assert_array_equal(a, b, err_msg=str(case))
            continue
        wide = b.astype(np.float64)
        limit = ULPS * epsilon * float(np.max(np.abs(wide[np.isfinite(wide)]), initial=0.0))
        np.testing.assert_allclose(a.astype(np.float64), wide, rtol=0, atol=limit, err_msg=str(case))


def drawn(dtype: DType) -> list[Case]:
    """A few cases of each kind whose literals do not fix another type."""
    return [narrowed(c, dtype) for c in few([c for c in CASES if all(not isinstance(o, float) for o in c.operands)], 2)]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_lowered(dtype: DType) -> None:
    cases = drawn(dtype)
    assert {c.kind for c in cases} == set(KINDS)
    for case in cases:
        check(case, case.lowered(), dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_compiled(dtype: DType) -> None:
    cases = drawn(dtype)
    for case, got in zip(cases, run(cases), strict=True):
        check(case, got, dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_sums_are_not_rounded_on_the_way(dtype: DType) -> None:
    """4097 ones after a large number: half precision would stay at it."""
    x = np.ones((2, 4097), np.float32)
    x[:, 0] = 2**14
    for case in (
        Case("sum_reduce", [x], {"axes": [1]}),
        Case("matmul", [x, np.ones((4097, 3), np.float32)]),
    ):
        (result,) = narrowed(case, dtype).lowered()
        np.testing.assert_array_equal(result.astype(np.float32), np.full(result.shape, 2**14 + 2**12, np.float32))


def test_products_of_integers_are_exact_modulo_their_width() -> None:
    rng = np.random.default_rng(3)
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64):
        info = np.iinfo(dtype)
        x, y = (rng.integers(info.min, info.max, shape, dtype, endpoint=True) for shape in ((2, 5, 40), (1, 40, 9)))
        case = Case("matmul", [x, y])
        np.testing.assert_array_equal(case.lowered()[0], np.matmul(x, y))
