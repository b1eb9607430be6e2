"""The order of passes, on one page: what ``nnefc show --after PASS`` can show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nnefc.formats.nnef import format_graph
from nnefc.ir.graph import Graph
from nnefc.ir.program import Program
from nnefc.ir.program_text import format_program
from nnefc.passes.affine import affine
from nnefc.passes.factor import factor
from nnefc.passes.fold import fold, prune
from nnefc.passes.fuse import fuse
from nnefc.passes.lower import lower
from nnefc.passes.place import place
from nnefc.passes.rows import rows
from nnefc.passes.share import share
from nnefc.passes.simplify import simplify
from nnefc.passes.spread import spread

ProgramPass = Callable[[Program], Program]

PROGRAM_PASSES: tuple[tuple[str, ProgramPass], ...] = (
    ("fold", fold),
    ("prune", prune),
    ("share", share),  # before fusion, which would give equal calls different readers
    ("fuse", fuse),  # after folding, so that constants are not fused into
    ("rows", rows),  # after fusion has made one expression of what uses a reduction's result
    ("factor", factor),
    ("place", place),  # after fusion, which takes copies that have one reader into the kernel before them
    ("simplify", simplify),  # whole expressions, and operands that fusion brought together
    ("affine", affine),
    ("spread", spread),  # last: it ends what other passes know of whole, dense buffers
)
"""Program -> Program, in order."""


def run(graph: Graph, taps: Sequence[str] = (), *, after: str | None = None) -> Program:
    """The Program of a graph, up to and with the pass ``after`` (default: all). See ``lower`` for what it raises."""
    program = lower(graph, taps)
    for name, step in PROGRAM_PASSES if after != "lower" else ():
        program = step(program)
        if name == after:
            break
    return program


def pass_names() -> tuple[str, ...]:
    """Every point of the pipeline by name, in order: the Graph as loaded, then Programs."""
    return ("load", "lower", *(name for name, _ in PROGRAM_PASSES))


def text_after(graph: Graph, name: str | None = None) -> str:
    """The model after a pass: typed NNEF text after ``load`` (or None), else the text of the Program."""
    if name in (None, "load"):
        return format_graph(graph)
    return format_program(run(graph, after=name))
