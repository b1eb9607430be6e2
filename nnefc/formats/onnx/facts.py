"""What an ONNX file says of itself, without its tensors."""

from __future__ import annotations

from typing import Any

from nnefc.formats.onnx.model import Source, read


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
