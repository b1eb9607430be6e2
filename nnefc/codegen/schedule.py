"""From a Program to a LaunchPlan: memory is placed, kernels are selected, and barriers put where data pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from nnefc.codegen.pack import pack
from nnefc.codegen.select import Choice, select
from nnefc.codegen.spec import Barrier, Launch, LaunchPlan, Pointer, Space
from nnefc.codegen.target import Target
from nnefc.ir.program import Call, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View
from nnefc.passes.fold import fold

ALIGNMENT = 64
"""Bytes: every tensor starts on a cache line."""
SERIAL_WORK = 16384
"""Kernels that touch fewer elements stay on one thread."""
PARALLEL_WORK = 131072
"""A whole network that touches fewer elements runs on one thread."""


def plan(program: Program, target: Target) -> LaunchPlan:
    """The launches of a lowered Program: weights are packed and folded, kernels selected, memory placed."""
    return schedule(fold(pack(program, target)), target)


def schedule(program: Program, target: Target) -> LaunchPlan:
    """The launches of a packed Program, in order, and the memory that they work in."""
    placement = _place(program)
    steps: list[Launch | Barrier] = []
    hazards = _Hazards()
    total = 0
    for call in program.calls:
        choice = select(call, target)
        work = sum(v.volume for v in call.reads() + call.writes())
        total += work
        pointers = _pointers(choice, placement)
        if hazards.meet(call, placement):
            steps.append(Barrier())
        steps.append(Launch(choice.spec, pointers, choice.geometry, choice.units, work < SERIAL_WORK))
    return LaunchPlan(
        tuple(steps), placement.weights, placement.arena, placement.state, placement.state_init, total >= PARALLEL_WORK
    )


def _pointers(choice: Choice, placement: _Placement) -> tuple[Pointer, ...]:
    pointers = [placement.pointer(v) for v in choice.views]
    wanted = choice.spec.pointers()
    if len(wanted) == len(pointers) + 1 and wanted[-1] is DType.I32:
        pointers.append(Pointer(Space.FLAG))
    return tuple(pointers)


@dataclass
class _Placement:
    """Where every buffer lies."""

    places: dict[str, Pointer]
    weights: np.ndarray
    arena: int
    state: int
    state_init: int

    def pointer(self, view: View) -> Pointer:
        base = self.places[view.buffer.name]
        return Pointer(base.space, base.offset + view.offset * view.dtype.size, base.index)

    def range(self, view: View) -> tuple[Space, int, int, int]:
        """Space, number, and the bytes from and to which the view reaches."""
        base = self.places[view.buffer.name]
        low, high = view.span
        size = view.dtype.size
        return base.space, base.index, base.offset + low * size, base.offset + high * size


def _place(program: Program) -> _Placement:
    buffers = program.buffers()
    places = {b.name: Pointer(Space.INPUT, 0, k) for k, b in enumerate(program.input_buffers)}
    places |= {b.name: Pointer(Space.OUTPUT, 0, k) for k, b in enumerate(program.output_buffers)}
    constants = [b for b in buffers.values() if b.role is Role.CONST]
    states = [b for b in buffers.values() if b.role is Role.STATE]
    state_size, weights_size = 0, 0
    for b in constants:
        places[b.name] = Pointer(Space.WEIGHTS, weights_size)
        weights_size += _aligned(b.bytes)
    state_init = weights_size
    for b in states:
        places[b.name] = Pointer(Space.STATE, state_size)
        state_size += _aligned(b.bytes)
    weights = np.zeros(weights_size + state_size, np.uint8)
    for b in constants:
        _write(weights, places[b.name].offset, program.constants[b.name])
    for b in states:
        _write(weights, state_init + places[b.name].offset, program.states[b.name])
    temps, arena = place_temporaries(program)
    places |= {name: Pointer(Space.ARENA, offset) for name, offset in temps.items()}
    return _Placement(places, weights, arena, state_size, state_init)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _write(memory: np.ndarray, offset: int, values: np.ndarray) -> None:
    data = values.reshape(-1).view(np.uint8)
    memory[offset : offset + data.size] = data


def place_temporaries(program: Program) -> tuple[dict[str, int], int]:
    """Byte offsets of the TEMP buffers in the arena, and its size.

    A buffer lives from its first write to its last use. Larger ones are placed first, each at the lowest offset that no
    buffer alive at the same time takes (greedy by size; Pisarchyk and Lee, 2020)."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    buffers: dict[str, Buffer] = {}
    for n, call in enumerate(program.calls):
        for v in call.reads() + call.writes():
            if v.buffer.role is Role.TEMP:
                buffers[v.buffer.name] = v.buffer
                first.setdefault(v.buffer.name, n)
                last[v.buffer.name] = n
    placed: list[tuple[int, int, int, int]] = []
    offsets: dict[str, int] = {}
    for b in sorted(buffers.values(), key=lambda b: (-b.bytes, first[b.name])):
        size, offset = _aligned(b.bytes), 0
        for start, end, low, high in sorted(placed):
            alive = low <= last[b.name] and first[b.name] <= high
            if alive and start < offset + size and offset < end:
                offset = end
        offsets[b.name] = offset
        placed.append((offset, offset + size, first[b.name], last[b.name]))
    return offsets, max((end for _, end, _, _ in placed), default=0)


@dataclass
class _Hazards:
    """What was read and written since the last barrier."""

    reads: list[tuple[Space, int, int, int]] = field(default_factory=list)
    writes: list[tuple[Space, int, int, int]] = field(default_factory=list)

    def meet(self, call: Call, placement: _Placement) -> bool:
        """Whether the call must wait for what came since the last barrier; takes the call in."""
        views: Callable[[tuple[View, ...]], list[tuple[Space, int, int, int]]] = lambda vs: [  # noqa: E731
            placement.range(v) for v in vs if v.buffer.role is not Role.CONST
        ]
        reads, writes = views(call.reads()), views(call.writes())
        clash = _touch(reads, self.writes) or _touch(writes, self.writes) or _touch(writes, self.reads)
        if clash:
            self.reads, self.writes = [], []
        self.reads += reads
        self.writes += writes
        return clash


def _touch(these: list[tuple[Space, int, int, int]], those: list[tuple[Space, int, int, int]]) -> bool:
    return any(s == t and k == j and a < d and c < b for s, k, a, b in these for t, j, c, d in those)
