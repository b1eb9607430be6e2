"""Operations that move elements, and tensors from outside, as ONNX nodes."""

from __future__ import annotations

import numpy as np

from nnefc.formats.onnx.emit import Emitter, Ref, exporter, numpy_type
from nnefc.ir.graph import Op
from nnefc.ops.common import border_index
from nnefc.ops.move import ranges

Refs = list[Ref]
REPEATED = 1 << 16
"""Elements above which a constant of one repeated value is written as such."""


@exporter("constant")
def _constant(e: Emitter, op: Op, x: Refs) -> Refs:
    type_, value = op.output.type, op.attrs["value"]
    array = np.asarray(value, numpy_type(type_.dtype))
    if array.size == 1 and type_.volume > REPEATED:
        return [e.expand(e.constant(array[0], type_.dtype), type_.extents)]
    full = np.broadcast_to(array[0], type_.extents) if array.size == 1 else array.reshape(type_.extents)
    return [Ref(op.output.name, type_.dtype, type_.extents, full)]


@exporter("reshape", "squeeze", "unsqueeze")
def _reshape(e: Emitter, op: Op, x: Refs) -> Refs:
    shape = op.output.type.extents
    if op.kind == "reshape" or x[0].array is not None:
        return [e.reshape(x[0], shape)]
    return [e.node(op.kind.capitalize(), [x[0], e.constant(op.attrs["axes"])], x[0].dtype, shape)]


@exporter("transpose")
def _transpose(e: Emitter, op: Op, x: Refs) -> Refs:
    axes = op.attrs["axes"]
    return [e.transpose(x[0], (*axes, *range(len(axes), x[0].rank)))]


@exporter("split")
def _split(e: Emitter, op: Op, x: Refs) -> Refs:
    axis = op.attrs["axis"]
    return split(e, x[0], axis, [v.type.extents[axis] for v in op.outputs])


def split(e: Emitter, x: Ref, axis: int, lengths: list[int]) -> Refs:
    """The parts of a dimension."""
    if len(lengths) == 1:
        return [x]
    parts = [(x.dtype, (*x.shape[:axis], n, *x.shape[axis + 1 :])) for n in lengths]
    return e.nodes_of("Split", [x, e.constant(lengths)], parts, axis=axis)


@exporter("unstack")
def _unstack(e: Emitter, op: Op, x: Refs) -> Refs:
    axis = op.attrs["axis"]
    parts = split(e, x[0], axis, [1] * len(op.outputs))
    shape = op.outputs[0].type.extents
    return [e.node("Squeeze", [p, e.constant([axis])], p.dtype, shape) for p in parts]


@exporter("concat")
def _concat(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.node("Concat", x, x[0].dtype, op.output.type.extents, axis=op.attrs["axis"])]


@exporter("stack")
def _stack(e: Emitter, op: Op, x: Refs) -> Refs:
    axis = op.attrs["axis"]
    rows = [e.reshape(r, (*r.shape[:axis], 1, *r.shape[axis:])) for r in x]
    return [e.node("Concat", rows, x[0].dtype, op.output.type.extents, axis=axis)]


@exporter("slice")
def _slice(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.slices(x[0], ranges(x[0].shape, op.attrs))]


def bordered(e: Emitter, x: Ref, reaches: list[tuple[int, int]], border: str, fill: float | int = 0) -> Ref:
    """``x`` grown, or cut where a reach is negative, at both ends of each dimension as ``border`` says."""
    if border in ("constant", "ignore"):
        cuts = []
        for axis, (p, q) in enumerate(reaches):
            first = max(-p, 0)
            cuts.append((axis, first, x.shape[axis] - first - max(-q, 0), 1))
        if all(count > 0 for _, _, count, _ in cuts):
            return e.pad(e.slices(x, cuts), [(max(p, 0), max(q, 0)) for p, q in reaches], fill)
    modes = {"replicate": "edge", "reflect": "reflect"}
    whole = all(0 <= p < n and 0 <= q < n for (p, q), n in zip(reaches, x.shape, strict=True))
    if border in modes and whole:
        return e.pad(x, reaches, mode=modes[border])
    for axis, (p, q) in enumerate(reaches):
        if (p, q) != (0, 0):
            index = border_index(border, np.arange(-p, x.shape[axis] + q), x.shape[axis])
            x = picked(e, x, axis, index, fill)
    return x


def picked(e: Emitter, x: Ref, axis: int, index: np.ndarray, fill: float | int = 0) -> Ref:
    """The elements at ``index`` of a dimension, whose dimensions take its place; ``fill`` where the index is -1."""
    extent = x.shape[axis]
    if (index < 0).any():
        x = e.pad(x, [(0, int(d == axis)) for d in range(x.rank)], fill)
        index = np.where(index < 0, extent, index)
    return e.gather(x, e.constant(index, hint="index"), axis)


@exporter("pad")
def _pad(e: Emitter, op: Op, x: Refs) -> Refs:
    return [bordered(e, x[0], list(op.attrs["padding"]), op.attrs["border"], op.attrs["value"])]


@exporter("tile")
def _tile(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.node("Tile", [x[0], e.constant(op.attrs["repeats"])], x[0].dtype, op.output.type.extents)]


@exporter("gather")
def _gather(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.gather(x[0], x[1], op.attrs["axis"])]
