"""Measuring launches inside the driver: a model that also tells when each of its launches began and ended."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnefc.codegen.artefact import Artefact, PlannedEntry
from nnefc.codegen.spec import Barrier, Launch, LaunchPlan, Pointer, Space, Step, Tick
from nnefc.codegen.target import Target
from nnefc.runtime import Port


def counter(target: Target) -> str:
    """LLVM's intrinsic for a counter that every program may read: x86 has one of (constant) cycles, others of time."""
    return "llvm.readcyclecounter" if target.arch == "x86_64" else "llvm.readsteadycounter"


def ticking(plan: LaunchPlan, output: int, target: Target) -> LaunchPlan:
    """The plan with every launch between two ticks, number k of which goes to the k-th int64 of an output.

    All threads meet before a tick, so the time of a launch is that of its slowest thread and of the meeting."""
    steps: list[Step] = []
    count = 0
    for step in plan.steps:
        if isinstance(step, Launch):
            if count == 0:
                steps.append(_tick(0, output, target))
            count += 1
            steps += [step, Barrier(), _tick(count, output, target)]
        elif not (steps and isinstance(step, Barrier)):
            steps.append(step)
    return replace(plan, steps=tuple(steps))


def _tick(number: int, output: int, target: Target) -> Tick:
    return Tick(Pointer(Space.OUTPUT, 8 * number, output), counter(target))


def launches(plan: LaunchPlan) -> tuple[Launch, ...]:
    """The launches of a plan, in order."""
    return tuple(step for step in plan.steps if isinstance(step, Launch))


def with_ticks(artefact: Artefact) -> Artefact:
    """The artefact with one output more, the last: the ticks before the first launch of an entry and after each."""
    first = artefact.planned[0]
    taken = {port.name for port in first.inputs + first.outputs}
    name = next(n for n in ("ticks", *(f"ticks_{i}" for i in range(len(taken) + 1))) if n not in taken)
    return replace(artefact, planned=tuple(_ticking_entry(p, name, artefact.target) for p in artefact.planned))


def _ticking_entry(planned: PlannedEntry, name: str, target: Target) -> PlannedEntry:
    port = Port(name, np.dtype(np.int64), (len(launches(planned.plan)) + 1,))
    plan = ticking(planned.plan, len(planned.outputs), target)
    return replace(planned, plan=plan, outputs=(*planned.outputs, port))
