"""Elements picked by indices that are read from a tensor. No index leaves its range: see ``checked_index``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.spec import Operand, OperandKernel
from nnefc.codegen.target import Target
from nnefc.ir.expr import arg
from nnefc.ir.types import DType


@dataclass(frozen=True)
class GatherKernel(OperandKernel):
    """``operands`` are the index, x and the output. If ``along``, each lane has an index of its own, else all have one.

    Geometry: extent of the gathered dimension, its stride in x, lanes; row strides (unused), lane strides; per outer
    dimension its extent and the operands' strides. A unit is one index of the outer dimensions.
    """

    family: ClassVar[str] = "gather"
    operands: tuple[Operand, ...]
    outer: int
    lanes: int
    full: bool
    tail: bool
    along: bool
    check: bool

    def pointers(self) -> tuple[DType, ...]:
        return (*super().pointers(), DType.I32)

    def build(self, target: Target) -> Callable[..., Any]:
        return _along(self, target) if self.along else _across(self, target)


def _along(spec: GatherKernel, target: Target) -> Callable[..., Any]:
    from nnefc.codegen import indices
    from nnefc.codegen import instructions as i
    from nnefc.codegen.tile import Lattice

    lanes, full, tail = spec.lanes, spec.full, spec.tail
    geometry, advance = i.geometry, i.advance(3)
    start, move = i.zeros(3), i.unit_offsets(3, spec.outer)
    whole = indices.gather_tile(Lattice(target, spec.operands, 1, 1, lanes, 3, 6, False), spec.check)
    part = indices.gather_tile(Lattice(target, spec.operands, 1, 1, lanes, 3, 6, True), spec.check)

    def kernel(p: Any, g: Any, begin: int, end: int) -> None:
        extent, stride, n = geometry(g, 0), geometry(g, 1), geometry(g, 2)
        for unit in range(begin, end):
            place = move(start(), g, 9, unit)
            if full:
                for x in range(0, n - lanes + 1, lanes):
                    whole(p, advance(place, g, 6, x), g, lanes, extent, stride)
            if tail:
                rest = n % lanes
                part(p, advance(place, g, 6, n - rest), g, rest, extent, stride)

    return kernel


def _across(spec: GatherKernel, target: Target) -> Callable[..., Any]:
    from nnefc.codegen import indices
    from nnefc.codegen import instructions as i
    from nnefc.codegen.tile import Lattice

    lanes, full, tail = spec.lanes, spec.full, spec.tail
    geometry, advance = i.geometry, i.advance(3)
    start, move = i.zeros(3), i.unit_offsets(3, spec.outer)
    load_index, checked = indices.load_index(), indices.checked_index(spec.check)
    copy = (arg(0, spec.operands[1].dtype),)
    moved = spec.operands[1:]

    def tile(masked: bool) -> Any:
        return i.map_tile(Lattice(target, moved, 1, 1, lanes, 4, 7, masked), copy, 1)

    whole, part = tile(False), tile(True)

    def kernel(p: Any, g: Any, begin: int, end: int) -> None:
        extent, stride, n = geometry(g, 0), geometry(g, 1), geometry(g, 2)
        for unit in range(begin, end):
            place = move(start(), g, 9, unit)
            shift = checked(load_index(p[0], place[0]), extent, p[3]) * stride
            place = (place[0], place[1] + shift, place[2])
            if full:
                for x in range(0, n - lanes + 1, lanes):
                    whole((p[1], p[2]), advance(place, g, 6, x)[1:], g, lanes)
            if tail:
                rest = n % lanes
                part((p[1], p[2]), advance(place, g, 6, n - rest)[1:], g, rest)

    return kernel
