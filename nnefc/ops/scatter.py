"""Operations of ours that read and write elements at indices: gather_elements, gather_nd, scatter_elements, scatter_nd.

They mean what ONNX's GatherElements, GatherND, ScatterElements and ScatterND mean: a negative index counts from the
end, one outside its dimension is an error when the network runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call, cast, const, select
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.sequential import Scatter, combination
from nnefc.ir.types import INTEGER, DType, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import common_dtype, integer, one_of, require_axis, require_kind, shape_text, tensor
from nnefc.ops.primitive import register, require

REDUCTIONS = ("none", "add", "mul", "max", "min")
"""How an update meets what is there: ``none`` takes its place; ``max`` and ``min`` keep a NaN."""
_COMBINE = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}

# ---- shapes


def _check_elements(types: Sequence[TensorType], attrs: Attrs) -> int:
    """The axis. Raises InvalidModelError unless the index fits the tensor beside it."""
    shape, index = types[0].extents, types[1].extents
    require_kind(types[1], "iu", "index")
    axis = integer(attrs, "axis")
    require_axis(axis, len(shape), of="x")
    fits = len(shape) == len(index) and all(
        m <= n for d, (m, n) in enumerate(zip(index, shape, strict=False)) if d != axis
    )
    require(
        fits,
        f"index has shape {shape_text(index)} and x has shape {shape_text(shape)}; the ranks must be equal, and no "
        f"extent of index larger, but along axis = {axis}",
    )
    return axis


def _infer_gather_elements(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    _check_elements(types, attrs)
    return (tensor(types[0].dtype, types[1].extents),)


def _check_tuples(types: Sequence[TensorType], batch: int) -> int:
    """The number of dimensions that an index tuple names, after ``batch`` that x and index share."""
    shape, index = types[0].extents, types[1].extents
    require_kind(types[1], "iu", "index")
    require(len(index) > batch, f"index has shape {shape_text(index)}; it must have a last dimension of index tuples")
    count = index[-1]
    require(
        batch + count <= len(shape),
        f"the last extent of index is {count}; x has shape {shape_text(shape)}, so it must be at most "
        f"{len(shape) - batch}",
    )
    return count


def _infer_gather_nd(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    batch, shape, index = integer(attrs, "batch_dims"), types[0].extents, types[1].extents
    require(batch >= 0, f"batch_dims = {batch} must not be negative")
    count = _check_tuples(types, batch)
    require(
        index[:batch] == shape[:batch],
        f"x has shape {shape_text(shape)} and index {shape_text(index)}; the first {batch} extents must be equal",
    )
    return (tensor(types[0].dtype, (*index[:-1], *shape[batch + count :])),)


def _check_updates(types: Sequence[TensorType], attrs: Attrs, wanted: Sequence[int]) -> DType:
    kinds = "fiub" if one_of(attrs, "reduction", REDUCTIONS) == "none" else "fiu"
    dtype = common_dtype((types[0], types[2]), ("x", "updates"), kinds)
    got = types[2].extents
    require(got == tuple(wanted), f"updates has shape {shape_text(got)}; it must be {shape_text(wanted)}")
    return dtype


def _infer_scatter_elements(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    _check_elements(types, attrs)
    return (tensor(_check_updates(types, attrs, types[1].extents), types[0].extents),)


def _infer_scatter_nd(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    count, shape = _check_tuples(types, 0), types[0].extents
    return (tensor(_check_updates(types, attrs, (*types[1].extents[:-1], *shape[count:])), shape),)


# ---- meanings


def _counted(index: np.ndarray, extent: int, what: str) -> np.ndarray:
    """Indices as numbers from 0. Raises ValueError for one that is outside."""
    wrong = index[(index < -extent) | (index >= extent)]
    if wrong.size:
        raise ValueError(
            f"{what}: the index {wrong.flat[0]} is out of range; it must be {-extent} to {extent - 1} for an extent of "
            f"{extent}"
        )
    return np.where(index < 0, index.astype(np.int64) + extent, index).astype(np.int64)


def _element_places(index: np.ndarray, shape: Sequence[int], axis: int, what: str) -> tuple[np.ndarray, ...]:
    """The place of every element of ``index`` in the tensor that it goes by along ``axis``."""
    places: list[np.ndarray] = list(np.indices(index.shape))
    places[axis] = _counted(index, shape[axis], what)
    return tuple(places)


def _tuple_places(index: np.ndarray, shape: Sequence[int], batch: int, what: str) -> tuple[np.ndarray, ...]:
    """The places that the index tuples name, those of the shared dimensions first."""
    shared = np.indices(index.shape[:-1])[:batch]
    named = [_counted(index[..., k], shape[batch + k], what) for k in range(index.shape[-1])]
    return (*shared, *named)


def _gather_elements(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, index = arrays
    return (x[_element_places(index, x.shape, attrs["axis"], "gather_elements")],)


def _gather_nd(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, index = arrays
    return (x[_tuple_places(index, x.shape, attrs["batch_dims"], "gather_nd")],)


def _updated(x: np.ndarray, places: tuple[np.ndarray, ...], updates: np.ndarray, reduction: str) -> np.ndarray:
    """A copy of ``x`` with the updates taken in, in row-major order."""
    result = x.copy()
    if reduction == "none":
        result[places] = updates
    else:
        with np.errstate(all="ignore"):
            _COMBINE[reduction].at(result, places, updates)
    return result


def _scatter_elements(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, index, updates = arrays
    places = _element_places(index, x.shape, attrs["axis"], "scatter_elements")
    return (_updated(x, places, updates, attrs["reduction"]),)


def _scatter_nd(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, index, updates = arrays
    return (_updated(x, _tuple_places(index, x.shape, 0, "scatter_nd"), updates, attrs["reduction"]),)


# ---- lowering


def last(view: View, axis: int) -> View:
    """The view with a dimension moved to the end."""
    return view.transpose((*(d for d in range(view.rank) if d != axis), axis))


def _linear(b: ProgramBuilder, components: Sequence[View], extents: Sequence[int]) -> View:
    """Row-major element numbers of index tuples over ``extents``; -1 for a tuple that names none."""
    number, valid = const(0, INTEGER), const(True, DType.BOOL)
    for k, (view, n) in enumerate(zip(components, extents, strict=True)):
        i = cast(arg(k, view.dtype), INTEGER)
        negative = call("lt", i, const(0, INTEGER))
        i = select(negative, call("add", i, const(n, INTEGER)), i)
        inside = call("and", call("ge", i, const(0, INTEGER)), call("lt", i, const(n, INTEGER)))
        number = i if k == 0 else call("add", call("mul", number, const(n, INTEGER)), i)
        valid = inside if k == 0 else call("and", valid, inside)
    return b.map(select(valid, number, const(-1, INTEGER)), components)


def _lower_gather_elements(b: ProgramBuilder, op: Op) -> None:
    x, index = (b.view(v) for v in op.inputs)
    axis, rank = op.attrs["axis"], x.rank
    for d in range(rank):
        if d != axis:
            x = x.slice(d, 0, index.shape[d])
    number = last(_linear(b, [index], [x.shape[axis]]), axis)
    out = b.new(index.shape, x.dtype)
    b.gather(last(x, axis), number, rank - 1, batch=rank - 1, out=last(out, axis))
    b.put(op.output, out)


def _tuples(b: ProgramBuilder, index: View, extents: Sequence[int]) -> View:
    components = [index.slice(index.rank - 1, k, 1).squeeze(index.rank - 1) for k in range(len(extents))]
    return _linear(b, components, extents)


def _lower_gather_nd(b: ProgramBuilder, op: Op) -> None:
    x, index = (b.view(v) for v in op.inputs)
    batch, count = op.attrs["batch_dims"], index.shape[-1]
    named = x.shape[batch : batch + count]
    flat = b.reshape(x, (*x.shape[:batch], math.prod(named), *x.shape[batch + count :]))
    b.put(op.output, b.gather(flat, _tuples(b, index, named), batch, batch=batch))


def _combined(op: Op, dtype: DType) -> Expr:
    return combination(op.attrs["reduction"], dtype)


def _lower_scatter_elements(b: ProgramBuilder, op: Op) -> None:
    x, index, updates = (b.view(v) for v in op.inputs)
    axis = op.attrs["axis"]
    out = b.copy(x, b.new(x.shape, x.dtype, x.dense_order))
    number = _linear(b, [index], [x.shape[axis]])
    target = out
    for d in range(x.rank):
        if d != axis:
            target = target.slice(d, 0, index.shape[d])
    b.emit(Scatter(_combined(op, x.dtype), last(number, axis), last(updates, axis), last(target, axis), 1, True))
    b.put(op.output, out)


def _lower_scatter_nd(b: ProgramBuilder, op: Op) -> None:
    x, index, updates = (b.view(v) for v in op.inputs)
    count, named = index.rank - 1, x.shape[: index.shape[-1]]
    rest = x.shape[len(named) :]
    out = b.copy(x, b.new(x.shape, x.dtype))
    number = _tuples(b, index, named)
    places = replace(number, shape=(*rest, *number.shape), strides=(*(0,) * len(rest), *number.strides))
    target = last(b.reshape(out, (math.prod(named), *rest)), 0)
    updates = updates.transpose((*range(count, updates.rank), *range(count)))
    b.emit(Scatter(_combined(op, x.dtype), places, updates, target, count, True))
    b.put(op.output, out)


register("gather_elements", infer=_infer_gather_elements, reference=_gather_elements, lower=_lower_gather_elements)
register("gather_nd", infer=_infer_gather_nd, reference=_gather_nd, lower=_lower_gather_nd)
register("scatter_elements", infer=_infer_scatter_elements, reference=_scatter_elements, lower=_lower_scatter_elements)
register("scatter_nd", infer=_infer_scatter_nd, reference=_scatter_nd, lower=_lower_scatter_nd)
