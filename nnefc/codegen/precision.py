"""The types in which a network is computed and held, as its user asks: ``precision`` and ``weights``."""

from __future__ import annotations

from nnefc.codegen.bfloat import multiply_bf16
from nnefc.codegen.target import Target
from nnefc.ir.graph import Graph
from nnefc.ir.program import Program
from nnefc.passes.halves import hold_f16
from nnefc.passes.narrow import keep_weights


def in_precision(
    program: Program,
    graph: Graph,
    target: Target,
    precision: str,
    weights: str,
    notes: list[str] | None = None,
    *,
    small: bool = False,
) -> Program:
    """The lowered Program of ``graph`` with products in BF16 (``precision`` bf16), its scratch tensors in F16 (f16),
    or as it is (f32), and its other ``weights`` kept as :func:`nnefc.passes.narrow.keep_weights` says; ``stored`` means
    f16 where tensors are. Lines about what stays in F32 are added to ``notes``. Raises UnsupportedError where NumPy
    lacks a type."""
    if precision == "f16":
        return hold_f16(keep_weights(program, graph, "f16" if weights == "stored" else weights, notes))
    if precision == "bf16":
        program = multiply_bf16(program, target, notes, small=small)
    return keep_weights(program, graph, weights, notes)
