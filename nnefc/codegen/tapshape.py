"""The shape of a tile of windows on 8-bit codes: which taps meet which codes of the map in one instruction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nnefc.codegen.dots import GROUP
from nnefc.codegen.spec import Access, Operand
from nnefc.codegen.tapbands import Band, Place, Two, carried, divided
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr, arg, call
from nnefc.ir.types import DType

BLOCK = 16
"""Bytes within which lines are interleaved."""


Four = tuple[Place | None, ...]
"""The line and the column of the taps that an instruction takes; None where it takes none."""


@dataclass(frozen=True)
class Places:
    """Where things are in the geometry; see kernels.depthwise."""

    windows: int
    columns: int
    before: int
    zero: int
    column: int
    window: int
    line: int
    height: int


@dataclass(frozen=True)
class Taps:
    """Windows on codes: ``lines`` lines of windows of ``size`` (lines, columns) taps, ``stride`` apart, of ``width``
    channels. ``operands`` are x, the weights if ``weighted``, the extras of ``final`` and the output."""

    target: Target
    operands: tuple[Operand, ...]
    final: Expr
    weighted: bool
    size: tuple[int, int]
    stride: tuple[int, int]
    lines: int
    width: int
    places: Places
    used: tuple[Four, ...] = field(init=False)
    addend: int | None = field(init=False)
    stored: Expr = field(init=False)

    def __post_init__(self) -> None:
        self._split()
        used = [four for o in range(self.lines) for _, _, four in self.fours(o)]
        object.__setattr__(self, "used", tuple(dict.fromkeys(used)))

    def _split(self) -> None:
        """``final`` as ``stored`` of sums that start from the operand ``addend``, the same for all windows, if any."""
        for k in range(self.first, len(self.operands) - 1):
            sum_ = call("add", arg(0, DType.I32), arg(k - self.first + 1, DType.I32))
            rest = _replaced(self.final, sum_, arg(0, DType.I32))
            alone = (
                _count(rest, sum_.args[0]) == _count(self.final, sum_) and sum_.args[1].value not in rest.arguments()
            )
            if self.operands[k].dtype is DType.I32 and not self.operands[k].moves and alone and rest != self.final:
                object.__setattr__(self, "addend", k)
                object.__setattr__(self, "stored", rest)
                return
        object.__setattr__(self, "addend", None)
        object.__setattr__(self, "stored", self.final)

    @property
    def height(self) -> int:
        """The lines of x that these lines of windows see."""
        return (self.lines - 1) * self.stride[0] + self.size[0]

    @property
    def lanes(self) -> int:
        """Lanes of 32 bits."""
        return self.width // GROUP

    @property
    def first(self) -> int:
        """The first of the extras."""
        return 1 + self.weighted

    @property
    def _room(self) -> int:
        """Registers for what goes round from window to window: half of all."""
        return self.target.vector_registers // 2

    @property
    def bands(self) -> tuple[tuple[Band, ...], ...]:
        """The bands of each line of windows."""
        return divided(self.size, self.stride, self.lines, self._room)

    def fours(self, line: int) -> list[tuple[Band, int, Four]]:
        """What windows of a line are made of, each tap once: bands, columns from the window's first on, and the taps
        that meet the codes there."""
        found: list[tuple[Band, int, Four]] = []
        taken: set[int] = set()
        for band in self.bands[line]:
            lines = set(range(self.size[0])) - taken
            for column in range(0, self.size[1], band.columns):
                taps = [(i - line * self.stride[0], k) for i, k in band.places(column)]
                found.append(
                    (band, column, tuple((t, k) if t in lines and k < self.size[1] else None for t, k in taps))
                )
            taken |= {i - line * self.stride[0] for i in range(band.start, band.start + band.height)}
        return found

    def carried(self) -> tuple[list[tuple[Band, int]], list[Two]]:
        """What a window takes that the one before took, a stride further on: by band and column, and in pairs."""
        old, _, known, _ = carried(self.bands, self.size, self.stride, self._room)
        return old, known

    def quarter(self, q: int) -> list[int]:
        """The channels in a quarter."""
        return [BLOCK * i + GROUP * q + t for i in range(self.width // BLOCK) for t in range(GROUP)]

    def kept(self) -> list[int]:
        """The extras of what is stored that are the same for all windows."""
        return [k for k in self.extras() if not self.operands[k].moves]

    def extras(self) -> list[int]:
        """The extras of what is stored that are no tables."""
        return [k for k in self._stored_operands() if self.operands[k].access is not Access.TABLE]

    def tables(self) -> list[int]:
        """The tables among the extras of what is stored."""
        return [k for k in self._stored_operands() if self.operands[k].access is Access.TABLE]

    def _stored_operands(self) -> list[int]:
        return [self.first + k - 1 for k in sorted(self.stored.arguments()) if k]


def _replaced(expr: Expr, old: Expr, new: Expr) -> Expr:
    if expr == old:
        return new
    return replace(expr, args=tuple(_replaced(a, old, new) for a in expr.args))


def _count(expr: Expr, node: Expr) -> int:
    """How often a node is in an expression."""
    return int(expr == node) + sum(_count(a, node) for a in expr.args)
