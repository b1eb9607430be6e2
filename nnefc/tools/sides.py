"""What a comparison compares: something that takes named inputs and tells outputs and tensors in between."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnefc.api import EXECUTION, evaluate
from nnefc.api import compile as compile_graph
from nnefc.errors import UnsupportedError
from nnefc.ir.graph import Graph
from nnefc.ir.types import TensorType

Arrays = dict[str, np.ndarray]


class MismatchError(ValueError):
    """Two models that cannot be compared, or inputs on which one cannot work."""


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a comparison. ``tensors`` are those in between, in order, each with its other names.

    ``run(inputs, taps)`` gives the outputs and the tensors ``taps``, by name."""

    inputs: Mapping[str, TensorType]
    outputs: tuple[str, ...]
    tensors: Mapping[str, tuple[str, ...]]
    run: Callable[[Arrays, Sequence[str]], Arrays]


def _graph_side(graph: Graph, run: Callable[[Arrays, Sequence[str]], Arrays]) -> Side:
    inputs = {v.name: v.type for v in graph.inputs}
    return Side(inputs, tuple(v.name for v in graph.outputs), _tensors(graph), run)


def _tensors(graph: Graph) -> dict[str, tuple[str, ...]]:
    """The computed tensors of a graph, with the names that they had where they came from."""
    from nnefc.formats.onnx.builder import identifier

    outputs = {v.name for v in graph.outputs}
    found: dict[str, tuple[str, ...]] = {}
    for op in graph.ops:
        if op.kind not in ("external", "variable", "constant"):
            names = tuple(identifier(n) for n in op.origin.names) if len(op.outputs) == 1 else ()
            found |= {v.name: names for v in op.outputs if v.name not in outputs}
    return found


def compiled_side(graph: Graph, threads: int | None, execution: str = EXECUTION) -> Side:
    """The graph compiled for this machine."""

    def run(inputs: Arrays, taps: Sequence[str]) -> Arrays:
        model = compile_graph(graph, threads=threads, taps=taps, execution=execution)
        try:
            results = model(*(inputs[port.name] for port in model.inputs))
        except ValueError as error:
            raise MismatchError(f"the model cannot work on these inputs: {error}") from error
        names = [port.name for port in model.outputs]
        return dict(zip(names, results if len(names) > 1 else [results], strict=True))

    return _graph_side(graph, run)


def reference_side(graph: Graph, execution: str = EXECUTION) -> Side:
    """The NumPy meaning of the graph."""

    def run(inputs: Arrays, taps: Sequence[str]) -> Arrays:
        names = dict.fromkeys([*(v.name for v in graph.outputs), *taps])
        wider = graph.replace(outputs=tuple(graph.values[n] for n in names))
        try:
            return evaluate(wider, inputs, execution=execution)
        except ValueError as error:
            raise MismatchError(f"the model cannot work on these inputs: {error}") from error

    return _graph_side(graph, run)


def ort_side(graph: Graph, path: str | None, constants: Mapping[str, np.ndarray] | None) -> Side:
    """The model in ONNX Runtime: the ONNX file at ``path``, or else the graph written as ONNX.

    Raises UnsupportedError if the run-time is not installed, or cannot run the model."""
    from nnefc.formats.onnx import to_model
    from nnefc.formats.onnx.builder import identifier
    from nnefc.formats.onnx.model import read

    onnxruntime = _runtime()
    folder = None
    if path is not None and path.lower().endswith(".onnx"):
        read(path)
        import onnx

        proto = onnx.load(path, load_external_data=False)
        folder = os.path.dirname(os.path.abspath(path))
    else:
        proto = to_model(graph)
    bound = {v.name for v in proto.graph.initializer} | set(constants or {})
    fed = [i.name for i in proto.graph.input if i.name not in bound]
    inputs = dict(zip(fed, (v.type for v in graph.inputs), strict=True))
    outputs = tuple(o.name for o in proto.graph.output)
    tensors = {name: (identifier(name),) for n in proto.graph.node for name in n.output if name and name not in outputs}

    def run(arrays: Arrays, taps: Sequence[str]) -> Arrays:
        wider = type(proto)()
        wider.CopyFrom(proto)
        wider.graph.output.extend(type(proto.graph.output[0])(name=name) for name in taps)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if folder is not None:
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        try:
            text = wider.SerializeToString()
            session = onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])
            results = session.run(None, {**arrays, **(constants or {})})
        except Exception as error:  # the run-time's own classes derive from nothing narrower
            raise UnsupportedError(f"ONNX Runtime cannot run the model: {error}") from error
        return dict(zip((o.name for o in session.get_outputs()), results, strict=True))

    return Side(inputs, outputs, tensors, run)


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UnsupportedError("ONNX Runtime is not installed: pip install onnxruntime") from None
    return onnxruntime
