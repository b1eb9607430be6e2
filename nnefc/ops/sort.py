"""An operation of ours: the largest or smallest elements along a dimension, in order (ONNX TopK)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.sequential import Sort
from nnefc.ir.types import INTEGER, DType, TensorType
from nnefc.ops.common import integer, require_axis, require_kind, tensor
from nnefc.ops.primitive import register, require
from nnefc.ops.scatter import last


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require_kind(types[0], "fiu", "x")
    axis, k, shape = integer(attrs, "axis"), integer(attrs, "k"), types[0].extents
    require_axis(axis, len(shape), of="x")
    require(1 <= k <= shape[axis], f"k = {k} must be 1 to {shape[axis]}, the extent of dimension {axis}")
    result = (*shape[:axis], k, *shape[axis + 1 :])
    return tensor(types[0].dtype, result), tensor(INTEGER, result)


def _top_k(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """By rank among all elements: equal ones share a rank, NaNs have the highest."""
    (x,), axis = arrays, attrs["axis"]
    wide = x.astype(np.float32) if DType.of(x.dtype) is DType.BF16 else x
    rank = np.unique(wide, return_inverse=True)[1].reshape(x.shape)
    order = np.argsort(-rank if attrs["largest"] else rank, axis, kind="stable")
    indices = np.take(order, np.arange(attrs["k"]), axis)
    return np.take_along_axis(x, indices, axis), indices.astype(np.int64)


def _lower(b: ProgramBuilder, op: Op) -> None:
    x, axis = b.view(op.inputs[0]), op.attrs["axis"]
    values, indices = (b.new(v.type.extents, v.type.dtype) for v in op.outputs)
    b.emit(Sort(last(x, axis), last(values, axis), last(indices, axis), op.attrs["largest"]))
    for output, view in zip(op.outputs, (values, indices), strict=True):
        b.put(output, view)


register("top_k", infer=_infer, reference=_top_k, lower=_lower)
