"""Sliding windows: which elements a window covers, how many windows there are, what lies beyond the border.

The terms are those of NNEF 1.0.5, section 4.3: windows map an up-scaled space to a down-scaled one; padding, stride and
dilation are measured in the up-scaled space, also by the reverse operations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.graph import Attrs
from nnefc.ir.types import DType
from nnefc.ir.view import View
from nnefc.ops.common import MAX_VOLUME, border_index, integers, pairs, require_positive, shape_text, tensor
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
        first = np.clip(-(starts // self.dilation), 0, self.size)
        beyond = np.clip(-((starts - self.upscaled) // self.dilation), 0, self.size)
        return np.maximum(beyond - first, 0)


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
    for p in padding:
        far = max(map(abs, p))
        much = f"at most {MAX_VOLUME} elements are allowed"
        require(far <= MAX_VOLUME, f"padding = {shape_text(padding)} contains {far}; {much}")
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
    wide = [e + max(p, 0) + max(q, 0) for e, (p, q) in zip(extents, reaches, strict=True)]
    tensor(DType.F32, wide, "the padded input")


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
        + tuple(n * a.stride if a.downscaled > 1 else 0 for n, a in zip(steps, axes, strict=True))
        + tuple(n * a.dilation if a.size > 1 else 0 for n, a in zip(steps, axes, strict=True)),
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


# ---- lowering


def bordered_view(
    b: ProgramBuilder,
    view: View,
    reaches: Sequence[Padding],
    border: str,
    fill: float | int = 0,
    order: Sequence[int] | None = None,
) -> View:
    """As ``extended``, in memory in ``order`` (default: channels last), or ``view`` itself and slices of it where
    nothing is added."""
    first = view.rank - len(reaches)
    grown = [(0, 0)] * first + [(max(p, 0), max(q, 0)) for p, q in reaches]
    mode = "constant" if border == "ignore" else border
    view = b.pad(view, grown, mode, fill, order if order is not None else channels_last(view.rank))
    for d, (before, after) in enumerate(reaches, first):
        start = max(-before, 0)
        view = view.slice(d, start, view.shape[d] - start - max(-after, 0))
    return view


def window_view(view: View, axes: Axes) -> tuple[View, int]:
    """All windows over the last dimensions of the extended input, and the number of dimensions appended for what is
    inside. Only windows of more than one element get a dimension."""
    first = view.rank - len(axes)
    for d, a in enumerate(axes, first):
        if a.size == 1:
            view = view.slice(d, 0, a.downscaled, a.stride)
    wide = [(d, a) for d, a in enumerate(axes, first) if a.size > 1]
    sizes, strides, dilations = ([getattr(a, n) for _, a in wide] for n in ("size", "stride", "dilation"))
    return view.window([d for d, _ in wide], sizes, strides, dilations), len(wide)


MAX_PHASES = 4096
"""A reverse operation is split into at most so many correlations; where strides ask for more, zeros are inserted."""


@dataclass(frozen=True)
class Phase:
    """The outputs ``start``, ``start + step``, ... of a dimension of a reverse operation, ``count`` of them.

    They are a correlation of stride 1: output m reads the down-scaled positions ``first + m + v * dilation`` for v from
    0 to ``size - 1``, times the kernel's taps ``tap + v * tap_step``. With ``size`` 0 they are zeros.
    """

    start: int
    step: int
    count: int
    first: int
    size: int
    dilation: int
    tap: int
    tap_step: int

    @property
    def beyond(self) -> int:
        """One past the last position read."""
        return self.first + self.count - 1 + (self.size - 1) * self.dilation + 1


def axis_phases(a: WindowAxis) -> tuple[Phase, ...]:
    """The phases of a dimension: output i takes the taps j for which ``(i + before - j * dilation) % stride == 0``."""
    common = math.gcd(a.stride, a.dilation)
    tap_step, spread = a.stride // common, a.dilation // common
    inverse = pow(spread, -1, tap_step)
    phases = []
    for start in range(min(a.stride, a.upscaled)):
        count = -(-(a.upscaled - start) // a.stride)
        tap = (start + a.before) // common * inverse % tap_step
        size = -(-(a.size - tap) // tap_step) if (start + a.before) % common == 0 and tap < a.size else 0
        last_tap = tap + max(size - 1, 0) * tap_step
        first = (start + a.before - last_tap * a.dilation) // a.stride
        phases.append(Phase(start, a.stride, count, first, size, spread, last_tap, -tap_step))
    return tuple(phases)


@dataclass(frozen=True)
class ReversePlan:
    """How a reverse operation over the last dimensions of a tensor becomes correlations.

    ``inserted`` says where zeros are put between the elements; ``reaches`` is by how much each dimension, so spread, is
    extended. Positions of the phases count in the extended tensor. ``reverse_reaches`` come first.
    """

    border: tuple[Padding, ...]
    inserted: tuple[int, ...]
    reaches: tuple[Padding, ...]
    phases: tuple[tuple[Phase, ...], ...]

    def source(self, b: ProgramBuilder, view: View, mode: str, fill: float | int = 0) -> View:
        """The extended tensor. ``fill`` stands between and around the elements."""
        view = bordered_view(b, view, self.border, mode, fill)
        first = view.rank - len(self.inserted)
        for d, step in enumerate(self.inserted, first):
            if step > 1 and view.shape[d] > 1:
                shape = [*view.shape[:d], (view.shape[d] - 1) * step + 1, *view.shape[d + 1 :]]
                spread = b.fill(b.new(shape, view.dtype, channels_last(view.rank)), fill)
                b.copy(view, spread.slice(d, 0, view.shape[d], step))
                view = spread
        return bordered_view(b, view, self.reaches, "constant", fill)

    def combinations(self) -> Iterator[tuple[Phase, ...]]:
        """One phase per dimension, in all combinations."""
        return itertools.product(*self.phases)


def reverse_plan(axes: Axes, border: Sequence[Padding]) -> ReversePlan:
    """The plan of a reverse operation whose input is extended by ``border`` first."""
    inserted, phases, reaches = [], [], []
    budget = MAX_PHASES
    for a, (lead, trail) in zip(axes, border, strict=True):
        budget //= min(a.stride, a.upscaled)
        count = a.downscaled + lead + trail
        inserted.append(1 if budget else a.stride)
        moved = WindowAxis(a.upscaled, count, a.size, a.before + lead * a.stride, 0, a.stride, a.dilation)
        if not budget:
            count = (count - 1) * a.stride + 1
            moved = WindowAxis(a.upscaled, count, a.size, moved.before, 0, 1, a.dilation)
            budget = 1
        found = axis_phases(moved)
        used = [p for p in found if p.size]
        before = max(0, -min((p.first for p in used), default=0))
        after = max(0, max((p.beyond for p in used), default=0) - count)
        reaches.append((before, after))
        phases.append(tuple(replace(p, first=p.first + before) for p in found))
    return ReversePlan(tuple(border), tuple(inserted), tuple(reaches), tuple(phases))


def phase_windows(source: View, combination: Sequence[Phase]) -> tuple[View, int]:
    """What a combination of phases reads, none of size 0: the windows over the last dimensions, and the number of
    dimensions appended for what is inside. Only windows of more than one element get a dimension."""
    first = source.rank - len(combination)
    for d, p in enumerate(combination, first):
        source = source.slice(d, p.first, p.beyond - p.first)
    wide = [(d, p) for d, p in enumerate(combination, first) if p.size > 1]
    sizes, dilations = [p.size for _, p in wide], [p.dilation for _, p in wide]
    return source.window([d for d, _ in wide], sizes, [1] * len(wide), dilations), len(wide)


def phase_outputs(output: View, combination: Sequence[Phase]) -> View:
    """The elements, in the last dimensions, that a combination of phases writes."""
    for d, p in enumerate(combination, output.rank - len(combination)):
        output = output.slice(d, p.start, p.count, p.step)
    return output
