"""Convolutions and products: the sums of the specification, written out, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import Case

from nnefc.errors import InvalidModelError
from nnefc.ops.geometry import MAX_PHASES


def f32(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(np.float32)


def value_at(x: np.ndarray, i: int, border: str) -> float:
    """The extended input of section 4.3, in one dimension."""
    z = len(x)
    if 0 <= i < z:
        return x[i]
    if border == "constant":
        return 0.0
    if border == "replicate":
        return x[0 if i < 0 else z - 1]
    if border == "reflect":
        return x[-i if i < 0 else z - 1 - (i - z + 1)]
    return x[-i - 1 if i < 0 else z - 1 - (i - z)]


@pytest.mark.parametrize("border", ["constant", "replicate", "reflect", "reflect-even"])
@pytest.mark.parametrize(("f", "s", "d", "p", "q"), [(3, 1, 1, 2, 1), (2, 3, 4, 3, 3), (4, 2, 1, -1, 3)])
def test_conv_is_the_sum_of_the_specification(border: str, f: int, s: int, d: int, p: int, q: int) -> None:
    x, w = f32(9), f32(f)
    count = (p + 9 + q - ((f - 1) * d + 1)) // s + 1
    expected = [sum(value_at(x, i * s + j * d - p, border) * w[j] for j in range(f)) for i in range(count)]
    attrs = {"border": border, "padding": [(p, q)], "stride": [s], "dilation": [d]}
    (y,) = Case("conv", [x.reshape(1, 1, 9), w.reshape(1, 1, f), 0.0], attrs).reference()
    np.testing.assert_allclose(y.reshape(-1), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("border", ["constant", "replicate", "reflect", "reflect-even"])
@pytest.mark.parametrize(
    ("f", "s", "d", "p", "q"), [(3, 1, 1, 2, 1), (2, 3, 4, 3, 3), (4, 2, 1, -1, 3), (5, 4, 2, 0, 0)]
)
def test_deconv_is_the_sum_of_the_specification(border: str, f: int, s: int, d: int, p: int, q: int) -> None:
    x, w = f32(7), f32(f)
    count = 6 * s + (f - 1) * d + 1 - (p + q)
    taps = [[j for j in range(f) if (i + p - j * d) % s == 0] for i in range(count)]
    expected = [sum(value_at(x, (i + p - j * d) // s, border) * w[j] for j in taps[i]) for i in range(count)]
    attrs = {"border": border, "padding": [(p, q)], "stride": [s], "dilation": [d]}
    (y,) = Case("deconv", [x.reshape(1, 1, 7), w.reshape(1, 1, f), 0.0], attrs).reference()
    np.testing.assert_allclose(y.reshape(-1), expected, rtol=1e-5, atol=1e-6)


def test_automatic_padding_puts_the_odd_element_last() -> None:
    x = np.arange(1, 6, dtype=np.float32).reshape(1, 1, 5)
    (y,) = Case("conv", [x, np.ones((1, 1, 2), np.float32), 0.0], {}).reference()
    assert y.tolist() == [[[3, 5, 7, 9, 5]]]


def test_deconv_without_groups_has_as_many_as_output_shape_says() -> None:
    x, w = f32(1, 6, 4), f32(6, 1, 3)
    attrs = {"padding": [(1, 1)], "groups": 0}
    assert Case("deconv", [x, w, 0.0], attrs).graph().outputs[0].type.shape == (1, 6, 4)
    (y,) = Case("deconv", [x, w, 0.0], {**attrs, "output_shape": [1, 3, 4]}).reference()
    (expected,) = Case("deconv", [x, w, 0.0], {**attrs, "groups": 3}).reference()
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("kind", ["deconv", "debox"])
def test_strides_beyond_counting_phases(kind: str) -> None:
    stride = 2 * MAX_PHASES + 1
    if kind == "deconv":
        case = Case(kind, [f32(1, 2, 3), f32(2, 2, 5), f32(1, 2)], {"stride": [stride], "padding": [(1, 2)]})
    else:
        attrs = {"size": [1, 1, 3], "stride": [1, 1, stride], "padding": [(0, 0), (0, 0), (1, 0)]}
        case = Case(kind, [f32(1, 2, 3)], attrs)
    (ours,), (expected,) = case.lowered(), case.reference()
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)


X, W = (1, 4, 8, 8), (6, 4, 3, 3)
REFUSED: list[tuple[str, list[Any], dict[str, Any], str]] = [
    (
        "conv",
        [(1, 4), (6, 4), ()],
        {},
        "input has shape [1,4]; it must have a batch, a channel and a spatial dimension",
    ),
    ("conv", [X, (6, 4, 3), ()], {}, "filter has shape [6,4,3], of rank 3; it must have the input's rank, 4"),
    ("conv", [X, (6, 3, 3, 3), ()], {}, "its 3 channels times 1 groups must be the input's 4"),
    ("conv", [X, (6, 1, 3, 3), ()], {"groups": 4}, "its batch dimension 6 must be a multiple of the 4 groups"),
    ("conv", [X, (6, 1, 3, 3), ()], {"groups": 0}, "its batch dimension 6 must be a multiple of the 4 groups"),
    ("conv", [X, W, ()], {"groups": -1}, "groups = -1; it must be positive, or 0 for one group per channel"),
    ("conv", [X, W, (6,)], {}, "bias has shape [6]; it must be a number, or have the shape [1,6]"),
    ("conv", [X, W, (1, 4)], {}, "bias has shape [1,4]; it must be a number, or have the shape [1,6]"),
    ("conv", [X, W, (1, 6, 1, 1, 1)], {}, "bias has shape [1,6,1,1,1]"),
    ("conv", [X, W, ()], {"stride": [1]}, "stride = [1] has 1 items; it must have 2 or 0"),
    ("conv", [X, W, ()], {"stride": [1, 0]}, "stride = [1,0] contains 0; every item must be positive"),
    ("conv", [X, W, ()], {"dilation": [-1, 1]}, "dilation = [-1,1] contains -1; every item must be positive"),
    ("conv", [X, W, ()], {"padding": [(0, 0)] * 4}, "has 4 items; it must have 2 or 0"),
    ("conv", [X, W, ()], {"border": "ignore"}, "border = 'ignore' is unknown; it must be one of 'constant'"),
    (
        "conv",
        [X, W, ()],
        {"padding": [(0, 0), (0, 0)], "dilation": [1, 4]},
        "in dimension 3 a window covers 9 elements (size 3, dilation 4) but the padded input has 8 (extent 8, "
        "padding (0,0)); it must have at least as many",
    ),
    ("conv", [X, W, ()], {"padding": [(-9, 0), (0, 0)]}, "the padded input has -1"),
    ("conv", [X, W, ()], {"padding": [(2**40, 0), (0, 0)]}, "at most 1099511627776 elements are allowed"),
    ("conv", [X, W, ()], {"padding": [(2**60, 2**60), (0, 0)], "stride": [2**60, 1]}, "elements are allowed"),
    ("conv", [X, W, ()], {"padding": [(2**20, 2**20), (2**20, 2**20)]}, "elements are allowed"),
    ("deconv", [X, (3, 4, 3, 3), ()], {}, "its batch dimension 3 must be the input's 4 channels"),
    ("deconv", [X, (4, 2, 3, 3), ()], {"groups": 3}, "its batch dimension 4 must be a multiple of the 3 groups"),
    ("deconv", [X, (4, 1, 3, 3), ()], {"groups": 0, "output_shape": [1, 0, 8, 8]}, "a multiple of the"),
    ("deconv", [X, (4, 2, 3, 3), ()], {"output_shape": [8, 8]}, "has 2 items; it must have 4 or 0"),
    (
        "deconv",
        [X, (4, 2, 3, 3), ()],
        {"output_shape": [1, 3, 8, 8]},
        "must begin with the batch extent 1 and 2 channels",
    ),
    (
        "deconv",
        [X, (4, 2, 3, 3), ()],
        {"output_shape": [1, 2, 15, 17], "stride": [2, 2]},
        "gives dimension 3 the extent 17, which does not scale down to the input's 8 (size 3, stride 2, dilation 1, "
        "padding automatic); it must be 15 to 16",
    ),
    ("deconv", [X, (4, 2, 3, 3), ()], {"padding": [(5, 5), (0, 0)]}, "the output would have the extent 0"),
    ("deconv", [X, (4, 2, 3, 3), ()], {"stride": [2**21, 2**21]}, "elements are allowed"),
    ("deconv", [X, (4, 2, 3, 3), (1, 4)], {}, "it must be a number, or have the shape [1,2]"),
    ("separable_conv", [X, (4, 2, 3, 3), (6, 4, 1, 1), ()], {}, "its 2 channels times 4 groups must be the input's 4"),
    ("separable_conv", [X, (8, 1, 3, 3), (6, 4, 1, 1), ()], {}, "its 4 channels times 1 groups must be the input's 8"),
    ("matmul", [(2, 3), (1, 3, 4)], {}, "they must have one rank, of 2 or more"),
    ("matmul", [(3,), (3,)], {}, "they must have one rank, of 2 or more"),
    ("matmul", [(2, 3), (2, 3)], {}, "the inner extents 3 and 2 must be equal"),
    ("matmul", [(2, 3), (2, 4)], {"transposeB": True}, "[2,4] (transposed): the inner extents 3 and 4 must be equal"),
    ("matmul", [(2, 5, 3), (3, 3, 5)], {}, "the extents 2 and 3 of dimension 0 differ"),
    ("linear", [(2, 3), (4, 3), (4,)], {}, "bias has shape [4], which does not broadcast to the shape [2,4]"),
    ("linear", [(2, 3), (4, 5), (1, 4)], {}, "the inner extents 3 and 5 must be equal"),
]


@pytest.mark.parametrize(("kind", "shapes", "attrs", "message"), REFUSED)
def test_refused(kind: str, shapes: list[tuple[int, ...]], attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidModelError) as caught:
        Case(kind, [np.zeros(s, np.float32) for s in shapes], attrs).graph()
    assert message in str(caught.value)


def test_element_types_must_agree() -> None:
    with pytest.raises(InvalidModelError, match="input .* f32 .* filter .* f64"):
        Case("conv", [f32(1, 1, 4), f32(1, 1, 2).astype(np.float64), 0.0], {}).graph()
    with pytest.raises(InvalidModelError, match=r"A has logical elements \(bool\); they must be"):
        Case("matmul", [np.ones((2, 2), np.bool_)] * 2, {}).graph()


def test_a_bias_may_have_more_dimensions_of_one() -> None:
    case = Case("linear", [f32(2, 9), f32(8, 9), f32(1, 1, 1)], {})
    np.testing.assert_allclose(case.lowered()[0], case.reference()[0], rtol=1e-5)
