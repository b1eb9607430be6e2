"""Constants that are made where they are to lie: packed and transformed weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from nnefc.ir.interpret import Memory, run_call
from nnefc.ir.program import Call, Map, Program
from nnefc.ir.view import Buffer, Role, View
from nnefc.passes.fold import as_constant, fold, foldable

PIECE_BYTES = 8 << 20
"""Bytes of a constant that are made at once, where it can be cut."""


@dataclass(frozen=True)
class Making(Call):
    """A call that makes a constant and is no kernel."""

    def make(self, memory: Memory) -> None:
        """Do it, on flat arrays by buffer name."""
        raise TypeError(type(self).__name__)


@dataclass(frozen=True, eq=False)
class Made:
    """A constant by the calls that write its buffer, and the arrays that they read, by buffer name."""

    calls: tuple[Call, ...]
    buffer: Buffer
    sources: Mapping[str, np.ndarray]

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return self.buffer.bytes

    def key(self) -> object:
        """Equal for constants that are made alike from the same arrays, whatever their names."""
        names: dict[str, str] = {self.buffer.name: "made"}

        def renamed(v: View) -> View:
            name = names.setdefault(v.buffer.name, f"source {len(names)}")
            return replace(v, buffer=replace(v.buffer, name=name))

        calls = tuple(call.with_views(renamed) for call in self.calls)
        return calls, tuple((new, id(self.sources.get(old))) for old, new in names.items())

    def fill(self, out: np.ndarray) -> None:
        """Write the values to ``out``, which is flat, of the buffer's type and size."""
        if not self._covers:
            out[...] = 0
        memory = {**self.sources, self.buffer.name: out}
        for call in self.calls:
            if isinstance(call, Making):
                call.make(memory)
            else:
                run_call(call, memory)

    @property
    def _covers(self) -> bool:
        """Whether there is one call, which writes the whole buffer."""
        return len(self.calls) == 1 and self.calls[0].writes()[0].dense

    def pieces(self) -> Iterator[tuple[int, Made]]:
        """What it consists of, in order, each with the element at which it begins."""
        call = self.calls[0]
        if not isinstance(call, Map) or not self._covers or self.nbytes <= PIECE_BYTES:
            yield 0, self
            return
        (out,) = call.outputs
        axis = out.dense_order[0]
        extent, stride = out.shape[axis], out.strides[axis]
        rows = max(1, PIECE_BYTES // (stride * out.dtype.size))
        for first in range(0, extent, rows):
            count = min(rows, extent - first)
            buffer = replace(self.buffer, size=count * stride)
            inputs = tuple(v.slice(axis, first, count) for v in call.inputs)
            target = replace(out.slice(axis, first, count), buffer=buffer, offset=0)
            yield first * stride, Made((replace(call, inputs=inputs, outputs=(target,)),), buffer, self.sources)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A Program whose constants are not all among its own: the others are yet to be ``made``."""

    program: Program
    made: Mapping[str, Made]

    @staticmethod
    def of(program: Program) -> Prepared:
        """All that constants decide is done, but what makes constants from nothing but stored ones by copies or by
        transforms: that is left to be made."""
        late = _late(program)
        program = fold(program, late)
        made: dict[str, Made] = {}
        for name in late:
            calls = tuple(c for c in program.calls if c.writes()[0].buffer.name == name)
            sources = {v.buffer.name: program.constants[v.buffer.name] for c in calls for v in c.reads()}
            if calls:
                made[name] = Made(calls, calls[0].writes()[0].buffer, sources)
        rest = tuple(
            call.with_views(lambda v: as_constant(v) if v.buffer.name in made else v)
            for call in program.calls
            if call.writes()[0].buffer.name not in made
        )
        used = {v.buffer.name for c in rest for v in c.reads() + c.writes()}
        constants = {name: a for name, a in program.constants.items() if name in used}
        return Prepared(program.replace(calls=rest, constants=constants), made)

    def whole(self) -> Program:
        """The Program with all its constants."""
        constants = dict(self.program.constants)
        for name, made in self.made.items():
            constants[name] = np.empty(made.buffer.size, made.buffer.dtype.numpy)
            made.fill(constants[name])
        return self.program.replace(constants=constants)


def _late(program: Program) -> set[str]:
    """The buffers that are written by copies and transforms of stored constants alone, and read by no other call that
    constants decide."""
    decided = foldable(program)
    found: set[str] = set()
    refused: set[str] = set()
    for call in program.calls:
        names = {v.buffer.name for v in call.writes()}
        stored = all(v.buffer.role is Role.CONST for v in call.reads())
        if isinstance(call, Making) or (stored and _is_copy(call) and names <= decided):
            found |= names
        else:
            refused |= names
            if names <= decided:
                refused |= {v.buffer.name for v in call.reads()}
    return found - refused


def _is_copy(call: Call) -> bool:
    return isinstance(call, Map) and len(call.exprs) == 1 and call.exprs[0].op in ("arg", "const")
