"""Elementwise kernels that turn the memory order round: square blocks are transposed in registers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.kernels.lines import vectored_line
from nnefc.codegen.spec import Operand, OperandKernel
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr


@dataclass(frozen=True)
class TransposeKernel(OperandKernel):
    """``operands`` are the inputs and the output of ``expr``. Operand 0 lies contiguously along rows, the output along
    lanes. There are at least ``lanes`` rows; the last block of rows overlaps the one before, so the output must not be
    an input.

    A unit is one block of rows of one index of the outer loops: ``outer`` counts both, the blocks of rows come last.
    Geometry: rows, lanes; row strides; lane strides; per outer loop its extent and its strides for the operands and
    for the number of the first row.
    """

    family: ClassVar[str] = "transpose"
    expr: Expr
    operands: tuple[Operand, ...]
    outer: int
    lanes: int
    full: bool
    tail: bool

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i
        from nnefc.codegen.shuffles import map_transposed
        from nnefc.codegen.tile import Lattice

        count, lanes = len(self.operands), self.lanes
        row_at, lane_at, outer_at = 2, 2 + count, 2 + 2 * count
        geometry, advance = i.geometry, i.advance(count)
        start, move = i.zeros(count + 1), i.unit_offsets(count + 1, self.outer)

        def tile(masked: bool) -> Any:
            return map_transposed(Lattice(target, self.operands, lanes, 1, lanes, row_at, lane_at, masked), self.expr)

        line = vectored_line(self, tile(False), tile(True), lane_at)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            rows, n = geometry(g, 0), geometry(g, 1)
            for unit in range(begin, end):
                place = move(start(), g, outer_at, unit)
                over = min(rows - lanes - place[count], 0)
                row = advance(place[:count], g, row_at, over)
                line(p, row, g, n)

        return kernel
