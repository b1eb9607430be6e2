"""Functions: operations that a model, or ONNX itself, defines by a body of other nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx

from nnefc.errors import InvalidModelError
from nnefc.formats.onnx.model import NEWEST, Model, normal_domain
from nnefc.formats.onnx.tensors import require_text

if TYPE_CHECKING:
    from nnefc.formats.onnx.nodes import Runner
    from nnefc.formats.onnx.scope import Scope

Key = tuple[str, str, str]


def local_functions(model: Model) -> dict[Key, onnx.FunctionProto]:
    """The functions of a model by domain, name and overload. Raises InvalidModelError if one is defined twice."""
    found: dict[Key, onnx.FunctionProto] = {}
    for function in model.proto.functions:
        require_text(function.domain, function.name, function.overload, *function.input, *function.output)
        key = (normal_domain(function.domain), function.name, function.overload)
        if key in found:
            raise InvalidModelError(f"the function {function.name!r} is defined twice", model.location)
        found[key] = function
    return found


def schema_body(
    schema: Any, node: onnx.NodeProto, version: int, types: Sequence[onnx.TypeProto]
) -> onnx.FunctionProto | None:
    """The body that ONNX gives an operation, for a node with inputs of these types; None if it gives none.

    A body says itself which opset it is written in; of several, the newest that the model's opset has is taken.
    """
    if schema.function_opset_versions:
        body = _parsed(schema.get_function_with_opset_version(_nearest(schema.function_opset_versions, version)))
        defaults = [a.default_value for a in schema.attributes.values() if a.default_value.type]
        body.attribute_proto.extend(d for d in defaults if d.name not in {a.name for a in body.attribute_proto})
        return body
    if schema.context_dependent_function_opset_versions:
        data = schema.get_context_dependent_function_with_opset_version(
            _nearest(schema.context_dependent_function_opset_versions, version),
            node.SerializeToString(),
            [t.SerializeToString() for t in types],
        )
        return _parsed(data) if data else None
    return None


def _nearest(versions: Sequence[int], version: int) -> int:
    return max((v for v in versions if v <= version), default=min(versions))


def _parsed(data: bytes) -> onnx.FunctionProto:
    return onnx.FunctionProto.FromString(data)


def run(
    runner: Runner, scope: Scope, function: onnx.FunctionProto, node: onnx.NodeProto, inputs: Sequence[Any]
) -> list[Any]:
    """Run a function's body in place of a node. Returns its outputs in order.

    Raises InvalidModelError for too many inputs, and for an attribute that is needed and not written.
    """
    if len(inputs) > len(function.input) or len(node.output) > len(function.output):
        raise InvalidModelError(
            f"the function {function.name!r} takes {len(function.input)} inputs and makes {len(function.output)} "
            f"outputs, not {len(inputs)} and {len(node.output)}"
        )
    imported = {normal_domain(o.domain): o.version for o in function.opset_import}
    opsets = {"": NEWEST, **scope.opsets, **imported}
    inner = runner.scope(None, opsets)
    for name, value in zip(function.input, inputs, strict=False):
        if value is not None:
            inner.bind(name, value)
    given = {a.name: a for a in function.attribute_proto} | {a.name: a for a in node.attribute}
    missing = [name for name in function.attribute if name not in given]
    absent = set(function.input) - inner.names.keys()
    nodes = [_instance(n, given, missing, absent) for n in function.node]
    wanted = list(function.output)[: len(node.output)]
    made = {name for n in nodes for name in n.output} | inner.names.keys()
    results = runner.graph(inner, nodes, [w for w, o in zip(wanted, node.output, strict=True) if o and w in made])
    by_name = dict(zip([w for w, o in zip(wanted, node.output, strict=True) if o and w in made], results, strict=True))
    return [by_name.get(w) for w in wanted]


def _instance(
    node: onnx.NodeProto, given: Mapping[str, onnx.AttributeProto], missing: Sequence[str], absent: set[str]
) -> onnx.NodeProto:
    """A node of a body with the attributes of the call in place of references to them, and without the inputs that the
    call leaves out."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    copy.input[:] = ["" if name in absent else name for name in node.input]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            kept = copy.attribute.add()
            kept.CopyFrom(attribute)
            for graph in (*([kept.g] if kept.HasField("g") else []), *kept.graphs):
                inner = [_instance(n, given, missing, absent) for n in graph.node]
                del graph.node[:]
                graph.node.extend(inner)
        elif attribute.ref_attr_name in given:
            kept = copy.attribute.add()
            kept.CopyFrom(given[attribute.ref_attr_name])
            kept.name = attribute.name
    return copy
