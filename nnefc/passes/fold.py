"""Constant folding and dead code on Programs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np

from nnefc.ir.expr import Expr
from nnefc.ir.interpret import run_call
from nnefc.ir.program import BoxReduce, Call, Gather, Program
from nnefc.ir.sequential import Scan, Scatter, Sort, Suppress
from nnefc.ir.view import Role, View

MAX_ELEMENTS = 1 << 25
"""Elements that all folded tensors of a Program may have together, beside twice those of its constants."""
MAX_WORK = 1 << 27
"""Elementary operations that folding may take, beside eight for each element of the constants."""
MAX_CALL_WORK = 1 << 25
"""Elementary operations that one call may take to be folded, beside four for each element of what it reads."""
SEQUENTIAL_WORK = 1 << 10
"""Elementary operations that an element counts as where NumPy takes one step of Python for each."""


def fold(program: Program, late: Collection[str] = ()) -> Program:
    """Calls whose operands are all constant are done now, in NumPy; their results become constants.

    A buffer is folded only if all that write it can be. What would take too many elements or operations stays, and so
    do the calls that write the buffers ``late``, which no other call on constants may read.
    """
    found = foldable(program) - set(late)
    if not found:
        return program
    memory = dict(program.constants)
    for call in program.calls:
        if all(v.buffer.name in found for v in call.writes()):
            for v in call.writes():
                name = v.buffer.name
                if name not in memory:
                    memory[name] = np.zeros(v.buffer.size, v.dtype.numpy)
            run_call(call, memory)
    calls = tuple(
        c.with_views(lambda v: as_constant(v) if v.buffer.name in found else v)
        for c in program.calls
        if not all(v.buffer.name in found for v in c.writes())
    )
    return prune(program.replace(calls=calls, constants=memory))


def foldable(program: Program) -> set[str]:
    """The TEMP buffers that constants alone decide, within the limits."""
    found: set[str] = set()
    refused: set[str] = set()
    stored = sum(a.size for a in program.constants.values())
    room, budget = MAX_ELEMENTS + 2 * stored, MAX_WORK + 8 * stored
    for call in program.calls:
        names = {v.buffer.name for v in call.writes()}
        size = sum(v.buffer.size for v in call.writes() if v.buffer.name not in found)
        cost = _work(call)
        once = cost <= MAX_CALL_WORK + 4 * sum(v.buffer.size for v in call.reads())
        fits = once and size <= room and cost <= budget and not _may_fail(call)
        if fits and _decided(call, found) and not names & refused:
            room, budget = room - size, budget - cost
            found |= names
        else:
            refused |= names
            found -= names
    _drop_dependents(program, found)
    return found


def _drop_dependents(program: Program, found: set[str]) -> None:
    """Take out what was found constant because of buffers that are not, some later call writing them."""
    readers: dict[str, list[Call]] = {}
    for call in program.calls:
        for v in call.reads():
            readers.setdefault(v.buffer.name, []).append(call)
    lost = [v.buffer.name for c in program.calls if not _decided(c, found) for v in c.writes()]
    found.difference_update(lost)
    while lost:
        for call in readers.get(lost.pop(), ()):
            names = {v.buffer.name for v in call.writes()} & found
            found -= names
            lost += names


def _decided(call: Call, found: set[str]) -> bool:
    """Whether a call writes scratch memory, from constants and what was found constant."""
    scratch = all(v.buffer.role is Role.TEMP for v in call.writes())
    return scratch and all(v.buffer.role is Role.CONST or v.buffer.name in found for v in call.reads())


def _work(call: Call) -> int:
    """What a call costs in NumPy, in elementary operations."""
    elements = call.elements()
    if _is_sequential(call) or any(map(_steps, _expressions(call))):
        return elements * SEQUENTIAL_WORK
    return elements


def _is_sequential(call: Call) -> bool:
    batched = isinstance(call, Gather) and call.batch > 0
    return batched or isinstance(call, (BoxReduce, Scatter, Scan, Sort, Suppress))


def _expressions(call: Call) -> Iterator[Expr]:
    for value in vars(call).values():
        yield from (e for e in (value if isinstance(value, tuple) else (value,)) if isinstance(e, Expr))


def _steps(expr: Expr) -> bool:
    """Whether NumPy takes one step of Python for each element of an expression."""
    return expr.op == "erf" or any(map(_steps, expr.args))


def _may_fail(call: Call) -> bool:
    """A checked index is reported when the model runs, not when it is compiled."""
    return isinstance(call, (Gather, Scatter)) and call.check


def as_constant(view: View) -> View:
    """The view with its buffer as a constant."""
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
