"""Pooling over boxes that data define (regions of interest): lanes along the channels, one box per unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.spec import Operand, OperandKernel
from nnefc.codegen.target import Target
from nnefc.ir.expr import arg, call, const, select


@dataclass(frozen=True)
class BoxKernel(OperandKernel):
    """``operands`` are x, batch, rows, columns and the output: see ``ir.program.BoxReduce``. ``op`` is max or mean.

    A unit is one (box, i, j). Geometry: images, height, width, channels; x's strides along images, height, width; the
    strides of the two bounds in rows and columns; row strides (unused) and lane strides per operand; per outer
    dimension (box, i, j) its extent and the operands' strides.
    """

    family: ClassVar[str] = "box"
    op: str
    operands: tuple[Operand, ...]
    lanes: int
    full: bool
    tail: bool

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import indices, reductions
        from nnefc.codegen import instructions as i
        from nnefc.codegen.device import device
        from nnefc.codegen.tile import Lattice

        lanes, full, tail = self.lanes, self.full, self.tail
        row_at, lane_at, outer_at = 9, 14, 19
        geometry, advance = i.geometry, i.advance(5)
        start, move = i.zeros(5), i.unit_offsets(5, 3)
        load_index, clamped = indices.load_index(), indices.checked_index(False)
        dtype = self.operands[0].dtype
        op = "max" if self.op == "max" else "sum"
        first, last = reductions.start(op, dtype, 1, lanes), reductions.finish(op, dtype, 1, lanes, target, False)
        area = arg(1, dtype)
        empty = call("eq", area, const(0, dtype))
        mean = call("div", arg(0, dtype), area)
        final = select(empty, const(0, dtype), arg(0, dtype) if self.op == "max" else mean)
        splat = indices.splat_integer(dtype, lanes, target)

        def make_tile(masked: bool) -> Any:
            lattice = Lattice(target, self.operands, 1, 1, lanes, row_at, lane_at, masked)
            take = reductions.accumulate(lattice, op, arg(0, dtype), 1, 0, False)
            store = i.store_tile(lattice, final, (), 4)

            @device
            def tile(p: Any, offsets: Any, g: Any, valid: int, y0: int, y1: int, x0: int, x1: int) -> None:
                acc = first()
                for y in range(y0, y1):
                    for x in range(x0, x1):
                        at = offsets[0] + y * geometry(g, 5) + x * geometry(g, 6)
                        place = (at, offsets[1], offsets[2], offsets[3], offsets[4])
                        acc = take(acc, (), p, place, g, valid, 0)
                area = max(y1 - y0, 0) * max(x1 - x0, 0)
                store((last(acc), splat(area)), p, offsets, g, valid)

            return tile

        whole, part = make_tile(False), make_tile(True)

        @device
        def bound(q: Any, offset: int, extent: int) -> int:
            return clamped(load_index(q, offset), extent + 1, q)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            height, width, n = geometry(g, 1), geometry(g, 2), geometry(g, 3)
            for unit in range(begin, end):
                place = move(start(), g, outer_at, unit)
                image = clamped(load_index(p[1], place[1]), geometry(g, 0), p[1])
                y0 = bound(p[2], place[2], height)
                y1 = bound(p[2], place[2] + geometry(g, 7), height)
                x0 = bound(p[3], place[3], width)
                x1 = bound(p[3], place[3] + geometry(g, 8), width)
                place = (place[0] + image * geometry(g, 4), place[1], place[2], place[3], place[4])
                if full:
                    for c in range(0, n - lanes + 1, lanes):
                        whole(p, advance(place, g, lane_at, c), g, lanes, y0, y1, x0, x1)
                if tail:
                    rest = n % lanes
                    part(p, advance(place, g, lane_at, n - rest), g, rest, y0, y1, x0, x1)

        return kernel
