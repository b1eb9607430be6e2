"""The attributes of ONNX nodes as Python values, and nodes held to the declaration of their operation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import onnx

from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.formats.onnx.tensors import Weights, require_text

_A = onnx.AttributeProto
_INFINITE = 1 << 20


def values_of(node: onnx.NodeProto, weights: Weights) -> dict[str, Any]:
    """The written attributes of a node: ints, floats, strings, arrays, messages, or lists of these.

    Raises InvalidModelError for one that is written twice, that has no value or no UTF-8 text, and UnsupportedError for
    sparse tensors.
    """
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        require_text(attribute.name)
        if attribute.name in values:
            raise InvalidModelError(f"the attribute {attribute.name!r} is written twice")
        values[attribute.name] = _value(attribute, weights)
    return values


def _value(attribute: onnx.AttributeProto, weights: Weights) -> Any:
    readers: dict[int, Callable[[], Any]] = {
        _A.FLOAT: lambda: attribute.f,
        _A.INT: lambda: attribute.i,
        _A.STRING: lambda: _text(attribute.s, attribute.name),
        _A.TENSOR: lambda: weights.array(attribute.t),
        _A.GRAPH: lambda: attribute.g,
        _A.TYPE_PROTO: lambda: attribute.tp,
        _A.FLOATS: lambda: list(attribute.floats),
        _A.INTS: lambda: list(attribute.ints),
        _A.STRINGS: lambda: [_text(s, attribute.name) for s in attribute.strings],
        _A.TENSORS: lambda: [weights.array(t) for t in attribute.tensors],
        _A.GRAPHS: lambda: list(attribute.graphs),
        _A.TYPE_PROTOS: lambda: list(attribute.type_protos),
    }
    if attribute.type not in readers:
        if attribute.type in (_A.SPARSE_TENSOR, _A.SPARSE_TENSORS):
            raise UnsupportedError(f"the attribute {attribute.name!r} is a sparse tensor")
        raise InvalidModelError(f"the attribute {attribute.name!r} has no type")
    return readers[attribute.type]()


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidModelError(f"the attribute {name!r} is no UTF-8 text") from None


@functools.lru_cache(maxsize=4096)
def schema_of(op_type: str, domain: str, version: int) -> Any:
    """The declaration of an operation in an opset of its domain, or None."""
    try:
        return onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


_STILL_READ = ("GroupNormalization",)
"""Operations that were withdrawn for their function's body alone (opset 18), and that engines run."""


def check(node: onnx.NodeProto, schema: Any) -> None:
    """Hold a node to its declaration: numbers of inputs and outputs, and its attributes. Raises InvalidModelError."""
    if schema.deprecated and schema.name not in _STILL_READ:
        raise InvalidModelError(f"the operation was withdrawn in opset {schema.since_version}")
    for what, count, least, most in (
        ("inputs", len(node.input), schema.min_input, schema.max_input),
        ("outputs", len(node.output), schema.min_output, schema.max_output),
    ):
        if not least <= count <= most:
            allowed = f"{least}" if least == most else f"{least} or more" if most > _INFINITE else f"{least} to {most}"
            raise InvalidModelError(f"there are {count} {what}; the operation has {allowed}")
    for index, name in enumerate(node.input):
        formal = schema.inputs[min(index, len(schema.inputs) - 1)]
        if not name and formal.option != onnx.defs.OpSchema.FormalParameterOption.Optional:
            raise InvalidModelError(f"the input {formal.name!r} is left out")
    given = {a.name for a in node.attribute}
    for name, declared in schema.attributes.items():
        if declared.required and name not in given:
            raise InvalidModelError(f"the attribute {name!r} is missing")
    for attribute in node.attribute:
        declared = schema.attributes.get(attribute.name)
        if declared is None:
            raise InvalidModelError(f"there is no attribute {attribute.name!r} in opset {schema.since_version}")
        if attribute.type and attribute.type != declared.type.value and not attribute.ref_attr_name:
            kinds = (_A.AttributeType.Name(attribute.type), declared.type.name)
            raise InvalidModelError(f"the attribute {attribute.name!r} is of type {kinds[0]}; {kinds[1]} is declared")


def padding(schema: Any, count: int) -> int:
    """How many optional inputs of a declaration are missing at the end."""
    return max(0, schema.max_input - count) if schema is not None and schema.max_input <= _INFINITE else 0
