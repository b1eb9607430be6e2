"""Depthwise convolution and average pooling of 8-bit codes: four taps of a channel in one instruction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.spec import Operand, OperandKernel
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr


@dataclass(frozen=True)
class DepthwiseKernel(OperandKernel):
    """Sums of codes less their zero point, times signed weights if ``weighted``; ``final`` makes codes of the sums.

    ``operands`` are x, the weights, the extras of ``final`` and the output; those that do not move are the same for all
    windows. Channels, of which there are at least ``width``, lie together; the last ``width`` of them overlap those
    before. ``lines`` lines of windows of ``size`` (lines, columns) taps, ``stride`` apart, are done together; there are
    no fewer, and the last ones may overlap those before.

    A unit is one index of the ``outer`` loops: it does some lines and some channels.

    Geometry: windows in a line, x's columns, lines in all, lines per unit, channels in all, channels per unit, the
    columns before x that the first window sees, and the zero point; per operand the step from column to column
    (x, weights), from window to window (extras, output), from channel to channel, and from line to line (extras,
    output); the height of windows, their stride, ``before``, x's lines, and the steps of x from line to line and of the
    weights from tap to tap; per outer loop its extent and its steps for the operands, for the number of the line, and
    for that of the first channel.
    """

    family: ClassVar[str] = "depthwise"
    final: Expr
    operands: tuple[Operand, ...]
    weighted: bool
    outer: int
    size: tuple[int, int]
    stride: tuple[int, int]
    lines: int
    width: int

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i
        from nnefc.codegen.tapshape import Places, Taps

        count, width = len(self.operands), self.width
        places = Places(0, 1, 6, 7, 8, 8 + count, 8 + 3 * count, 8 + 4 * count)
        lane_at, outer_at = 8 + 2 * count, places.height + 6
        taps = Taps(
            target,
            self.operands,
            self.final,
            self.weighted,
            self.size,
            self.stride,
            self.lines,
            width,
            places,
        )
        geometry, advance = i.geometry, i.advance(count)
        start, move = i.zeros(count + 2), i.unit_offsets(count + 2, self.outer)
        strip = _strip(self, taps)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            for unit in range(begin, end):
                place = move(start(), g, outer_at, unit)
                first, channels = place[count + 1], geometry(g, 4)
                for c in range(0, min(geometry(g, 5), channels - first), width):
                    over = min(channels - width - first - c, 0)
                    strip(p, advance(place[:count], g, lane_at, c + over), g, place[count])

        return kernel


def _strip(spec: DepthwiseKernel, taps: Any) -> Any:
    """strip(p, offsets, g, top): the lines of a unit, from ``top`` on, of some channels."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device
    from nnefc.codegen.slidecodes import slide_codes
    from nnefc.codegen.taps import prepare

    geometry, advance, hold, slide = i.geometry, i.advance(len(spec.operands)), prepare(taps), slide_codes(taps)
    lines, line_at, height = spec.lines, taps.places.line, taps.places.height

    @device
    def strip(p: Any, offsets: Any, g: Any, top: int) -> None:
        held = hold(p, offsets, g)
        for k in range(0, min(geometry(g, 3), geometry(g, 2) - top), lines):
            number = min(top + k, geometry(g, 2) - lines)
            y = number * geometry(g, height + 1) - geometry(g, height + 2)
            slide(held, p, advance(offsets, g, line_at, number - top), y, g)

    return strip
