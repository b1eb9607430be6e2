"""Contractions with few outputs: lanes lie along neighbouring pixels, and weights are broadcast.

The weights are packed as (groups, reduced..., outputs), those of codes in groups of four neighbours, whatever the step
between these: (groups, steps..., outputs, 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.kernels import columns
from nnefc.codegen.spec import Access, Operand, OperandKernel
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr


@dataclass(frozen=True)
class PixelsKernel(OperandKernel):
    """``operands`` are x, the weights, the extras and the output, as they lie along pixels; their rows are outputs.

    A unit is one index of the ``outer`` loops. In it, tiles of all ``rows`` outputs by ``cols`` vectors of ``lanes``
    pixels and, if not 0, one of ``last``, for each of ``lines`` neighbouring lines; the last tile overlaps the one
    before. There must be pixels for one. x is contiguous along pixels; its step in the innermost reduced dimension is
    1 if ``unit``, or in the geometry, which has a table of x's places in the others. A step of the reduction sums a
    ``group`` of codes: if that is more than 1, ``unit`` is about the step from one to the next. An output that is not
    contiguous along pixels is so along outputs.

    Geometry: pixels, outer reduced extent in all, inner reduced extent, x's step in it, and within a group; strides per
    operand along outputs, pixels and lines; per outer loop its extent and strides; where x starts at each index of the
    outer reduced loops.
    """

    family: ClassVar[str] = "pixels"
    final: Expr
    operands: tuple[Operand, ...]
    outer: int
    unit: bool
    rows: int
    cols: int
    lanes: int
    last: int
    lines: int
    group: int = 1

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i

        count, width = len(self.operands), self.cols * self.lanes + self.last
        _, lane_at, _, outer_at, _ = _layout(self)
        geometry, advance = i.geometry, i.advance(count)
        start, move = i.zeros(count), i.unit_offsets(count, self.outer)
        product, store = (_product if self.group == 1 else _dot_product)(self, target), _store(self, target)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            pixels = geometry(g, 0)
            for unit in range(begin, end):
                place = move(start(), g, outer_at, unit)
                for k in range(0, pixels, width):
                    offsets = advance(place, g, lane_at, min(k, pixels - width))
                    store(product(p, offsets, g), p, offsets, g, width)

        return kernel


def _layout(spec: PixelsKernel) -> tuple[int, int, int, int, int]:
    """Geometry positions: strides along outputs, pixels and lines, outer loops, where x starts."""
    count = len(spec.operands)
    outer = 5 + 3 * count
    return 5, 5 + count, 5 + 2 * count, outer, outer + spec.outer * (count + 1)


def _product(spec: PixelsKernel, target: Target) -> Any:
    """The sums of a tile, line by line: those of the whole vectors and, if there is one, those of the last."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device

    tiles, rows = columns.tiles(spec), spec.rows
    x_type, w_type = (o.dtype for o in spec.operands[:2])
    zero, outer = i.zero_tiles(tiles * spec.lines), i.outer_lines(tiles, spec.lines, target, w_type, x_type)
    unit_step, geometry = spec.unit, i.geometry
    _, _, line_at, _, starts_at = _layout(spec)

    @device
    def product(p: Any, offsets: Any, g: Any) -> Any:
        sums = zero()
        w, inner, line = offsets[1], geometry(g, 2), geometry(g, line_at)
        for a in range(geometry(g, 1)):
            x = offsets[0] + geometry(g, starts_at + a)
            for _ in range(inner):
                sums = outer(sums, p[1], w, 1, p[0], x, line)
                x += 1 if unit_step else geometry(g, 3)
                w += rows
        return sums

    return product


def _dot_product(spec: PixelsKernel, target: Target) -> Any:
    """As ``_product``, of codes."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device
    from nnefc.codegen.dots import dot_pixels

    tiles, width = columns.tiles(spec), spec.rows * spec.group
    zero, dot, geometry = i.zero_tiles(tiles * spec.lines), dot_pixels(tiles, spec.lines, target, spec.unit), i.geometry
    _, _, line_at, _, starts_at = _layout(spec)

    @device
    def product(p: Any, offsets: Any, g: Any) -> Any:
        sums = zero()
        w, inner, line, apart = offsets[1], geometry(g, 2), geometry(g, line_at), geometry(g, 4)
        for a in range(geometry(g, 1)):
            x = offsets[0] + geometry(g, starts_at + a)
            for _ in range(inner):
                sums = dot(sums, p[1], w, p[0], x, apart, line)
                x += geometry(g, 3)
                w += width
        return sums

    return product


def _store(spec: PixelsKernel, target: Target) -> Any:
    """Stores what a product returns."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen import shuffles
    from nnefc.codegen.tile import Lattice

    count = len(spec.operands)
    row_at, lane_at, line_at, _, _ = _layout(spec)
    make = i.store_tile if spec.operands[-1].access is Access.UNIT else shuffles.store_turned

    def storing(cols: int, lanes: int) -> Any:
        lattice = Lattice(target, spec.operands, spec.rows, cols, lanes, row_at, lane_at, False)
        return make(lattice, spec.final, range(2, count - 1), count - 1)

    return _store_lines(spec, spec.lines, columns.store(spec, lane_at, storing), i.advance(count), line_at)


def _store_lines(spec: PixelsKernel, lines: int, one: Any, advance: Any, line_at: int) -> Any:
    """Stores the sums of some lines, those of each by ``one``."""
    from nnefc.codegen.device import device

    if lines == 1:
        return one
    others, size = _store_lines(spec, lines - 1, one, advance, line_at), len(columns.tiles(spec))

    @device
    def store(found: Any, p: Any, offsets: Any, g: Any, width: int) -> None:
        one(found[:size], p, offsets, g, width)
        others(found[size:], p, advance(offsets, g, line_at, 1), g, width)

    return store
