"""Regions of interest: examples worked by hand, what is decided where the specification is silent, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import Case

from nnefc.errors import InvalidModelError, UnsupportedError

MAP = np.arange(48, dtype=np.float32).reshape(1, 1, 6, 8)


def regions(kind: str, rois: list[list[float]], x: np.ndarray = MAP, batch: Any = None, **attrs: Any) -> list[Any]:
    """The outputs, the channel dimension left out."""
    index = np.zeros((len(rois), 1), np.int64) if batch is None else np.asarray(batch)
    case = Case(kind, [x, np.array(rois, x.dtype), index], attrs)
    (ours,), (expected,) = case.lowered(), case.reference()
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)
    return expected[:, 0].tolist()


def test_cells_start_at_the_start_of_the_region() -> None:
    assert regions("max_roi_pool", [[1, 2, 5, 6]], output_size=[2, 2]) == [[[19, 21], [35, 37]]]
    assert regions("avg_roi_pool", [[1, 2, 5, 6]], output_size=[2, 2]) == [[[14.5, 16.5], [30.5, 32.5]]]


def test_cells_overlap_where_the_extent_is_no_multiple() -> None:
    # An extent of 5 in 2 cells: 3 elements each, 2 apart. An extent of 2 in 3 cells: 1 element each, at the start.
    assert regions("max_roi_pool", [[0, 0, 5, 2]], output_size=[2, 3]) == [[[16, 16, 16], [32, 32, 32]]]


def test_coordinates_are_rounded_half_up() -> None:
    expected = regions("avg_roi_pool", [[1, 2, 5, 6]], output_size=[1, 1])
    assert regions("avg_roi_pool", [[0.5, 1.5, 4.5, 6.4]], output_size=[1, 1]) == expected


def test_what_lies_outside_is_left_out() -> None:
    assert regions("avg_roi_pool", [[-2, -2, 2, 2]], output_size=[1, 1]) == [[[4.5]]]
    assert regions("max_roi_pool", [[4, 6, 9, 12]], -MAP, output_size=[1, 1]) == [[[-38]]]


@pytest.mark.parametrize("kind", ["max_roi_pool", "avg_roi_pool"])
@pytest.mark.parametrize("roi", [[9, 9, 12, 12], [3, 3, 3, 5], [4, 4, 2, 2], [-1e30, 0, -1e29, 8]])
def test_empty_cells_give_zero(kind: str, roi: list[float]) -> None:
    assert regions(kind, [roi], 1 + MAP, output_size=[1, 2]) == [[[0, 0]]]


@pytest.mark.parametrize("kind", ["max_roi_pool", "roi_resample"])
def test_batch_index_is_clamped(kind: str) -> None:
    x = np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1)
    rois = [[0, 0, 1, 1]] * 5
    for batch in ([-5, 0, 1, 2, 3], [[-5], [0], [1], [2], [2**40]]):
        assert regions(kind, rois, x, batch, output_size=[1, 1]) == [[[0]], [[0]], [[1]], [[2]], [[2]]]


@pytest.mark.parametrize(
    ("method", "expected"),
    [("symmetric", [1.25, 2.25, 3.25, 4.25]), ("asymmetric", [1.5, 2.5, 3.5, 4.5]), ("aligned", [1.5, 2.5, 3.5, 4.5])],
)
def test_sample_positions(method: str, expected: list[float]) -> None:
    x = np.arange(8, dtype=np.float32).reshape(1, 1, 8)
    roi = {"symmetric": [1.25, 5.25], "asymmetric": [1.5, 5.5], "aligned": [1.5, 5.5]}[method]
    assert regions("roi_resample", [roi], x, output_size=[4], method=method) == [expected]


@pytest.mark.parametrize("method", ["symmetric", "asymmetric", "aligned"])
def test_resampling_a_whole_map_is_upsampling(method: str) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (1, 2, 4, 3)).astype(np.float32)
    (expected,) = Case("multilinear_upsample", [x], {"factor": [2, 3], "method": method}).reference()
    rois, batch = np.array([[0, 0, 4, 3]], np.float32), np.zeros((1, 1), np.int64)
    (y,) = Case("roi_resample", [x, rois, batch], {"output_size": [8, 9], "method": method}).reference()
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_resampling_repeats_the_edge_of_the_map() -> None:
    assert regions("roi_resample", [[-4, -4, -2, -2], [6, 8, 9, 9]], output_size=[1, 1]) == [[[0]], [[47]]]
    assert regions("roi_resample", [[np.nan, 0, np.nan, 1], [0, np.inf, 1, np.inf]], output_size=[1, 1])[0] == [[0]]


def test_align_pools_resampled_cells() -> None:
    rois = [[1, 2, 5, 6]]
    fine = np.array(regions("roi_resample", rois, output_size=[4, 6]))[0]
    cells = fine.reshape(2, 2, 2, 3)
    attrs = {"output_size": [2, 2], "sampling_rate": [2, 3]}
    np.testing.assert_allclose(regions("avg_roi_align", rois, **attrs)[0], cells.mean((1, 3)), rtol=1e-6)
    np.testing.assert_allclose(regions("max_roi_align", rois, **attrs)[0], cells.max((1, 3)), rtol=1e-6)


X, R, B = (1, 2, 6, 8), (3, 4), (3, 1)
REFUSED: list[tuple[str, list[tuple[int, ...]], dict[str, Any], str]] = [
    ("avg_roi_pool", [(1, 2), R, B], {"output_size": []}, "it must have a spatial dimension, the third"),
    ("avg_roi_pool", [X, (3, 5), B], {"output_size": [1, 1]}, "rois has shape [3,5]; it must be [N,4]"),
    ("max_roi_pool", [X, (4,), B], {"output_size": [1, 1]}, "rois has shape [4]; it must be [N,4]"),
    ("max_roi_pool", [X, R, (2, 1)], {"output_size": [1, 1]}, "batch_index has shape [2,1]; it must be [3,1]"),
    ("roi_resample", [X, R, B], {"output_size": [1]}, "output_size = [1] has 1 items; it must have 2"),
    ("roi_resample", [X, R, B], {"output_size": [1, 0]}, "output_size = [1,0] contains 0"),
    ("roi_resample", [X, R, B], {"output_size": [1, 1], "method": "near"}, "method = 'near' is unknown"),
    ("avg_roi_align", [X, R, B], {"output_size": [1, 1], "sampling_rate": [2]}, "sampling_rate = [2] has 1 items"),
    (
        "max_roi_align",
        [X, R, B],
        {"output_size": [1, 1], "sampling_rate": [2, -1]},
        "sampling_rate = [2,-1] contains -1",
    ),
    ("max_roi_align", [X, R, B], {"output_size": [1, 1], "sampling_rate": [2**30, 2**30]}, "elements are allowed"),
]


@pytest.mark.parametrize(("kind", "shapes", "attrs", "message"), REFUSED)
def test_refused(kind: str, shapes: list[tuple[int, ...]], attrs: dict[str, Any], message: str) -> None:
    operands = [np.zeros(s, np.int64 if i == 2 else np.float32) for i, s in enumerate(shapes)]
    with pytest.raises(InvalidModelError) as caught:
        Case(kind, operands, attrs).graph()
    assert message in str(caught.value)


def test_resampling_in_many_dimensions_is_not_compiled() -> None:
    case = Case(
        "roi_resample",
        [np.zeros((1, 1, 2, 2, 2, 2, 2), np.float32), np.zeros((1, 10), np.float32), np.zeros((1, 1), np.int64)],
        {"output_size": [1] * 5},
    )
    assert case.reference()[0].shape == (1, 1, 1, 1, 1, 1, 1)
    with pytest.raises(UnsupportedError, match="roi_resample over 5 spatial dimensions; at most 4 are supported"):
        case.lowered()
