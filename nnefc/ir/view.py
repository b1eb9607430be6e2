"""Strided views of flat buffers: how Programs say where a tensor lies."""

from __future__ import annotations

import enum
import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nnefc.ir.types import DType


class Role(enum.Enum):
    """What a buffer is: given by the caller, returned to it, constant, kept between calls, or scratch.

    A TABLE is constant, and a view of it, which does not move, stands for all its elements: what a ``table`` of an
    expression looks up."""

    INPUT = "input"
    OUTPUT = "output"
    CONST = "const"
    TABLE = "table"
    STATE = "state"
    TEMP = "temp"


@dataclass(frozen=True)
class Buffer:
    """A flat piece of memory of ``size`` elements. The name is unique in its Program."""

    name: str
    dtype: DType
    size: int
    role: Role

    @property
    def bytes(self) -> int:
        """The size in bytes."""
        return self.size * self.dtype.size


@dataclass(frozen=True)
class View:
    """Elements ``offset + sum(i[d] * strides[d])`` of a buffer, for all ``0 <= i[d] < shape[d]``."""

    buffer: Buffer
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.strides):
            raise ValueError(f"{len(self.strides)} strides for the shape {self.shape}")
        low, high = self.span
        if self.volume and (low < 0 or high > self.buffer.size):
            raise ValueError(f"{self} reaches elements {low}..{high} of {self.buffer.size}")

    def __str__(self) -> str:
        return f"{self.buffer.name}[{','.join(map(str, self.shape))}]@{self.offset}({','.join(map(str, self.strides))})"

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.buffer.dtype

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def volume(self) -> int:
        """The number of index tuples (elements of repeated dimensions count each time)."""
        return math.prod(self.shape)

    @property
    def span(self) -> tuple[int, int]:
        """The first element reached and one past the last."""
        steps = [(n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)]
        return self.offset + sum(min(s, 0) for s in steps), self.offset + sum(max(s, 0) for s in steps) + 1

    @property
    def order(self) -> tuple[int, ...]:
        """The dimensions from outermost to innermost in memory."""
        return tuple(sorted(range(self.rank), key=lambda d: (-abs(self.strides[d]), d)))

    @property
    def dense(self) -> bool:
        """Whether it is its whole buffer, each element once, in some order of dimensions."""
        return (
            self.offset == 0
            and self.volume == self.buffer.size
            and self.moves_like(dense_strides(self.shape, self.dense_order))
        )

    @property
    def dense_order(self) -> tuple[int, ...]:
        """As ``order``; among equal strides (extents of 1) the dimension of larger extent comes first."""
        return tuple(sorted(range(self.rank), key=lambda d: (-abs(self.strides[d]), -self.shape[d], d)))

    @property
    def row_major(self) -> bool:
        """Whether the elements lie densely in row-major order, from ``offset`` on."""
        return self.moves_like(dense_strides(self.shape))

    def moves_like(self, strides: tuple[int, ...]) -> bool:
        """Whether its strides are these, where they count: not along extents of 1."""
        return all(a == b or n == 1 for a, b, n in zip(self.strides, strides, self.shape, strict=True))

    def same_elements(self, other: View) -> bool:
        """Whether both reach the same element for each index."""
        return (
            self.buffer == other.buffer
            and self.offset == other.offset
            and self.shape == other.shape
            and self.moves_like(other.strides)
        )

    def overlaps(self, other: View) -> bool:
        """Whether both may reach a common element (judged by their spans)."""
        if self.buffer != other.buffer or not self.volume or not other.volume:
            return False
        (a, b), (c, d) = self.span, other.span
        return a < d and c < b

    def transpose(self, axes: Sequence[int]) -> View:
        """Dimension ``d`` of the result is dimension ``axes[d]``."""
        return replace(self, shape=tuple(self.shape[a] for a in axes), strides=tuple(self.strides[a] for a in axes))

    def slice(self, axis: int, start: int, length: int, step: int = 1) -> View:
        """``length`` elements along ``axis`` from ``start``, each ``step`` (which may be negative) after the last."""
        if length and not (0 <= start < self.shape[axis] and 0 <= start + (length - 1) * step < self.shape[axis]):
            raise ValueError(f"slice {start}:{length}:{step} of extent {self.shape[axis]}")
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + (start * strides[axis] if length else 0)
        shape[axis], strides[axis] = length, strides[axis] * (step if length > 1 else 1)
        return replace(self, offset=offset, shape=tuple(shape), strides=tuple(strides))

    def flip(self, axis: int) -> View:
        """The dimension reversed."""
        return self.slice(axis, self.shape[axis] - 1, self.shape[axis], -1) if self.shape[axis] else self

    def expand_dims(self, axis: int) -> View:
        """A new dimension of extent 1 at ``axis``."""
        return replace(
            self,
            shape=(*self.shape[:axis], 1, *self.shape[axis:]),
            strides=(*self.strides[:axis], 0, *self.strides[axis:]),
        )

    def squeeze(self, axis: int) -> View:
        """Without the dimension ``axis``, whose extent must be 1."""
        if self.shape[axis] != 1:
            raise ValueError(f"squeeze of extent {self.shape[axis]}")
        return replace(
            self,
            shape=self.shape[:axis] + self.shape[axis + 1 :],
            strides=self.strides[:axis] + self.strides[axis + 1 :],
        )

    def broadcast_to(self, shape: Sequence[int]) -> View:
        """Leading-aligned broadcast (NNEF 1.0.5, 4.2): missing trailing dimensions and extents of 1 are repeated;
        trailing extents of 1 beyond the rank of ``shape`` are dropped."""
        shape = tuple(shape)
        if self.rank > len(shape) and self.shape[-1] == 1:
            return self.squeeze(self.rank - 1).broadcast_to(shape)
        strides = [0] * len(shape)
        if self.rank > len(shape):
            raise ValueError(f"broadcast of {self.shape} to {shape}")
        for d, (n, s) in enumerate(zip(self.shape, self.strides, strict=True)):
            if n == shape[d]:
                strides[d] = s if n != 1 else 0
            elif n != 1:
                raise ValueError(f"broadcast of {self.shape} to {shape}")
        return replace(self, shape=shape, strides=tuple(strides))

    def split_dim(self, axis: int, extents: Sequence[int]) -> View:
        """The dimension ``axis`` as several, row-major, whose product is its extent."""
        if math.prod(extents) != self.shape[axis]:
            raise ValueError(f"split of extent {self.shape[axis]} into {tuple(extents)}")
        inner = tuple(s * self.strides[axis] for s in dense_strides(tuple(extents)))
        return replace(
            self,
            shape=(*self.shape[:axis], *extents, *self.shape[axis + 1 :]),
            strides=(*self.strides[:axis], *inner, *self.strides[axis + 1 :]),
        )

    def window(
        self, axes: Sequence[int], sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
    ) -> View:
        """All positions of a window that lie inside: dimension ``axes[i]`` becomes the window's position, and one
        dimension of extent ``sizes[i]`` per axis is appended for the place inside the window."""
        shape, steps = list(self.shape), list(self.strides)
        for axis, size, stride, dilation in zip(axes, sizes, strides, dilations, strict=True):
            reach = (size - 1) * dilation + 1
            if self.shape[axis] < reach:
                raise ValueError(f"a window of {reach} on extent {self.shape[axis]}")
            shape[axis] = (self.shape[axis] - reach) // stride + 1
            steps[axis] = self.strides[axis] * (stride if shape[axis] > 1 else 1)
            shape.append(size)
            steps.append(self.strides[axis] * (dilation if size > 1 else 1))
        return replace(self, shape=tuple(shape), strides=tuple(steps))

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """The same elements, row-major, in another shape, or None where strides cannot say it."""
        shape = tuple(shape)
        strides = [0] * len(shape)
        old = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        new = [d for d, n in enumerate(shape) if n != 1]
        while new:
            group = [new.pop()]
            product = shape[group[0]]
            if not old:
                return None
            have, stride = old.pop()
            while product != have:
                if product < have:
                    if not new:
                        return None
                    group.append(new.pop())
                    product *= shape[group[-1]]
                else:
                    if not old or old[-1][1] != stride * have:
                        return None
                    have *= old.pop()[0]
            for d in group:
                strides[d] = stride
                stride *= shape[d]
        return None if old else replace(self, shape=shape, strides=tuple(strides))

    def order_to_reshape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """An order of dimensions, outermost first, in which a dense copy can be :meth:`reshaped`: those that become
        others together stay row-major, and such groups lie as they do here."""
        ends = set(itertools.accumulate(shape, operator.mul, initial=1))
        groups: list[tuple[int, ...]] = [()]
        for d, end in enumerate(itertools.accumulate(self.shape, operator.mul)):
            groups[-1] += (d,)
            if end in ends:
                groups.append(())

        def step(group: tuple[int, ...]) -> float:
            moving = [abs(self.strides[d]) for d in group if self.shape[d] > 1 and self.strides[d]]
            return min(moving, default=math.inf)

        return tuple(d for group in sorted(groups, key=lambda g: -step(g)) for d in group)


def dense_strides(shape: Sequence[int], order: Sequence[int] | None = None) -> tuple[int, ...]:
    """Strides of a dense tensor whose dimensions lie in memory in ``order``, outermost first (default: row-major)."""
    strides = [0] * len(shape)
    step = 1
    for d in reversed(tuple(order) if order is not None else range(len(shape))):
        strides[d] = step
        step *= shape[d]
    return tuple(strides)
