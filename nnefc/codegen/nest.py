"""Loop nests: the index space of a call and how each operand moves through it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nnefc.ir.view import View


@dataclass(frozen=True)
class Loop:
    """One dimension: its extent, and the stride of each operand in elements."""

    extent: int
    strides: tuple[int, ...]

    def flat(self) -> tuple[int, ...]:
        """As kernels read it: the extent, then the strides."""
        return (self.extent, *self.strides)


Nest = tuple[Loop, ...]


def nest(shape: Sequence[int], operands: Sequence[View | tuple[int, ...]]) -> Nest:
    """The loops over ``shape``, outermost first. An operand is a view of that shape, or its strides."""
    strides = [v.strides if isinstance(v, View) else v for v in operands]
    return tuple(Loop(n, tuple(s[d] for s in strides)) for d, n in enumerate(shape))


def ordered(loops: Nest, key: int) -> Nest:
    """Loops sorted so that operand ``key`` moves most slowly in the outermost; those where it stays put come first,
    sorted by the other operands."""
    return tuple(sorted(loops, key=lambda p: (-abs(p.strides[key]) if p.strides[key] else -math.inf, _others(p, key))))


def _others(loop: Loop, key: int) -> int:
    return -max((abs(s) for k, s in enumerate(loop.strides) if k != key), default=0)


def collapsed(loops: Nest) -> Nest:
    """The same loops without those of extent 1, neighbours merged where every operand moves evenly through both."""
    result: list[Loop] = []
    for p in loops:
        if p.extent == 1:
            continue
        if result and all(a == b * p.extent for a, b in zip(result[-1].strides, p.strides, strict=True)):
            p = Loop(result.pop().extent * p.extent, p.strides)
        result.append(p)
    return tuple(result)


def without(loops: Nest, index: int | None) -> Nest:
    """The loops but one."""
    return tuple(p for k, p in enumerate(loops) if k != index)


def volume(loops: Nest) -> int:
    """The number of index tuples."""
    return math.prod(p.extent for p in loops)


def unit_loop(count: int) -> Loop:
    """A loop that runs once."""
    return Loop(1, (0,) * count)


def flattened(loops: Nest) -> tuple[int, ...]:
    """Every loop as kernels read it, outermost first."""
    return tuple(n for p in loops for n in p.flat())


def places(loops: Nest) -> tuple[int, ...]:
    """Where the only operand is at each index, in row-major order."""
    found = [0]
    for p in loops:
        found = [at + k * p.strides[0] for at in found for k in range(p.extent)]
    return tuple(found)


def divisor(n: int, most: int) -> int:
    """The largest divisor of ``n`` that is at most ``most``."""
    return next(d for d in range(min(n, most), 0, -1) if n % d == 0)
