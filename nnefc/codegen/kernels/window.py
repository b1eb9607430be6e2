"""Pooling and depthwise convolution: windows that slide along rows of pixels, vectors of channels.

Neighbouring windows see the same columns: a tile of neighbours loads each column once for all of them.
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
from nnefc.ir.window import Slide


@dataclass(frozen=True)
class WindowKernel(OperandKernel):
    """``operands`` are x, the weights if there are any, the extras and the output; the first ``inputs`` make ``expr``.

    Windows slide along ``columns``, constant when the kernel is compiled, and along ``heights`` other dimensions, whose
    taps inside x, ``spreads`` apart, are found at run time. A tile is ``rows`` windows that are neighbours along the
    columns, by one vector of ``lanes``. The first tile of a line has ``left`` columns of its windows outside x, the
    last one ``right``; the others have none. If ``single``, one tile is the whole line. Tiles may overlap.

    A unit is one index of the ``outer`` loops: it does some lines along the last height, and some vectors.

    Geometry: windows in a line, windows at its end that reach outside, lines in all, lines per unit, lanes in all,
    lanes per unit, and x's offset of the first column; per operand the step from column to column (x, weights), from
    window to window (extras, output), from lane to lane, and from line to line (extras, output); per height its size,
    stride, ``before``, extent, step of x from element to element and of the weights from tap to tap; per outer loop its
    extent and its steps for the operands, for the number of the window in each height, and for that of the first lane.
    """

    family: ClassVar[str] = "window"
    op: str
    expr: Expr
    final: Expr
    operands: tuple[Operand, ...]
    inputs: int
    outer: int
    spreads: tuple[int, ...]
    columns: Slide
    left: int
    right: int
    single: bool
    rows: int
    lanes: int
    full: bool
    tail: bool

    @property
    def heights(self) -> int:
        """The dimensions beside the columns that windows slide along."""
        return len(self.spreads)

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i

        count, lanes, heights, full, tail = len(self.operands), self.lanes, self.heights, self.full, self.tail
        at, first_lane = _Places.of(self), count + heights
        lane_at, outer_at = at.lane, at.outer
        geometry, advance = i.geometry, i.advance(count)
        start, move = i.zeros(count + heights + 1), i.unit_offsets(count + heights + 1, self.outer)
        whole, part = _strip(self, target, False), _strip(self, target, True)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            for unit in range(begin, end):
                place = move(start(), g, outer_at, unit)
                n = min(geometry(g, 5), geometry(g, 4) - place[first_lane])
                if full:
                    for x in range(0, n - lanes + 1, lanes):
                        whole(p, advance(place[:count], g, lane_at, x), g, place[count:], lanes)
                if tail:
                    rest = n % lanes
                    if rest:
                        part(p, advance(place[:count], g, lane_at, n - rest), g, place[count:], rest)

        return kernel


@dataclass(frozen=True)
class _Places:
    """Where things are in the geometry."""

    column: int
    window: int
    lane: int
    line: int
    heights: int
    outer: int

    @staticmethod
    def of(spec: WindowKernel) -> _Places:
        count = len(spec.operands)
        heights = 7 + 4 * count
        return _Places(7, 7 + count, 7 + 2 * count, 7 + 3 * count, heights, heights + 6 * spec.heights)


def _strip(spec: WindowKernel, target: Target, masked: bool) -> Any:
    """strip(p, offsets, g, numbers, valid): the lines of a unit, of one vector of ``valid`` lanes."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device

    at, last_height = _Places.of(spec), spec.heights - 1
    line_at = at.line
    geometry, advance = i.geometry, i.advance(len(spec.operands))
    ranges = _ranges(spec.spreads, at.heights)
    line = tiled_line(spec, partial(_tile, spec, target, masked))

    @device
    def strip(p: Any, offsets: Any, g: Any, numbers: Any, valid: int) -> None:
        top = numbers[last_height]
        for k in range(min(geometry(g, 3), geometry(g, 2) - top)):
            line(p, advance(offsets, g, line_at, k), g, ranges(g, numbers, k), valid)

    return strip


def _ranges(spreads: tuple[int, ...], at: int) -> Any:
    """ranges(g, numbers, k): per height the first tap inside x, one past the last, and x's offset at tap 0, of the
    window ``numbers[d]``, ``k`` further in the last height."""
    from nnefc.codegen.device import device
    from nnefc.codegen.instructions import geometry

    def make(d: int) -> Any:
        size_at, stride_at, before_at, extent_at, step_at = (at + 6 * d + k for k in range(5))
        spread, further = spreads[d], int(d == len(spreads) - 1)

        @device
        def one(g: Any, numbers: Any, k: int) -> Any:
            place = (numbers[d] + further * k) * geometry(g, stride_at) - geometry(g, before_at)
            low = max(spread - 1 - place, 0) // spread
            high = max(geometry(g, extent_at) - place + spread - 1, 0) // spread
            return low, min(high, geometry(g, size_at)), place * geometry(g, step_at)

        if d == 0:
            return one
        before = make(d - 1)

        @device
        def ranges(g: Any, numbers: Any, k: int) -> Any:
            return (*before(g, numbers, k), *one(g, numbers, k))

        return ranges

    return make(len(spreads) - 1)


def _tile(spec: WindowKernel, target: Target, masked: bool, left: int, right: int) -> Any:
    """tile(p, offsets, g, taps, t, valid): the windows from ``t`` on; ``taps`` are their ranges."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen import reductions, windows
    from nnefc.codegen.device import device
    from nnefc.codegen.tile import Lattice

    at, count, inputs = _Places.of(spec), len(spec.operands), spec.inputs
    rows, lanes, stride, dtype = spec.rows, spec.lanes, spec.columns.stride, spec.expr.dtype
    geometry, advance = i.geometry, i.advance(count)
    begin = reductions.start(spec.op, dtype, rows, lanes)
    taken = Lattice(target, spec.operands, 1, 1, lanes, at.column, at.lane, masked)
    take = windows.slide(taken, spec.op, spec.expr, inputs, rows, spec.columns, left, right)
    stored = Lattice(target, spec.operands, rows, 1, lanes, at.window, at.lane, masked)
    store = i.store_tile(stored, spec.final, range(inputs, count - 1), count - 1)
    weighted, column_at, window_at = inputs > 1, at.column, at.window

    @device
    def lines(acc: Any, p: Any, x: int, w: int, g: Any, taps: Any, valid: int) -> Any:
        return take(acc, p, (x, w), g, valid)

    def make(d: int) -> Any:
        step_at, tap_at, spread = at.heights + 6 * d + 4, at.heights + 6 * d + 5, spec.spreads[d]
        low, high, base = 3 * d, 3 * d + 1, 3 * d + 2
        inner = make(d + 1) if d + 1 < spec.heights else lines

        @device
        def level(acc: Any, p: Any, x: int, w: int, g: Any, taps: Any, valid: int) -> Any:
            step, row = spread * geometry(g, step_at), geometry(g, tap_at)
            for t in range(taps[low], taps[high]):
                acc = inner(acc, p, x + taps[base] + t * step, w + t * row, g, taps, valid)
            return acc

        return level

    reduce = make(0)

    @device
    def tile(p: Any, offsets: Any, g: Any, taps: Any, t: int, valid: int) -> None:
        x = offsets[0] + geometry(g, 6) + t * stride * geometry(g, column_at)
        acc = reduce(begin(), p, x, offsets[1] if weighted else 0, g, taps, valid)
        store(acc, p, advance(offsets, g, window_at, t), g, valid)

    return tile
