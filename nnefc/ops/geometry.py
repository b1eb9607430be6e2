"""Sliding windows: which elements a window covers, how many windows there are, what lies beyond the border.

The terms are those of NNEF 1.0.5, section 4.3: windows map an up-scaled space to a down-scaled one; padding, stride and
dilation are measured in the up-scaled space, also by the reverse operations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnefc.ir.graph import Attrs
from nnefc.ir.types import DType
from nnefc.ops.common import border_index, integers, pairs, require_positive, shape_text, tensor
from nnefc.ops.primitive import require

BORDERS = ("constant", "replicate", "reflect", "reflect-even")
"""The border modes that give a value to every position (NNEF 1.0.5, 4.3)."""
POOL_BORDERS = (*BORDERS, "ignore")

Padding = tuple[int, int]


@dataclass(frozen=True)
class WindowAxis:
    """One dimension of a sliding window: ``before`` and ``after`` are the padding, of either sign."""

    upscaled: int
    downscaled: int
    size: int
    before: int = 0
    after: int = 0
    stride: int = 1
    dilation: int = 1

    @property
    def span(self) -> int:
        """The extent that one window covers: the dilated size."""
        return (self.size - 1) * self.dilation + 1

    @property
    def moves(self) -> bool:
        """Whether the window does anything in this dimension but pass each element on."""
        return (self.size, self.before, self.stride) != (1, 0, 1) or self.upscaled != self.downscaled

    @property
    def reach(self) -> Padding:
        """How far windows read beyond either end of the up-scaled extent (negative: how far they stay inside)."""
        return self.before, (self.downscaled - 1) * self.stride + self.span - self.before - self.upscaled

    @property
    def reverse_reach(self) -> Padding:
        """How far a reverse operation reads beyond either end of the down-scaled extent; never negative."""
        first = -((self.span - 1 - self.before) // self.stride)
        last = (self.upscaled - 1 + self.before) // self.stride
        return max(0, -first), max(0, last - (self.downscaled - 1))

    def positions(self, tap: int) -> slice:
        """Where tap ``tap`` of all windows lies in the input extended by ``reach``."""
        start = tap * self.dilation
        return slice(start, start + (self.downscaled - 1) * self.stride + 1, self.stride)

    def valid_counts(self) -> np.ndarray:
        """For each window, how many of its taps lie inside the up-scaled extent (int64, one per window)."""
        starts = np.arange(self.downscaled) * self.stride - self.before
        where = starts[:, None] + np.arange(self.size) * self.dilation
        return ((where >= 0) & (where < self.upscaled)).sum(axis=1)


Axes = tuple[WindowAxis, ...]


# ---- attributes -> axes

Argument = tuple[int, Padding | None, int, int]


def _arguments(attrs: Attrs, size: Sequence[int], first: int) -> Iterator[Argument]:
    """(size, padding or None for automatic, stride, dilation) for each dimension."""
    count = len(size)
    per = f" (one per {'spatial ' if first else ''}dimension of the input, or none)"
    require_positive(size, "size")
    padding = pairs(attrs, "padding", (count, 0), per)
    stride = integers(attrs, "stride", (count, 0), per)
    dilation = integers(attrs, "dilation", (count, 0), per)
    require_positive(stride, "stride")
    require_positive(dilation, "dilation")
    ones = (1,) * count
    return zip(size, padding or (None,) * count, stride or ones, dilation or ones, strict=True)


def _automatic(upscaled: int, downscaled: int, span: int, stride: int) -> Padding:
    """The padding for which ``downscaled`` windows cover ``upscaled`` elements; the extra element comes last."""
    total = max((downscaled - 1) * stride + span - upscaled, 0)
    return total // 2, total - total // 2


def down_axes(extents: Sequence[int], size: Sequence[int], attrs: Attrs, *, first: int = 0) -> Axes:
    """The windows of a basic operation, by its padding, stride and dilation, over an input of ``extents``.

    Dimension 0 of these is dimension ``first`` of the tensor. Raises InvalidModelError on wrong lengths, on items that
    are not positive, and on a window larger than the padded input.
    """
    axes = []
    for i, (extent, (f, pad, s, d)) in enumerate(zip(extents, _arguments(attrs, size, first), strict=True)):
        span = (f - 1) * d + 1
        before, after = _automatic(extent, -(-extent // s), span, s) if pad is None else pad
        room = before + extent + after - span
        require(
            room >= 0,
            f"in dimension {first + i} a window covers {span} elements (size {f}, dilation {d}) but the padded input "
            f"has {room + span} (extent {extent}, padding ({before},{after})); it must have at least as many",
        )
        axes.append(WindowAxis(extent, room // s + 1, f, before, after, s, d))
    return tuple(axes)


def up_axes(
    extents: Sequence[int], size: Sequence[int], attrs: Attrs, upscaled: Sequence[int], *, first: int = 0
) -> Axes:
    """The windows of a reverse operation from ``extents`` to ``upscaled`` (if empty: to the extents that follow).

    Raises InvalidModelError as ``down_axes`` does, and if ``upscaled`` does not scale down to ``extents`` again.
    """
    axes = []
    for i, (extent, (f, pad, s, d)) in enumerate(zip(extents, _arguments(attrs, size, first), strict=True)):
        span = (f - 1) * d + 1
        least = (extent - 1) * s + (1 if pad is None else span - sum(pad))
        wide = upscaled[i] if upscaled else extent * s if pad is None else least
        how = f"size {f}, stride {s}, dilation {d}, padding {'automatic' if pad is None else shape_text(pad)}"
        require(
            not upscaled or max(least, 1) <= wide < least + s,
            f"output_shape = {shape_text(upscaled)} gives dimension {first + i} the extent {wide}, which does not "
            f"scale down to the input's {extent} ({how}); {_range_text(max(least, 1), least + s - 1)}",
        )
        require(
            wide > 0,
            f"in dimension {first + i} the output would have the extent {wide} (input {extent}, {how}); it must be "
            "positive",
        )
        before, after = _automatic(wide, extent, span, s) if pad is None else pad
        axes.append(WindowAxis(wide, extent, f, before, after, s, d))
    return tuple(axes)


def _range_text(low: int, high: int) -> str:
    if high < low:
        return "no extent would, with so much padding"
    return f"it must be {low}" if low == high else f"it must be {low} to {high}"


def check_bordered(extents: Sequence[int], reaches: Sequence[Padding]) -> None:
    """Raise InvalidModelError if ``extents`` with a border of ``reaches`` would be absurdly large."""
    tensor(DType.F32, [max(1, e + sum(r)) for e, r in zip(extents, reaches, strict=True)], "the padded input")


# ---- the NumPy meaning


def extended(x: np.ndarray, reaches: Sequence[Padding], border: str, fill: float = 0.0) -> np.ndarray:
    """``x`` with a border: its last ``len(reaches)`` dimensions grow by ``reaches``, filled as ``border`` says.

    ``constant`` and ``ignore`` borders hold ``fill``. A negative reach cuts elements off.
    """
    first = x.ndim - len(reaches)
    for axis, reach in enumerate(reaches, first):
        if tuple(reach) == (0, 0):
            continue
        extent = x.shape[axis]
        index = border_index(border, np.arange(-reach[0], extent + reach[1]), extent)
        x = np.take(x, index, axis=axis)
        if (index < 0).any():
            x = np.where((index >= 0).reshape((-1,) + (1,) * (x.ndim - 1 - axis)), x, x.dtype.type(fill))
    return x


def last(index: Iterable[int | slice]) -> tuple[Any, ...]:
    """An index of the last dimensions."""
    return (..., *index)


def taps(axes: Axes) -> Iterator[tuple[int, ...]]:
    """The positions inside a window, in row-major order."""
    return itertools.product(*(range(a.size) for a in axes))


def at_tap(x: np.ndarray, axes: Axes, tap: Sequence[int]) -> np.ndarray:
    """One element of every window: a view of the extended input, down-scaled in its last ``len(axes)`` dimensions."""
    return x[last(a.positions(j) for a, j in zip(axes, tap, strict=True))]


def windows(x: np.ndarray, axes: Axes) -> np.ndarray:
    """All windows of the extended input: a view with one trailing dimension per axis for the positions inside."""
    first = x.ndim - len(axes)
    steps = x.strides[first:]
    return np.lib.stride_tricks.as_strided(
        x,
        x.shape[:first] + tuple(a.downscaled for a in axes) + tuple(a.size for a in axes),
        x.strides[:first]
        + tuple(n * a.stride for n, a in zip(steps, axes, strict=True))
        + tuple(n * a.dilation for n, a in zip(steps, axes, strict=True)),
        writeable=False,
    )


def overlap_add(
    axes: Axes, reaches: Sequence[Padding], prefix: Sequence[int], term: Callable[[tuple[int, ...]], np.ndarray]
) -> np.ndarray:
    """The sum of a reverse operation, in float64: ``term(tap)`` is what each tap adds, down-scaled.

    Its last dimensions are the down-scaled extents grown by ``reaches``; ``prefix`` is the shape before them.
    """
    counts = [a.downscaled + sum(r) for a, r in zip(axes, reaches, strict=True)]
    room = [(n - 1) * a.stride + a.span for n, a in zip(counts, axes, strict=True)]
    total = np.zeros((*prefix, *room))
    for tap in taps(axes):
        place = last(
            slice(j * a.dilation, j * a.dilation + (n - 1) * a.stride + 1, a.stride)
            for j, n, a in zip(tap, counts, axes, strict=True)
        )
        total[place] += term(tap)
    offsets = [a.before + r[0] * a.stride for a, r in zip(axes, reaches, strict=True)]
    crop = [(-o, a.upscaled + o - n) for o, a, n in zip(offsets, axes, room, strict=True)]
    return extended(total, crop, "constant")
