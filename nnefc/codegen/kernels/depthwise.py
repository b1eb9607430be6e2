"""Depthwise convolution and average pooling of 8-bit codes: four lines of taps in one instruction.

Neighbouring windows, of one line or of two, see the same columns: a tile of them loads and interleaves each once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from nnefc.codegen.kernels.lines import tiled_line
from nnefc.codegen.spec import Operand, OperandKernel
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr


@dataclass(frozen=True)
class DepthwiseKernel(OperandKernel):
    """Sums of codes less their zero point, times signed weights if ``weighted``; ``final`` makes codes of the sums.

    ``operands`` are x, the weights, the extras of ``final`` and the output; those that do not move are the same for all
    windows. Channels, of which there are at least ``width``, lie together; the last ``width`` of them overlap those
    before. A tile is ``lines`` by ``rows`` windows of ``size`` (lines, columns) taps, ``stride`` apart; there are no
    fewer lines. The first tile of a line has ``left`` columns of its windows outside x, the last one ``right``; the
    others have none. If ``single``, one tile is the whole line. Tiles may overlap.

    A unit is one index of the ``outer`` loops: it does some lines and some channels.

    Geometry: windows in a line, windows at its end that reach outside, lines in all, lines per unit, channels in all,
    channels per unit, x's offset of the first column, and the zero point; per operand the step from column to column
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
    left: int
    right: int
    single: bool
    lines: int
    rows: int
    width: int

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i
        from nnefc.codegen.tapshape import Places, Taps

        count, width = len(self.operands), self.width
        places = Places(7, 8, 8 + count, 8 + 3 * count, 8 + 4 * count)
        lane_at, outer_at = 8 + 2 * count, places.height + 6
        taps = Taps(
            target,
            self.operands,
            self.final,
            self.weighted,
            self.size,
            self.stride,
            self.lines,
            self.rows,
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
    from nnefc.codegen.taps import prepare

    geometry, advance, hold = i.geometry, i.advance(len(spec.operands)), prepare(taps)
    lines, line_at, height = spec.lines, taps.places.line, taps.places.height
    line = tiled_line(spec, partial(_tile, spec, taps))

    @device
    def strip(p: Any, offsets: Any, g: Any, top: int) -> None:
        held = hold(p, offsets, g)
        for k in range(0, min(geometry(g, 3), geometry(g, 2) - top), lines):
            number = min(top + k, geometry(g, 2) - lines)
            y = number * geometry(g, height + 1) - geometry(g, height + 2)
            line(p, advance(offsets, g, line_at, number - top), g, held, y)

    return strip


def _tile(spec: DepthwiseKernel, taps: Any, left: int, right: int) -> Any:
    """tile(p, offsets, g, held, t, y): the windows from ``t`` on."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device
    from nnefc.codegen.taps import slide_codes

    geometry, advance, slide = i.geometry, i.advance(len(spec.operands)), slide_codes(taps, left, right)
    window_at, column_at, stride = taps.places.window, taps.places.column, spec.stride[1]

    @device
    def tile(p: Any, offsets: Any, g: Any, held: Any, t: int, y: int) -> None:
        x = offsets[0] + geometry(g, 6) + t * stride * geometry(g, column_at)
        slide(held, p, advance(offsets, g, window_at, t), x, y, g)

    return tile
