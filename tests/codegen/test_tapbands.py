"""How taps are taken in fours: each once, and what windows share is what the window before took."""

from __future__ import annotations

import itertools

import pytest

from nnefc.codegen.tapbands import carried, divided

SIZES = [(1, 1), (2, 2), (3, 3), (3, 5), (5, 5), (7, 7), (8, 8), (8, 1), (1, 8)]
STRIDES = [(1, 1), (2, 2), (1, 2), (3, 1)]
ROOM = 16


@pytest.mark.parametrize("size, stride, lines", [*itertools.product(SIZES, STRIDES, (1, 2))])
def test_bands_hold_all_lines_that_windows_see(size: tuple[int, int], stride: tuple[int, int], lines: int) -> None:
    for o, bands in enumerate(divided(size, stride, lines, ROOM)):
        seen = {line for band in bands for line in range(band.start, band.start + band.height)}
        assert seen >= set(range(o * stride[0], o * stride[0] + size[0]))


@pytest.mark.parametrize("size, stride, room", [*itertools.product(SIZES, STRIDES, (4, 16))])
def test_what_is_carried_was_taken_a_stride_further_on(
    size: tuple[int, int], stride: tuple[int, int], room: int
) -> None:
    chosen = divided(size, stride, 2, room)
    old, new, known, made = carried(chosen, size, stride, room)
    steps = {(band, k) for bands in chosen for band in bands for k in range(0, size[1], band.columns)}
    assert {*old, *new} == steps and len(old) + len(new) == len(steps)
    assert all((band, k + stride[1]) in steps for band, k in old)
    assert all(((a, j + stride[1]), (b, k + stride[1])) in {*known, *made} for (a, j), (b, k) in known)
    assert 4 * len(old) + 2 * len(known) <= room


def test_two_lines_of_3_x_3_windows_are_three_columns_of_four_lines() -> None:
    first, second = divided((3, 3), (1, 1), 2, ROOM)
    assert first == second and [(band.start, band.height) for band in first] == [(0, 4)]
