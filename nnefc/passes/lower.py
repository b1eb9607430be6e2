"""Graph -> Program: every operation's ``lower``, in order."""

from __future__ import annotations

from collections.abc import Sequence

from nnefc.errors import UnsupportedError
from nnefc.ir.build import ProgramBuilder
from nnefc.ir.graph import Graph, Op, Value
from nnefc.ir.program import Program
from nnefc.ir.view import View
from nnefc.ops.evaluate import variable_values
from nnefc.ops.primitive import primitives


def lower(graph: Graph, taps: Sequence[str] = ()) -> Program:
    """The Program of a graph. ``taps`` names values that become outputs too, after the graph's own.

    Raises UnsupportedError for an operation without a lowering, InvalidModelError for a variable without values, and
    ValueError for a tap that is no value of the graph.
    """
    builder = ProgramBuilder(graph.name)
    for value in graph.inputs:
        builder.put(value, builder.input(value.name, value.type.dtype, value.type.extents))
    updated = {op.inputs[0].name for op in graph.ops if op.kind == "update" and isinstance(op.inputs[0], Value)}
    labels = {_label(op) for op in graph.ops if op.kind == "variable" and op.output.name in updated}
    variables: dict[str, View] = {}
    for op in graph.ops:
        builder.origin = op.origin
        if op.kind == "variable":
            if _label(op) not in variables:
                values = variable_values(graph, op)
                stored = builder.state if _label(op) in labels else builder.const
                variables[_label(op)] = stored(values, op.output.name)
            builder.put(op.output, variables[_label(op)])
        else:
            _lower_op(builder, op)
    for value in graph.outputs:
        builder.output(value.name, value)
    known = {v.name for v in graph.outputs}
    for name in taps:
        if name not in graph.values:
            raise ValueError(f"there is no tensor {name!r} in the graph {graph.name!r} to tap")
        if name not in known:
            builder.output(name, graph.values[name])
            known.add(name)
    return builder.finish()


def _label(op: Op) -> str:
    return str(op.attrs["label"]).lower()


def _lower_op(builder: ProgramBuilder, op: Op) -> None:
    primitive = primitives().get(op.kind)
    if primitive is None or primitive.lower is None:
        raise UnsupportedError(f"the operation {op.kind!r} cannot be compiled").at(op.origin.location)
    primitive.lower(builder, op)
