"""The types in which a network is computed and held, as its user asks: ``precision`` and ``weights``."""

from __future__ import annotations

from nnefc.codegen.bfloat import multiply_bf16
from nnefc.codegen.options import Options
from nnefc.ir.graph import Graph
from nnefc.ir.program import Program
from nnefc.passes import pipeline
from nnefc.passes.halves import hold_f16
from nnefc.passes.narrow import keep_weights


def lowered(graph: Graph, options: Options, notes: list[str] | None = None) -> Program:
    """The Program of a Graph with products in BF16 (``options.precision`` bf16), its scratch tensors in F16 (f16), or
    as it is (f32), and its other weights kept as :func:`nnefc.passes.narrow.keep_weights` says; ``stored`` means f16
    where tensors are. Lines about what stays in floats or in F32 are added to ``notes``. Raises what
    :func:`nnefc.compile` raises, and UnsupportedError where NumPy lacks a type."""
    program = pipeline.run(graph, options.taps, execution=options.execution, notes=notes)
    if options.precision == "f16":
        return hold_f16(keep_weights(program, graph, "f16" if options.weights == "stored" else options.weights, notes))
    if options.precision == "bf16":
        program = multiply_bf16(program, options.cpu, notes, small=options.small)
    return keep_weights(program, graph, options.weights, notes)
