"""Elements combined into places that indices name. An index outside its range touches no memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.spec import Operand, OperandKernel
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr
from nnefc.ir.types import DType


@dataclass(frozen=True)
class ScatterKernel(OperandKernel):
    """``operands`` are the index, the output as it is read, the updates, and the output as it is written; the error
    flag follows. ``expr`` combines what is there with an update. If ``along``, each lane has an index of its own and
    goes alone, else all have one. A unit is one index of the ``outer`` kept dimensions.

    Geometry: extent of the indexed dimension, its stride in the output, lanes, updates per place in all; lane strides;
    per outer dimension, then per dimension of the ``updates`` of a place, its extent and the operands' strides.
    """

    family: ClassVar[str] = "scatter"
    expr: Expr
    operands: tuple[Operand, ...]
    outer: int
    updates: int
    lanes: int
    full: bool
    tail: bool
    along: bool
    check: bool

    def pointers(self) -> tuple[DType, ...]:
        return (*super().pointers(), DType.I32)

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i

        put = _each(self, target) if self.along else _together(self, target)
        geometry, start, move = i.geometry, i.zeros(4), i.unit_offsets(4, self.outer)
        step, update_at = i.unit_offsets(4, self.updates), 8 + 5 * self.outer

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            for unit in range(begin, end):
                place = move(start(), g, 8, unit)
                for t in range(geometry(g, 3)):
                    put(p, step(place, g, update_at, t), g)

        return kernel


def _shifted() -> Any:
    """A function of offsets, geometry and index: the offsets with the output's at the index."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device

    geometry = i.geometry

    @device
    def shifted(place: Any, g: Any, index: int) -> Any:
        shift = index * geometry(g, 1)
        return place[0], place[1] + shift, place[2], place[3] + shift

    return shifted


def _together(spec: ScatterKernel, target: Target) -> Any:
    """One index for all lanes: vectors of neighbours."""
    from nnefc.codegen import indices
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device
    from nnefc.codegen.tile import Lattice

    lanes, full, tail, check = spec.lanes, spec.full, spec.tail, spec.check
    geometry, advance, load_index, shifted = i.geometry, i.advance(4), indices.load_index(), _shifted()
    error = indices.INDEX_ERROR

    def tile(masked: bool) -> Any:
        return i.map_tile(Lattice(target, spec.operands[1:], 1, 1, lanes, 5, 5, masked), (spec.expr,), 2)

    whole, part = tile(False), tile(True)

    @device
    def put(p: Any, place: Any, g: Any) -> None:
        n, index = geometry(g, 2), load_index(p[0], place[0])
        moved = (p[1], p[2], p[3])
        if index >= 0 and index < geometry(g, 0):
            to = shifted(place, g, index)
            if full:
                for x in range(0, n - lanes + 1, lanes):
                    whole(moved, advance(to, g, 4, x)[1:], g, lanes)
            if tail:
                rest = n % lanes
                part(moved, advance(to, g, 4, n - rest)[1:], g, rest)
        elif check:
            p[4][0] = error

    return put


def _each(spec: ScatterKernel, target: Target) -> Any:
    """An index for each lane: one element after the other."""
    from nnefc.codegen import indices, scalars
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device

    dtype, check, error = spec.operands[1].dtype, spec.check, indices.INDEX_ERROR
    geometry, advance, load_index, shifted = i.geometry, i.advance(4), indices.load_index(), _shifted()
    load, store = scalars.load_element(dtype, target), scalars.store_element(dtype, target)
    combine = scalars.compute(spec.expr, target)

    @device
    def put(p: Any, place: Any, g: Any) -> None:
        for x in range(geometry(g, 2)):
            here = advance(place, g, 4, x)
            index = load_index(p[0], here[0])
            if index >= 0 and index < geometry(g, 0):
                to = shifted(here, g, index)
                store(combine((load(p[1], to[1]), load(p[2], to[2]))), p[3], to[3])
            elif check:
                p[4][0] = error

    return put
