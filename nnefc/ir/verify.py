"""Checks what every Graph must satisfy. Passes are wrong, not models, where it fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from nnefc.errors import NnefcError
from nnefc.ir.graph import Graph, Literal, Op, Value
from nnefc.ir.text import format_op
from nnefc.ir.types import TensorType

KEYWORDS = frozenset(
    "version extension graph fragment tensor integer scalar logical string shape_of length_of range_of for in yield if "
    "else true false".split()
)
"""Words that are no identifiers (NNEF 1.0.5, 3.1)."""

Infer = Callable[[Op], tuple[TensorType, ...]]


def is_identifier(name: str) -> bool:
    """Whether ``name`` may name a value or a graph."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None and name not in KEYWORDS


def verify(graph: Graph, infer: Infer | None = None) -> None:
    """Check names, definition before use, types, outputs, variables and updates; with ``infer`` also that each
    operation has the types that its shape rule gives. Raises NnefcError, with the lines around the fault."""
    fault = _verify_names(graph) or _verify_ops(graph, infer) or _verify_outputs(graph)
    if fault is not None:
        index, message = fault
        raise NnefcError(f"the graph {graph.name!r} is faulty: {message}{_around(graph, index)}")


Fault = tuple[int | None, str]


def _around(graph: Graph, index: int | None, reach: int = 3) -> str:
    """The operations near the one at ``index``, that one marked."""
    if index is None:
        return ""
    first = max(0, index - reach)
    lines = [
        f"{'  > ' if i == index else '    '}{format_op(op, None)}"
        for i, op in enumerate(graph.ops[first : index + reach + 1], first)
    ]
    return "\n" + "\n".join(lines)


def _verify_names(graph: Graph) -> Fault | None:
    if not is_identifier(graph.name):
        return None, f"{graph.name!r} is no identifier"
    seen: set[str] = set()
    for index, values in [(None, graph.inputs), *((i, op.outputs) for i, op in enumerate(graph.ops))]:
        for value in values:
            if not is_identifier(value.name):
                return index, f"{value.name!r} is no identifier"
            if value.name in seen:
                return index, f"{value.name!r} is defined twice"
            if not _is_shape(value.type):
                return index, f"{value.name!r} has the type {value.type}, with an extent that is not positive"
            seen.add(value.name)
    return None


def _is_shape(type_: TensorType) -> bool:
    return all(isinstance(d, str) or d > 0 for d in type_.shape)


def _verify_ops(graph: Graph, infer: Infer | None) -> Fault | None:
    defined = {v.name: v for v in graph.inputs}
    updated: set[str] = set()
    for index, op in enumerate(graph.ops):
        message = _undefined(op.inputs, defined) or _verify_state(graph, op, updated) or _verify_types(op, infer)
        if message:
            return index, message
        defined |= {v.name: v for v in op.outputs}
    return None


def _undefined(operands: Iterable[Value | Literal], defined: dict[str, Value]) -> str | None:
    for operand in operands:
        if isinstance(operand, Value):
            known = defined.get(operand.name)
            if known is None:
                return f"{operand.name!r} is used before it is defined"
            if known != operand:
                return f"{operand.name!r} is used as {operand.type} but defined as {known.type}"
    return None


def _verify_state(graph: Graph, op: Op, updated: set[str]) -> str | None:
    """Faults of variables, whose stored values must fit, and updates, of which each variable takes one."""
    if op.kind == "variable":
        tensor = graph.tensors.get(op.attrs["label"])
        if tensor is not None and tensor.data.shape != op.output.type.shape:
            return f"the variable {op.attrs['label']!r} has the type {op.output.type} but values of {tensor.data.shape}"
    if op.kind == "update":
        variable = op.inputs[0]
        producer = graph.producers.get(variable.name) if isinstance(variable, Value) else None
        if not isinstance(variable, Value) or producer is None or producer.kind != "variable":
            return "the first operand of update is no variable"
        if variable.name in updated:
            return f"the variable {variable.name!r} is updated twice"
        updated.add(variable.name)
    return None


def _verify_types(op: Op, infer: Infer | None) -> str | None:
    if infer is None:
        return None
    expected = tuple(t.with_encoding(None) for t in infer(op))
    actual = tuple(v.type.with_encoding(None) for v in op.outputs)
    if expected == actual:
        return None
    return f"{op.kind} makes {', '.join(map(str, expected))}, not {', '.join(map(str, actual))}"


def _verify_outputs(graph: Graph) -> Fault | None:
    if len({v.name for v in graph.outputs}) != len(graph.outputs):
        return None, "an output is named twice"
    if not graph.outputs:
        return None, "there are no outputs"
    message = _undefined(graph.outputs, graph.values)
    return (None, f"the output {message}") if message else None
