"""Element-wise operations where arithmetic is at its edges: NaN, infinities, signed zeros, halves, integer limits."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import BINARY, UNARY
from op_cases import Case

from nnefc.ir.types import INTEGER, LOGICAL, SCALAR, DType

EDGES = np.array(
    [
        np.nan,
        np.inf,
        -np.inf,
        0.0,
        -0.0,
        0.5,
        -0.5,
        1.5,
        -1.5,
        2.5,
        -2.5,
        0.49999997,
        8388609.0,
        -8388609.0,
        1e30,
        -1e30,
    ],
    np.float32,
)
WHOLE = np.array([0, 1, -1, 7, -7, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63)])


def same(case: Case, tolerance: float = 2e-6) -> None:
    for ours, reference in zip(case.lowered(), case.reference(), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=tolerance, atol=0, err_msg=str(case), equal_nan=True)


@pytest.mark.parametrize("kind", UNARY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unary(kind: str, dtype: type) -> None:
    same(Case(kind, [EDGES.astype(dtype)]))


@pytest.mark.parametrize("kind", BINARY)
def test_binary(kind: str) -> None:
    same(Case(kind, [EDGES[:, None], EDGES[None, :]]))


@pytest.mark.parametrize("kind", ["add", "sub", "mul", "div", "min", "max", "lt", "le", "gt", "ge", "eq", "ne"])
def test_integers(kind: str) -> None:
    case = Case(kind, [WHOLE[:, None], WHOLE[None, :]])
    np.testing.assert_array_equal(case.lowered()[0], case.reference()[0])


def test_integer_division_is_defined_everywhere() -> None:
    x, y = np.array([7, -7, 7, -7, 5]), np.array([2, 2, -2, -2, 0])
    np.testing.assert_array_equal(Case("div", [x, y]).reference()[0], [3, -3, -3, 3, 0])


@pytest.mark.parametrize("kind", ["neg", "abs", "sign", "sqr"])
def test_unary_integers(kind: str) -> None:
    case = Case(kind, [WHOLE])
    np.testing.assert_array_equal(case.lowered()[0], case.reference()[0])


def test_round_goes_up_at_halves() -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, 8388609.0], np.float32)
    np.testing.assert_array_equal(Case("round", [x]).reference()[0], [-2, -1, 0, 1, 2, 3, 0, 8388609])


def test_comparisons_with_nan_are_false() -> None:
    """max(x, y) is select(x > y, x, y), so a NaN in x gives y and one in y is kept; relu(NaN) is 0 (4.2.4, 4.9.1)."""
    x, y = np.array([np.nan, 1, np.nan], np.float32), np.array([1, np.nan, np.nan], np.float32)
    np.testing.assert_array_equal(Case("max", [x, y]).reference()[0], [1, np.nan, np.nan])
    np.testing.assert_array_equal(Case("min", [x, y]).reference()[0], [1, np.nan, np.nan])
    np.testing.assert_array_equal(Case("relu", [x]).reference()[0], [0, 1, 0])
    np.testing.assert_array_equal(Case("sign", [x]).reference()[0], [0, 1, 0])


@pytest.mark.parametrize("dtype", [SCALAR, INTEGER, LOGICAL, DType.F64, DType.I8, DType.U8, DType.I32])
@pytest.mark.parametrize("source", [EDGES, EDGES.astype(np.float64), WHOLE, WHOLE > 0], ids=lambda a: str(a.dtype))
def test_cast(source: np.ndarray, dtype: DType) -> None:
    case = Case("cast", [source], {"dtype": dtype})
    np.testing.assert_array_equal(case.lowered()[0], case.reference()[0])


def test_cast_truncates_and_saturates() -> None:
    x = np.array([1.9, -1.9, 1e30, -1e30, np.inf, np.nan], np.float32)
    low, high = -(2**63), 2**63 - 1
    np.testing.assert_array_equal(Case("cast", [x], {"dtype": INTEGER}).reference()[0], [1, -1, high, low, high, 0])
    np.testing.assert_array_equal(Case("cast", [x], {"dtype": DType.U8}).reference()[0], [1, 0, 255, 0, 255, 0])


def test_softmax_of_large_values() -> None:
    x = np.array([[1e30, 1e30, -1e30]], np.float32)
    np.testing.assert_array_equal(Case("softmax", [x]).reference()[0], [[0.5, 0.5, 0]])


def test_argmax_takes_the_first() -> None:
    x = np.array([[1, 5, 5], [2, 2, 2]], np.float32)
    np.testing.assert_array_equal(Case("argmax_reduce", [x], {"axes": [1]}).reference()[0], [[1], [0]])
    np.testing.assert_array_equal(Case("argmax_reduce", [x], {"axes": [1, 0]}).reference()[0], [[1]])
    np.testing.assert_array_equal(Case("argmin_reduce", [x], {"axes": [1]}).reference()[0], [[0], [0]])


def test_unsorted_axes_of_unsqueeze_are_a_set() -> None:
    x = np.zeros((3, 4), np.float32)
    assert Case("unsqueeze", [x], {"axes": [2, 0]}).reference()[0].shape == (1, 3, 1, 4)


def test_slice_counts_up() -> None:
    x = np.arange(8, dtype=np.float32)

    def taken(begin: int, end: int, stride: int) -> list[float]:
        attrs = {"axes": [0], "begin": [begin], "end": [end], "stride": [stride]}
        return Case("slice", [x], attrs).reference()[0].tolist()

    assert taken(0, 8, 3) == [0, 3, 6]
    assert taken(1, -1, 2) == [1, 3, 5]
    assert taken(-1, -9, -3) == [7, 4, 1]
    assert taken(2, 0, 1) == [2, 3, 4, 5, 6, 7]
    assert taken(2, 0, -1) == [2, 1]
    assert taken(5, 100, 1) == [5, 6, 7]


def test_reflections_bounce() -> None:
    x = np.array([1, 2, 3], np.float32)

    def padded(border: str) -> list[float]:
        case = Case("pad", [x], {"padding": [(4, 4)], "border": border})
        np.testing.assert_array_equal(case.lowered()[0], case.reference()[0])
        return case.reference()[0].tolist()

    assert padded("reflect") == [1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3]
    assert padded("reflect-even") == [3, 3, 2, 1, 1, 2, 3, 3, 2, 1, 1]
    assert padded("replicate") == [1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3]


def test_high_ranks() -> None:
    x = np.arange(256, dtype=np.float32).reshape((2,) * 8)
    for case in (
        Case("add", [x, x[:, :1]]),
        Case("sum_reduce", [x], {"axes": [7, 0, 3]}),
        Case("transpose", [x], {"axes": [7, 6, 5, 4, 3, 2, 1, 0]}),
        Case("softmax", [x], {"axes": [2, 5]}),
        Case("tile", [x], {"repeats": [1, 2] * 4}),
        Case("concat", [x, x], {"axis": 7}),
        Case("gather", [x, np.array([[1, 0, 1]])], {"axis": 4}),
        Case("pad", [x], {"padding": [(1, 0)] * 8}),
        Case("slice", [x], {"axes": [0, 7], "begin": [1, 1], "end": [-3, -3], "stride": [-1, -1]}),
    ):
        same(case)
