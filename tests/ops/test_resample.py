"""Up- and down-sampling: examples of the specification, worked by hand, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import Case

from nnefc.errors import InvalidModelError


def upsampled(values: list[float], factor: int, method: str, border: str) -> list[float]:
    x = np.array(values, np.float32).reshape(1, 1, -1)
    case = Case("multilinear_upsample", [x], {"factor": [factor], "method": method, "border": border})
    (ours,), (expected,) = case.lowered(), case.reference()
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-7)
    return [round(v, 5) for v in expected.reshape(-1).tolist()]


@pytest.mark.parametrize(
    ("method", "border", "expected"),
    [
        ("symmetric", "replicate", [1, 1.25, 1.75, 2.25, 2.75, 3]),
        ("symmetric", "constant", [0.75, 1.25, 1.75, 2.25, 2.75, 2.25]),
        ("symmetric", "reflect", [1.25, 1.25, 1.75, 2.25, 2.75, 2.75]),
        ("asymmetric", "replicate", [1, 1.5, 2, 2.5, 3, 3]),
        ("asymmetric", "constant", [1, 1.5, 2, 2.5, 3, 1.5]),
        ("aligned", "replicate", [1, 1.4, 1.8, 2.2, 2.6, 3]),
    ],
)
def test_doubling(method: str, border: str, expected: list[float]) -> None:
    assert upsampled([1, 2, 3], 2, method, border) == expected


@pytest.mark.parametrize("method", ["symmetric", "asymmetric", "aligned"])
def test_one_element_and_factor_one(method: str) -> None:
    assert upsampled([4], 3, method, "replicate") == [4, 4, 4]
    assert upsampled([4, 7], 1, method, "constant") == [4, 7]


@pytest.mark.parametrize("border", ["constant", "replicate"])
@pytest.mark.parametrize(
    ("method", "weights", "padding"),
    [("symmetric", [0.25, 0.75, 0.75, 0.25], (1, 1)), ("asymmetric", [0.5, 1, 0.5], (0, 1))],
)
def test_doubling_is_the_deconvolution_of_the_specification(
    border: str, method: str, weights: list[float], padding: tuple[int, int]
) -> None:
    """Section 4.3.4 gives filters; its asymmetric one is placed one element further than its own formula says."""
    x = np.random.default_rng(0).uniform(-1, 1, (1, 2, 5, 4)).astype(np.float32)
    plane = np.outer(weights, weights).astype(np.float32)
    filters = np.broadcast_to(plane, (2, 1, *plane.shape)).copy()
    before = padding if method == "symmetric" else (padding[1], padding[0])
    attrs = {"stride": [2, 2], "padding": [before] * 2, "border": border, "groups": 2}
    (expected,) = Case("deconv", [x, filters, 0.0], attrs).reference()
    (y,) = Case("multilinear_upsample", [x], {"factor": [2, 2], "method": method, "border": border}).reference()
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_nearest_and_area() -> None:
    x = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32).reshape(1, 1, 2, 4)
    assert Case("nearest_downsample", [x], {"factor": [2, 2]}).reference()[0].tolist() == [[[[1, 3]]]]
    assert Case("area_downsample", [x], {"factor": [2, 2]}).reference()[0].tolist() == [[[[3.5, 5.5]]]]
    assert Case("nearest_upsample", [x[..., :2]], {"factor": [1, 2]}).reference()[0].tolist() == [
        [[[1, 1, 2, 2], [5, 5, 6, 6]]]
    ]


S = (1, 2, 6, 4)
REFUSED: list[tuple[str, tuple[int, ...], dict[str, Any], str]] = [
    ("nearest_upsample", (1, 2), {"factor": []}, "input has shape [1,2]; it must have a spatial dimension, the third"),
    ("nearest_upsample", S, {"factor": [2]}, "factor = [2] has 1 items; it must have 2 (one per spatial dimension"),
    ("nearest_upsample", S, {"factor": [2, 0]}, "factor = [2,0] contains 0; every item must be positive"),
    ("nearest_upsample", S, {"factor": [2**30, 2**30]}, "elements are allowed"),
    ("nearest_downsample", S, {"factor": [3, 3]}, "factor = [3,3] must divide the spatial extents [6,4] of the input"),
    ("area_downsample", S, {"factor": [4, 4]}, "factor = [4,4] must divide the spatial extents [6,4] of the input"),
    (
        "multilinear_upsample",
        S,
        {"factor": [2, 2], "method": "cubic"},
        "method = 'cubic' is unknown; it must be one of",
    ),
    ("multilinear_upsample", S, {"factor": [2, 2], "border": "ignore"}, "border = 'ignore' is unknown"),
]


@pytest.mark.parametrize(("kind", "shape", "attrs", "message"), REFUSED)
def test_refused(kind: str, shape: tuple[int, ...], attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidModelError) as caught:
        Case(kind, [np.zeros(shape, np.float32)], attrs).graph()
    assert message in str(caught.value)
