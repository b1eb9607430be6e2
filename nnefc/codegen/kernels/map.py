"""Elementwise kernels: an expression over strided tensors, vectors along one dimension."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.kernels.lines import vectored_line
from nnefc.codegen.spec import Operand, OperandKernel
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr


@dataclass(frozen=True)
class Wide:
    """Vectors that are done at once."""

    cols: int
    lanes: int


@dataclass(frozen=True)
class MapKernel(OperandKernel):
    """``operands`` are the ``inputs`` inputs, then one output per expression.

    A unit is one index of the ``dims`` outer dimensions; in it, all rows and lanes are done. Geometry: rows, lanes;
    then per operand its row strides, its lane strides; then per outer dimension its extent and the operands' strides.
    ``full`` and ``tail`` say whether there are whole vectors and a last partial one. If ``wide``, whole vectors of so
    many lanes come first: bytes, or two to four vectors at once whose results are packed to bytes.
    """

    family: ClassVar[str] = "map"
    exprs: tuple[Expr, ...]
    operands: tuple[Operand, ...]
    inputs: int
    dims: int
    lanes: int
    full: bool
    tail: bool
    wide: Wide | None = None

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i
        from nnefc.codegen.tile import Lattice

        count, lanes = len(self.operands), self.lanes
        row_at, lane_at, outer_at = 2, 2 + count, 2 + 2 * count
        geometry, advance = i.geometry, i.advance(count)
        start, move = i.zeros(count), i.unit_offsets(count, self.dims)

        def tile(cols: int, lanes: int, masked: bool) -> Any:
            lattice = Lattice(target, self.operands, 1, cols, lanes, row_at, lane_at, masked)
            return i.map_tile(lattice, self.exprs, self.inputs)

        whole, part = tile(1, lanes, False), tile(1, lanes, True)
        if self.wide is not None:
            step = self.wide.cols * self.wide.lanes
            return _in_two_steps(self, tile(self.wide.cols, self.wide.lanes, False), whole, part, step)

        line = vectored_line(self, whole, part, lane_at)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            rows, n = geometry(g, 0), geometry(g, 1)
            for unit in range(begin, end):
                place = move(start(), g, outer_at, unit)
                for r in range(rows):
                    row = advance(place, g, row_at, r)
                    line(p, row, g, n)

        return kernel


def _in_two_steps(spec: MapKernel, wide: Any, whole: Any, part: Any, step: int) -> Callable[..., Any]:
    """The kernel that does ``step`` lanes at once, then what is left."""
    from nnefc.codegen import instructions as i

    count, lanes, tail = len(spec.operands), spec.lanes, spec.tail
    row_at, lane_at, outer_at = 2, 2 + count, 2 + 2 * count
    geometry, advance = i.geometry, i.advance(count)
    start, move = i.zeros(count), i.unit_offsets(count, spec.dims)

    def kernel(p: Any, g: Any, begin: int, end: int) -> None:
        rows, n = geometry(g, 0), geometry(g, 1)
        for unit in range(begin, end):
            place = move(start(), g, outer_at, unit)
            for r in range(rows):
                row = advance(place, g, row_at, r)
                for x in range(0, n - step + 1, step):
                    wide(p, advance(row, g, lane_at, x), g, step)
                for x in range(n - n % step, n - lanes + 1, lanes):
                    whole(p, advance(row, g, lane_at, x), g, lanes)
                if tail:
                    rest = n % lanes
                    part(p, advance(row, g, lane_at, n - rest), g, rest)

    return kernel
