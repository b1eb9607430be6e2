"""A few samples of many: what biases are corrected on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nnefc.quant.runs import Arrays

CALLS, BYTES = 128, 1 << 26
"""The most calls of an excerpt, and the most bytes of their arrays; one call is always there."""


class Excerpt:
    """Samples of a stream of unknown length, evenly spaced from the first on, in bounded memory.

    Every ``stride``-th is kept; where these become too many, every second of them is let go of."""

    def __init__(self, samples: Iterable[Arrays] = ()):
        self.seen = 0
        self._stride, self._bytes = 1, 0
        self._kept: list[Arrays] = []
        for sample in samples:
            self.add(sample)

    def add(self, sample: Arrays) -> None:
        """Take in the next sample, whose arrays must not change afterwards."""
        if self.seen % self._stride == 0:
            self._kept.append(sample)
            self._bytes += _size(sample)
            while len(self._kept) > 1 and (len(self._kept) > CALLS or self._bytes > BYTES):
                self._kept = self._kept[::2]
                self._stride *= 2
                self._bytes = sum(map(_size, self._kept))
        self.seen += 1

    def __iter__(self) -> Iterator[Arrays]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def _size(sample: Arrays) -> int:
    return sum(array.nbytes for array in sample.values())
