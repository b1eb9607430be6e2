"""Constant folding and dead code on Programs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnefc.ir.interpret import run_call
from nnefc.ir.program import Call, Gather, Program
from nnefc.ir.sequential import Scan, Scatter, Sort, Suppress
from nnefc.ir.view import Role, View

MAX_ELEMENTS = 1 << 27
"""Elements that all folded tensors of a Program may have together; what exceeds it is computed at run time."""
MAX_WORK = 1 << 28
"""Elementary operations that folding may take."""
SEQUENTIAL_WORK = 1 << 10
"""Elementary operations that an element counts as where NumPy takes one step of Python for each."""


def fold(program: Program) -> Program:
    """Calls whose operands are all constant are done now, in NumPy; their results become constants.

    A buffer is folded only if all that write it can be. What would take more than MAX_ELEMENTS or MAX_WORK stays.
    """
    foldable = _foldable(program)
    if not foldable:
        return program
    memory = dict(program.constants)
    for call in program.calls:
        if all(v.buffer.name in foldable for v in call.writes()):
            for v in call.writes():
                name = v.buffer.name
                if name not in memory:
                    memory[name] = np.zeros(v.buffer.size, v.dtype.numpy)
            run_call(call, memory)
    calls = tuple(
        c.with_views(lambda v: _as_constant(v) if v.buffer.name in foldable else v)
        for c in program.calls
        if not all(v.buffer.name in foldable for v in c.writes())
    )
    return prune(program.replace(calls=calls, constants=memory))


def _foldable(program: Program) -> set[str]:
    """The TEMP buffers that constants alone decide, within the limits."""
    found: set[str] = set()
    refused: set[str] = set()
    elements = work = 0
    for call in program.calls:
        names = {v.buffer.name for v in call.writes()}
        size = sum(v.buffer.size for v in call.writes() if v.buffer.name not in found)
        cost = _work(call)
        fits = elements + size <= MAX_ELEMENTS and work + cost <= MAX_WORK and not _may_fail(call)
        if fits and _decided(call, found) and not names & refused:
            elements, work = elements + size, work + cost
            found |= names
        else:
            refused |= names
    found -= refused
    while True:
        resting = {v.buffer.name for c in program.calls if not _decided(c, found) for v in c.writes()}
        if not found & resting:
            return found
        found -= resting


def _decided(call: Call, found: set[str]) -> bool:
    """Whether a call writes scratch memory, from constants and what was found constant."""
    scratch = all(v.buffer.role is Role.TEMP for v in call.writes())
    return scratch and all(v.buffer.role is Role.CONST or v.buffer.name in found for v in call.reads())


def _work(call: Call) -> int:
    """What a call costs in NumPy, in elementary operations."""
    elements = sum(v.volume for v in call.reads() + call.writes())
    return elements * (SEQUENTIAL_WORK if isinstance(call, (Scatter, Scan, Sort, Suppress)) else 1)


def _may_fail(call: Call) -> bool:
    """A checked index is reported when the model runs, not when it is compiled."""
    return isinstance(call, (Gather, Scatter)) and call.check


def _as_constant(view: View) -> View:
    return replace(view, buffer=replace(view.buffer, role=Role.CONST))


def prune(program: Program) -> Program:
    """Without calls whose results nothing uses, and constants that nothing reads."""
    wanted: set[str] = set()
    kept: list[Call] = []
    for call in reversed(program.calls):
        lasting = any(v.buffer.role in (Role.OUTPUT, Role.STATE) for v in call.writes())
        if lasting or any(v.buffer.name in wanted for v in call.writes()) or _may_fail(call):
            kept.append(call)
            wanted |= {v.buffer.name for v in call.reads()}
    calls = tuple(reversed(kept))
    used = {v.buffer.name for c in calls for v in c.reads() + c.writes()}
    constants = {name: a for name, a in program.constants.items() if name in used}
    return program.replace(calls=calls, constants=constants)
