"""Matrix products and convolutions: outer products accumulated in a register tile, with an expression at the store.

The weights are packed in panels of the tile's outputs: (groups, panel, reduced..., cols * lanes + last). Codes of 8
bits are summed in groups of four neighbours, or of eight by weights of 4 bits: (groups, panel, steps...,
cols * lanes + last, 4), and numbers of BF16 in pairs; see ``codegen.groups``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.bands import MOST_BANDS
from nnefc.codegen.kernels import columns
from nnefc.codegen.spec import Operand, OperandKernel
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr
from nnefc.ir.types import DType


@dataclass(frozen=True)
class ContractKernel(OperandKernel):
    """``operands`` are x, the packed weights, the extras and the output; the last operand's offset counts its lanes.

    A unit is one index of the ``outer`` loops, among them the panel and blocks of rows. In it, ``rows`` neighbours
    (pixels) make a tile, the last tile of all overlapping the one before. Rows must not be fewer than ``rows``, and a
    block of them is a multiple of it. A tile has ``cols`` columns of ``lanes`` and, if not 0, one of ``last``. In the
    innermost loop of the reduction x moves on to what follows if ``unit``, else by a step in the geometry, which has a
    table of x's places in the others. What follows is ``group`` elements on. Sums start from the operand
    ``start``, which is the same for all rows, or from 0 if that is 0.

    Weights that are ``banded`` follow one band after the other; after each, sums, which start from 0, are multiplied
    by a factor.

    Sums are kept in ``parts``, to which neighbours in the innermost loop are added in turns. If these are several,
    there is one panel, sums start from 0, and ``group`` is 1.

    Every tile asks for a share of the next panel's weights: their number, and how many per step of the reduction.

    Geometry: rows, outputs, outer reduced extent in all, inner reduced extent, x's step in it, rows of a block;
    elements of a panel, units of one panel, elements that a unit, a tile and a step prefetch; if banded, the number of
    bands and MOST_BANDS factors, of which so many count; strides per operand along rows and lanes; per outer loop its
    extent and strides for the operands, for the number of the first output and for that of the first row; where x
    starts at each index of the outer reduced loops.
    """

    family: ClassVar[str] = "contract"
    final: Expr
    operands: tuple[Operand, ...]
    outer: int
    unit: bool
    rows: int
    cols: int
    lanes: int
    last: int
    full: bool
    tail: bool
    group: int = 1
    start: int = 0
    parts: int = 1
    banded: bool = False

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i

        count, rows = len(self.operands), self.rows
        full, tail, width = self.full, self.tail, self.cols * self.lanes + self.last
        row_at, _, outer_at, _ = _layout(self)
        geometry, advance = i.geometry, i.advance(count)
        start, move = i.zeros(count + 2), i.unit_offsets(count + 2, self.outer)
        product = _products(self)(self, target)
        whole, part = _store(self, target, False), _store(self, target, True)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            m, outputs = geometry(g, 0), geometry(g, 1)
            for unit in range(begin, end):
                place = move(start(), g, outer_at, unit)
                valid, first = outputs - place[count], place[count + 1]
                ahead = place[1] + geometry(g, 6) + unit % geometry(g, 7) * geometry(g, 8)
                for r in range(first, min(first + geometry(g, 5), m), rows):
                    offsets = advance(place[:count], g, row_at, min(r, m - rows))
                    found = product(p, offsets, g, ahead, valid)
                    ahead += geometry(g, 9)
                    if not tail:
                        whole(found, p, offsets, g, width)
                    elif not full:
                        part(found, p, offsets, g, valid)
                    elif valid >= width:
                        whole(found, p, offsets, g, width)
                    else:
                        part(found, p, offsets, g, valid)

        return kernel


_BANDS_AT = 11
"""Where the geometry tells of bands, if weights are banded."""


def _layout(spec: ContractKernel) -> tuple[int, int, int, int]:
    """Geometry positions: row and lane strides, outer loops, where x starts."""
    count = len(spec.operands)
    rows = _BANDS_AT + (1 + MOST_BANDS if spec.banded else 0)
    outer = rows + 2 * count
    return rows, rows + count, outer, outer + spec.outer * (count + 3)


def _products(spec: ContractKernel) -> Callable[[ContractKernel, Target], Any]:
    """What makes the sums of a tile."""
    if spec.banded or spec.parts > 1:
        return _product_in_bands if spec.banded else _product_in_parts
    return _product_of_widened if spec.operands[0].dtype is DType.F16 and spec.unit else _product


def _product(spec: ContractKernel, target: Target) -> Any:
    """The sums of a tile: those of the whole columns and, if there is one, those of the last."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device
    from nnefc.codegen.dots import dot

    x_type, w_type = (o.dtype for o in spec.operands[:2])
    group, per_output = spec.group, min(spec.group, 4)
    tiles, width = columns.tiles(spec), (spec.cols * spec.lanes + spec.last) * per_output
    outer = i.outer(tiles, target, x_type, w_type) if group == 1 else dot(tiles, target, group)
    start, fetch, geometry = _start(spec, target), i.prefetch, i.geometry
    unit_step = spec.unit
    row_at, _, _, reduced_at = _layout(spec)

    @device
    def product(p: Any, offsets: Any, g: Any, ahead: int, valid: int) -> Any:
        sums = start(p, offsets, g, valid)
        w = offsets[1]
        inner, row_step, more = geometry(g, 3), geometry(g, row_at), geometry(g, 10)
        for a in range(geometry(g, 2)):
            x = offsets[0] + geometry(g, reduced_at + a)
            for _ in range(inner):
                sums = outer(sums, p[0], x, row_step, p[1], w)
                x += group if unit_step else geometry(g, 4)
                w += width
                fetch(p[1], ahead)
                ahead += more
        return sums

    return product


def _product_in_bands(spec: ContractKernel, target: Target) -> Any:
    """As ``_product``, of weights in bands."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device
    from nnefc.codegen.dots import dot, times

    group = spec.group
    tiles, width = columns.tiles(spec), (spec.cols * spec.lanes + spec.last) * group
    dots, scaled = dot(tiles, target, group), times(tiles, target)
    zero, fetch, geometry = i.zero_tiles(tiles), i.prefetch, i.geometry
    unit_step = spec.unit
    row_at, _, _, reduced_at = _layout(spec)

    @device
    def product(p: Any, offsets: Any, g: Any, ahead: int, valid: int) -> Any:
        sums = zero()
        w = offsets[1]
        inner, row_step, more = geometry(g, 3), geometry(g, row_at), geometry(g, 10)
        for band in range(geometry(g, _BANDS_AT)):
            for a in range(geometry(g, 2)):
                x = offsets[0] + geometry(g, reduced_at + a)
                for _ in range(inner):
                    sums = dots(sums, p[0], x, row_step, p[1], w)
                    x += group if unit_step else geometry(g, 4)
                    w += width
                    fetch(p[1], ahead)
                    ahead += more
            sums = scaled(sums, geometry(g, _BANDS_AT + 1 + band))
        return sums

    return product


def _product_of_widened(spec: ContractKernel, target: Target) -> Any:
    """As ``_product``, of x in half precision that is widened by whole vectors along the reduction."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device
    from nnefc.codegen.widening import widen_rows

    x_type, w_type = (o.dtype for o in spec.operands[:2])
    tiles, width, run = columns.tiles(spec), spec.cols * spec.lanes + spec.last, target.lanes(DType.F32)
    narrow, wide = (i.outer(tiles, target, t, w_type) for t in (x_type, DType.F32))
    widen, start = widen_rows(spec.rows, run, target, x_type), _start(spec, target)
    fetch, geometry = i.prefetch, i.geometry
    row_at, _, _, reduced_at = _layout(spec)

    @device
    def product(p: Any, offsets: Any, g: Any, ahead: int, valid: int) -> Any:
        sums = start(p, offsets, g, valid)
        w = offsets[1]
        inner, row_step, more = geometry(g, 3), geometry(g, row_at), geometry(g, 10)
        for a in range(geometry(g, 2)):
            x = offsets[0] + geometry(g, reduced_at + a)
            for _ in range(inner // run):
                ready = widen(p[0], x, row_step)
                x += run
                for k in range(run):
                    sums = wide(sums, ready, k, run, p[1], w)
                    w += width
                    fetch(p[1], ahead)
                    ahead += more
            for _ in range(inner % run):
                sums = narrow(sums, p[0], x, row_step, p[1], w)
                x += 1
                w += width
                fetch(p[1], ahead)
                ahead += more
        return sums

    return product


def _start(spec: ContractKernel, target: Target) -> Any:
    """start(p, offsets, g, valid): what the sums of a tile, of which ``valid`` outputs exist, begin with."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device
    from nnefc.codegen.tile import Lattice

    row_at, lane_at, _, _ = _layout(spec)
    if not spec.start:
        zero = i.zero_tiles(columns.tiles(spec))

        @device
        def begin(p: Any, offsets: Any, g: Any, valid: int) -> Any:
            return zero()

        return begin

    def loading(cols: int, lanes: int) -> Any:
        lattice = Lattice(target, spec.operands, spec.rows, cols, lanes, row_at, lane_at, spec.tail)
        return i.load_tile(lattice, spec.start)

    load, whole, advance = loading(spec.cols, spec.lanes), spec.cols * spec.lanes, i.advance(len(spec.operands))
    if not spec.last:

        @device
        def begin_whole(p: Any, offsets: Any, g: Any, valid: int) -> Any:
            return (load(p, offsets, g, valid),)

        return begin_whole
    load_last = loading(1, spec.last)

    @device
    def begin_both(p: Any, offsets: Any, g: Any, valid: int) -> Any:
        last = load_last(p, advance(offsets, g, lane_at, whole), g, valid - whole)
        return load(p, offsets, g, valid), last

    return begin_both


def _product_in_parts(spec: ContractKernel, target: Target) -> Any:
    """As ``_product``, in parts that are added up."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen import splits
    from nnefc.codegen.device import device

    tiles, width, parts = columns.tiles(spec), spec.cols * spec.lanes + spec.last, spec.parts
    size = len(tiles)
    outer = i.outer(tiles, target, *(o.dtype for o in spec.operands[:2]))
    zero, add, geometry = i.zero_tiles(tiles * parts), splits.add_parts(tiles, parts), i.geometry
    turns = splits.outer_in_turns(outer, size, parts, width)
    unit_step = spec.unit
    row_at, _, _, reduced_at = _layout(spec)

    @device
    def product(p: Any, offsets: Any, g: Any, ahead: int, valid: int) -> Any:
        sums = zero()
        w = offsets[1]
        inner, row_step = geometry(g, 3), geometry(g, row_at)
        step = 1 if unit_step else geometry(g, 4)
        for a in range(geometry(g, 2)):
            x = offsets[0] + geometry(g, reduced_at + a)
            for _ in range(inner // parts):
                sums = turns(sums, p, x, step, row_step, w)
                x += parts * step
                w += parts * width
            for _ in range(inner % parts):
                sums = outer(sums[:size], p[0], x, row_step, p[1], w) + sums[size:]
                x += step
                w += width
        return add(sums)

    return product


def _store(spec: ContractKernel, target: Target, masked: bool) -> Any:
    """Stores what a product returns, ``valid`` outputs of it if ``masked``."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.tile import Lattice

    count = len(spec.operands)
    row_at, lane_at, _, _ = _layout(spec)

    def storing(cols: int, lanes: int) -> Any:
        lattice = Lattice(target, spec.operands, spec.rows, cols, lanes, row_at, lane_at, masked)
        return i.store_tile(lattice, spec.final, range(2, count - 1), count - 1)

    return columns.store(spec, lane_at, storing)
