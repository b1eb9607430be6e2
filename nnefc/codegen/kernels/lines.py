"""Lines cut into vectors of lanes; and those of windows into tiles of neighbours, of which the first and the last may
reach outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from nnefc.codegen.spec import Operand


class Vectored(Protocol):
    """A kernel with its ``lanes`` along a line: whole vectors of them, if ``full``, then a rest, if there is a
    ``tail``."""

    @property
    def operands(self) -> tuple[Operand, ...]: ...
    @property
    def lanes(self) -> int: ...
    @property
    def full(self) -> bool: ...
    @property
    def tail(self) -> bool: ...


def vectored_line(spec: Vectored, whole: Any, part: Any, lane_at: int) -> Any:
    """line(p, offsets, g, n): ``n`` lanes, by ``whole`` and ``part``, which do one vector: whole(p, offsets, g, lanes)
    and part(p, offsets, g, rest). The operands' strides along lanes lie in the geometry from ``lane_at`` on."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device

    lanes, full, tail, advance = spec.lanes, spec.full, spec.tail, i.advance(len(spec.operands))

    @device
    def line(p: Any, offsets: Any, g: Any, n: int) -> None:
        if full:
            for x in range(0, n - lanes + 1, lanes):
                whole(p, advance(offsets, g, lane_at, x), g, lanes)
        if tail:
            rest = n % lanes
            part(p, advance(offsets, g, lane_at, n - rest), g, rest)

    return line


class Tiled(Protocol):
    """A kernel's tiles of ``rows`` windows: the first of a line has ``left`` columns outside, the last one ``right``,
    the others none. If ``single``, one tile is the whole line."""

    @property
    def left(self) -> int: ...
    @property
    def right(self) -> int: ...
    @property
    def single(self) -> bool: ...
    @property
    def rows(self) -> int: ...


def tiled_line(spec: Tiled, tile: Callable[[int, int], Any]) -> Any:
    """line(p, offsets, g, about, last): all tiles of a line.

    ``tile(left, right)`` makes what does one, tile(p, offsets, g, about, t, last) from window ``t`` on; ``about`` and
    ``last`` are handed on to it. The geometry begins with the windows of a line, and those at its end that reach
    outside."""
    from nnefc.codegen.device import device
    from nnefc.codegen.instructions import geometry

    rows = spec.rows
    if spec.single:
        only = tile(spec.left, spec.right)

        @device
        def whole(p: Any, offsets: Any, g: Any, about: Any, last: int) -> None:
            only(p, offsets, g, about, 0, last)

        return whole
    inner = tile(0, 0)
    if not (spec.left or spec.right):

        @device
        def inside(p: Any, offsets: Any, g: Any, about: Any, last: int) -> None:
            n = geometry(g, 0)
            for t in range(0, n, rows):
                inner(p, offsets, g, about, min(t, n - rows), last)

        return inside
    begin = tile(spec.left, 0) if spec.left else inner
    end = tile(0, spec.right) if spec.right else inner

    @device
    def across(p: Any, offsets: Any, g: Any, about: Any, last: int) -> None:
        n = geometry(g, 0)
        begin(p, offsets, g, about, 0, last)
        for t in range(rows, n - rows, rows):
            inner(p, offsets, g, about, min(t, n - rows - geometry(g, 1)), last)
        end(p, offsets, g, about, n - rows, last)

    return across
