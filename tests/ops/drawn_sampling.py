"""Drawn cases of resize, grid_sample, roi_align and roi_pool."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from drawn import scalars, shapes
from op_cases import Case

from nnefc.ops.resize import COORDINATES, METHODS, ROUNDINGS


def _resized(rng: np.random.Generator, shape: tuple[int, ...], index: int) -> Case:
    """Some dimensions by sizes, some by scales that give no whole number, some not at all."""
    size, scale, region = [], [], []
    for n in shape:
        kind = rng.integers(3)
        factor = float(np.float32(rng.choice((0.4, 0.6, 1.5, 2.0, 2.7, 3.0)))) if kind else 1.0
        out = max(1, int(n * factor))
        size.append(out)
        scale.append(factor if kind == 1 else out / n)
        region.append((float(rng.uniform(-0.2, 0.5)), float(rng.uniform(0.5, 1.2))))
    method, coordinates = METHODS[index % 3], COORDINATES[index % 6]
    attrs = {"size": size, "scale": scale, "method": method, "coordinates": coordinates}
    if coordinates == "tf_crop_and_resize":
        attrs |= {"region": region, "extrapolation": 7.5}
    if method == "nearest":
        return Case("resize", [scalars(rng, shape)], attrs | {"rounding": ROUNDINGS[index // 3 % 4]})
    more = {"antialias": bool(rng.integers(2)), "exclude_outside": bool(rng.integers(2)), "cubic_coefficient": -0.5}
    return Case("resize", [scalars(rng, shape)], attrs | more)


def resizes() -> Iterator[Case]:
    """resize, by every method with every way to place coordinates, at any rank."""
    rng = np.random.default_rng(31)
    for i, shape in enumerate(shapes(rng, 36, (1, 2, 3, 4, 5))):
        yield _resized(rng, tuple(shape), i + i // 6)
    yield Case(
        "resize",
        [np.arange(12, dtype=np.int64).reshape(3, 4)],
        {"size": [6, 4], "scale": [2.0, 1.0], "method": "nearest"},
    )
    yield Case(
        "resize", [scalars(rng, (1, 3, 9, 7)).astype("f2")], {"size": [1, 3, 5, 13], "scale": [1.0, 1.0, 5 / 9, 13 / 7]}
    )
    yield Case("resize", [scalars(rng, (2, 40, 3))], {"size": [2, 3, 3], "scale": [1.0, 0.075, 1.0], "antialias": True})


def grids() -> Iterator[Case]:
    """grid_sample, by every method and padding, in one to three dimensions, positions far outside among them."""
    rng = np.random.default_rng(32)
    for i in range(27):
        spatial = 1 + i // 9
        method, padding = ("nearest", "linear", "cubic")[i % 3], ("zeros", "border", "reflection")[i // 3 % 3]
        extents = [int(rng.choice((1, 2, 4, 9))) for _ in range(spatial)]
        own = [int(rng.choice((1, 3, 8))) for _ in range(spatial)]
        batch, channels = int(rng.integers(1, 3)), int(rng.choice((1, 3, 8, 17)))
        grid = rng.uniform(-1.7, 1.7, (batch, *own, spatial)).astype(np.float32)
        attrs = {"method": method, "padding": padding, "align_corners": bool(i % 2)}
        yield Case("grid_sample", [scalars(rng, (batch, channels, *extents)), grid], attrs)
    place = rng.uniform(-1, 5, (1, 4, 5, 2)).astype(np.float32)
    yield Case("grid_sample", [scalars(rng, (1, 2, 4, 4)), place], {"normalized": False})


def regions() -> Iterator[Case]:
    """roi_align, regions that leave the map and such as end before they start among them."""
    rng = np.random.default_rng(33)
    for i in range(12):
        height, width = (int(n) for n in rng.integers(1, 12, 2))
        batch, channels, count = (int(n) for n in rng.integers(1, 9, 3))
        corners = rng.uniform(-3, 13, (count, 4)).astype(np.float32)
        index = rng.integers(0, batch, count)
        attrs = {
            "output_size": [int(n) for n in rng.integers(1, 5, 2)],
            "sampling_rate": [int(n) for n in rng.integers(1, 4, 2)],
            "mode": ("avg", "max")[i % 2],
            "at_least_one": bool(i // 2 % 2),
        }
        yield Case("roi_align", [scalars(rng, (batch, channels, height, width)), corners, index], attrs)


def pooled_regions() -> Iterator[Case]:
    """roi_pool, corners on halves, regions that leave the map and such as end before they start among them."""
    rng = np.random.default_rng(34)
    for i in range(10):
        height, width = (int(n) for n in rng.integers(1, 12, 2))
        batch, channels, count = (int(n) for n in rng.integers(1, 9, 3))
        corners = rng.uniform(-3, 13, (count, 4)).astype(np.float32)
        if i % 2:
            corners = np.round(corners * 2) / 2
        attrs = {"output_size": [int(n) for n in rng.integers(1, 8, 2)]}
        index = rng.integers(0, batch, count)
        yield Case("roi_pool", [scalars(rng, (batch, channels, height, width)), corners, index], attrs)


@cache
def families() -> dict[str, tuple[Case, ...]]:
    """All drawn cases, by family."""
    return {
        "resize": tuple(resizes()),
        "grid_sample": tuple(grids()),
        "roi_align": tuple(regions()),
        "roi_pool": tuple(pooled_regions()),
    }
