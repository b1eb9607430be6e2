"""Operations of the extension that go by indices, and along a dimension in order, as ONNX nodes."""

from __future__ import annotations

import numpy as np

from nnefc.formats.onnx.emit import Emitter, Ref, exporter
from nnefc.formats.onnx.exporters.windows import reduced
from nnefc.ir.graph import Op
from nnefc.ir.sequential import neutral
from nnefc.ir.types import DType
from nnefc.ops.scan import REDUCTIONS as CUMULATED

Refs = list[Ref]
REDUCERS = {"sum": "ReduceSum", "prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin"}


@exporter("gather_elements")
def _gather_elements(e: Emitter, op: Op, x: Refs) -> Refs:
    index = e.cast(x[1], DType.I64)
    return [e.node("GatherElements", [x[0], index], x[0].dtype, index.shape, axis=op.attrs["axis"])]


@exporter("gather_nd")
def _gather_nd(e: Emitter, op: Op, x: Refs) -> Refs:
    inputs, shape = [x[0], e.cast(x[1], DType.I64)], op.output.type.extents
    return [e.node("GatherND", inputs, x[0].dtype, shape, batch_dims=op.attrs["batch_dims"])]


@exporter("scatter_elements")
def _scatter_elements(e: Emitter, op: Op, x: Refs) -> Refs:
    inputs, attrs = [x[0], e.cast(x[1], DType.I64), x[2]], {n: op.attrs[n] for n in ("axis", "reduction")}
    return [e.node("ScatterElements", inputs, x[0].dtype, x[0].shape, **attrs)]


@exporter("scatter_nd")
def _scatter_nd(e: Emitter, op: Op, x: Refs) -> Refs:
    inputs = [x[0], e.cast(x[1], DType.I64), x[2]]
    return [e.node("ScatterND", inputs, x[0].dtype, x[0].shape, reduction=op.attrs["reduction"])]


@exporter("cumulate")
def _cumulate(e: Emitter, op: Op, x: Refs) -> Refs:
    """CumSum; ONNX has nothing else of the kind, so that the other results each reduce what they depend on."""
    value, axis, kind = x[0], op.attrs["axis"], op.attrs["reduction"]
    exclusive, reverse = bool(op.attrs["exclusive"]), bool(op.attrs["reverse"])
    if kind == "sum":
        inputs = [value, e.constant(axis)]
        return [e.node("CumSum", inputs, value.dtype, value.shape, exclusive=int(exclusive), reverse=int(reverse))]
    here = np.arange(value.shape[axis])
    mine, other = here[:, None], here[None]
    seen = (other > mine if exclusive else other >= mine) if reverse else other < mine if exclusive else other <= mine
    tables = [np.arange(n)[:, None] for n in value.shape]
    tables[axis] = np.where(seen, other, -1)
    return [reduced(e, value, tables, REDUCERS[kind], neutral(CUMULATED[kind], value.dtype))]


@exporter("top_k")
def _top_k(e: Emitter, op: Op, x: Refs) -> Refs:
    """Sorted always, as the operation's results are."""
    values, indices = ((v.type.dtype, v.type.extents) for v in op.outputs)
    attrs = {"axis": op.attrs["axis"], "largest": int(op.attrs["largest"]), "sorted": 1}
    return e.nodes_of("TopK", [x[0], e.constant([op.attrs["k"]])], [values, indices], **attrs)


@exporter("non_max_suppression")
def _non_max_suppression(e: Emitter, op: Op, x: Refs) -> Refs:
    """NonMaxSuppression, its rows followed by rows of -1 and cut to the bound, and their number."""
    bound = op.outputs[0].type.extents[0]
    limits = [e.constant([op.attrs["max_output"]])]
    limits += [e.constant([op.attrs[n]], DType.F32) for n in ("iou_threshold", "score_threshold")]
    center = int(op.attrs["center"])
    found = e.open_node("NonMaxSuppression", [*x, *limits], DType.I64, 2, center_point_box=center)
    count = e.slice(e.node("Shape", [found], DType.I64, (2,)), 0, 0, 1)
    unused = e.expand(e.constant(-1), (bound, 3))
    longer = e.open_node("Concat", [found, unused], DType.I64, 2, axis=0)
    parts = [e.constant([n]) for n in (0, bound, 0)]
    return [e.node("Slice", [longer, *parts], DType.I64, (bound, 3)), count]
