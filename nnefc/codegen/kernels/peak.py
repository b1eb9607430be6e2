"""What a core can do at best: multiply-adds from registers alone, or from vectors read once from a range of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.spec import Access, KernelSpec, Operand
from nnefc.codegen.target import Target
from nnefc.ir.expr import arg
from nnefc.ir.types import DType


@dataclass(frozen=True)
class PeakKernel(KernelSpec):
    """Operands are x (``rows`` numbers), w and y, of F32. Each unit goes ``passes`` times over ``steps`` steps, each
    of which adds the outer product of x and ``cols`` vectors of w to a register tile, and stores the tile in y at last.
    With ``moving`` each step of a pass reads the next vectors of w, else always the same.

    For a ``kind`` of U8 they are U8, I8 and I32, and each step adds the sums of four products of codes; for BF16, x and
    w are BF16, and it adds those of two products.

    Geometry: passes, steps; the distance of a unit's w, and of its y, from those of the unit before; per operand the
    distance of a row, and of a lane.
    """

    family: ClassVar[str] = "peak"
    rows: int
    cols: int
    lanes: int
    moving: bool
    kind: DType = DType.F32

    @property
    def group(self) -> int:
        """The products that a step adds to each sum."""
        return {DType.U8: 4, DType.BF16: 2}.get(self.kind, 1)

    def pointers(self) -> tuple[DType, ...]:
        if self.kind is DType.U8:
            return DType.U8, DType.I8, DType.I32
        return self.kind, self.kind, DType.F32

    def geometry(self, passes: int, steps: int, apart: int) -> tuple[int, ...]:
        """The geometry of units whose w are ``apart`` elements from each other, each unit with a y of its own."""
        width = self.cols * self.lanes
        return (passes, steps, apart, self.rows * width, 1, 0, width, 0, 1, 1)

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i
        from nnefc.codegen.dots import dot
        from nnefc.codegen.tile import Lattice, Tile

        x, w_type, sums = self.pointers()
        geometry, moved = i.geometry, self.cols * self.lanes * self.moving * self.group
        tiles = (Tile(sums, self.rows, self.cols, self.lanes),)
        operands = (Operand(x, Access.SAME, True), Operand(w_type, Access.UNIT), Operand(sums, Access.UNIT, True))
        lattice = Lattice(target, operands, self.rows, self.cols, self.lanes, 4, 7, False)
        zero = i.zero_tiles(tiles)
        outer = dot(tiles, target, self.group) if self.group > 1 else i.outer(tiles, target, x, w_type)
        store = i.store_tile(lattice, arg(0, sums), range(0), 2)
        offsets = i.advance(3)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            for unit in range(begin, end):
                acc = zero()
                for _ in range(geometry(g, 0)):
                    w = unit * geometry(g, 2)
                    for _ in range(geometry(g, 1)):
                        acc = outer(acc, p[0], 0, 1, p[1], w)
                        w += moved
                store(acc, p, offsets((0, 0, unit * geometry(g, 3)), g, 4, 0), g, 0)

        return kernel
