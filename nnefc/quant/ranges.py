"""From what was observed to the range that the codes of a tensor cover, and from a range to codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from nnefc.ir.encoding import Encoding, Parameter
from nnefc.ops.quantized import zero_point_range
from nnefc.quant.histogram import Statistics

TINY = float(np.finfo(np.float32).tiny)
"""The smallest scale."""


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
        """Steps between the lowest and the highest code."""
        low, high = self.limits
        return high - low


PERCENTILE = 99.99
"""What the method of this name keeps of the values by default."""
Range = tuple[float, float]
Method = Callable[[Statistics, Codes, float], Range]
"""From statistics, codes and a percentile to a range."""


def with_zero(found: Range, codes: Codes) -> Range:
    """A range that contains 0, which borders are filled with, and is as wide on both sides for symmetric codes."""
    low, high = min(found[0], 0.0), max(found[1], 0.0)
    if codes.symmetric:
        high = max(-low, high)
        low = -high
    return low, high


def minmax(s: Statistics, codes: Codes, percentile: float) -> Range:
    """The smallest and the largest value."""
    return s.range


def moving_average(s: Statistics, codes: Codes, percentile: float) -> Range:
    """The moving averages of the smallest and the largest value of each call: Jacob et al., "Quantization and training
    of neural networks for efficient integer-arithmetic-only inference", 2018, section 3.1."""
    return s.moving_range


METHODS: Mapping[str, Method] = {
    "minmax": minmax,
    "moving-average": moving_average,
}
"""How ranges are found, by name."""


def find_range(s: Statistics, method: str, codes: Codes, percentile: float = PERCENTILE) -> Range:
    """The range of a tensor, 0 in it. Raises ValueError for an unknown method."""
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    low, high = METHODS[method](s, codes, percentile)
    return with_zero((max(low, s.range[0]), min(high, s.range[1])), codes)


def linear_encoding(low: float, high: float, codes: Codes) -> Encoding:
    """``zero_point_linear_quantize`` (NNEF 1.0.5, 4.9.5) whose codes cover a range that contains 0.

    The zero point is the nearest whole code, and is always one of the codes: 0 is coded exactly. A range of nothing
    gets the scale 1.
    """
    first, last = codes.limits
    if codes.symmetric:
        zero = (first + last + 1) // 2
        scale = high / (last - zero)
    else:
        scale = (high - low) / (last - first)
        zero = first if not scale else int(np.clip(np.floor(first - low / scale + 0.5), first, last))
    scale = max(float(np.float32(scale)), TINY) if scale else 1.0
    return encoding_of(zero, scale, codes)


def encoding_of(zero: Parameter, scale: Parameter, codes: Codes) -> Encoding:
    """``zero_point_linear_quantize`` with these parameters."""
    modes = (("bits", codes.bits), ("signed", codes.signed), ("symmetric", codes.symmetric))
    return Encoding("zero_point_linear_quantize", (("zero_point", zero), ("scale", scale), *modes))
