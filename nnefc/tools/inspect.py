"""What a model is made of, what it costs to compute and what memory it takes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from nnefc.api import Path as PathLike
from nnefc.api import Shapes, load
from nnefc.errors import InvalidModelError, UnboundError, UnsupportedError
from nnefc.ir.graph import Graph, Tensor, Value
from nnefc.ir.types import DType

SOURCES = ("external", "variable", "constant")
"""Operations that compute nothing."""


def inspect(
    model: PathLike | Graph,
    *,
    shapes: Shapes | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
    strict: bool = False,
) -> dict[str, Any]:
    """A record of a model, for a path (read by :func:`nnefc.load`) or a Graph; ready for JSON.

    * ``name``, ``format`` (nnef, onnx or graph), ``inputs``, ``outputs`` (each name, dtype, shape), ``notes``
    * ``operations``: number by kind, the most frequent first; ``tensors``: number of computed ones by dtype
    * ``parameters``: stored elements; ``parameter_bytes``: as stored
    * ``macs``: multiplications that are summed up (products, convolutions) in one call, as lowered; None if not known
    * ``activations``: bytes; ``sum`` of all computed tensors, ``arena`` that a compiled call works in on this machine,
      ``live`` what is alive at the busiest moment, below which no placement can go
    * ``free_dimensions``: input -> {dimension: symbol} that the file leaves open; ``opset``, ``ir_version``,
      ``producer`` of ONNX
    * ``extensions`` that the model needs as NNEF, ``plain`` if Khronos' alone, ``beyond``: the operations it has not
    * ``quantization``: number of tensors with an encoding by algorithm and bits
    * ``on_integers``: those of the ``macs`` that ``execution="integer"`` does on integers; None if nothing is quantized

    Of an ONNX model that leaves extents or operands open, which must be known, the record says what the file does, with
    symbols for extents and ONNX's names for operations; all else is None, and a note tells what to give.

    Raises InvalidModelError and UnsupportedError.
    """
    if isinstance(model, Graph):
        return {"format": "graph", **_about({}), **_record(model, [])}
    notes: list[str] = []
    is_onnx = os.fspath(model).lower().endswith(".onnx")
    about = _about(_onnx_facts(model) if is_onnx else {"free": _nnef_free(model, strict)})
    try:
        graph = load(model, shapes=shapes, constants=constants, strict=strict, notes=notes)
    except UnboundError as error:
        if not is_onnx:
            raise
        return {
            "format": "onnx",
            **about,
            **_outline(model),
            "notes": [*notes, f"{error.location}: note: {error.message}"],
        }
    return {"format": "onnx" if is_onnx else "nnef", **about, **_record(graph, notes)}


def _onnx_facts(path: PathLike) -> dict[str, Any]:
    from nnefc.formats.onnx.facts import facts

    return facts(path)


def _nnef_free(path: PathLike, strict: bool) -> dict[str, dict[str, str]]:
    from nnefc.formats.nnef import free_dimensions

    return {} if strict else free_dimensions(path)


def _about(facts: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: facts.get(name) for name in ("opset", "ir_version", "producer")}
    return {**known, "free_dimensions": facts.get("free", {})}


def _outline(path: PathLike) -> dict[str, Any]:
    """The record of a model whose shapes are not known."""
    from nnefc.formats.onnx.facts import outline

    unknown = dict.fromkeys(("tensors", "macs", "extensions", "plain", "beyond", "quantization", "on_integers"))
    return {**outline(path), **unknown, "activations": dict.fromkeys(("sum", "arena", "live"))}


def _record(graph: Graph, notes: list[str]) -> dict[str, Any]:
    """What a graph tells; ``notes`` may get more."""
    from nnefc.tools.convert import nnef_extensions

    extensions, beyond = nnef_extensions(graph)
    return {
        "name": graph.name,
        "inputs": _ports(graph.inputs),
        "outputs": _ports(graph.outputs),
        "operations": dict(Counter(op.kind for op in graph.ops if op.kind not in SOURCES).most_common()),
        "tensors": dict(Counter(str(v.type.dtype) for v in _computed(graph)).most_common()),
        "parameters": sum(t.data.size for t in graph.tensors.values()),
        "parameter_bytes": sum(-(-t.data.size * t.bits // 8) for t in graph.tensors.values()),
        **_cost(graph, notes),
        "extensions": list(extensions),
        "plain": all(e.startswith("KHR_") for e in extensions),
        "beyond": list(beyond),
        "quantization": _quantization(graph),
        "on_integers": _on_integers(graph),
        "notes": notes,
    }


def _ports(values: tuple[Value, ...]) -> list[dict[str, Any]]:
    return [{"name": v.name, "dtype": str(v.type.dtype), "shape": list(v.type.shape)} for v in values]


def _computed(graph: Graph) -> list[Value]:
    return [v for op in graph.ops if op.kind not in SOURCES for v in op.outputs]


def _quantization(graph: Graph) -> dict[str, int]:
    found: Counter[str] = Counter()
    for value in graph.values.values():
        encoding = value.type.encoding
        if encoding is not None:
            bits = dict(encoding.parameters).get("bits")
            found[encoding.algorithm + (f" of {bits} bits" if bits is not None else "")] += 1
    return dict(found.most_common())


def _on_integers(graph: Graph) -> int | None:
    from nnefc.codegen.execution import execution_of
    from nnefc.passes import pipeline
    from nnefc.passes.encode import is_quantized

    if not is_quantized(graph):
        return None
    try:
        return execution_of(pipeline.run(_with_values(graph), execution="integer")).on_integers
    except (UnsupportedError, InvalidModelError):
        return None


# ---- cost


def _cost(graph: Graph, notes: list[str]) -> dict[str, Any]:
    """``macs`` and ``activations``; None with a note where the model cannot be compiled."""
    total = sum(v.type.volume * v.type.dtype.size for v in _computed(graph))
    try:
        from nnefc.codegen.arena import live_bytes, place_temporaries
        from nnefc.codegen.cost import program_multiply_adds
        from nnefc.codegen.schedule import prepare
        from nnefc.codegen.target import Target
        from nnefc.passes import pipeline

        graph = _with_values(graph)
        count = program_multiply_adds(pipeline.run(graph, after="lower"))
        program = prepare(pipeline.run(graph), Target.host()).program
        arena = place_temporaries(program)[1]
    except (UnsupportedError, InvalidModelError) as error:
        notes.append(f"what a call costs is not known: {error.message}")
        return {"macs": None, "activations": {"sum": total, "arena": None, "live": None}}
    return {"macs": count, "activations": {"sum": total, "arena": arena, "live": live_bytes(program)}}


def _with_values(graph: Graph) -> Graph:
    """The graph with zeros for the variables of a bare ``graph.nnef``."""
    known = {label.lower() for label in graph.tensors}
    missing = {
        op.attrs["label"]: Tensor(np.zeros(op.output.type.extents, op.output.type.dtype.numpy), *_item(op.output))
        for op in graph.ops
        if op.kind == "variable" and op.attrs["label"].lower() not in known
    }
    return graph.replace(tensors={**graph.tensors, **missing}) if missing else graph


def _item(value: Value) -> tuple[str, int]:
    dtype = value.type.dtype
    return {"f": "float", "i": "int", "u": "uint", "b": "bool"}[dtype.kind], 1 if dtype is DType.BOOL else dtype.bits
