"""A Graph for other shapes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnefc.errors import InvalidModelError, NnefcError
from nnefc.ir.graph import Graph, Literal, Op, Operand, Value
from nnefc.ops.primitive import primitives


def with_input_shapes(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> Graph:
    """The graph with other input shapes, by name, and every type inferred again; attributes stay as they are.

    NNEF 1.0.5, 4.1.1, lets the consumer replace the shape of an ``external``. Raises ValueError for a name that is no
    input or an extent below 1, and InvalidModelError where an operation does not accept the shapes that follow.
    """
    names = [v.name for v in graph.inputs]
    for name, shape in shapes.items():
        if name not in names:
            raise ValueError(f"there is no input {name!r} to reshape; the inputs are {', '.join(names) or 'none'}")
        if any(not isinstance(extent, int) or extent < 1 for extent in shape):
            raise ValueError(f"the shape of {name!r} must be positive whole numbers, not {list(shape)}")
    inputs = [Value(v.name, v.type.with_shape(tuple(shapes.get(v.name, v.type.shape)))) for v in graph.inputs]
    if tuple(inputs) == graph.inputs:
        return graph
    known = {v.name: v for v in inputs}
    ops = []
    for op in graph.ops:
        ops.append(_inferred(op, known))
        known |= {v.name: v for v in ops[-1].outputs}
    return graph.replace(inputs=tuple(inputs), ops=tuple(ops), outputs=tuple(known[v.name] for v in graph.outputs))


def _inferred(op: Op, known: Mapping[str, Value]) -> Op:
    """The operation on operands of their new types, its results retyped."""
    operands: list[Operand] = [v if isinstance(v, Literal) else known[v.name] for v in op.inputs]
    if op.kind == "external":
        return op.replace(outputs=tuple(known.get(v.name, v) for v in op.outputs))
    try:
        types = primitives()[op.kind].infer([v.type for v in operands], op.attrs)
    except NnefcError as error:
        raise error.at(op.origin.location) from None
    if len(types) != len(op.outputs):
        message = f"{op.kind} has {len(types)} results for these shapes, but {len(op.outputs)} are named"
        raise InvalidModelError(message, op.origin.location)
    outputs = [Value(v.name, t.with_encoding(v.type.encoding)) for v, t in zip(op.outputs, types, strict=True)]
    return op.replace(inputs=tuple(operands), outputs=tuple(outputs))
