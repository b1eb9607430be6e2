"""Histograms count exactly, and those of parts merge to that of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnefc.quant.histogram import BINS, DECAY, Histogram, Statistics

VALUES = arrays(np.float32, st.integers(1, 40), elements=st.floats(-(2.0**127), 2.0**127, width=32))


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES)
def test_merged_histograms_are_that_of_all_values(a: np.ndarray, b: np.ndarray) -> None:
    whole = Histogram.of(np.concatenate([a, b]))
    assert Histogram.of(a).merged(Histogram.of(b)) == whole == Histogram.of(b).merged(Histogram.of(a))


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_every_value_is_in_its_bin(values: np.ndarray) -> None:
    made = Histogram.of(values)
    assert len(made.counts) <= BINS
    assert made.total == values.size
    found = np.histogram(values.astype(np.float64), made.edges)[0]
    # NumPy counts a value at the last edge into the last bin; there is none there.
    assert made.edges[-1] > made.high
    assert np.array_equal(found, made.counts)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e6])
def test_bins_are_fine(scale: float) -> None:
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32) * np.float32(scale)
    made = Histogram.of(values)
    assert BINS / 2 < len(made.counts) <= BINS


@pytest.mark.parametrize("value", [0.0, -0.0, 5.0, -1e-40, 3e38])
def test_constants(value: float) -> None:
    made = Histogram.of(np.full(7, value, np.float32))
    assert (made.low, made.high, made.total) == (np.float32(value), np.float32(value), 7)
    assert len(made.counts) == 1


def test_statistics_of_parts_merge_to_those_of_the_whole() -> None:
    parts = [np.random.default_rng(k).standard_normal(50).astype(np.float32) * (k + 1) for k in range(6)]
    first, second = (_merged(parts[:2]), _merged(parts[2:]))
    one, other = _merged(parts), first.merged(second)
    assert other.histogram == one.histogram
    assert other.calls == one.calls == 6
    every = np.concatenate(parts).astype(np.float64)
    for made in (one, other):
        assert made.mean == pytest.approx(every.mean(), abs=1e-6)
        assert made.variance == pytest.approx(every.var(), rel=1e-6)
        assert made.moving_range == pytest.approx(_moving_range(parts), rel=1e-12)


def _merged(parts: list[np.ndarray]) -> Statistics:
    made = Statistics.of(parts[0])
    for part in parts[1:]:
        made = made.merged(Statistics.of(part))
    return made


def _moving_range(parts: list[np.ndarray]) -> tuple[float, float]:
    """The weighted means of the smallest and the largest values, the newest weighing most."""
    weights = DECAY ** np.arange(len(parts))[::-1]
    ends = np.array([(p.min(), p.max()) for p in parts], np.float64)
    low, high = (ends * weights[:, None]).sum(0) / weights.sum()
    return float(low), float(high)
