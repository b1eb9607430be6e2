"""The rules by which contractions get register tiles, and what those ask of the caches."""

from __future__ import annotations

import itertools

import pytest

from nnefc.codegen.select_contract import prefetching
from nnefc.codegen.target import Target
from nnefc.codegen.tiles import PIXEL_GAIN, TileShape, cut_time, cuts, pixel_tile, ranked_cuts, sum_parts, tile_shapes
from nnefc.ir.types import DType

AVX512 = "x86_64-unknown-linux-gnu:x86-64-v4"
AVX2 = "x86_64-unknown-linux-gnu:x86-64-v3"
SSE = "x86_64-unknown-linux-gnu:x86-64-v2"


def tiles(rows: int, outputs: int, steps: int, target: Target) -> list[tuple[int, TileShape]]:
    """The outputs of each part, and its tile."""
    lanes = target.lanes(DType.F32)
    cut = ranked_cuts(rows, outputs, steps, lanes, target)[0]
    return [(p.outputs, t) for p, t in zip(cut, tile_shapes(cut, rows, steps, lanes, target), strict=True)]


@pytest.mark.parametrize(("steps", "units", "tiles"), [(192, 1, 7), (64, 14, 2), (9, 3, 4), (1000, 2, 1)])
def test_tiles_prefetch_all_of_the_next_panel(steps: int, units: int, tiles: int) -> None:
    """Each step asks for the line of one element: together, for every line of the next panel."""
    tile = TileShape(14, 2, 16)
    panel, count, unit, share, step = prefetching(steps * tile.width, units, tiles, tile)
    asked = {unit * u + share * t + step * s for u in range(units) for t in range(tiles) for s in range(steps)}
    assert (panel, count) == (steps * 32, units) and step <= tile.lanes
    assert {e // 16 for e in asked} >= set(range(panel // 16))


def test_a_panel_used_once_prefetches_nothing() -> None:
    assert prefetching(4096, 1, 1, TileShape(1, 7, 16)) == (0, 1, 0, 0, 0)


@pytest.mark.parametrize("text", [AVX512, AVX2, SSE])
def test_every_layer_has_tiles_that_fit(text: str) -> None:
    """The parts are all outputs; accumulators, weights and a broadcast fit the registers, rows are not exceeded."""
    target = Target.parse(text)
    for rows, outputs, steps in itertools.product(
        (1, 2, 7, 13, 49, 196), (1, 4, 8, 17, 24, 58, 116, 130), (1, 27, 512)
    ):
        parts = tiles(rows, outputs, steps, target)
        assert sum(count for count, _ in parts) == outputs and len(parts) <= 2
        for _, tile in parts:
            columns = tile.cols + (tile.last > 0)
            assert 1 <= tile.rows <= rows
            assert tile.rows * columns + columns + 1 <= target.vector_registers
            assert tile.last == 0 or (target.vector_bytes == 64 and tile.last == tile.lanes // 2)


@pytest.mark.parametrize(
    ("rows", "outputs", "steps", "expected"),
    [
        (784, 24, 96, [(24, TileShape(14, 1, 16, 8))]),  # one and a half vectors
        (784, 8, 96, [(8, TileShape(14, 1, 8))]),  # half a vector
        (196, 116, 116, [(96, TileShape(4, 6, 16)), (20, TileShape(14, 1, 16, 8))]),  # whole panels and a rest
        (49, 1024, 464, [(1024, TileShape(7, 2, 16))]),  # rows without an overlap
        (12544, 96, 16, [(96, TileShape(4, 6, 16))]),  # short sums: all outputs at once
    ],
)
def test_tiles_of_known_layers(rows: int, outputs: int, steps: int, expected: list[tuple[int, TileShape]]) -> None:
    assert tiles(rows, outputs, steps, Target.parse(AVX512)) == expected


@pytest.mark.parametrize("text", [AVX512, AVX2])
def test_no_number_of_outputs_or_rows_wastes_much(text: str) -> None:
    """Lanes and rows computed beyond those wanted: at most half of all for fewer outputs than half a vector, little for
    many."""
    target = Target.parse(text)
    lanes = target.lanes(DType.F32)
    for rows, outputs in itertools.product((14, 49, 100, 196), range(1, 131)):
        done = 0
        for count, tile in tiles(rows, outputs, 64, target):
            done += -(-rows // tile.rows) * tile.rows * -(-count // tile.width) * tile.width
        assert done <= 1.15 * rows * (outputs + lanes), (rows, outputs)


@pytest.mark.parametrize("text", [AVX512, AVX2, SSE])
def test_exact_cuts_fill_nothing_up(text: str) -> None:
    target = Target.parse(text)
    lanes = target.lanes(DType.F32)
    for outputs in (*range(1, 67), 116, 232, 960, 1000, 1001):
        for cut in cuts(outputs, lanes, target, True):
            assert sum(p.outputs for p in cut) == outputs
            assert all(p.outputs == p.panels * (p.cols * p.lanes + p.last) for p in cut)
        best = ranked_cuts(49, outputs, 64, lanes, target, True)[0]
        assert cut_time(best, 49, 64, lanes, target) < float("inf")


@pytest.mark.parametrize(
    ("tile", "extent", "expected"),
    [
        (TileShape(1, 1, 16), 192, 4),  # each multiply-add would wait for the one before
        (TileShape(1, 1, 16, 8), 192, 2),
        (TileShape(3, 1, 8), 64, 2),
        (TileShape(1, 4, 16), 192, 1),
        (TileShape(14, 2, 16), 192, 1),
        (TileShape(1, 1, 16), 15, 1),  # too few to be worth adding up
    ],
)
def test_sums_of_few_vectors_are_taken_in_parts(tile: TileShape, extent: int, expected: int) -> None:
    assert sum_parts(tile, extent) == expected


def test_lanes_lie_along_pixels_where_outputs_are_few() -> None:
    """Four outputs of 25 products each: 24 pixels are a vector and a half; 40 outputs fill vectors themselves."""
    target = Target.parse(AVX512)
    found = pixel_tile(24, 4, 25, 16, target)
    assert found is not None and found[1] == TileShape(4, 1, 16, 8)
    plain = ranked_cuts(24, 4, 25, 16, target)[0]
    assert found[0] < PIXEL_GAIN * cut_time(plain, 24, 25, 16, target)
    assert pixel_tile(24, 40, 25, 16, target) is None
    assert pixel_tile(7, 4, 25, 16, target) is None
