"""How the taps of windows on codes are taken in fours: which bytes of the map one instruction multiplies.

A band is one, two or four lines of the map. In a band of four lines, the codes of a column are multiplied at once; in
one of two lines those of two columns, and in one line those of four. The lines of windows are divided into bands.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from nnefc.codegen.dots import GROUP

Place = tuple[int, int]
"""A line and a column."""
Two = tuple[Place, Place]
"""Two places whose codes are interleaved."""
T = TypeVar("T")
_HEIGHTS = (4, 2, 1)
_KEPT = 40
"""Divisions of each line of windows that are compared in all combinations."""


@dataclass(frozen=True)
class Band:
    """``height`` lines from ``start`` on; those beyond the last line that windows see count for nothing."""

    start: int
    height: int

    @property
    def columns(self) -> int:
        """The columns that are taken at once."""
        return GROUP // self.height

    def places(self, column: int) -> tuple[Place, ...]:
        """What is taken at once, from ``column`` on: the first two, and the last two, are interleaved first."""
        lines, columns = range(self.start, self.start + self.height), range(column, column + self.columns)
        return tuple(itertools.product(lines, columns))


def pairs(places: Sequence[T]) -> tuple[tuple[T, T], tuple[T, T]]:
    """The places that are interleaved first."""
    return (places[0], places[1]), (places[2], places[3])


@cache
def divided(size: Place, stride: Place, lines: int, room: int) -> tuple[tuple[Band, ...], ...]:
    """For each of ``lines`` neighbouring lines of windows of ``size`` taps, ``stride`` apart, the bands of the map that
    they are divided into: those that take the fewest instructions, as bands may serve several lines. ``room`` is for
    ``carried``."""
    height = (lines - 1) * stride[0] + size[0]
    options = []
    for o in range(lines):
        first = o * stride[0]
        found = sorted(
            dict.fromkeys(_covers(first, first + size[0], height)), key=lambda bands: _cost([bands], size, stride, room)
        )
        options.append(found[:_KEPT])
    return min(itertools.product(*options), key=lambda chosen: _cost(chosen, size, stride, room))


def _covers(line: int, end: int, height: int) -> Iterator[tuple[Band, ...]]:
    """Bands for the lines from ``line`` to ``end``. Those of four may reach further on both sides."""
    if line >= end:
        yield ()
        return
    for high in _HEIGHTS:
        for start in range(line, max(line - (high == GROUP) * (GROUP - 1), 0) - 1, -1):
            if start + high <= height or start == line:
                for rest in _covers(start + high, end, height):
                    yield (Band(start, high), *rest)


def carried(
    chosen: Sequence[Sequence[Band]], size: Place, stride: Place, room: int
) -> tuple[list[tuple[Band, int]], list[tuple[Band, int]], list[Two], list[Two]]:
    """What a window takes at once, by band and column: what of it the window before took, too, at a column that is a
    stride larger, and is carried on in at most ``room`` registers, and what is made anew; and the pairs that make up
    the latter, divided likewise."""
    bands = dict.fromkeys(band for some in chosen for band in some)
    steps = [(band, k) for band in bands for k in range(0, size[1], band.columns)]
    old = [(band, k) for band, k in steps if (band, k + stride[1]) in steps][: room // GROUP]
    new = [step for step in steps if step not in old]
    twos = list(dict.fromkeys(pair for band, k in new for pair in pairs(band.places(k))))
    known = [((a, j), (b, k)) for (a, j), (b, k) in twos if ((a, j + stride[1]), (b, k + stride[1])) in twos]
    known = known[: (room - GROUP * len(old)) // 2]
    return old, new, known, [pair for pair in twos if pair not in known]


def _cost(chosen: Sequence[Sequence[Band]], size: Place, stride: Place, room: int) -> int:
    """Instructions of a window in each of the lines, for the bytes of four registers of sums: two to interleave each
    pair, four for each two pairs, and four that add up products."""
    _, fours, _, twos = carried(chosen, size, stride, room)
    sums = sum(len(range(0, size[1], band.columns)) for bands in chosen for band in bands)
    return 2 * len(twos) + GROUP * len(fours) + GROUP * sums
