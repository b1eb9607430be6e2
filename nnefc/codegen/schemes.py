"""Convolution of 3 x 3 by few multiplications (Winograd, 1980): the matrices of the algorithm.

``m x m`` outputs are computed from an image tile of ``n x n`` inputs with ``n * n`` products for each pair of channels:
``Y = A' [(G g G') * (B' d B)] A``. With a step of 1, ``n = m + 2``. With a step of 2, the even inputs meet two taps and
the odd ones the third, and ``n = 2 m + 1``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POINTS: dict[tuple[int, int], tuple[float, ...]] = {
    (1, 2): (0, 1, -1),
    (1, 4): (0, 5 / 8, -5 / 8, 3 / 2, -3 / 2),
    (2, 2): (1, -1),
    (2, 4): (1 / 2, -1 / 2, 3 / 2, -3 / 2),
}
"""Per step and size ``m`` of image tiles the points of interpolation, beside infinity. They are exact in binary; among
sets of small fractions those for 4 lose the fewest digits."""
SIZES = (2, 4)
"""Outputs along a side of an image tile."""


@dataclass(frozen=True)
class Scheme:
    """How lines of ``m`` outputs are computed: with a ``step`` of 1 or 2 from ``n`` inputs."""

    step: int
    m: int

    @property
    def n(self) -> int:
        """Inputs, and products."""
        return (self.m - 1) * self.step + 3

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Which points are opposite."""
        points = POINTS[self.step, self.m]
        return tuple((k, k + 1) for k in range(len(points) - 1) if points[k] == -points[k + 1])


@functools.cache
def matrices(scheme: Scheme) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``B'`` (n x n), ``G`` (n x 3) and ``A'`` (m x n), of F64."""
    points, m = POINTS[scheme.step, scheme.m], scheme.m
    if scheme.step == 1:
        return toom_cook(points, m, 3)
    part, even = toom_cook(points, m, 2), m + 1
    bt, g = np.zeros((scheme.n, scheme.n)), np.zeros((scheme.n, 3))
    bt[:even, 0::2], bt[even:, 1::2] = part[0], np.eye(m)
    g[:even, 0::2], g[even:, 1] = part[1], 1
    return bt, g, np.hstack([part[2], np.eye(m)])


def toom_cook(points: Sequence[float], m: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``B'``, ``G`` and ``A'`` of ``m`` sums of ``taps`` neighbours, from ``points`` and infinity."""
    n = m + taps - 1
    bt, g, at = np.zeros((n, n)), np.zeros((n, taps)), np.zeros((m, n))
    for k, p in enumerate(points):
        rest = [q for q in points if q != p]
        bt[k, : n - 1] = np.poly(rest)[::-1]
        g[k] = np.power(float(p), np.arange(taps)) / np.prod([p - q for q in rest])
        at[:, k] = np.power(float(p), np.arange(m))
    bt[-1], g[-1, -1], at[-1, -1] = np.poly(points)[::-1], 1, 1
    return bt, g, at
