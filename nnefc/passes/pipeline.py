"""The order of passes, on one page: what ``nnefc show --after PASS`` can show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nnefc.formats.nnef import format_graph
from nnefc.ir.graph import Graph
from nnefc.ir.program import Program
from nnefc.ir.program_text import format_program
from nnefc.passes.affine import affine
from nnefc.passes.encode import encode
from nnefc.passes.factor import factor
from nnefc.passes.fold import fold, prune
from nnefc.passes.fuse import fuse
from nnefc.passes.integer import integer
from nnefc.passes.lift import lift
from nnefc.passes.lower import lower
from nnefc.passes.place import place
from nnefc.passes.requantize import requantize
from nnefc.passes.rows import rows
from nnefc.passes.share import share
from nnefc.passes.simplify import simplify
from nnefc.passes.sink import sink
from nnefc.passes.spread import spread

ProgramPass = Callable[[Program], Program]

INTEGER_PASSES = ("integer", "sink", "requantize")
"""Passes that only ``execution="integer"`` takes."""

PROGRAM_PASSES: tuple[tuple[str, ProgramPass], ...] = (
    ("integer", integer),  # before folding, which would decode constant weights
    ("fold", fold),
    ("prune", prune),
    ("share", share),  # before fusion, which would give equal calls different readers
    ("sink", sink),  # before fusion, of whose rules it needs one reader and one writer
    ("fuse", fuse),  # after folding, so that constants are not fused into
    ("requantize", requantize),  # whole expressions that make codes, as fusion has made them
    ("rows", rows),  # after fusion has made one expression of what uses a reduction's result
    ("factor", factor),
    ("place", place),  # after fusion, which takes copies that have one reader into the kernel before them
    ("simplify", simplify),  # whole expressions, and operands that fusion brought together
    ("affine", affine),
    ("spread", spread),  # it ends what other passes know of whole, dense buffers
    ("lift", lift),  # last: it ends what other passes know of numbers
)
"""Program -> Program, in order."""


def run(
    graph: Graph,
    taps: Sequence[str] = (),
    *,
    after: str | None = None,
    execution: str = "integer",
    notes: list[str] | None = None,
) -> Program:
    """The Program of a graph, up to and with the pass ``after`` (default: all).

    ``execution`` says how a quantized network is computed and ``notes`` gets lines about what stays with floats: see
    ``encode`` and ``integer``, and with ``lower`` for what they raise."""
    program = lower(encode(graph, execution, notes), taps)
    for name, step in PROGRAM_PASSES if after != "lower" else ():
        if name == "integer" and execution == "integer":
            program = integer(program, notes)
        elif name not in INTEGER_PASSES or execution == "integer":
            program = step(program)
        if name == after:
            break
    return program


def pass_names() -> tuple[str, ...]:
    """Every point of the pipeline by name, in order: the Graph as loaded and encoded, then Programs."""
    return ("load", "encode", "lower", *(name for name, _ in PROGRAM_PASSES))


def text_after(graph: Graph, name: str | None = None, *, execution: str = "integer") -> str:
    """The model after a pass: typed NNEF text after ``load`` (or None) and ``encode``, else the text of the Program."""
    if name in (None, "load"):
        return format_graph(graph)
    if name == "encode":
        return format_graph(encode(graph, execution))
    return format_program(run(graph, after=name, execution=execution))
