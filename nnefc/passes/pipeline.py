"""The order of passes, on one page: what ``nnefc show --after PASS`` can show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nnefc.ir.graph import Graph
from nnefc.ir.program import Program
from nnefc.passes.fold import fold, prune
from nnefc.passes.fuse import fuse
from nnefc.passes.lower import lower

ProgramPass = Callable[[Program], Program]

PROGRAM_PASSES: tuple[tuple[str, ProgramPass], ...] = (
    ("fold", fold),
    ("prune", prune),
    ("fuse", fuse),  # after folding, so that constants are not fused into
)
"""Program -> Program, in order."""

PASSES = ("load", "lower", *(name for name, _ in PROGRAM_PASSES))
"""Every point of the pipeline by name: the Graph as loaded, then Programs."""


def run(graph: Graph, taps: Sequence[str] = (), *, after: str | None = None) -> Program:
    """The Program of a graph, up to and with the pass ``after`` (default: all). See ``lower`` for what it raises."""
    program = lower(graph, taps)
    if after == "lower":
        return program
    for name, step in PROGRAM_PASSES:
        program = step(program)
        if name == after:
            break
    return program
