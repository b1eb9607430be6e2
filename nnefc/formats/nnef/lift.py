"""Operations with types: from what expansion emits to a Graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnefc.errors import InvalidModelError, Location, UnsupportedError
from nnefc.formats.nnef.context import fail, suggestion
from nnefc.formats.nnef.declarations import KNOWN_EXTENSIONS
from nnefc.formats.nnef.expand import Call, Expander
from nnefc.formats.nnef.names import Hint, Names, item_hint, stem_of
from nnefc.formats.nnef.quantfile import Entry, encoding_of
from nnefc.formats.nnef.typecheck import Checked, targets
from nnefc.ir import syntax as ast
from nnefc.ir.encoding import Encoding
from nnefc.ir.graph import Attrs, Graph, Literal, Op, Operand, Origin, Tensor, Value
from nnefc.ir.signature import Param, Signature
from nnefc.ir.types import INTEGER, LOGICAL, SCALAR, DType, TensorType
from nnefc.ops.common import require_broadcastable, shape_text
from nnefc.ops.inference import infer
from nnefc.ops.quantized import check_encoding
from nnefc.ops.stored import tensor_values

DTYPES = {"scalar": SCALAR, "integer": INTEGER, "logical": LOGICAL}
ITEMS = {"f": ("float", "quint", "qint"), "i": ("int", "uint"), "u": ("int", "uint"), "b": ("bool",)}
"""The item types that a stored tensor may have for elements of each kind (5.2.1)."""
BIASED = ("conv", "deconv", "separable_conv", "separable_deconv", "linear")

ReadTensor = Callable[[str, Location | None], Tensor | None]
Shapes = Mapping[str, Sequence[int]]


def lift(
    checked: Checked,
    *,
    shapes: Shapes | None = None,
    quantization: Mapping[str, Entry] | None = None,
    read_tensor: ReadTensor | None = None,
) -> Graph:
    """The Graph of a checked document.

    ``shapes`` replaces those of external operations; ``quantization`` holds the lines of ``graph.quant``;
    ``read_tensor`` gives the stored values of a label, or None where there are none: then no variable may have any, but
    for those that are updated. Raises InvalidModelError and UnsupportedError, with the place.
    """
    lifter = _Lifter(checked, shapes or {}, quantization or {}, read_tensor)
    values = Expander(checked, lifter.emit, lifter.stored).graph()
    lifter.require_all_tensors()
    graph = checked.document.graph
    for name, entry in lifter.quantization.items():
        if name not in values:
            message = f"the graph has no tensor {name!r} to quantize{suggestion(name, values)}"
            raise InvalidModelError(message, entry.location)
    return Graph(
        graph.name,
        tuple(values[p.name] for p in graph.params),
        tuple(lifter.ops),
        tuple(values[r.name] for r in graph.results),
        lifter.tensors,
        tuple(e for e in checked.extensions if e not in KNOWN_EXTENSIONS),
    )


class _Lifter:
    def __init__(
        self, checked: Checked, shapes: Shapes, quantization: Mapping[str, Entry], read_tensor: ReadTensor | None
    ):
        graph = checked.document.graph
        written = {t.name: t for a in graph.body for t in targets(a.target)}
        self.context = checked.context
        self.annotations = {name: t.annotation for name, t in written.items() if t.annotation is not None}
        self.names = Names(written)
        self.shapes = shapes
        self.quantization = quantization
        self.read_tensor = read_tensor
        self.ops: list[Op] = []
        self.tensors: dict[str, Tensor] = {}
        self.labels: dict[str, Value] = {}
        inputs = [p.name for p in graph.params]
        for name in shapes:
            if name not in inputs:
                listed = ", ".join(inputs)
                fail(f"there is no input {name!r} to give a shape; the inputs are {listed}", graph.location)

    def emit(self, call: Call) -> list[Any]:
        """Make an operation; returns its results, those of an array as a list."""
        signature, location = call.signature, call.locations[0]
        annotation = self._annotation(call)
        attrs = self._attributes(call, annotation)
        operands = self._operands(call, location)
        if self.context.dialect.vector_bias and signature.name in BIASED:
            operands = self._row_bias(signature, operands, call)
        types = infer(signature.name, operands, attrs, call.locations)
        outputs, results = self._outputs(call, types)
        op = Op(signature.name, operands, attrs, outputs, Origin(tuple(v.name for v in outputs), call.locations))
        if op.kind == "variable":
            self._load(op, location)
        if op.kind != "external":
            self.ops.append(op)
        return results

    def _annotation(self, call: Call) -> ast.Annotation | None:
        """The type written for the result, where the invocation itself says what the elements are."""
        name = getattr(call.hints[0], "name", None)
        return self.annotations.get(name) if call.signature.has_dtype and name is not None else None

    def _attributes(self, call: Call, annotation: ast.Annotation | None) -> Attrs:
        values: dict[str, Any] = {p.name: call.arguments[p.name] for p in call.signature.attributes}
        if call.signature.has_dtype:
            if call.generic not in DTYPES:
                raise UnsupportedError(f"tensors of {call.generic} are not supported", call.locations[0])
            dtype = DTYPES[call.generic]
            if annotation is not None:
                dtype = _annotated_dtype(annotation, call.generic)
            values["dtype"] = dtype
        if call.signature.name == "external":
            name = getattr(call.hints[0], "name", "")
            values["shape"] = self.shapes.get(name, values["shape"])
        return Attrs(values)

    def _operands(self, call: Call, location: Location) -> tuple[Operand, ...]:
        given: list[tuple[Param, Any]] = []
        for param in call.signature.tensors:
            value = call.arguments[param.name]
            given += [(param, item) for item in value] if param.is_array else [(param, value)]
        dtypes = {_kind(v.type.dtype): v.type.dtype for _, v in reversed(given) if isinstance(v, Value)}
        return tuple([v if isinstance(v, Value) else self._literal(v, dtypes, location) for _, v in given])

    def _literal(self, value: Any, dtypes: Mapping[str, DType], location: Location) -> Literal:
        """A number among tensors takes the width of those of its kind, else that of NNEF's types."""
        if isinstance(value, (list, tuple, str)):
            fail(f"{value!r} cannot stand for a tensor", location)
        dtype = LOGICAL if isinstance(value, bool) else INTEGER if isinstance(value, int) else SCALAR
        dtype = dtypes.get(_kind(dtype), dtype)
        if dtype.kind in "iu" and not np.iinfo(dtype.numpy).min <= value <= np.iinfo(dtype.numpy).max:
            fail(f"{value} is beyond the range of {dtype}, the type of the tensors it stands among", location)
        return Literal(value, dtype)

    def _row_bias(self, signature: Signature, operands: tuple[Operand, ...], call: Call) -> tuple[Operand, ...]:
        """The operands, with a bias of shape [C] made [1,C]."""
        index = next(i for i, p in enumerate(signature.tensors) if p.name == "bias")
        bias = operands[index]
        if not isinstance(bias, Value) or bias.type.rank != 1 or bias.type.shape == (1,):
            return operands
        extent = bias.type.shape[0]
        message = f"bias of {signature.name} has shape [{extent}]; [1,{extent}] is wanted"
        self.context.tolerate("vector_bias", message, call.locations[0])
        attrs = Attrs(axes=(0,))
        row = Value(self.names.fresh(f"{bias.name}_row"), infer("unsqueeze", (bias,), attrs, call.locations)[0])
        self.ops.append(Op("unsqueeze", (bias,), attrs, (row,), Origin((row.name,), call.locations)))
        return (*operands[:index], row, *operands[index + 1 :])

    def _outputs(self, call: Call, types: Sequence[TensorType]) -> tuple[tuple[Value, ...], list[Any]]:
        """The outputs, flat and as results."""
        location = call.locations[0]
        if call.signature.array_result:
            (hint,) = call.hints
            if isinstance(hint, tuple) and len(hint) != len(types):
                message = f"{call.signature.name} makes {len(types)} tensors"
                fail(f"{message}; they cannot be assigned to {len(hint)} identifiers", location)
            hints: Sequence[Hint] = [item_hint(hint, i) for i in range(len(types))]
            values = [self._value(h, t, location) for h, t in zip(hints, types, strict=True)]
            return tuple(values), [values]
        values = [self._value(h, t, location) for h, t in zip(call.hints, types, strict=True)]
        return tuple(values), list(values)

    def _value(self, hint: Hint, type_: TensorType, location: Location) -> Value:
        name = self.names.of(hint) if hint is not None else self.names.fresh(stem_of(hint))
        annotation = self.annotations.get(name)
        encoding: Encoding | None = None
        if annotation is not None:
            self._check_annotation(name, annotation, type_)
            if annotation.encoding is not None:
                encoding, location = encoding_of(annotation.encoding), annotation.location
        if name in self.quantization:
            encoding, location = self.quantization[name].encoding, self.quantization[name].location
        if encoding is None:
            return Value(name, type_)
        _check_encoding(name, encoding, type_, location)
        return Value(name, type_.with_encoding(encoding))

    def _check_annotation(self, name: str, annotation: ast.Annotation, type_: TensorType) -> None:
        same_shape = annotation.shape == type_.shape or bool(self.shapes)
        if annotation.dtype != str(type_.dtype) or not same_shape:
            written = f"{annotation.dtype}{shape_text(annotation.shape)}"
            fail(f"{name!r} has the type {type_}, not {written}", annotation.location)

    def _load(self, op: Op, location: Location) -> None:
        """Attach the stored values of a variable, if there are any."""
        label, value = op.attrs["label"], op.output
        first = self.labels.setdefault(label.lower(), value)
        if first.type.shape != value.type.shape:
            shapes = f"{shape_text(first.type.shape)} as {first.name!r} and {shape_text(value.type.shape)} here"
            fail(f"the label {label!r} has the shapes {shapes}; they must be equal", location)
        if label in self.tensors or self.read_tensor is None:
            return
        tensor = self.read_tensor(label, location)
        if tensor is None:
            return
        if tensor.data.shape != value.type.shape:
            stored = shape_text(tensor.data.shape)
            fail(f"the stored values of {label!r} have shape {stored}, not {shape_text(value.type.shape)}", location)
        if tensor.item not in ITEMS[value.type.dtype.kind]:
            wanted = " or ".join(ITEMS[value.type.dtype.kind])
            message = f"the stored values of {label!r} are of item type {tensor.item}; {wanted} is wanted"
            self.context.tolerate("any_item_type", message, location)
        self.tensors[label] = tensor

    def stored(self, value: Value) -> np.ndarray | None:
        """The stored values of a variable; None for any other tensor, and where there are none."""
        label = next((op.attrs["label"] for op in self.ops if op.kind == "variable" and op.output == value), None)
        tensor = self.tensors.get(label) if label is not None else None
        return None if tensor is None else tensor_values(tensor, value.type.dtype, value.type.encoding)

    def require_all_tensors(self) -> None:
        """Raise InvalidModelError if a variable that is never updated has no stored values while others have."""
        updated = {op.inputs[0] for op in self.ops if op.kind == "update"}
        for op in self.ops if self.tensors else ():
            if op.kind == "variable" and op.attrs["label"] not in self.tensors and op.output not in updated:
                message = f"the variable {op.output.name!r} has no stored values, for its label {op.attrs['label']!r}"
                fail(f"{message}; other variables have", op.origin.location)


def _kind(dtype: DType) -> str:
    return "i" if dtype.kind == "u" else dtype.kind


def _annotated_dtype(annotation: ast.Annotation, generic: str) -> DType:
    known = [str(d) for d in DType if _kind(d) == _kind(DTYPES[generic])]
    if annotation.dtype not in known:
        fail(f"{annotation.dtype!r} is no type of {generic} elements; {', '.join(known)} are", annotation.location)
    return DType(annotation.dtype)


def _check_encoding(name: str, encoding: Encoding, type_: TensorType, location: Location) -> None:
    """Raise InvalidModelError unless the parameters are possible, and those per channel broadcast to the shape."""
    for parameter, value in encoding.parameters:
        shape: list[int] = []
        while isinstance(value, tuple):
            shape.append(len(value))
            value = value[0]
        if math.prod(shape) > 1:
            try:
                require_broadcastable(shape, parameter, type_.extents, repr(name))
            except InvalidModelError as error:
                raise error.at(location) from None
    check_encoding(encoding, location)
