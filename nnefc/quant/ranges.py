"""From what was observed to the range that the codes of a tensor cover, and from a range to codes.

Every method works on the histogram alone; values count as if they lay in the middle of their bins. Positive and
negative values are told apart: ranges need not be symmetric, unless the codes are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from nnefc.ir.encoding import Encoding, Parameter
from nnefc.ops.quantized import zero_point_range
from nnefc.quant.histogram import Histogram, Statistics

TINY = float(np.finfo(np.float32).tiny)
"""The smallest scale."""
PERCENTILE = 99.99
"""What the method of this name keeps of the values by default."""
GRID = 64
"""How many parts of the whole range the method ``mse`` tries for a start."""
MAGNITUDES = 2048
"""The most bins that ``entropy`` and ``octav`` take magnitudes apart into."""
KEPT = 256
"""The most bounds that ``entropy`` tries."""
UNSEEN = 1e-6
"""The share that ``entropy`` takes a bin to have that holds cut-off values alone, and so none after quantization."""
SPIKE, CHANCE = 0.25, 3.0
"""A bin is a spike to ``entropy`` if it holds more than this part of what all others within a step hold, and does so
by more than so many standard deviations of a count."""
ROUNDS = 100
"""The most steps of ``octav``; a fixed point is reached in a few."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Codes:
    """Integer codes: ``bits`` of them, ``signed`` or not, ``symmetric`` where zero shall lie in their middle."""

    bits: int = 8
    signed: bool = False
    symmetric: bool = False

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        return zero_point_range(self.bits, self.signed, self.symmetric)

    @property
    def steps(self) -> int:
        """Steps between the lowest and the highest code; for symmetric codes twice those on each side of zero."""
        low, high = self.limits
        return 2 * (high - self.middle) if self.symmetric else high - low

    @property
    def middle(self) -> int:
        """The code of zero for a symmetric range."""
        low, high = self.limits
        return (low + high + 1) // 2


Method = Callable[[Statistics, Codes, float], Range]
"""From statistics, codes and a percentile to a range."""


def with_zero(found: Range, codes: Codes) -> Range:
    """A range that contains 0, which borders are filled with, and is as wide on both sides for symmetric codes."""
    low, high = min(found[0], 0.0), max(found[1], 0.0)
    if codes.symmetric:
        high = max(-low, high)
        low = -high
    return low + 0.0, high + 0.0


def minmax(s: Statistics, codes: Codes, percentile: float) -> Range:
    """The smallest and the largest value."""
    return s.range


def moving_average(s: Statistics, codes: Codes, percentile: float) -> Range:
    """The moving averages of the smallest and the largest value of each call: Jacob et al., "Quantization and training
    of neural networks for efficient integer-arithmetic-only inference", 2018, section 3.1."""
    return s.moving_range


def percentile_range(s: Statistics, codes: Codes, percentile: float) -> Range:
    """What is left when the same share of values is cut off at both ends, ``percentile`` per cent in all; all of it at
    one end where values lie on one side of 0 alone: Wu et al., "Integer quantization for deep learning inference:
    principles and empirical evaluation", 2020, section 3.2."""
    h = s.histogram
    cut = 1 - percentile / 100
    ends = 2 if h.low < 0 < h.high else 1
    below = np.concatenate([[0], np.cumsum(h.counts)]) / h.total
    low, high = (float(np.interp(q, below, h.edges)) for q in (cut / ends, 1 - cut / ends))
    return (low if h.low < 0 else h.low), (high if h.high > 0 else h.high)


def entropy(s: Statistics, codes: Codes, percentile: float) -> Range:
    """The bound on magnitudes whose codes tell most of the distribution of the values: that of the least
    Kullback-Leibler divergence of the quantized distribution from the one before, what is cut off counting at the
    bound. Migacz, "8-bit inference with TensorRT", GPU Technology Conference 2017.

    What every range codes well must not count as lost when it shares a step with others: the bin of 0 is left out, and
    inside a bound spikes (a background, saturated inputs) count as the bins around them. The divergence that chance
    makes, which few values would have more of the wider the range is, is taken off: Miller, "Note on the bias of
    information estimates", 1955."""
    edges, counts = _magnitudes(s.histogram)
    both = codes.symmetric or s.histogram.low < 0 < s.histogram.high
    levels = codes.steps // 2 if both else codes.steps
    counts[0] = 0
    if len(counts) <= levels or not counts.any():
        return s.range
    kept = np.unique(np.linspace(levels, len(counts), KEPT).astype(np.int64))
    smooth = _without_spikes(counts, -(-len(counts) // levels))
    divergences = [_divergence(smooth, int(n), levels, float(counts[n:].sum())) for n in kept]
    bound = float(edges[kept[int(np.argmin(divergences))]])
    return max(s.histogram.low, -bound), min(s.histogram.high, bound)


def _magnitudes(h: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """The histogram of magnitudes, of at most MAGNITUDES bins: edges, the first being 0, and counts."""
    places = h.first + np.arange(len(h.counts))
    places = np.where(places < 0, -places - 1, places)
    gathered = 1 + int(places.max()) // MAGNITUDES
    counts = np.bincount(places // gathered, weights=h.counts.astype(np.float64))
    return np.arange(len(counts) + 1) * (h.width * gathered), counts


def _without_spikes(counts: np.ndarray, step: int) -> np.ndarray:
    """Counts in which a spike has the mean of the bins around it, up to ``step`` away, that are none."""
    at = np.arange(len(counts))
    ends = np.maximum(at - step, 0), np.minimum(at + step + 1, len(counts))

    def around(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(sums[ends[1]] - sums[ends[0]])

    spikes = counts - CHANCE * np.sqrt(counts) > SPIKE * (around(counts) - counts)
    mean = around(np.where(spikes, 0.0, counts)) / np.maximum(around(~spikes), 1)
    return np.where(spikes, mean, counts)


def _divergence(counts: np.ndarray, kept: int, levels: int, beyond: float) -> float:
    """The divergence of the first ``kept`` bins, gathered into ``levels``, from themselves with the count of what is
    cut off, ``beyond``, less that which chance makes: half a value for each bin more than there are levels."""
    inside = counts[:kept]
    before = inside.copy()
    before[-1] += beyond
    groups = np.arange(kept) * levels // kept
    used = inside > 0
    sums = np.bincount(groups, weights=inside, minlength=levels)
    members = np.bincount(groups, weights=used, minlength=levels)
    after = np.where(used, (sums / np.maximum(members, 1))[groups], 0.0)
    if not after.any():
        return np.inf
    seen = before > 0
    p, q = before[seen] / before.sum(), np.maximum(after[seen] / after.sum(), UNSEEN)
    chance = (np.count_nonzero(used) - np.count_nonzero(members)) / (2 * before.sum())
    return float(np.sum(p * np.log(p / q)) - chance)


def mse(s: Statistics, codes: Codes, percentile: float) -> Range:
    """The range with the least mean squared error of the values after quantization: parts of the whole range are tried,
    of both ends together, of each, and finer ones near the best. Choukroun et al., "Low-bit quantization of neural
    networks for efficient inference", 2019, section 3."""
    h = s.histogram
    centers, weights = h.centers[h.counts > 0], h.counts[h.counts > 0].astype(np.float64)
    whole = with_zero(s.range, codes)

    def error(parts: tuple[float, float]) -> float:
        covered = with_zero((whole[0] * parts[0], whole[1] * parts[1]), codes)
        return squared_error(centers, weights, covered, codes)

    grid = [1 - k / GRID for k in range(GRID)]
    best = min([(p, p) for p in grid], key=error)
    if not codes.symmetric and whole[0] < 0 < whole[1]:
        best = min([best, *((best[0], p) for p in grid)], key=error)
        best = min([best, *((p, best[1]) for p in grid)], key=error)
    for gap in (1 / GRID / 4, 1 / GRID / 16):
        near = [gap * k for k in range(-4, 5)]
        best = min([best, *((best[0], min(max(best[1] + d, 0.0), 1.0)) for d in near)], key=error)
        best = min([best, *((min(max(best[0] + d, 0.0), 1.0), best[1]) for d in near)], key=error)
    return whole[0] * best[0], whole[1] * best[1]


def squared_error(values: np.ndarray, weights: np.ndarray, covered: Range, codes: Codes) -> float:
    """The sum of the squared errors of values, weighted, when they are coded over a range that contains 0."""
    encoding = linear_encoding(*covered, codes)
    zero, scale = (float(np.asarray(encoding[name])) for name in ("zero_point", "scale"))
    low, high = codes.limits
    code = np.clip(np.floor(values / scale + 0.5) + zero, low, high)
    return float(np.sum(weights * np.square((code - zero) * scale - values)))


def octav(s: Statistics, codes: Codes, percentile: float) -> Range:
    """The range with the least expected squared error: that of clipping beyond its ends, and inside that of rounding,
    a twelfth of the squared step. Sakr et al., "Optimal clipping and magnitude-aware differentiation for improved
    quantization-aware training", 2022, section 3: the fixed point of a Newton iteration on the bound, here for each end
    in turn where codes are not symmetric. Values that are 0 count neither as rounded nor as clipped."""
    h = s.histogram
    if codes.symmetric:
        edges, counts = _magnitudes(h)
        counts[0] = 0
        bound = _clipping(_Tail(edges, counts), None, codes)[1]
        return -bound, bound
    above = np.where(h.first + np.arange(len(h.counts)) == 0, 0, h.counts).astype(np.float64)
    return _clipping(_Tail(h.edges, above), _Tail(-h.edges[::-1], above[::-1]), codes)


class _Tail:
    """How many values lie beyond a bound, and their sum."""

    def __init__(self, edges: np.ndarray, counts: np.ndarray):
        sums = counts * (edges[1:] + edges[:-1]) / 2
        self.edges = edges
        self._counts, self._sums = (np.concatenate([[0], np.cumsum(v[::-1])])[::-1] for v in (counts, sums))
        self.all = float(counts.sum())

    def __call__(self, bound: float) -> tuple[float, float]:
        """The number of values above ``bound`` (at least 0) and their sum."""
        return tuple(float(np.interp(bound, self.edges, v)) for v in (self._counts, self._sums))  # type: ignore[return-value]


def _clipping(up: _Tail, down: _Tail | None, codes: Codes) -> Range:
    """The fixed point for values ``up`` and, mirrored, ``down``; None where ``up`` are magnitudes and both ends one."""
    low = high = 0.0
    for _ in range(ROUNDS):
        before = (low, high)
        inside = up.all - up(high)[0] - (down(low)[0] if down is not None else 0.0)
        noise = inside / (12 * codes.steps**2)
        if down is None:
            high = _bound(up(high), 4 * noise, 0.0)
        else:
            high, low = _bound(up(high), noise, low), _bound(down(low), noise, high)
        if max(abs(low - before[0]), abs(high - before[1])) <= 1e-6 * max(low, high):
            break
    return -low, high


def _bound(beyond: tuple[float, float], noise: float, other: float) -> float:
    """Where the error of clipping a little more is that of rounding a little less."""
    count, total = beyond
    return max(0.0, (total - other * noise) / (count + noise)) if count + noise else 0.0


METHODS: Mapping[str, Method] = {
    "minmax": minmax,
    "moving-average": moving_average,
    "percentile": percentile_range,
    "entropy": entropy,
    "mse": mse,
    "octav": octav,
}
"""How ranges are found, by name."""


def find_range(s: Statistics, method: str, codes: Codes, percentile: float = PERCENTILE) -> Range:
    """The range of a tensor, 0 in it; that of a constant reaches exactly to it. Raises ValueError for an unknown
    method."""
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    if s.range[0] == s.range[1]:
        return with_zero(s.range, codes)
    low, high = METHODS[method](s, codes, percentile)
    return with_zero((max(low, s.range[0]), min(high, s.range[1])), codes)


def linear_encoding(low: float, high: float, codes: Codes) -> Encoding:
    """``zero_point_linear_quantize`` (NNEF 1.0.5, 4.9.5) whose codes cover a range that contains 0.

    The zero point is the nearest whole code, and is always one of the codes: 0 is coded exactly. A range of nothing
    gets the scale 1.
    """
    first, last = codes.limits
    if codes.symmetric:
        zero, scale = codes.middle, 2 * high / codes.steps
    else:
        scale = (high - low) / codes.steps
        zero = first if not scale else int(np.clip(np.floor(first - low / scale + 0.5), first, last))
    scale = max(float(np.float32(scale)), TINY) if scale else 1.0
    return encoding_of(zero, scale, codes)


def encoding_of(zero: Parameter, scale: Parameter, codes: Codes) -> Encoding:
    """``zero_point_linear_quantize`` with these parameters."""
    modes = (("bits", codes.bits), ("signed", codes.signed), ("symmetric", codes.symmetric))
    return Encoding("zero_point_linear_quantize", (("zero_point", zero), ("scale", scale), *modes))
