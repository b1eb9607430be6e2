"""The rules by which contractions get register tiles, and what those ask of the caches."""

from __future__ import annotations

import pytest

from nnefc.codegen.pack import TileShape
from nnefc.codegen.select_contract import prefetching


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
