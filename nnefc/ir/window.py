"""Windows that slide over a tensor and may reach beyond its ends: pooling, box filters, depthwise convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnefc.ir.expr import Expr
from nnefc.ir.program import Call
from nnefc.ir.view import View


@dataclass(frozen=True)
class Slide:
    """How windows move along a dimension: tap ``t`` of window ``o`` is element ``o * stride + t * dilation - before``.

    It may be no element at all, below 0 or beyond the extent. ``before`` may be negative."""

    size: int
    stride: int = 1
    dilation: int = 1
    before: int = 0

    def inside(self, tap: int, windows: int, extent: int) -> tuple[int, int]:
        """The first window, of ``windows``, whose tap is one of ``extent`` elements, and one past the last."""
        place = tap * self.dilation - self.before
        first = max(-(place // self.stride), 0)
        return first, max(min(-((place - extent) // self.stride), windows), first)

    def after(self, windows: int, extent: int) -> int:
        """How far the last window reaches beyond the extent; negative if it stays inside."""
        return (windows - 1) * self.stride + (self.size - 1) * self.dilation - self.before - (extent - 1)


@dataclass(frozen=True)
class Window(Call):
    """``output[p, o] = post(reduce over t of expr(x[p, o * stride + t * dilation - before], w[p, t]), extras[0][p, o],
    ...)``, where taps that are no elements of x are passed over.

    ``o`` and ``t`` have a dimension for each of ``slides``, ``o`` the last of x and of the output. ``weights`` is w, or
    nothing. Operations are sum, prod, max and min; a window that lies outside altogether gives what they start from. In
    ``post``, ``$0`` is the reduced value (None: just that).
    """

    op: str
    expr: Expr
    post: Expr | None
    x: View
    weights: tuple[View, ...]
    extras: tuple[View, ...]
    output: View
    slides: tuple[Slide, ...]

    def reads(self) -> tuple[View, ...]:
        return (self.x, *self.weights, *self.extras)

    def writes(self) -> tuple[View, ...]:
        return (self.output,)

    @property
    def kept(self) -> int:
        """The number of dimensions in which windows do not move."""
        return self.output.rank - len(self.slides)

    @property
    def taps(self) -> int:
        """The number of taps of a window."""
        return math.prod(s.size for s in self.slides)

    def elements(self) -> int:
        return (self.taps * (1 + len(self.weights)) + len(self.extras) + 1) * self.output.volume
