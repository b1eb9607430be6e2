"""Ranges found from histograms are those that the values themselves give."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnefc.ops.quantized import zero_point_range
from nnefc.quant.histogram import Statistics
from nnefc.quant.ranges import METHODS, Codes, find_range, linear_encoding

U8, S8, U4, U8_SYMMETRIC = Codes(8), Codes(8, True, True), Codes(4), Codes(8, False, True)


def drawn(name: str) -> np.ndarray:
    g = np.random.default_rng(3)
    values = {
        "normal": g.standard_normal(16_000),
        "rectified": np.maximum(g.standard_normal(16_000), 0),
        "heavy tails": g.laplace(size=16_000) * 5,
        "two sides": np.concatenate([g.standard_normal(10_000) * 0.2, g.gamma(2, 1, 6_000)]),
        "an outlier": np.concatenate([np.maximum(g.standard_normal(16_000), 0), [30.0]]),
        "negative": -g.gamma(2, 0.01, 16_000),
    }
    return values[name].astype(np.float32)


NAMES = ("normal", "rectified", "heavy tails", "two sides", "an outlier", "negative")


def error(values: np.ndarray, low: float, high: float, codes: Codes) -> float:
    """The mean squared error of values coded over a range, step by step."""
    first, last = zero_point_range(codes.bits, codes.signed, codes.symmetric)
    if codes.symmetric:
        zero = (first + last + 1) // 2
        scale = high / (last - zero)
    else:
        scale = (high - low) / (last - first)
        zero = min(max(math.floor(first - low / scale + 0.5), first), last)
    code = np.clip(np.floor(values / scale + 0.5) + zero, first, last)
    return float(np.mean(((code - zero) * scale - values) ** 2))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("codes", [U8, S8, U4, U8_SYMMETRIC], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_ranges_hold_zero_and_lie_within_what_was_seen(name: str, codes: Codes, method: str) -> None:
    values = drawn(name)
    low, high = find_range(Statistics.of(values), method, codes)
    assert low <= 0 <= high and low < high
    if codes.symmetric:
        assert low == -high <= np.abs(values).max()
    else:
        assert low >= min(values.min(), 0) and high <= max(values.max(), 0)


@pytest.mark.parametrize("name", NAMES)
def test_minmax(name: str) -> None:
    values = drawn(name)
    low, high = find_range(Statistics.of(values), "minmax", U8)
    assert (low, high) == (min(values.min(), 0), max(values.max(), 0))


@pytest.mark.parametrize("kept", [99.0, 99.9, 99.99])
@pytest.mark.parametrize("name", NAMES)
def test_percentile(name: str, kept: float) -> None:
    values = drawn(name)
    s = Statistics.of(values)
    found = find_range(s, "percentile", U8, kept)
    ends = 2 if values.min() < 0 < values.max() else 1
    cut = (100 - kept) / ends
    low, high = np.percentile(values, [cut, 100 - cut])
    # Percentiles of samples are some sample: neighbours in the tails are far apart.
    near = [np.percentile(values, [max(cut - d, 0), 100 - cut - d]) for d in (-0.005, 0.005)]
    slack = np.abs(near[0] - near[1]) + s.histogram.width
    if values.min() < 0:
        assert found[0] == pytest.approx(low, abs=slack[0])
    if values.max() > 0:
        assert found[1] == pytest.approx(high, abs=slack[1])


@pytest.mark.parametrize("codes", [U8, S8, U4, U8_SYMMETRIC], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_mse_finds_the_least_error_of_the_values(name: str, codes: Codes) -> None:
    values = drawn(name)
    low, high = find_range(Statistics.of(values), "mse", codes)
    found = error(values, low, high, codes)
    ends = (min(values.min(), 0), max(values.max(), 0))
    if codes.symmetric:
        top = max(-ends[0], ends[1])
        tried = [(-top * p, top * p) for p in np.linspace(0.05, 1, 200)]
    else:
        tried = [(ends[0] * p, ends[1] * q) for p in np.linspace(0.05, 1, 20) for q in np.linspace(0.05, 1, 20)]
    assert found <= 1.02 * min(error(values, *t, codes) for t in tried)


@pytest.mark.parametrize("codes", [S8, Codes(4, True, True)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_octav_is_the_fixed_point_of_the_paper(name: str, codes: Codes) -> None:
    """On the values themselves. The paper's step is 2 s / 2 ** bits; symmetric codes leave two of them out."""
    values = np.abs(drawn(name).astype(np.float64))
    values = values[values > 0]
    s = values.mean()
    for _ in range(200):
        beyond = values > s
        inside = np.count_nonzero(~beyond)
        s = values[beyond].sum() / (inside / (3 * codes.steps**2) + np.count_nonzero(beyond))
    low, high = find_range(Statistics.of(drawn(name)), "octav", codes)
    assert high == pytest.approx(min(s, values.max()), rel=0.01)


@pytest.mark.parametrize("codes", [U8, U4], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_octav_has_the_least_expected_error(name: str, codes: Codes) -> None:
    values = drawn(name).astype(np.float64)
    values = values[values != 0]

    def expected(low: float, high: float) -> float:
        inside = (values >= low) & (values <= high)
        clipped = np.square(np.maximum(values - high, 0) + np.maximum(low - values, 0)).sum()
        return float(((high - low) / codes.steps) ** 2 / 12 * np.count_nonzero(inside) + clipped)

    low, high = find_range(Statistics.of(drawn(name)), "octav", codes)
    ends = (min(values.min(), 0), max(values.max(), 0))
    parts = np.linspace(0.05, 1, 24)
    # The iteration leaves aside that the number of values inside depends on the bound.
    assert expected(low, high) <= 1.05 * min(expected(ends[0] * p, ends[1] * q) for p in parts for q in parts)


@pytest.mark.parametrize("name", ["rectified", "heavy tails", "an outlier"])
def test_entropy_finds_the_least_divergence(name: str) -> None:
    """With histograms of the values themselves, of 2048 bins, and every bound tried. They have no spikes."""
    values = np.abs(drawn(name))
    counts = np.histogram(values, 2048, (0, values.max()))[0].astype(float)
    counts[0] = 0
    levels = 255 if name != "heavy tails" else 127
    divergences = {}
    for kept in range(levels, 2049, 13):
        p = counts[:kept].copy()
        p[-1] += counts[kept:].sum()
        q = np.zeros(kept)
        chance = 0.0
        for level in range(levels):
            group = [k for k in range(-(-level * kept // levels), -(-(level + 1) * kept // levels)) if counts[k]]
            if group:
                q[group] = counts[group].mean()
                chance += (len(group) - 1) / (2 * counts.sum())
        seen = p > 0
        q = np.maximum(q / q.sum(), 1e-6)
        p = p / p.sum()
        divergences[kept / 2048 * values.max()] = float(np.sum(p[seen] * np.log(p[seen] / q[seen]))) - chance
    _, high = find_range(Statistics.of(drawn(name)), "entropy", U8)
    near = min(divergences, key=lambda bound: abs(bound - high))
    best = min(divergences.values())
    assert divergences[near] <= best + 0.5 * abs(best) + 1e-4


@pytest.mark.parametrize("count", [300, 3_000, 300_000])
def test_entropy_does_not_cut_off_what_is_not_rare(count: int) -> None:
    """Ink on a background: one value most of the time, others evenly spread over few distinct numbers."""
    rng = np.random.default_rng(count)
    ink = rng.integers(0, 256, count) / 256 * 3.2 - 0.4
    values = np.where(rng.random(count) < 0.8, -0.4, ink).astype(np.float32)
    low, high = find_range(Statistics.of(values), "entropy", U8)
    assert low == np.float32(-0.4) and np.count_nonzero(values > high) < 0.01 * count


def test_entropy_of_few_values_is_near_that_of_many() -> None:
    values = drawn("heavy tails")
    few, many = (find_range(Statistics.of(v), "entropy", U8)[1] for v in (values[: len(values) // 20], values))
    assert 0.5 < few / many < 2


@pytest.mark.parametrize("codes", [U8, S8, U4, U8_SYMMETRIC, Codes(8, True), Codes(16), Codes(2)], ids=str)
@pytest.mark.parametrize(
    "covered", [(0.0, 6.0), (-1.0, 3.0), (-3.0, 0.0), (-0.001, 1000.0), (-1e-30, 1e-30), (0.0, 0.0)]
)
def test_codes_cover_the_range_and_code_zero_exactly(covered: tuple[float, float], codes: Codes) -> None:
    low, high = covered
    if codes.symmetric:
        low, high = -max(-low, high), max(-low, high)
    encoding = linear_encoding(low, high, codes)
    zero, scale = encoding["zero_point"], encoding["scale"]
    first, last = zero_point_range(codes.bits, codes.signed, codes.symmetric)
    assert isinstance(zero, int) and first <= zero <= last
    assert scale > 0 and np.float32(scale) == scale
    # A whole zero point moves the ends by half a step at most.
    assert (first - zero) * scale <= low * (1 - 1e-6) + 0.501 * scale
    assert (last - zero) * scale >= high * (1 - 1e-6) - 0.501 * scale


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("codes", [U8, S8], ids=str)
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_constants_are_coded_exactly(value: float, codes: Codes, method: str) -> None:
    low, high = find_range(Statistics.of(np.full(9, value, np.float32)), method, codes)
    encoding = linear_encoding(low, high, codes)
    first, last = zero_point_range(codes.bits, codes.signed, codes.symmetric)
    code = np.clip(np.floor(value / encoding["scale"] + 0.5) + encoding["zero_point"], first, last)
    assert (code - encoding["zero_point"]) * encoding["scale"] == pytest.approx(value)
