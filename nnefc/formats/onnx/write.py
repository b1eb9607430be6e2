"""Graphs to ONNX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from onnx import helper

from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.files import whole_file
from nnefc.formats.onnx import exporters  # noqa: F401 - registers them
from nnefc.formats.onnx.emit import ONNX_TYPES, Emitter, Ref, exporter_of, numpy_type
from nnefc.formats.onnx.qdq import dequantized, pseudo_quantized
from nnefc.ir.graph import Attrs, Graph, Literal, Op, Operand, Tensor, Value
from nnefc.ir.types import DType, TensorType
from nnefc.ir.verify import verify
from nnefc.ops.linear_code import LinearCode, codes_of, linear_code, power_codes
from nnefc.ops.stored import CODED_ITEMS, tensor_values

OLDEST_OPSET, OPSET = 21, 26
"""What is written means the same in every opset from the first one on. The second, the default, is the newest that
run-times read widely; a newer one is declared where it is asked for."""
OLDER = {"roi_align": 21, "roi_pool": 21}
"""Operations whose newer operators run-times lack: the newest opset that has one that they do not."""
STATE_KEY = "nnefc.state."
"""The model's metadata names, after this prefix, each input that is state; the value is the output with its next."""
INLINE_BYTES = 1_900_000_000
"""A file of ONNX holds less than 2 GiB; larger models keep their tensors beside it."""
EXTERNAL_BYTES = 1024
ALIGNMENT = 4096
_CHUNK = 1 << 24


@dataclass
class _Export:
    """The export of one graph: the emitter, the tensors made so far by the names of their values, the states."""

    graph: Graph
    emitter: Emitter
    notes: list[str]
    made: dict[str, Ref] = field(default_factory=dict)
    stored: dict[str, Ref] = field(default_factory=dict)
    states: dict[str, Value] = field(default_factory=dict)
    updates: dict[str, str] = field(default_factory=dict)

    def operand(self, operand: Operand) -> Ref:
        if isinstance(operand, Literal):
            return self.emitter.constant(operand.value, operand.dtype)
        return self.made[operand.name]


def opsets() -> tuple[int, int]:
    """The oldest and the newest opset that can be written."""
    return OLDEST_OPSET, onnx.defs.onnx_opset_version()


def default_opset(graph: Graph) -> int:
    """The opset of a model for which none is asked."""
    return min(OPSET, onnx.defs.onnx_opset_version(), *(OLDER.get(op.kind, OPSET) for op in graph.ops))


def to_model(graph: Graph, *, opset: int | None = None, notes: list[str] | None = None) -> onnx.ModelProto:
    """The ONNX model of a graph; values keep their names.

    ``opset`` is 21 or later (default: the newest that run-times read widely, 26). Variables become initialisers;
    one that an ``update`` changes becomes an input, whose default is the stored value, and the result of the update an
    output. Encodings that have an integer form become QuantizeLinear and DequantizeLinear; others their
    pseudo-quantization step by step, of which ``notes`` has lines. Raises UnsupportedError for an operation that cannot
    be written, InvalidModelError for a variable without values and ValueError for an opset that cannot be written.
    """
    model, arrays = _model(graph, opset, [] if notes is None else notes)
    model.graph.initializer.extend(_inline(name, array) for name, array in arrays.items())
    return model


def save(
    graph: Graph,
    path: str | os.PathLike[str],
    *,
    opset: int | None = None,
    external_data: bool | None = None,
    notes: list[str] | None = None,
) -> None:
    """Write a network as ONNX; arguments and errors as for ``to_model``, and OSError.

    Tensors of more than 1 KB go into ``NAME.onnx.data`` beside the file with ``external_data``, whose default is
    whether the model would be too large for one file (2 GiB). Files appear whole; those that the graph was read from
    may be replaced.
    """
    model, arrays = _model(graph, opset, [] if notes is None else notes)
    if external_data is None:
        external_data = sum(a.nbytes for a in arrays.values()) > INLINE_BYTES
    path = Path(path)
    data = path.with_name(path.name + ".data")
    with ExitStack() as files:
        file = files.enter_context(whole_file(path))
        if external_data:
            parts = files.enter_context(whole_file(data))
            model.graph.initializer.extend(_write_external(arrays, parts, data.name))
        else:
            model.graph.initializer.extend(_inline(name, array) for name, array in arrays.items())
        file.write(model.SerializeToString(deterministic=True))


# ---- the model


def _model(graph: Graph, opset: int | None, notes: list[str]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The model without its initialisers, and these."""
    oldest, newest = opsets()
    opset = default_opset(graph) if opset is None else opset
    if not oldest <= opset <= newest:
        raise ValueError(f"opset {opset} cannot be written; it must be {oldest} to {newest}")
    verify(graph)
    export = _Export(graph, Emitter(graph, opset), notes)
    e = export.emitter
    for value in graph.inputs:
        export.made[value.name] = _encoded(export, Ref(value.name, value.type.dtype, value.type.extents), value)
    updated = {_label(graph, op) for op in graph.ops if op.kind == "update"}
    for op in graph.ops:
        _export_op(export, op, updated)
    outputs = [_output(export, v) for v in graph.outputs]
    outputs += [export.graph.values[n] for n in export.updates.values() if n not in {v.name for v in graph.outputs}]
    e.finish()
    inputs = [*graph.inputs, *export.states.values()]
    main = helper.make_graph(e.nodes, graph.name, _infos(inputs), _infos(outputs))
    shown = {v.name for v in (*inputs, *outputs)}
    main.value_info.extend(
        _info(name, type_) for name, type_ in e.types.items() if name not in shown and name not in e.arrays
    )
    model = helper.make_model(main, opset_imports=[helper.make_opsetid("", opset)], producer_name="nnefc")
    model.ir_version = helper.find_min_ir_version_for(list(model.opset_import))
    helper.set_model_props(model, {STATE_KEY + name: result for name, result in export.updates.items()})
    return model, e.arrays


def _info(name: str, type_: TensorType) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, ONNX_TYPES[type_.dtype], type_.extents)


def _infos(values: Sequence[Value]) -> list[onnx.ValueInfoProto]:
    return [_info(v.name, v.type) for v in values]


def _export_op(export: _Export, op: Op, updated: set[str]) -> None:
    e = export.emitter
    e.begin(op)
    if op.kind == "external":
        return
    if op.kind == "variable":
        export.made[op.output.name] = _variable(export, op, updated)
        return
    operands = [export.operand(o) for o in op.inputs]
    if op.kind == "update":
        made: Sequence[Ref] = [operands[1]]
    else:
        write = exporter_of(op.kind)
        if write is None:
            raise UnsupportedError(f"the operation {op.kind!r} cannot be written as ONNX").at(op.origin.location)
        made = write(e, op, operands)
    for ref, value in zip(made, op.outputs, strict=True):
        if (ref.dtype, ref.shape) != (value.type.dtype, value.type.extents):
            raise AssertionError(f"{op.kind} wrote {ref.dtype}{list(ref.shape)} for {value.name}: {value.type}")
        coded = _encoded(export, ref, value)
        if coded.name == value.name and coded.array is not None:
            export.made[value.name] = coded
        else:
            export.made[value.name] = e.bind(coded, value.name)
    if op.kind == "update":
        export.updates[_state(export, op).name] = op.output.name


def _encoded(export: _Export, ref: Ref, value: Value) -> Ref:
    """The tensor after its encoding, if it has one: what has no integer form is done step by step."""
    encoding = value.type.encoding
    if encoding is None or value.type.dtype.kind != "f":
        return ref
    code = linear_code(encoding, ref.rank)
    if code is not None:
        return pseudo_quantized(export.emitter, ref, code)
    export.notes.append(
        f"the encoding {encoding.algorithm} of {value.name!r} has no integer form: written step by step"
    )
    write, names = exporter_of(encoding.algorithm), ("bits", "signed", "symmetric")
    assert write is not None
    parameters = [export.emitter.constant(p, ref.dtype) for name, p in encoding.parameters if name not in names]
    attrs = Attrs({name: p for name, p in encoding.parameters if name in names})
    (made,) = write(export.emitter, Op(encoding.algorithm, (), attrs, (value,)), [ref, *parameters])
    return made


def _output(export: _Export, value: Value) -> Value:
    """An output of the model; a constant is copied, for it is no result of a node."""
    ref, e = export.made[value.name], export.emitter
    if ref.array is not None and ref.name == value.name:
        inner = replace(ref, name=e.fresh(f"{value.name}_value"))
        if value.name in e.arrays:
            e.arrays[inner.name] = e.arrays.pop(value.name)
            e.types[inner.name] = e.types.pop(value.name)
            for node in e.nodes:
                node.input[:] = [inner.name if n == value.name else n for n in node.input]
        e.bind(inner, value.name)
    return value


# ---- variables


def _label(graph: Graph, op: Op) -> str:
    """The label, in lower case, of a variable operation, or of the variable that an ``update`` changes."""
    if op.kind == "update":
        (variable, _) = op.inputs
        assert isinstance(variable, Value)
        op = graph.producers[variable.name]
    return str(op.attrs["label"]).lower()


def _state(export: _Export, update: Op) -> Value:
    return export.states[_label(export.graph, update)]


def _variable(export: _Export, op: Op, updated: set[str]) -> Ref:
    """A variable: stored values, once for each label."""
    label, value = _label(export.graph, op), op.output
    if label in export.stored:
        return export.emitter.bind(export.stored[label], value.name)
    stored = next((t for name, t in export.graph.tensors.items() if name.lower() == label), None)
    if stored is None:
        message = f"the variable {value.name!r} with label {op.attrs['label']!r} has no stored values"
        raise InvalidModelError(message).at(op.origin.location)
    if label in updated:
        e, type_ = export.emitter, value.type
        e.arrays[value.name] = tensor_values(stored, type_.dtype, type_.encoding)
        export.states[label] = value
        export.stored[label] = Ref(value.name, type_.dtype, type_.extents)
    else:
        export.stored[label] = _constant(export, stored, value)
    return export.stored[label]


def _constant(export: _Export, stored: Tensor, value: Value) -> Ref:
    """Stored values that never change: as they are stored, and then what makes the variable's elements of them."""
    e, type_ = export.emitter, value.type
    coded = stored.item in CODED_ITEMS
    found = _codes(stored, type_)
    ref = dequantized(e, found[0], value.name, found[1], type_.dtype) if found is not None else None
    if ref is not None:
        return e.bind(ref, value.name)
    if stored.data.dtype == numpy_type(type_.dtype):
        ref = Ref(value.name, type_.dtype, type_.extents, stored.data)
    elif stored.data.dtype == np.float16 and type_.dtype.kind == "f":
        half = Ref(e.fresh(f"{value.name}_stored"), DType.F16, type_.extents, stored.data)
        return e.bind(e.cast(half, type_.dtype), value.name)
    else:
        ref = Ref(value.name, type_.dtype, type_.extents, tensor_values(stored, type_.dtype, type_.encoding))
    if coded or type_.encoding is None:
        return ref
    quantized = _encoded(export, replace(ref, name=e.fresh(f"{value.name}_stored")), value)
    return e.bind(quantized, value.name) if quantized.array is None else ref


def _codes(stored: Tensor, type_: TensorType) -> tuple[np.ndarray, LinearCode] | None:
    """What stored values are as codes with a whole zero point, and what these mean; None where they are none."""
    coded, encoding = stored.item in CODED_ITEMS, type_.encoding
    if encoding is None or not (coded or type_.dtype is DType.F32):
        return None
    if encoding.algorithm == "logarithmic_quantize":
        return power_codes(stored, encoding)
    code = linear_code(encoding, type_.rank)
    if code is None:
        return None
    return stored.data if coded else codes_of(tensor_values(stored, type_.dtype), code), code


# ---- initialisers


def _header(name: str, array: np.ndarray) -> onnx.TensorProto:
    type_ = helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.TensorProto(name=name, data_type=type_, dims=array.shape)


def _inline(name: str, array: np.ndarray) -> onnx.TensorProto:
    tensor = _header(name, array)
    tensor.raw_data = np.asarray(array, order="C").tobytes()
    return tensor


def _write_external(arrays: dict[str, np.ndarray], file: BinaryIO, name_of_file: str) -> list[onnx.TensorProto]:
    """Write the larger arrays to a file of their own; the initialisers, which refer to it by its name."""
    tensors = []
    for name, array in arrays.items():
        if array.nbytes < EXTERNAL_BYTES:
            tensors.append(_inline(name, array))
            continue
        file.write(bytes(-file.tell() % ALIGNMENT))
        tensor = _header(name, array)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", name_of_file), ("offset", file.tell()), ("length", array.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        data = np.asarray(array, order="C").reshape(-1).view(np.uint8)
        for start in range(0, data.size, _CHUNK):
            file.write(data[start : start + _CHUNK].data)
        tensors.append(tensor)
    return tensors
