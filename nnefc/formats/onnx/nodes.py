"""Runs graphs of ONNX nodes: each by its importer, or by the body that its function has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from nnefc.errors import InvalidModelError, Location, NnefcError, UnsupportedError
from nnefc.formats.onnx import attributes, functions, legacy, narrow
from nnefc.formats.onnx.builder import Builder
from nnefc.formats.onnx.model import Model, normal_domain
from nnefc.formats.onnx.registry import Anything, Node, TensorList, importers
from nnefc.formats.onnx.scope import Scope, tensors
from nnefc.formats.onnx.tensors import ONNX_TYPES, require_text
from nnefc.ir.graph import Value

MAX_DEPTH = 24
"""How deep graphs inside nodes, and functions inside functions, may be nested."""
MAX_NODES = 100_000
"""How many nodes are run, those of loops and functions counted each time."""
_OF_NARROW = frozenset("Cast Constant DequantizeLinear Flatten Identity Reshape Squeeze Transpose Unsqueeze".split())
"""Operations that take elements of less than 16 bits that are known at import."""

_UNFORESEEN = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What Python raises where an importer has not looked at what it was given: a fault of ours, whatever the file."""


class Runner:
    """Imports the nodes of one model."""

    def __init__(self, model: Model):
        self.model = model
        self.builder = Builder(self.call)
        self.functions = functions.local_functions(model)
        self._depth = 0
        self._run = 0

    def scope(self, parent: Scope | None = None, opsets: Mapping[str, int] | None = None) -> Scope:
        """A scope for a graph; ``opsets`` are those that its nodes use, by default its parent's or the model's."""
        if opsets is None:
            opsets = parent.opsets if parent is not None else self.model.opsets
        return Scope(self.builder, self.subgraph, opsets, parent)

    def subgraph(self, scope: Scope, graph: onnx.GraphProto, inputs: Sequence[Anything]) -> list[Any]:
        """Run a graph nested in a node, on inputs by position. Returns its outputs."""
        if len(inputs) != len(graph.input):
            raise InvalidModelError(f"the graph {graph.name!r} takes {len(graph.input)} inputs, not {len(inputs)}")
        require_text(graph.name, *(info.name for info in (*graph.input, *graph.output)))
        for info, value in zip(graph.input, inputs, strict=True):
            scope.bind(info.name, value)
        for tensor in graph.initializer:
            scope.bind(tensor.name, self.model.weights.array(tensor))
        if graph.sparse_initializer:
            raise UnsupportedError("sparse initialisers are not supported")
        return self.graph(scope, graph.node, [o.name for o in graph.output])

    def graph(self, scope: Scope, nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[Any]:
        """Run nodes in their order, those only that the outputs need. Returns the outputs.

        Raises InvalidModelError for names that are missing or made twice and for nodes out of order.
        """
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UnsupportedError(f"graphs and functions are nested more than {MAX_DEPTH} deep")
        try:
            makers = _makers(nodes, scope)
            for node in _needed(nodes, outputs, makers):
                self.node(scope, node, makers)
            return [self._found(scope, name, makers, f"the output {name!r}") for name in outputs]
        finally:
            self._depth -= 1

    def _found(self, scope: Scope, name: str, makers: Mapping[str, int], what: str) -> Anything:
        value = scope.lookup(name)
        if value is not None:
            return value
        if name in makers:
            raise InvalidModelError(
                f"{what} is used before the node that makes it: the nodes are out of order, or in a cycle"
            )
        raise InvalidModelError(f"{what} is made by no node, and is no input or initialiser")

    def node(self, scope: Scope, proto: onnx.NodeProto, makers: Mapping[str, int]) -> None:
        """Run one node and bind its outputs. Errors without a place get the node's name, and the model's place."""
        self._run += 1
        if self._run > MAX_NODES:
            raise UnsupportedError(f"the model comes to more than {MAX_NODES} nodes", self.model.location)
        domain = normal_domain(proto.domain)
        try:
            inputs = [self._found(scope, n, makers, f"the input {n!r}") if n else None for n in proto.input]
            results = self._results(scope, proto, domain, inputs)
            for i, name in enumerate(proto.output):
                if name and i >= len(results):
                    raise UnsupportedError(f"its output {i} ({name!r}) is not supported")
                if name:
                    scope.bind(name, results[i])
        except NnefcError as error:
            raise _placed(error, proto, self.model.location) from error.__cause__

    def _results(self, scope: Scope, proto: onnx.NodeProto, domain: str, inputs: list[Any]) -> Sequence[Any]:
        local = self.functions.get((domain, proto.op_type, proto.overload))
        if local is not None:
            return functions.run(self, scope, local, proto, inputs)
        if domain not in scope.opsets:
            raise InvalidModelError(f"the model imports no opset of the domain {proto.domain!r}")
        version = scope.opsets[domain]
        schema = attributes.schema_of(proto.op_type, domain, version)
        if schema is not None:
            attributes.check(proto, schema)
            if not domain and version < legacy.LAST:
                legacy.require_unchanged(schema)
        node = Node(
            proto.op_type,
            domain,
            version,
            [*inputs, *[None] * attributes.padding(schema, len(inputs))],
            attributes.values_of(proto, self.model.weights),
            tuple(proto.output),
            proto.name,
            self.model.location,
        )
        entry = importers().get((domain, proto.op_type))
        if entry is not None:
            if not entry.lists and not tensors(inputs):
                raise InvalidModelError("an input is a sequence or an optional; the operation takes tensors")
            if not domain and version <= legacy.LAST:
                node = legacy.modern(scope, node)
            return self._import(scope, node)
        if schema is None:
            where = f"the domain {proto.domain!r}" if domain else "ONNX"
            raise UnsupportedError(f"there is no operation {proto.op_type!r} in {where} (opset {version})")
        body = functions.schema_body(schema, proto, version, [_type_proto(scope, x) for x in inputs])
        if body is None:
            raise UnsupportedError(f"the operation {proto.op_type!r} is not supported (opset {version})")
        return functions.run(self, scope, body, proto, inputs)

    def _import(self, scope: Scope, node: Node) -> Sequence[Any]:
        short = next((x for x in node.inputs if narrow.is_narrow(x)), None)
        if short is not None and node.op_type not in _OF_NARROW:
            raise UnsupportedError(f"elements of {short.dtype} are not computed with; they can be dequantized and cast")
        outer, scope.node = scope.node, node
        try:
            return importers()[node.domain, node.op_type].run(scope, node)
        except _UNFORESEEN as error:
            fault = f"internal fault: {type(error).__name__}: {error}"
            raise NnefcError(f"{fault}; please report it, with the file and the traceback") from error
        except MemoryError:
            raise UnsupportedError("there is not enough memory for its result") from None
        finally:
            scope.node = outer

    def call(
        self, scope: Scope, op_type: str, inputs: Sequence[Any], domain: str, attrs: Mapping[str, Any]
    ) -> list[Any]:
        """What another operation's importer gives; attributes as Python values."""
        outer = scope.node
        version = scope.opsets.get(domain, self.model.opsets.get(domain, 0))
        names = outer.outputs if outer is not None else ("",)
        name, location = (outer.name, outer.location) if outer is not None else ("", None)
        schema = attributes.schema_of(op_type, domain, version)
        if (domain, op_type) not in importers():
            raise UnsupportedError(f"the operation {op_type!r} is not supported (opset {version})")
        padded = [*inputs, *[None] * attributes.padding(schema, len(inputs))]
        return list(self._import(scope, Node(op_type, domain, version, padded, attrs, names, name, location)))


def _makers(nodes: Iterable[onnx.NodeProto], scope: Scope) -> dict[str, int]:
    """The index of the node that makes each name. Raises InvalidModelError if two do, or if it has a maker already."""
    makers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        require_text(node.op_type, node.domain, node.overload, node.name, *node.input, *node.output)
        for name in node.output:
            if name and (name in makers or name in scope.names):
                raise InvalidModelError(f"two tensors are named {name!r}")
            if name:
                makers[name] = index
    return makers


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Iterable[str], makers: Mapping[str, int]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in their order."""
    needed: set[int] = set()
    open_ = [makers[name] for name in outputs if name in makers]
    while open_:
        index = open_.pop()
        if index not in needed:
            needed.add(index)
            open_ += [makers[name] for name in _used(nodes[index]) if name in makers]
    return [nodes[i] for i in sorted(needed)]


def _used(node: onnx.NodeProto) -> set[str]:
    """The names that a node and the graphs inside it use."""
    used = set(node.input)
    graphs = [g for a in node.attribute for g in (*([a.g] if a.HasField("g") else []), *a.graphs)]
    while graphs:
        graph = graphs.pop()
        used |= {o.name for o in graph.output}
        for inner in graph.node:
            used |= set(inner.input)
            graphs += [g for a in inner.attribute for g in (*([a.g] if a.HasField("g") else []), *a.graphs)]
    return used


def _placed(error: NnefcError, node: onnx.NodeProto, location: Location) -> NnefcError:
    """The error with the node's name, unless it has a place already."""
    if error.location is not None:
        return error
    made = next((o for o in node.output if o), "")
    called = f"node {node.name!r}" if node.name else f"the node of {made!r}"
    domain = f"{node.domain}." if normal_domain(node.domain) else ""
    return type(error)(f"{called} ({domain}{node.op_type}): {error.message}", location)


def _type_proto(scope: Scope, value: Any) -> onnx.TypeProto:
    """The ONNX type of an imported value; an empty one for an input that is left out."""
    if isinstance(value, TensorList):
        inner = _type_proto(scope, value.items[0]) if value.items else onnx.TypeProto()
        return onnx.helper.make_sequence_type_proto(inner)
    if not isinstance(value, (np.ndarray, Value)):
        return onnx.TypeProto()
    type_ = scope.type(value)
    return onnx.helper.make_tensor_type_proto(ONNX_TYPES[type_.dtype], type_.shape)
