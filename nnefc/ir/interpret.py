"""The NumPy meaning of Programs: slow, obvious, and independent of the code generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnefc.ir import program as ir
from nnefc.ir import sequential
from nnefc.ir.expr import cast_numpy
from nnefc.ir.types import DType
from nnefc.ir.view import Role
from nnefc.ir.window import Window

Memory = dict[str, np.ndarray]


class IndexRangeError(ValueError):
    """A checked index read from a tensor is outside its range."""


def interpret(
    program: ir.Program,
    inputs: Mapping[str, np.ndarray],
    states: Memory | None = None,
    run: Callable[[ir.Call, Memory], None] | None = None,
) -> Memory:
    """Run a Program on named inputs. Returns the outputs by name; ``states`` (flat arrays by name) is updated. ``run``
    does a call in the place of :func:`run_call`: another meaning for it."""
    run = run or run_call
    memory: Memory = {**program.constants, **(states if states is not None else _copies(program.states))}
    for port, buffer in zip(program.inputs, program.input_buffers, strict=True):
        memory[buffer.name] = np.ascontiguousarray(inputs[port.name], port.dtype.numpy).reshape(-1)
    for buffer in program.buffers().values():
        if buffer.name not in memory:
            memory[buffer.name] = _poisoned(buffer)
    for call in program.calls:
        run(call, memory)
    if states is not None:
        states.update({name: memory[name] for name in states})
    return {
        port.name: memory[buffer.name].reshape(port.shape)
        for port, buffer in zip(program.outputs, program.output_buffers, strict=True)
    }


def _copies(arrays: Memory) -> Memory:
    return {name: a.copy() for name, a in arrays.items()}


def _poisoned(buffer: ir.Buffer) -> np.ndarray:
    """Fresh memory, filled with what shows: NaN, or a large number."""
    fill = np.nan if buffer.dtype.kind == "f" else 1 if buffer.dtype is DType.BOOL else np.iinfo(buffer.dtype.numpy).max
    return np.full(buffer.size, fill, buffer.dtype.numpy)


def array(view: ir.View, memory: Memory) -> np.ndarray:
    """The view as a NumPy array over the buffer's memory; the elements of a table."""
    flat = memory[view.buffer.name]
    if view.buffer.role is Role.TABLE:
        return flat
    strides = tuple(s * flat.itemsize for s in view.strides)
    return np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides)


def run_call(call: ir.Call, memory: Memory) -> None:
    """Do one call on flat arrays by buffer name."""
    _RUN[type(call)](call, memory)


def _store(view: ir.View, memory: Memory, value: np.ndarray) -> None:
    array(view, memory)[...] = np.broadcast_to(value, view.shape)


def _map(call: ir.Map, memory: Memory) -> None:
    args = [array(v, memory) for v in call.inputs]
    results = [e.evaluate(args) for e in call.exprs]
    if len(results) > 1:  # an output may lie on what another expression copies
        results = [np.array(r) for r in results]
    for view, result in zip(call.outputs, results, strict=True):
        _store(view, memory, result)


def reduce_array(op: str, x: np.ndarray, axes: int) -> np.ndarray:
    """Reduce the last ``axes`` dimensions. Float sums and products are accumulated in f64 and rounded once."""
    flat = x.reshape(*x.shape[: x.ndim - axes], -1) if axes else x[..., None]
    if op in ("sum", "prod"):
        wide = np.float64 if x.dtype.kind in "fV" else x.dtype
        return getattr(np, op)(flat, -1, dtype=wide).astype(x.dtype)
    if op in ("argmax", "argmin"):
        return getattr(np, op)(flat, -1).astype(np.int64)
    return getattr(flat, op)(-1)


def _reduce(call: ir.Reduce, memory: Memory) -> None:
    args = [array(v, memory) for v in call.inputs]
    shape = np.broadcast_shapes(*(a.shape for a in args))
    value = np.broadcast_to(call.expr.evaluate(args), shape)
    result = reduce_array(call.op, value, call.axes)
    if call.post is not None:
        result = call.post.evaluate([result, *(array(v, memory) for v in call.extras)])
    _store(call.output, memory, result)


def neutral(op: str, dtype: np.dtype) -> np.ndarray:
    """What a sum, product, max or min starts from."""
    if op in ("sum", "prod"):
        return np.array(op == "prod", dtype)
    if dtype.kind in "fV":
        return np.array(-np.inf if op == "max" else np.inf, dtype)
    return np.array(getattr(np.iinfo(dtype), "min" if op == "max" else "max"), dtype)


_COMBINE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


def _window(call: Window, memory: Memory) -> None:
    x = array(call.x, memory)
    weights = [array(v, memory) for v in call.weights]
    dtype = call.expr.dtype.numpy
    wide = np.dtype(np.float64) if call.op in ("sum", "prod") and dtype.kind in "fV" else dtype
    total = np.full(call.output.shape, neutral(call.op, wide))
    moved = call.output.shape[call.kept :]
    extents = call.x.shape[call.kept :]
    for taps in np.ndindex(*(s.size for s in call.slides)):
        source: tuple[Any, ...] = (...,)
        target: tuple[Any, ...] = (...,)
        for s, t, n, m in zip(call.slides, taps, moved, extents, strict=True):
            first, last = s.inside(t, n, m)
            start = first * s.stride + t * s.dilation - s.before
            source += (slice(start, max(start + (last - first - 1) * s.stride + 1, start), s.stride),)
            target += (slice(first, last),)
        if total[target].size:
            seen = x[source]
            tap = [w[..., *taps].reshape(w.shape[: call.kept] + (1,) * len(taps)) for w in weights]
            value = np.broadcast_to(call.expr.evaluate([seen, *tap]), seen.shape)
            total[target] = _COMBINE[call.op](total[target], value)
    result = total.astype(dtype)
    if call.post is not None:
        result = call.post.evaluate([result, *(array(v, memory) for v in call.extras)])
    _store(call.output, memory, result)


def _row(call: ir.Row, memory: Memory) -> None:
    args = [array(v, memory) for v in call.inputs]
    shape = call.output.shape
    for op, expr in call.stages:
        value = np.broadcast_to(expr.evaluate(args), shape)
        r = reduce_array(op, value, call.axes)
        args.append(r.reshape(r.shape + (1,) * call.axes))
    _store(call.output, memory, np.array(call.expr.evaluate(args)))


def run_contract(
    call: ir.Contract, memory: Memory, product: Callable[[np.ndarray, np.ndarray], np.ndarray] = np.matmul
) -> None:
    """Do a contraction. ``product`` makes the sums of (groups, pixels, reduced) and (groups, reduced, outputs), in
    float64, which holds those of codes exactly."""
    x, w = array(call.x, memory), array(call.w, memory)
    g = call.output.shape[: call.groups]
    p = call.output.shape[call.groups : -1]
    groups, pixels = int(np.prod(g)), int(np.prod(p))
    reduced = int(np.prod(x.shape[x.ndim - call.reduced :]))
    left = x.reshape(groups, pixels, reduced).astype(np.float64)
    right = w.reshape(groups, reduced, -1).astype(np.float64)
    result = product(left, right).reshape(call.output.shape)
    if call.sum_type is DType.I32:
        result = result.astype(np.int64)  # exact: sums of fewer than 2**37 products of 8 bits are below 2**53
    result = result.astype(call.sum_type.numpy)
    if call.post is not None:
        result = call.post.evaluate([result, *(array(v, memory) for v in call.extras)])
    _store(call.output, memory, result)


def _gather(call: ir.Gather, memory: Memory) -> None:
    x, index = array(call.x, memory), array(call.index, memory)
    n = x.shape[call.axis]
    _check_range(index, n, call.check)
    index = np.clip(index, 0, n - 1)
    if call.batch == 0:
        _store(call.output, memory, np.take(x, index, axis=call.axis))
        return
    output = array(call.output, memory)
    for g in np.ndindex(x.shape[: call.batch]):
        output[g] = np.take(x[g], index[g], axis=call.axis - call.batch)


def _check_range(index: np.ndarray, n: int, check: bool) -> None:
    if check and index.size and not (0 <= index.min() and index.max() < n):
        raise IndexRangeError(f"index {index.min()}..{index.max()} on an extent of {n}")


def _scatter(call: sequential.Scatter, memory: Memory) -> None:
    index, updates, output = (array(v, memory) for v in (call.index, call.updates, call.output))
    n, kept = output.shape[-1], output.ndim - 1
    _check_range(index, n, call.check)
    places = np.ogrid[tuple(slice(d) for d in output.shape[:-1])]
    for t in np.ndindex(index.shape[kept:]):
        i, value = index[(..., *t)], updates[(..., *t)]
        at = (*places, np.clip(i, 0, n - 1))
        old = output[at]
        output[at] = np.where((i >= 0) & (i < n), call.expr.evaluate([old, value]), old)


def _scan(call: sequential.Scan, memory: Memory) -> None:
    x, output = array(call.x, memory), array(call.output, memory)
    state = np.full(x.shape[:-1], call.start, call.step.dtype.numpy)
    for t in range(x.shape[-1]):
        following = call.step.evaluate([state, x[..., t]])
        output[..., t] = cast_numpy(state if call.exclusive else following, call.output.dtype)
        state = following


def _sort(call: sequential.Sort, memory: Memory) -> None:
    x, k = array(call.x, memory), call.values.shape[-1]
    key = x.astype(np.float32) if call.x.dtype is DType.BF16 else x
    if call.largest:
        # Reversed twice, a stable rising sort becomes a falling one in which equal elements come by index.
        order = x.shape[-1] - 1 - np.argsort(key[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    else:
        order = np.argsort(key, axis=-1, kind="stable")
    _store(call.indices, memory, order[..., :k])
    _store(call.values, memory, np.take_along_axis(x, order[..., :k], -1))


def _suppress(call: sequential.Suppress, memory: Memory) -> None:
    boxes, scores = array(call.boxes, memory), array(call.scores, memory)
    picked, count = array(call.picked, memory), array(call.count, memory)
    for p in np.ndindex(scores.shape[:-1]):
        candidates = [s for s in range(scores.shape[-1]) if scores[p][s] > scores.dtype.type(call.score_threshold)]
        stay: list[int] = []
        for s in sorted(candidates, key=lambda s: (-scores[p][s], s)):
            if len(stay) == picked.shape[-1]:
                break
            if not any(call.overlap.evaluate([*boxes[p][s], *boxes[p][t]]) for t in stay):
                stay.append(s)
        picked[p] = [*stay, *[-1] * (picked.shape[-1] - len(stay))]
        count[p] = len(stay)


def _box_reduce(call: ir.BoxReduce, memory: Memory) -> None:
    x, out = array(call.x, memory), array(call.output, memory)
    batch, rows, columns = (array(v, memory) for v in (call.batch, call.rows, call.columns))
    n, _, height, width = x.shape
    for r, _, i, j in np.ndindex(out.shape[0], 1, *out.shape[2:]):
        y0, y1 = np.clip(rows[r, i], 0, height)
        x0, x1 = np.clip(columns[r, j], 0, width)
        box = x[np.clip(batch[r], 0, n - 1), :, y0:y1, x0:x1]
        empty = y1 <= y0 or x1 <= x0
        out[r, :, i, j] = 0 if empty else box.max((1, 2)) if call.op == "max" else box.mean((1, 2), dtype=np.float64)


_RUN: dict[type, Callable[..., None]] = {
    ir.Map: _map,
    ir.Reduce: _reduce,
    Window: _window,
    ir.Row: _row,
    ir.Contract: run_contract,
    ir.Gather: _gather,
    ir.BoxReduce: _box_reduce,
    sequential.Scatter: _scatter,
    sequential.Scan: _scan,
    sequential.Sort: _sort,
    sequential.Suppress: _suppress,
}
