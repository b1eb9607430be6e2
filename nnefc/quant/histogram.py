"""Histograms and statistics of tensors that are built piece by piece: what a run over the data keeps of a tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BINS = 8192
"""The most bins of a histogram: a range of 256 codes then has 16 to 32 bins for each of them."""
PRECISION = 24
"""Bins are no narrower than the largest magnitude's last binary digit, of f32's so many."""
SMALLEST = -149
"""The exponent of the narrowest bins: that of the smallest number of f32."""
DECAY = 0.99
"""What a call leaves of the weights that the calls before it have in the moving average of ranges."""


def _exponent(low: float, high: float) -> int:
    """The smallest exponent such that bins of this power of two from ``low`` to ``high`` are at most BINS."""
    exponent = SMALLEST
    for size, digits in ((high - low, BINS.bit_length() + 1), (max(abs(low), abs(high)), PRECISION)):
        if size:
            exponent = max(exponent, math.frexp(size)[1] - digits)
    while _place(high, exponent) - _place(low, exponent) >= BINS:
        exponent += 1
    return exponent


def _place(value: float, exponent: int) -> int:
    """The number of the bin that a value lies in."""
    return math.floor(math.ldexp(value, -exponent))


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many values lie in each of a row of bins, and the smallest and the largest value.

    The bin of the number n takes ``[n w, (n + 1) w)`` where w = 2 ** ``exponent``; ``counts`` begins with that of
    ``low`` and ends with that of ``high``. The exponent follows from these two alone, so that the histogram of two sets
    of values is exactly what ``merged`` makes of the histograms of each, in any order.
    """

    low: float
    high: float
    exponent: int
    counts: np.ndarray

    @staticmethod
    def of(values: np.ndarray) -> Histogram:
        """The histogram of finite floats, of which there is at least one."""
        low, high = float(values.min()), float(values.max())
        exponent = _exponent(low, high)
        exact = values.reshape(-1) if exponent <= 0 else values.reshape(-1).astype(np.float64)
        places = np.floor(np.ldexp(exact, -exponent)).astype(np.int64)
        return Histogram(low, high, exponent, np.bincount(places - _place(low, exponent)))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Histogram)
            and (self.low, self.high, self.exponent) == (other.low, other.high, other.exponent)
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def first(self) -> int:
        """The number of the first bin."""
        return _place(self.low, self.exponent)

    @property
    def width(self) -> float:
        """The width of a bin."""
        return math.ldexp(1.0, self.exponent)

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def edges(self) -> np.ndarray:
        """Where the bins begin, and where the last ends: one more than there are bins."""
        return (self.first + np.arange(len(self.counts) + 1, dtype=np.float64)) * self.width

    @property
    def centers(self) -> np.ndarray:
        """The middle of each bin."""
        return (self.first + 0.5 + np.arange(len(self.counts), dtype=np.float64)) * self.width

    def merged(self, other: Histogram) -> Histogram:
        """The histogram of the values of both."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        exponent = _exponent(low, high)
        first = _place(low, exponent)
        counts = np.zeros(_place(high, exponent) - first + 1, np.int64)
        for one in (self, other):
            places = (one.first + np.arange(len(one.counts))) >> (exponent - one.exponent)
            np.add.at(counts, places - first, one.counts)
        return Histogram(low, high, exponent, counts)


@dataclass(frozen=True)
class Statistics:
    """What is known of a tensor after a run over data: its histogram, how many ``calls`` gave values, sums for moments,
    and ``trail``, the sums of the smallest and of the largest value of each call, weighted by (1 - DECAY) DECAY ** age.
    """

    histogram: Histogram
    calls: int
    total: float
    squares: float
    trail: tuple[float, float]

    @staticmethod
    def of(values: np.ndarray) -> Statistics:
        """Those of one call, whose values are finite floats."""
        histogram = Histogram.of(values)
        total, squares = moments(values)
        return Statistics(histogram, 1, total, squares, (one_call(histogram.low), one_call(histogram.high)))

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return self.histogram.low, self.histogram.high

    @property
    def moving_range(self) -> tuple[float, float]:
        """The exponentially weighted means of each call's smallest and largest value (Jacob et al. 2018, section 3.1),
        divided by the sum of the weights, without which early values would be missed (Kingma and Ba 2015, section 3).
        """
        weight = 1 - DECAY**self.calls
        return self.trail[0] / weight, self.trail[1] / weight

    @property
    def mean(self) -> float:
        """The mean of all values."""
        return self.total / self.histogram.total

    @property
    def variance(self) -> float:
        """The mean square distance from the mean."""
        return max(0.0, self.squares / self.histogram.total - self.mean**2)

    def merged(self, later: Statistics) -> Statistics:
        """The statistics of both runs, ``later`` being the later one."""
        fade = DECAY**later.calls
        low, high = (old * fade + new for old, new in zip(self.trail, later.trail, strict=True))
        return Statistics(
            self.histogram.merged(later.histogram),
            self.calls + later.calls,
            self.total + later.total,
            self.squares + later.squares,
            (low, high),
        )


def one_call(value: float) -> float:
    """A value's share in a moving average that has seen it alone."""
    return (1 - DECAY) * value


def moments(values: np.ndarray) -> tuple[float, float]:
    """The sum of values and that of their squares, added in float64."""
    flat = values.reshape(-1)
    return float(flat.sum(dtype=np.float64)), float(np.einsum("i,i->", flat, flat, dtype=np.float64))
