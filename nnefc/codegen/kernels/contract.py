"""Matrix products and convolutions: outer products accumulated in a register tile, with an expression at the store.

The weights are packed in panels of ``cols`` vectors of outputs: (groups, panel, reduced..., cols * lanes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.spec import KernelSpec, Operand
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr
from nnefc.ir.types import DType


@dataclass(frozen=True)
class ContractKernel(KernelSpec):
    """``operands`` are x, the packed weights, the extras and the output; the last operand's offset counts its lanes.

    A unit is one index of the ``outer`` loops, among them the panel and blocks of rows. In it, ``rows`` neighbours
    (pixels) make a tile, the last tile of all overlapping the one before. Rows must not be fewer than ``rows``, and a
    block of them is a multiple of it. The step of x in the innermost reduced dimension is ``unit`` or in the geometry,
    which has a table of x's places in the others.

    Every tile asks for a share of the next panel's weights: their number, and how many per step of the reduction.

    Geometry: rows, outputs, outer reduced extent in all, inner reduced extent, x's step in it, rows of a block;
    elements of a panel, units of one panel, elements that a unit, a tile and a step prefetch; strides per operand along
    rows and lanes; per outer loop its extent and strides for the operands, for the number of the first output and for
    that of the first row; where x starts at each index of the outer reduced loops.
    """

    family: ClassVar[str] = "contract"
    final: Expr
    operands: tuple[Operand, ...]
    outer: int
    unit: bool
    rows: int
    cols: int
    lanes: int
    full: bool
    tail: bool

    def pointers(self) -> tuple[DType, ...]:
        return tuple(o.dtype for o in self.operands)

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i
        from nnefc.codegen.device import device
        from nnefc.codegen.tile import Lattice, Tile

        count, lanes, rows, cols, unit_step = len(self.operands), self.lanes, self.rows, self.cols, self.unit
        full, tail, width = self.full, self.tail, cols * lanes
        row_at, lane_at, outer_at = 11, 11 + count, 11 + 2 * count
        reduced_at = outer_at + self.outer * (count + 3)
        tile = Tile(self.operands[0].dtype, rows, cols, lanes)
        geometry, advance = i.geometry, i.advance(count)
        start, move = i.zeros(count + 2), i.unit_offsets(count + 2, self.outer)
        zero, outer, fetch = i.zero_tile(tile), i.outer(tile, target), i.prefetch

        @device
        def product(p: Any, offsets: Any, g: Any, ahead: int) -> Any:
            acc = zero()
            w = offsets[1]
            inner, row_step, more = geometry(g, 3), geometry(g, row_at), geometry(g, 10)
            for a in range(geometry(g, 2)):
                x = offsets[0] + geometry(g, reduced_at + a)
                for _ in range(inner):
                    acc = outer(acc, p[0], x, row_step, p[1], w)
                    x += 1 if unit_step else geometry(g, 4)
                    w += width
                    fetch(p[1], ahead)
                    ahead += more
            return acc

        def store(masked: bool) -> Any:
            lattice = Lattice(target, self.operands, rows, cols, lanes, row_at, lane_at, masked)
            return i.store_tile(lattice, self.final, range(2, count - 1), count - 1)

        whole, part = store(False), store(True)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            m, outputs = geometry(g, 0), geometry(g, 1)
            for unit in range(begin, end):
                place = move(start(), g, outer_at, unit)
                valid, first = outputs - place[count], place[count + 1]
                ahead = place[1] + geometry(g, 6) + unit % geometry(g, 7) * geometry(g, 8)
                for r in range(first, min(first + geometry(g, 5), m), rows):
                    offsets = advance(place[:count], g, row_at, min(r, m - rows))
                    acc = product(p, offsets, g, ahead)
                    ahead += geometry(g, 9)
                    if not tail:
                        whole((acc,), p, offsets, g, width)
                    elif not full:
                        part((acc,), p, offsets, g, valid)
                    elif valid >= width:
                        whole((acc,), p, offsets, g, width)
                    else:
                        part((acc,), p, offsets, g, valid)

        return kernel
