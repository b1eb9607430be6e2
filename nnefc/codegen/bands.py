"""Weights of more than 8 bits as several bands of bytes, whose sums of products are combined as they are added up.

Powers of two far apart, and codes of up to 16 bits, are sums of bytes times constants. A contraction adds up the
products of one band after the other and multiplies the sums by a factor after each: Horner's scheme, modulo 2**32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from nnefc.ir.program import Contract
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View

BASE = 256
"""What one band is worth more than the next, where bands are bytes of a number."""
MOST_BANDS = 4
"""Bands that make any number of 32 bits."""
PAIR = 254, 5
"""What two bands may be worth instead: so these are symmetric, and make all powers of two up to 2**15, of either
sign, which 256 and 1 do not."""


@dataclass(frozen=True)
class Bands:
    """Weights of I32 as bytes: ``buffer`` holds the first band of all elements of theirs, of ``size``, then the next.
    Sums are multiplied by one of ``factors`` after each band; see :func:`bands_of`."""

    buffer: Buffer
    size: int
    factors: tuple[int, ...]

    def views(self, w: View) -> tuple[View, ...]:
        """Each band of what a view of the weights reaches."""
        starts = (w.offset + k * self.size for k in range(len(self.factors)))
        return tuple(replace(w, buffer=self.buffer, offset=start) for start in starts)


def bands_of(values: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Integers of 32 bits as I8 ``b`` of shape (bands, *values.shape), and factors ``f``: modulo 2**32, they are
    ``((b[0] f[0] + b[1]) f[1] + ...) f[-1]``. There are as few bands as in these ways there can be; factors are of the
    range of I32."""
    values = values.astype(np.int32)
    ways: tuple[Callable[[np.ndarray], tuple[list[np.ndarray], tuple[int, ...]] | None], ...] = (
        lambda v: _bytes(v, 2),
        _pair,
        lambda v: _bytes(v, MOST_BANDS - 1),
        lambda v: _bytes(v, MOST_BANDS),
    )
    found = next(made for way in ways if (made := way(values)) is not None)
    return np.stack(found[0]), found[1]


def _bytes(values: np.ndarray, count: int) -> tuple[list[np.ndarray], tuple[int, ...]] | None:
    """As ``count`` signed bytes, the highest first; None where these do not hold them."""
    bands: list[np.ndarray] = []
    rest = values.astype(np.int64)
    for _ in range(count):
        bands.insert(0, rest.astype(np.int8))
        rest = (rest - bands[0]) // BASE
    return (bands, (*(BASE,) * (count - 1), 1)) if count == MOST_BANDS or not rest.any() else None


def _pair(values: np.ndarray) -> tuple[list[np.ndarray], tuple[int, ...]] | None:
    """As two signed bytes, worth what PAIR says; None where there are none. The first is the number nearest to what
    it would be alone that leaves a multiple of the second's worth."""
    high, low = PAIR
    first = np.rint(values / high).astype(np.int64)
    turn = low // 2
    first += (-values - first + turn) % low - turn
    second = (values - high * first) // low
    if max(np.abs(b).max(initial=0) for b in (first, second)) > np.iinfo(np.int8).max:
        return None
    factor = high * pow(low, -1, 2**32) % 2**32
    return [first.astype(np.int8), second.astype(np.int8)], (factor - 2**32 * (factor >= 2**31), low)


def banded(call: Contract, constants: dict[str, np.ndarray], names: Iterator[str]) -> Bands | None:
    """The weights of a contraction in bands, which join the constants; None where they are no I32.

    Raises ValueError for weights of I32 that are not constant."""
    if call.w.dtype is not DType.I32:
        return None
    values = constants.get(call.w.buffer.name)
    if values is None:
        raise ValueError(f"the weights {call.w.buffer.name} are computed, and of I32")
    bands, factors = bands_of(values)
    buffer = Buffer(next(names), DType.I8, bands.size, Role.CONST)
    constants[buffer.name] = bands.reshape(-1)
    return Bands(buffer, values.size, factors)
