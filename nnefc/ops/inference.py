"""Types from types: the shape rule of an operation where it stands, and a Graph for other shapes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnefc.errors import InvalidModelError, Location, NnefcError
from nnefc.ir.graph import Attrs, Graph, Literal, Op, Operand, Value
from nnefc.ir.types import TensorType
from nnefc.ops.primitive import primitives


def infer(kind: str, operands: Sequence[Operand], attrs: Attrs, places: Sequence[Location]) -> tuple[TensorType, ...]:
    """The types of an operation's outputs by its shape rule. Raises what that raises, at the first of the places."""
    try:
        return primitives()[kind].infer([x.type for x in operands], attrs)
    except NnefcError as error:
        invoked = f" (in a fragment that line {places[-1].line} invokes)" if len(places) > 1 else ""
        named = type(error)(f"{kind}: {error.message}{invoked}", error.location, error.source)
        raise named.at(places[0] if places else None) from None


def with_input_shapes(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> Graph:
    """The graph with other input shapes, by name, and every type inferred again; attributes stay as they are.

    NNEF 1.0.5, 4.1.1, lets the consumer replace the shape of an ``external``. Raises ValueError for a name that is no
    input or an extent below 1, and InvalidModelError where an operation does not accept the shapes that follow.
    """
    names = [v.name for v in graph.inputs]
    for name, shape in shapes.items():
        if name not in names:
            raise ValueError(f"there is no input {name!r} to give a shape; the inputs are {', '.join(names) or 'none'}")
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
    types = infer(op.kind, operands, op.attrs, op.origin.locations)
    if len(types) != len(op.outputs):
        message = f"{op.kind} has {len(types)} results for these shapes, but {len(op.outputs)} are named"
        raise InvalidModelError(message, op.origin.location)
    outputs = [Value(v.name, t.with_encoding(v.type.encoding)) for v, t in zip(op.outputs, types, strict=True)]
    return op.replace(inputs=tuple(operands), outputs=tuple(outputs))
