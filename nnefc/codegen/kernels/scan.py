"""Cumulative sums and the like: vectors along a kept dimension, steps along the scanned one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.kernels.lines import vectored_line
from nnefc.codegen.spec import Operand, OperandKernel
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr


@dataclass(frozen=True)
class ScanKernel(OperandKernel):
    """``operands`` are x and the output: see ``ir.sequential.Scan``. A unit is one index of the ``outer`` dimensions.

    Geometry: elements along the scanned dimension, lanes; the operands' strides along lanes and along the scanned
    dimension; per outer dimension its extent and strides. ``full`` and ``tail`` say whether there are whole vectors and
    a last partial one.
    """

    family: ClassVar[str] = "scan"
    step: Expr
    start: float | int | bool
    operands: tuple[Operand, ...]
    exclusive: bool
    outer: int
    lanes: int
    full: bool
    tail: bool

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i
        from nnefc.codegen import scalars
        from nnefc.codegen.device import device
        from nnefc.codegen.tile import Lattice, Tile

        lanes = self.lanes
        lane_at, step_at, outer_at = 2, 4, 6
        geometry, advance = i.geometry, i.advance(2)
        start, move = i.zeros(2), i.unit_offsets(2, self.outer)
        first = scalars.filled(Tile(self.step.dtype, 1, 1, lanes), self.start)

        def make(masked: bool) -> Any:
            lattice = Lattice(target, self.operands, 1, 1, lanes, lane_at, lane_at, masked)
            take = scalars.scan_tile(lattice, self.step, self.exclusive)

            @device
            def scan(p: Any, offsets: Any, g: Any, valid: int) -> None:
                state = first()
                for t in range(geometry(g, 0)):
                    state = take(state, p, advance(offsets, g, step_at, t), g, valid)

            return scan

        line = vectored_line(self, make(False), make(True), lane_at)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            n = geometry(g, 1)
            for unit in range(begin, end):
                place = move(start(), g, outer_at, unit)
                line(p, place, g, n)

        return kernel
