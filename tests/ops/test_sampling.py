"""resize, grid_sample, regions and normalizations of rows: what their shape rules refuse, and exact small results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import Case

from nnefc.errors import InvalidModelError, UnsupportedError

X = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
GRID = np.zeros((1, 2, 3, 2), np.float32)
ROIS, BATCH = np.zeros((2, 4), np.float32), np.zeros(2, np.int64)
ONES = [1.0, 1.0, 1.0, 1.0]

WRONG: list[tuple[str, list[Any], dict[str, Any], str]] = [
    ("resize", [X], {"size": [1, 1, 4], "scale": ONES}, "size = [1,1,4] has 3 items; it must have 4"),
    ("resize", [X], {"size": [1, 1, 4, 0], "scale": ONES}, "contains 0; every item must be positive"),
    ("resize", [X], {"size": [1, 1, 4, 4], "scale": [1.0]}, "scale = [1.0] must have 4 items"),
    ("resize", [X], {"size": [1, 1, 4, 4], "scale": [1.0, 1.0, 1.0, -2.0]}, "has an item out of range"),
    ("resize", [X], {"size": [1, 1, 4, 4], "scale": ONES, "method": "area"}, "method = 'area' is unknown"),
    ("resize", [X], {"size": [1, 1, 4, 4], "scale": ONES, "coordinates": "edge"}, "coordinates = 'edge' is unknown"),
    ("resize", [X], {"size": [1, 1, 4, 4], "scale": ONES, "region": [(0.0, 1.0)]}, "must have 4 items, or none"),
    ("resize", [X], {"size": [1, 1, 4, 2**26], "scale": ONES}, "needs too many weights"),
    (
        "resize",
        [X],
        {"size": [1, 1, 4, 2], "scale": [1.0, 1.0, 1.0, 1e-9], "antialias": True},
        "needs too many weights",
    ),
    ("resize", [X.astype(np.int64)], {"size": [1, 1, 8, 8], "scale": ONES}, "must be scalar"),
    ("grid_sample", [X, GRID], {"method": "area"}, "method = 'area' is unknown"),
    ("grid_sample", [X, GRID], {"padding": "wrap"}, "padding = 'wrap' is unknown"),
    ("grid_sample", [X, GRID[..., :1]], {}, "grid has shape [1,2,3,1]; it must have 4 dimensions"),
    ("grid_sample", [X, np.repeat(GRID, 2, 0)], {}, "the first 1 as that of the input"),
    ("grid_sample", [X[0], GRID[0]], {}, "grid has shape [2,3,2]"),
    ("roi_align", [X[0], ROIS, BATCH], {"output_size": [1, 1], "sampling_rate": [1, 1]}, "must have four dimensions"),
    ("roi_align", [X, ROIS[:, :3], BATCH], {"output_size": [1, 1], "sampling_rate": [1, 1]}, "it must be [N,4]"),
    ("roi_align", [X, ROIS, BATCH[:1]], {"output_size": [1, 1], "sampling_rate": [1, 1]}, "it must be [2]"),
    ("roi_align", [X, ROIS, BATCH], {"output_size": [1], "sampling_rate": [1, 1]}, "has 1 items; it must have 2"),
    ("roi_align", [X, ROIS, BATCH], {"output_size": [1, 1], "sampling_rate": [0, 1]}, "must be positive"),
    (
        "roi_align",
        [X, ROIS, BATCH],
        {"output_size": [2**20, 1], "sampling_rate": [2**20, 2]},
        "the samples would have the shape",
    ),
    ("roi_pool", [X[0], ROIS, BATCH], {"output_size": [1, 1]}, "must have four dimensions"),
    ("roi_pool", [X, ROIS[:, :3], BATCH], {"output_size": [1, 1]}, "it must be [N,4]"),
    ("roi_pool", [X, ROIS, BATCH[:1]], {"output_size": [1, 1]}, "it must be [2]"),
    ("roi_pool", [X, ROIS, BATCH], {"output_size": [1, 0]}, "must be positive"),
    ("layer_normalization", [X, 1.0, 0.0], {"axes": [], "epsilon": 0.0}, "axes = []"),
    ("layer_normalization", [X, 1.0, 0.0], {"axes": [4], "epsilon": 0.0}, "axes = [4] contains 4"),
    ("rms_normalization", [X, X[..., :2]], {"axes": [3], "epsilon": 0.0}, "does not broadcast"),
]


@pytest.mark.parametrize(("kind", "operands", "attrs", "message"), WRONG)
def test_what_is_refused(kind: str, operands: list[Any], attrs: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidModelError, UnsupportedError)) as error:
        Case(kind, operands, attrs).graph()
    assert message in str(error.value)


def test_resize_takes_each_output_from_where_the_formula_says() -> None:
    row = np.array([0.0, 10.0, 20.0], np.float32)
    (linear,) = Case("resize", [row], {"size": [6], "scale": [2.0]}).reference()
    np.testing.assert_array_equal(linear, np.array([0.0, 2.5, 7.5, 12.5, 17.5, 20.0], np.float32))
    corners = {"size": [5], "scale": [5 / 3], "coordinates": "align_corners"}
    np.testing.assert_array_equal(Case("resize", [row], corners).reference()[0], [0, 5, 10, 15, 20])
    floor = {"size": [2], "scale": [2 / 3], "method": "nearest", "coordinates": "asymmetric", "rounding": "floor"}
    np.testing.assert_array_equal(Case("resize", [row], floor).reference()[0], [0, 10])


def test_grid_samples_lie_where_the_grid_says() -> None:
    places = np.array([[0.0, 0.0], [3.0, 0.0], [0.5, 1.5], [3.5, 3.0], [-9.0, 0.0]], np.float32).reshape(1, 1, 5, 2)
    (picked,) = Case("grid_sample", [X, places], {"normalized": False}).reference()
    np.testing.assert_array_equal(picked.ravel(), np.array([0.0, 3.0, 6.5, 7.5, 0.0], np.float32))
    (edge,) = Case("grid_sample", [X, places], {"normalized": False, "padding": "border"}).reference()
    np.testing.assert_array_equal(edge.ravel(), np.array([0.0, 3.0, 6.5, 15.0, 0.0], np.float32))


def test_regions_average_their_samples() -> None:
    rois = np.array([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]], np.float32)
    attrs = {"output_size": [1, 1], "sampling_rate": [2, 2]}
    (cells,) = Case("roi_align", [X, rois, BATCH], attrs).reference()
    np.testing.assert_array_equal(cells.ravel(), np.array([5.0, 5.0], np.float32))


def test_regions_have_the_largest_of_what_their_cells_touch() -> None:
    rois = np.array([[0.0, 0.0, 2.0, 2.0], [0.5, 1.5, -9.0, 1.4], [-0.5, 3.0, 0.0, 3.0]], np.float32)
    (cells,) = Case("roi_pool", [X, rois, np.zeros(3, np.int64)], {"output_size": [2, 1]}).reference()
    np.testing.assert_array_equal(cells.ravel(), np.array([6.0, 10.0, 6.0, 6.0, 0.0, 3.0], np.float32))
