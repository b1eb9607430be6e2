"""Windows: examples worked by hand, what holds between operations, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import Case

from nnefc.errors import InvalidModelError


def row(*values: float) -> np.ndarray:
    """One batch item, one channel, one spatial dimension."""
    return np.array(values, np.float32).reshape(1, 1, -1)


def pool(kind: str, x: np.ndarray, size: int, **attrs: Any) -> list[list[float]]:
    """The outputs of a one-dimensional window, flat; scalar attributes are of the spatial dimension."""
    spatial = {k: [*_NEUTRAL[k], v] if k in _NEUTRAL else v for k, v in attrs.items()}
    case = Case(kind, [x], {"size": [1, 1, size], **spatial})
    for ours, expected in zip(case.lowered(), case.reference(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6)
    return [y.reshape(-1).tolist() for y in case.reference()]


_NEUTRAL: dict[str, list[Any]] = {"stride": [1, 1], "dilation": [1, 1], "padding": [(0, 0), (0, 0)]}


def test_constant_border_takes_part() -> None:
    assert pool("max_pool", row(-1, -2, -3), 3, padding=(1, 1)) == [[0, -1, 0]]
    assert pool("avg_pool", row(3, 6, 9), 3, padding=(1, 1)) == [[3, 6, 5]]


def test_ignored_border_takes_no_part() -> None:
    assert pool("max_pool", row(-1, -2, -3), 3, padding=(1, 1), border="ignore") == [[-1, -1, -2]]
    assert pool("avg_pool", row(3, 6, 9), 3, padding=(1, 1), border="ignore") == [[4.5, 6, 7.5]]
    assert pool("box", row(3, 6, 9), 3, padding=(1, 1), border="ignore") == [[9, 18, 15]]
    assert pool("rms_pool", row(3, 3, 3), 3, padding=(1, 1), border="ignore") == [[3, 3, 3]]


def test_windows_without_elements() -> None:
    assert pool("avg_pool", row(3), 1, padding=(1, 0), border="ignore") == [[0, 3]]
    assert pool("max_pool", row(3), 1, padding=(1, 0), border="ignore") == [[-np.inf, 3]]


@pytest.mark.parametrize(
    ("border", "expected"),
    [("replicate", [1, 1, 1, 2, 3, 3]), ("reflect", [3, 2, 1, 2, 3, 2]), ("reflect-even", [2, 1, 1, 2, 3, 3])],
)
def test_borders_hold_what_the_specification_says(border: str, expected: list[float]) -> None:
    assert pool("box", row(1, 2, 3), 1, padding=(2, 1), border=border) == [expected]


def test_reflections_bounce() -> None:
    assert pool("box", row(1, 2, 3), 1, padding=(6, 0), border="reflect") == [[3, 2, 1, 2, 3, 2, 1, 2, 3]]
    assert pool("box", row(1, 2), 1, padding=(5, 0), border="reflect-even") == [[1, 1, 2, 2, 1, 1, 2]]


def test_negative_padding_leaves_elements_out() -> None:
    assert pool("box", row(1, 2, 3, 4, 5), 2, padding=(-1, -1)) == [[5, 7]]
    assert pool("box", row(1, 2, 3), 1, padding=(-2, 2), border="reflect") == [[3, 2, 1]]


def test_windows_beyond_the_input() -> None:
    assert pool("box", row(1, 2, 3), 1, padding=(-4, 3), border="replicate") == [[3, 3]]
    assert pool("box", row(1, 2, 3), 1, padding=(-4, 3)) == [[0, 0]]


def test_index_is_the_first_maximum_in_the_window() -> None:
    x = np.array([[1, 3, 3], [3, 0, 3]], np.float32).reshape(1, 1, 2, 3)
    value, index = Case("max_pool_with_index", [x], {"size": [1, 1, 2, 2], "padding": [(0, 0)] * 4}).reference()
    assert value.tolist() == [[[[3, 3]]]]
    assert index.tolist() == [[[[1, 0]]]]


def test_index_in_all_dimensions_is_row_major() -> None:
    x = np.zeros((2, 3, 2), np.float32)
    x[1, 2, 0] = 1
    (index,) = Case("argmax_pool", [x], {"size": [2, 3, 2], "padding": [(0, 0)] * 3}).reference()
    assert index.tolist() == [[[10]]] and index.dtype == np.int64


def test_sample_fetches_what_argmax_found() -> None:
    x = np.random.default_rng(0).permutation(2 * 3 * 7 * 8).reshape(2, 3, 7, 8).astype(np.float32)
    attrs = {"size": [1, 2, 3, 2], "stride": [1, 1, 2, 3], "dilation": [1, 1, 2, 1], "border": "reflect"}
    (index,) = Case("argmax_pool", [x], attrs).reference()
    (sampled,) = Case("sample", [x, index], attrs).reference()
    (pooled,) = Case("max_pool", [x], attrs).reference()
    np.testing.assert_array_equal(sampled, pooled)


def test_desample_puts_values_back_and_sums() -> None:
    x = row(1, 5, 2)
    index = np.array([1, 0, 7]).reshape(1, 1, 3)
    attrs = {"size": [1, 1, 2], "stride": [1, 1, 1], "padding": [(0, 0)] * 3}
    (y,) = Case("desample", [x, index], attrs).reference()
    assert y.tolist() == [[[0, 6, 0, 0]]]


def test_indices_out_of_the_window_give_zero() -> None:
    index = np.array([-1, 0, 2, 1, 2**40]).reshape(1, 1, 5)
    case = Case("sample", [row(1, 2, 3, 4, 5, 6), index], {"size": [1, 1, 2], "padding": [(0, 0)] * 3})
    assert case.reference()[0].tolist() == case.lowered()[0].tolist() == [[[0, 2, 0, 5, 0]]]


def test_debox_is_the_deconv_of_ones() -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (2, 3, 4, 5)).astype(np.float32)
    spatial = {"padding": [(1, 0), (2, 1)], "stride": [2, 3], "dilation": [2, 1], "border": "replicate"}
    (expected,) = Case("deconv", [x, np.ones((3, 1, 3, 4), np.float32), 0.0], {**spatial, "groups": 3}).reference()
    full = {k: [*_NEUTRAL[k], *v] if k in _NEUTRAL else v for k, v in spatial.items()}
    (y,) = Case("debox", [x], {**full, "size": [1, 1, 3, 4]}).reference()
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    (mean,) = Case("debox", [x], {**full, "size": [1, 1, 3, 4], "normalize": True}).reference()
    np.testing.assert_allclose(mean, expected / 12, rtol=1e-5, atol=1e-7)


def test_a_box_is_separable() -> None:
    x = np.random.default_rng(2).uniform(-1, 1, (3, 4, 5, 6)).astype(np.float32)
    size, border = [2, 3, 4, 3], "reflect-even"
    (expected,) = Case("box", [x], {"size": size, "border": border}).reference()
    for d, f in enumerate(size):
        (x,) = Case("box", [x], {"size": [f if i == d else 1 for i in range(4)], "border": border}).reference()
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-5)


S = (1, 2, 8)
REFUSED: list[tuple[str, list[tuple[int, ...]], dict[str, Any], str]] = [
    ("box", [S], {"size": [3]}, "size = [3] has 1 items; it must have 3 (one per dimension of the input)"),
    ("box", [S], {"size": [1, 1, 0]}, "size = [1,1,0] contains 0; every item must be positive"),
    ("max_pool", [S], {"size": [1, 1, 2], "stride": [2]}, "stride = [2] has 1 items; it must have 3 or 0"),
    ("max_pool", [S], {"size": [1, 1, 2], "dilation": [1, 1, 0]}, "dilation = [1,1,0] contains 0"),
    ("avg_pool", [S], {"size": [1, 1, 2], "padding": [(0, 0)]}, "has 1 items; it must have 3 or 0"),
    ("avg_pool", [S], {"size": [1, 1, 2], "border": "zero"}, "border = 'zero' is unknown"),
    ("rms_pool", [S], {"size": [1, 1, 9], "padding": [(0, 0)] * 3}, "in dimension 2 a window covers 9 elements"),
    ("argmax_pool", [S], {"size": [1, 1, 2], "padding": [(0, 0), (0, 0), (2**50, 0)]}, "elements are allowed"),
    ("debox", [S], {"size": [1, 1, 2], "output_shape": [1, 2]}, "has 2 items; it must have 3 or 0"),
    ("debox", [S], {"size": [1, 1, 2], "output_shape": [2, 2, 8]}, "which does not scale down to the input's 1"),
    ("debox", [S], {"size": [1, 1, 2], "padding": [(0, 0), (0, 0), (5, 5)]}, "the output would have the extent -1"),
    ("debox", [S], {"size": [1, 1, 2], "stride": [1, 1, 2**50]}, "elements are allowed"),
    (
        "debox",
        [S],
        {"size": [1, 1, 2], "padding": [(0, 0), (0, 0), (6, 6)], "output_shape": [1, 2, 1]},
        "no extent would, with so much padding",
    ),
    ("sample", [S, (1, 2, 7)], {"size": [1, 1, 2]}, "index has shape [1,2,7]; it must be the output's, [1,2,8]"),
    ("desample", [S, (1, 2, 7)], {"size": [1, 1, 2]}, "index has shape [1,2,7]; it must be the input's, [1,2,8]"),
    ("desample", [S, S], {"size": [1, 1, 2], "border": "replicate"}, "border = 'replicate' is unknown"),
]


@pytest.mark.parametrize(("kind", "shapes", "attrs", "message"), REFUSED)
def test_refused(kind: str, shapes: list[tuple[int, ...]], attrs: dict[str, Any], message: str) -> None:
    operands = [np.zeros(s, np.int64 if i else np.float32) for i, s in enumerate(shapes)]
    with pytest.raises(InvalidModelError) as caught:
        Case(kind, operands, attrs).graph()
    assert message in str(caught.value)
