"""Elementwise kernels from planes to pixels of a few channels: the channels are put side by side in registers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.kernels.lines import vectored_line
from nnefc.codegen.spec import Operand, OperandKernel
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr


@dataclass(frozen=True)
class InterleaveKernel(OperandKernel):
    """``operands`` are the inputs and the output of ``expr``. In the output ``rows`` elements lie together, a row
    apart, and those of all lanes one after the other.

    A unit is one index of the ``outer`` loops. Geometry: lanes; row strides; lane strides; per outer loop its extent
    and its strides for the operands.
    """

    family: ClassVar[str] = "interleave"
    expr: Expr
    operands: tuple[Operand, ...]
    outer: int
    rows: int
    lanes: int
    full: bool
    tail: bool

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i
        from nnefc.codegen.shuffles import map_interleaved
        from nnefc.codegen.tile import Lattice

        count, lanes = len(self.operands), self.lanes
        row_at, lane_at, outer_at = 1, 1 + count, 1 + 2 * count
        geometry = i.geometry
        start, move = i.zeros(count), i.unit_offsets(count, self.outer)

        def lattice(masked: bool) -> Lattice:
            return Lattice(target, self.operands, self.rows, 1, lanes, row_at, lane_at, masked)

        whole = map_interleaved(lattice(False), self.expr)
        part = i.map_tile(lattice(True), (self.expr,), count - 1)
        line = vectored_line(self, whole, part, lane_at)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            n = geometry(g, 0)
            for unit in range(begin, end):
                place = move(start(), g, outer_at, unit)
                line(p, place, g, n)

        return kernel
