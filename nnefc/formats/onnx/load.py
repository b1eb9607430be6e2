"""ONNX models to Graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from nnefc.errors import InvalidModelError, NnefcError, UnsupportedError
from nnefc.formats.onnx import control, importers
from nnefc.formats.onnx.inputs import Inputs
from nnefc.formats.onnx.model import Source, read
from nnefc.formats.onnx.nodes import Runner
from nnefc.formats.onnx.registry import Imported
from nnefc.formats.onnx.tensors import element_type, require_text, type_name
from nnefc.ir.graph import Graph, Value

Shapes = Mapping[str, Sequence[int]]
__all__ = ["control", "importers", "load"]


def load(
    source: Source,
    *,
    shapes: Shapes | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
    strict: bool = False,
    notes: list[str] | None = None,
) -> Graph:
    """The Graph of an ONNX model: the path of a file, its bytes, or a ModelProto.

    ``shapes`` has shapes of inputs by name, or extents of symbolic dimensions (a sequence of one). ``constants`` binds
    inputs to values: these are no longer inputs. A first dimension that stays free becomes 1, with a line in ``notes``.
    ``strict`` changes nothing: departures from ONNX are never accepted. Raises InvalidModelError and UnsupportedError,
    which name the node.
    """
    model = read(source)
    runner = Runner(model)
    try:
        return _load(runner, shapes or {}, constants or {}, notes if notes is not None else [])
    except NnefcError as error:
        raise error.at(model.location) from error.__cause__
    finally:
        del runner.builder.call  # a cycle would keep the file mapped


def _load(
    runner: Runner,
    shapes: Shapes,
    constants: Mapping[str, np.ndarray],
    notes: list[str],
) -> Graph:
    graph, scope, builder = runner.model.proto.graph, runner.scope(), runner.builder
    if graph.sparse_initializer:
        raise UnsupportedError("sparse initialisers are not supported")
    require_text(graph.name, *(info.name for info in (*graph.input, *graph.output)))
    stored = {tensor.name: i for i, tensor in enumerate(graph.initializer)}
    if len(stored) != len(graph.initializer):
        raise InvalidModelError("two initialisers have the same name")
    inputs = Inputs(graph.input, stored, shapes, constants)
    for name, type_ in inputs.types().items():
        value = builder.value(type_)
        builder.inputs.append(value)
        scope.bind(name, value)
    for name, array in inputs.bound().items():
        scope.bind(name, array)
    for name, index in stored.items():
        if name not in scope.names:
            scope.bind(name, runner.model.weights.initializer(index, graph.initializer[index]))
    names = [o.name for o in graph.output]
    if not names or len(set(names)) != len(names):
        raise InvalidModelError("the model has no outputs" if not names else "two outputs have the same name")
    results = runner.graph(scope, graph.node, names)
    outputs = [(o.name, _output(o, r)) for o, r in zip(graph.output, results, strict=True)]
    made = builder.finish(graph.name or "network", outputs)
    place = runner.model.location
    notes += [f"{place}: note: {text}" for text in (*inputs.notes, *builder.notes)]
    return made


def _output(info: onnx.ValueInfoProto, result: Any) -> Imported:
    """An output, which must be a tensor of the element type that it is declared to have."""
    if not isinstance(result, (np.ndarray, Value)):
        raise UnsupportedError(f"the output {info.name!r} is a sequence or an optional; only tensors can be outputs")
    code = info.type.tensor_type.elem_type
    declared = element_type(code, f"the output {info.name!r}") if code else None
    if declared is not None:
        from nnefc.formats.onnx.builder import dtype_of

        actual = result.type.dtype if isinstance(result, Value) else dtype_of(result)
        if actual is not declared:
            written = type_name(code)
            raise InvalidModelError(f"the output {info.name!r} is declared as {written}, but has elements of {actual}")
    return result
