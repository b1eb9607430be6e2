"""Documents in tract's dialect to Graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import onnx as onnx_package

from nnefc.errors import NnefcError
from nnefc.formats.nnef.context import Context, fail, suggestion
from nnefc.formats.nnef.expand import Frame
from nnefc.formats.nnef.lift import DTYPES, ReadTensor, Shapes
from nnefc.formats.nnef.quantfile import Entry
from nnefc.formats.nnef.tract.core import datum_type
from nnefc.formats.nnef.tract.evaluate import Machine
from nnefc.formats.nnef.tract.header import Symbols, check_registries
from nnefc.formats.nnef.tract.registry import REQUIRED, Arguments, Given, TractScope, tensor
from nnefc.formats.nnef.tract.scan import scan
from nnefc.formats.nnef.typecheck import Checked
from nnefc.formats.onnx.builder import Builder
from nnefc.ir import syntax as ast
from nnefc.ir.graph import Attrs, Graph, Literal, Op, Origin, Value
from nnefc.ir.types import DType
from nnefc.ops.primitive import primitives
from nnefc.ops.quantized import check_encoding, decode
from nnefc.ops.signatures import signatures

_STORED = {"float": "f", "uint": "u", "quint": "u", "int": "i", "qint": "i"}


def lift(
    document: ast.Document,
    context: Context,
    *,
    shapes: Shapes | None = None,
    quantization: Mapping[str, Entry] | None = None,
    read_tensor: ReadTensor | None = None,
) -> Graph:
    """The Graph of a document in tract's dialect; arguments as for ``nnefc.formats.nnef.lift``; ``shapes`` may also
    give a symbol's extent by its name. Raises InvalidModelError and UnsupportedError, with the place."""
    extensions = check_registries(document, context)
    symbols = Symbols(document, context)
    symbols.bind(shapes or {})
    symbols.check_assertions()
    builder = Builder(_no_importer)
    encodings = {name: entry.encoding for name, entry in (quantization or {}).items()}
    scope = TractScope(builder, onnx_package.defs.onnx_opset_version(), encodings)
    sources = _Sources(scope, symbols, quantization or {}, read_tensor)
    made = {
        "external": sources.external,
        "tract_core_external": sources.external,
        "variable": sources.variable,
        "tract_core_scan": scan,
    }
    machine = Machine(Checked(document, context, (), signatures()), scope, symbols.extents, made)
    values = machine.evaluate()
    outputs = []
    for result in document.graph.results:
        if result.name not in values:
            close = suggestion(result.name, values)
            fail(f"the output {result.name!r} of the graph is not assigned{close}", result.location)
        try:
            outputs.append((result.name, tensor(scope, values[result.name], f"the output {result.name!r}")))
        except NnefcError as error:
            raise error.at(result.location) from None
    builder.inputs = [sources.inputs[p.name] for p in document.graph.params]
    graph = builder.finish(document.graph.name, outputs).replace(extensions=extensions)
    return _encoded(graph, quantization or {}, context)


def _no_importer(*_: Any) -> NoReturn:
    raise AssertionError("there are no ONNX nodes in this dialect")


class _Sources:
    """Makes inputs and stored tensors."""

    def __init__(
        self, scope: TractScope, symbols: Symbols, quantization: Mapping[str, Entry], read_tensor: ReadTensor | None
    ):
        self.scope = scope
        self.symbols = symbols
        self.quantization = quantization
        self.read_tensor = read_tensor
        self.inputs: dict[str, Value] = {}
        self.stored: dict[tuple[str, str], np.ndarray] = {}

    def external(self, machine: Machine, generic: str | None, given: Given, frame: Frame) -> Value:
        """An input: of the shape that the caller gives, else of the one written."""
        arguments = self._arguments(machine, {"shape": REQUIRED, "datum_type": None}, given)
        name = frame.stem
        if name not in self.symbols.dims or frame.depth or name in self.inputs:
            raise self.scope.invalid("the result must be assigned to an input of the graph")
        dtype = DTYPES[generic or "scalar"]
        if "datum_type" in arguments:
            dtype = datum_type(self.scope, arguments.text("datum_type"))
        shape = self.symbols.shapes.get(name, tuple(arguments.ints("shape")))
        value = self._value("external", Attrs(shape=shape, dtype=dtype))
        self.scope.builder.remember(name, value)
        self.inputs[name] = value
        return value

    def variable(self, machine: Machine, generic: str | None, given: Given, frame: Frame) -> Any:
        """A stored tensor: an array, or a Value where the model has no values. Its elements are of the stored type."""
        arguments = self._arguments(machine, {"shape": REQUIRED, "label": REQUIRED}, given)
        shape, label = tuple(arguments.ints("shape")), arguments.text("label")
        entry = self.quantization.get(frame.stem)
        key = (label.lower(), frame.stem if entry is not None else "")
        if key in self.stored:
            return self.stored[key]
        node = self.scope.node
        stored = self.read_tensor(label, node.location if node is not None else None) if self.read_tensor else None
        if stored is None:
            return self._without_values(shape, label, DTYPES[generic or "scalar"])
        if stored.data.shape != shape:
            raise self.scope.invalid(f"the stored values of {label!r} have shape {list(stored.data.shape)}")
        if entry is not None and stored.item in ("quint", "qint"):
            data = decode(stored.data, entry.encoding, DType.F32)
        elif stored.item == "bool":
            data = stored.data != 0
        else:
            bits = next(b for b in (8, 16, 32, 64) if b >= stored.bits)
            data = stored.data.astype(f"{_STORED[stored.item]}{bits // 8}", copy=False)
        self.stored[key] = np.asarray(data).reshape(shape)
        return self.stored[key]

    def _without_values(self, shape: tuple[int, ...], label: str, dtype: DType) -> Value:
        value = self._value("variable", Attrs(shape=shape, label=label, dtype=dtype))
        attrs = Attrs(shape=shape, label=value.name, dtype=dtype)
        self.scope.builder.add(Op("variable", (), attrs, (value,), Origin((label,))))
        return value

    def _value(self, kind: str, attrs: Attrs) -> Value:
        (type_,) = primitives()[kind].infer([], attrs)
        return self.scope.builder.value(type_)

    def _arguments(self, machine: Machine, params: Mapping[str, Any], given: Given) -> Arguments:
        name = self.scope.node.op_type if self.scope.node is not None else ""
        return Arguments(self.scope, name, machine.matched(name, params, given))


def _encoded(graph: Graph, quantization: Mapping[str, Entry], context: Context) -> Graph:
    """The graph with the encodings of ``graph.quant``, for the tensors that are left of those it names."""
    found = {}
    for name, entry in quantization.items():
        if name in graph.values:
            value = graph.values[name]
            check_encoding(entry.encoding, entry.location)
            found[name] = Value(name, value.type.with_encoding(entry.encoding))
        else:
            message = f"the graph has no tensor {name!r} to quantize"
            context.tolerate("unknown_quantized", message, entry.location)
    if not found:
        return graph

    def with_encodings(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(v if isinstance(v, Literal) else found.get(v.name, v) for v in values)

    ops = tuple(op.replace(inputs=with_encodings(op.inputs), outputs=with_encodings(op.outputs)) for op in graph.ops)
    return graph.replace(inputs=with_encodings(graph.inputs), ops=ops, outputs=with_encodings(graph.outputs))
