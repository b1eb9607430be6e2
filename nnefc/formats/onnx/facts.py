"""What an ONNX file says of itself, without its tensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import onnx

from nnefc.formats.onnx.model import Source, read
from nnefc.formats.onnx.tensors import DTYPES, type_name


def facts(source: Source) -> dict[str, Any]:
    """``opset`` (by domain), ``ir_version``, ``producer`` and ``free`` (input -> its dimensions without a number:
    a symbol or ``"?"`` by their index). Raises InvalidModelError and UnsupportedError."""
    proto = read(source).proto
    stored = {tensor.name for tensor in proto.graph.initializer}
    free: dict[str, dict[str, str]] = {}
    for info in proto.graph.input:
        dims = info.type.tensor_type.shape.dim
        unknown = {str(i): d.dim_param or "?" for i, d in enumerate(dims) if d.WhichOneof("value") != "dim_value"}
        if unknown and info.name not in stored:
            free[info.name] = unknown
    return {
        "opset": {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import},
        "ir_version": proto.ir_version,
        "producer": " ".join(filter(None, (proto.producer_name, proto.producer_version))),
        "free": free,
    }


def outline(source: Source) -> dict[str, Any]:
    """What can be told of a model whose shapes are not known: ``name``; ``inputs`` and ``outputs``, with symbols or
    ``"?"`` for extents, None for a shape that is not given; ``operations``, by their ONNX names; ``parameters``, the
    elements of initialisers, and ``parameter_bytes``. Raises InvalidModelError and UnsupportedError."""
    graph = read(source).proto.graph
    stored = {tensor.name for tensor in graph.initializer}
    bits = {code: dtype.bits for code, dtype in DTYPES.items()}
    sizes = [(math.prod(max(0, d) for d in t.dims), bits.get(t.data_type, 0)) for t in graph.initializer]
    return {
        "name": graph.name,
        "inputs": _ports(info for info in graph.input if info.name not in stored),
        "outputs": _ports(graph.output),
        "operations": dict(Counter(str(node.op_type) for node in graph.node).most_common()),
        "parameters": sum(count for count, _ in sizes),
        "parameter_bytes": sum(-(-count * size // 8) for count, size in sizes),
    }


def _ports(infos: Iterable[onnx.ValueInfoProto]) -> list[dict[str, Any]]:
    return [{"name": i.name, "dtype": _dtype(i.type.tensor_type.elem_type), "shape": _shape(i)} for i in infos]


def _dtype(code: int) -> str:
    return str(DTYPES[code]) if code in DTYPES else type_name(code)


def _shape(info: onnx.ValueInfoProto) -> list[int | str] | None:
    if not info.type.tensor_type.HasField("shape"):
        return None
    dims = info.type.tensor_type.shape.dim
    return [d.dim_value if d.WhichOneof("value") == "dim_value" else str(d.dim_param or "?") for d in dims]
