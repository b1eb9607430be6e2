"""The operations of the extension NNEFC_operations as ONNX nodes."""

from __future__ import annotations

from nnefc.formats.onnx.emit import Emitter, Ref, exporter
from nnefc.ir.graph import Op

Refs = list[Ref]
SAME = {"erf": "Erf"}


@exporter(*SAME)
def _same(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map(SAME[op.kind], *e.aligned(x))]
