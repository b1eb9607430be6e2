"""An operation of ours: cumulative sums, products, maxima and minima (ONNX CumSum and the like)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.sequential import Scan, accumulated, neutral
from nnefc.ir.types import DType, TensorType
from nnefc.ops.common import integer, one_of, require_axis, require_kind
from nnefc.ops.primitive import register
from nnefc.ops.scatter import last

REDUCTIONS = {"sum": "add", "prod": "mul", "max": "max", "min": "min"}
"""How each is named where two elements are combined."""
_ACCUMULATE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require_kind(types[0], "fiu", "x")
    require_axis(integer(attrs, "axis"), types[0].rank, of="x")
    one_of(attrs, "reduction", tuple(REDUCTIONS))
    return (types[0].with_encoding(None),)


def _cumulate(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """Floats are accumulated in float64; an exclusive result starts with what changes nothing."""
    (x,) = arrays
    name, dtype = attrs["reduction"], DType.of(x.dtype)
    wide = np.moveaxis(x, attrs["axis"], 0).astype(np.float64 if dtype.kind == "f" else x.dtype)
    if attrs["reverse"]:
        wide = wide[::-1]
    if attrs["exclusive"]:
        first = np.full_like(wide[:1], neutral(REDUCTIONS[name], dtype))
        wide = np.concatenate([first, wide[:-1]])
    with np.errstate(all="ignore"):
        result = _ACCUMULATE[name].accumulate(wide, 0)
    if attrs["reverse"]:
        result = result[::-1]
    with np.errstate(all="ignore"):
        return (np.ascontiguousarray(np.moveaxis(result, 0, attrs["axis"])).astype(x.dtype),)


def _lower(b: ProgramBuilder, op: Op) -> None:
    x, axis, name = b.view(op.inputs[0]), op.attrs["axis"], REDUCTIONS[op.attrs["reduction"]]
    out = b.new(x.shape, x.dtype, x.dense_order)
    source, target = (v.flip(axis) if op.attrs["reverse"] else v for v in (x, out))
    step = accumulated(name, x.dtype)
    start = neutral(name, step.dtype)
    b.emit(Scan(step, start, last(source, axis), last(target, axis), op.attrs["exclusive"]))
    b.put(op.output, out)


register("cumulate", infer=_infer, reference=_cumulate, lower=_lower)
