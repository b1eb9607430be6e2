"""Tiles whose columns are whole vectors and, if there is one, a narrower last: what contractions sum up and store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from nnefc.codegen.spec import Operand
from nnefc.ir.types import SUM_TYPES


class Columns(Protocol):
    """A kernel's tile: ``rows`` by ``cols`` vectors of ``lanes`` and, if not 0, one of ``last``."""

    @property
    def operands(self) -> tuple[Operand, ...]: ...
    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    @property
    def lanes(self) -> int: ...
    @property
    def last(self) -> int: ...


def tiles(spec: Columns) -> tuple[Any, ...]:
    """The tiles that sums are kept in: whole vectors and, if there is one, the last; of the type in which
    products of the first two operands are added up."""
    from nnefc.codegen.tile import Tile

    dtype = SUM_TYPES[spec.operands[0].dtype, spec.operands[1].dtype]
    whole = Tile(dtype, spec.rows, spec.cols, spec.lanes)
    return (whole, Tile(dtype, spec.rows, 1, spec.last)) if spec.last else (whole,)


def store(spec: Columns, lane_at: int, storing: Callable[[int, int], Any]) -> Any:
    """Stores a tile of sums: ``storing(cols, lanes)`` makes what stores one part of it.

    It is called with the sums, pointers, offsets, geometry (the operands' strides along lanes at ``lane_at``) and how
    many lanes of the whole width are valid, which only masked stores regard.
    """
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device

    whole, advance = spec.cols * spec.lanes, i.advance(len(spec.operands))
    put = storing(spec.cols, spec.lanes)
    if not spec.last:
        return put
    put_last = storing(1, spec.last)

    @device
    def put_both(found: Any, p: Any, offsets: Any, g: Any, valid: int) -> None:
        put((found[0],), p, offsets, g, valid)
        put_last((found[1],), p, advance(offsets, g, lane_at, whole), g, valid - whole)

    return put_both
