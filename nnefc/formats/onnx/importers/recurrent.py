"""Recurrent networks: RNN, GRU and LSTM (operators of ai.onnx), unrolled in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nnefc.formats.onnx.importers.tables import check_table
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope
from nnefc.ops.primitive import require

Activation = Callable[[Imported], Imported]
State = tuple[Imported, ...]
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_ALPHA = {"leakyrelu": 0.01, "thresholdedrelu": 1.0, "hardsigmoid": 0.2, "elu": 1.0, "affine": 1.0, "scaledtanh": 1.0}
_BETA = {"hardsigmoid": 0.5, "affine": 0.0, "scaledtanh": 1.0}
_PLAIN = {"relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "softplus": "softplus", "softsign": "softsign"}


@dataclass(frozen=True)
class Cell:
    """One direction of a recurrent node: weights of the recurrence (gates * hidden, hidden) and what they combine with.
    The GRU's hidden gate has weights of its own, which come second.

    ``peephole`` has the LSTM's three vectors, for the gates i, o and f; ``reset_bias`` is the recurrence bias of the
    GRU's hidden gate where it lies inside the reset."""

    hidden: int
    weights: tuple[Imported, ...]
    activations: tuple[Activation, ...]
    clip: float | None
    peephole: tuple[Imported, ...] = ()
    reset_bias: Imported | None = None
    couples: bool = False
    linear_before_reset: bool = False


def _activation(s: Scope, name: str, alpha: float | None, beta: float | None) -> Activation:
    low = name.lower()
    if low in _PLAIN:
        return lambda x: s.op(_PLAIN[low], [x])
    a = alpha if alpha is not None else _ALPHA.get(low, 0.0)
    b = beta if beta is not None else _BETA.get(low, 0.0)
    if low == "leakyrelu":
        return lambda x: s.op("leaky_relu", [x], alpha=a)
    if low == "elu":
        return lambda x: s.op("elu", [x], alpha=a)
    if low == "hardsigmoid":
        return lambda x: s.op("hard_sigmoid", [x], alpha=a, beta=b)
    if low == "thresholdedrelu":
        return lambda x: s.op("select", [s.op("gt", [x, a]), x, 0.0])
    if low == "affine":
        return lambda x: s.op("add", [s.op("mul", [x, a]), b])
    if low == "scaledtanh":
        return lambda x: s.op("mul", [s.op("tanh", [s.op("mul", [x, b])]), a])
    raise s.unsupported(f"the activation {name!r} is not supported")


def _activations(s: Scope, n: Node, directions: int) -> list[tuple[Activation, ...]]:
    """The functions of each direction. Parameters are handed out in order, to those that take them."""
    per = len(_DEFAULTS[n.op_type])
    names = [str(v) for v in n.attr("activations") or _DEFAULTS[n.op_type] * directions]
    require(len(names) == per * directions, f"activations has {len(names)} items; it must have {per * directions}")
    alphas = [float(v) for v in n.attr("activation_alpha") or ()]
    betas = [float(v) for v in n.attr("activation_beta") or ()]
    made = []
    for name in names:
        alpha = alphas.pop(0) if alphas and name.lower() in _ALPHA else None
        beta = betas.pop(0) if betas and name.lower() in _BETA else None
        made.append(_activation(s, name, alpha, beta))
    return [tuple(made[d * per : (d + 1) * per]) for d in range(directions)]


def _clipped(s: Scope, cell: Cell, x: Imported) -> Imported:
    return x if cell.clip is None else s.op("clamp", [x, -cell.clip, cell.clip])


def _gate_sums(s: Scope, cell: Cell, x: Imported, h: Imported, count: int) -> list[Imported]:
    """The parts of ``x`` plus the recurrence, one per gate."""
    total = s.op("add", [x, s.op("matmul", [h, cell.weights[0]], transposeB=True)])
    return _parts(s, total, count) if count > 1 else [total]


def _parts(s: Scope, x: Imported, count: int) -> list[Imported]:
    return list(s.op("split", [x], axis=1, ratios=[1] * count))


def _rnn_step(s: Scope, cell: Cell, x: Imported, state: State) -> State:
    (total,) = _gate_sums(s, cell, x, state[0], 1)
    return (cell.activations[0](_clipped(s, cell, total)),)


def _gru_step(s: Scope, cell: Cell, x: Imported, state: State) -> State:
    (h,) = state
    f, g = cell.activations
    gates, last = cell.weights
    xz, xr, xh = _parts(s, x, 3)
    hz, hr = _parts(s, s.op("matmul", [h, gates], transposeB=True), 2)
    z = f(_clipped(s, cell, s.op("add", [xz, hz])))
    r = f(_clipped(s, cell, s.op("add", [xr, hr])))
    if cell.linear_before_reset:
        inner = s.op("matmul", [h, last], transposeB=True)
        if cell.reset_bias is not None:
            inner = s.op("add", [inner, cell.reset_bias])
        inner = s.op("mul", [r, inner])
    else:
        inner = s.op("matmul", [s.op("mul", [r, h]), last], transposeB=True)
    new = g(_clipped(s, cell, s.op("add", [xh, inner])))
    return (s.op("add", [s.op("mul", [s.op("sub", [1.0, z]), new]), s.op("mul", [z, h])]),)


def _lstm_step(s: Scope, cell: Cell, x: Imported, state: State) -> State:
    h, c = state
    f, g, last = cell.activations

    def peeked(gate: Imported, which: int, seen: Imported) -> Imported:
        if cell.peephole:
            gate = s.op("add", [gate, s.op("mul", [cell.peephole[which], seen])])
        return f(_clipped(s, cell, gate))

    i, o, forget, new = _gate_sums(s, cell, x, h, 4)
    i = peeked(i, 0, c)
    kept = s.op("sub", [1.0, i]) if cell.couples else peeked(forget, 2, c)
    new = g(_clipped(s, cell, new))
    c = s.op("add", [s.op("mul", [kept, c]), s.op("mul", [i, new])])
    return s.op("mul", [peeked(o, 1, c), last(c)]), c


_STEPS: dict[str, Callable[[Scope, Cell, Imported, State], State]] = {
    "RNN": _rnn_step,
    "GRU": _gru_step,
    "LSTM": _lstm_step,
}


def _part(s: Scope, value: Imported | None, direction: int) -> Imported | None:
    """One direction of a tensor whose first dimension is the direction."""
    if value is None:
        return None
    item = s.op("slice", [value], axes=[0], begin=[direction], end=[direction + 1])
    return s.reshape(item, s.shape(value)[1:])


def _cell(s: Scope, n: Node, direction: int, hidden: int, activations: tuple[Activation, ...]) -> Cell:
    clip = n.attr("clip")
    before = n.op_type == "GRU" and bool(n.attr("linear_before_reset", 0))
    peephole = _part(s, n.input(7), direction) if n.op_type == "LSTM" else None
    bias = _part(s, n.input(3), direction)
    inner = None
    if before and bias is not None:
        inner = s.reshape(s.op("slice", [bias], axes=[0], begin=[5 * hidden], end=[6 * hidden]), (1, hidden))
    recurrence = _part(s, n.need(2), direction)
    assert recurrence is not None
    weights: tuple[Imported, ...] = (recurrence,)
    if n.op_type == "GRU":
        bounds = ((0, 2 * hidden), (2 * hidden, 3 * hidden))
        weights = tuple(s.op("slice", [recurrence], axes=[0], begin=[a], end=[b]) for a, b in bounds)
    return Cell(
        hidden,
        weights,
        activations,
        None if clip is None else float(clip),
        tuple(_parts(s, s.reshape(peephole, (1, 3 * hidden)), 3)) if peephole is not None else (),
        inner,
        n.op_type == "LSTM" and bool(n.attr("input_forget", 0)),
        before,
    )


def _projected(s: Scope, n: Node, x: Imported, direction: int, hidden: int, before: bool) -> Imported:
    """The part of all gates that the input gives, for all steps at once, biases added: (steps * batch, gates)."""
    steps, batch, features = s.shape(x)
    weights = _part(s, n.need(1), direction)
    assert weights is not None
    flat = s.op("matmul", [s.reshape(x, (steps * batch, features)), weights], transposeB=True)
    bias = _part(s, n.input(3), direction)
    if bias is None:
        return flat
    width = _GATES[n.op_type] * hidden
    own, recurrent = _parts(s, s.reshape(bias, (1, 2 * width)), 2)
    if before:
        mask = np.repeat(np.array([1, 1, 0]), hidden).astype(s.dtype(x).numpy)
        recurrent = s.op("mul", [recurrent, mask.reshape(1, -1)])
    return s.op("add", [flat, s.op("add", [own, recurrent])])


@dataclass(frozen=True)
class Run:
    """What one direction gives: the hidden state of each step, and the last state."""

    steps: list[Imported]
    last: State


def _run(s: Scope, n: Node, x: Imported, direction: int, backward: bool, cell: Cell) -> Run:
    """All steps of one direction. Where a sequence has ended its state stays and its output is 0."""
    steps, batch, _ = s.shape(x)
    hidden, dtype, lengths = cell.hidden, s.dtype(x), n.input(4)
    projected = _projected(s, n, x, direction, hidden, cell.linear_before_reset)
    check_table(s, batch, hidden)
    zero = np.zeros((batch, hidden), dtype.numpy)
    initial = [n.input(5), n.input(6)] if n.op_type == "LSTM" else [n.input(5)]
    parts = [_part(s, v, direction) for v in initial]
    state: State = tuple(zero if p is None else p for p in parts)
    outputs: list[Imported] = [zero] * steps
    for t in reversed(range(steps)) if backward else range(steps):
        row = s.op("slice", [projected], axes=[0], begin=[t * batch], end=[(t + 1) * batch])
        new = _STEPS[n.op_type](s, cell, row, state)
        if lengths is None or _all_reach(lengths, t):
            state, outputs[t] = new, new[0]
            continue
        runs = s.op("gt", [s.reshape(lengths, (batch, 1)), t])
        state = tuple(s.op("select", [runs, a, b]) for a, b in zip(new, state, strict=True))
        outputs[t] = s.op("select", [runs, new[0], 0.0])
    return Run(outputs, state)


def _all_reach(lengths: Imported, step: int) -> bool:
    """Whether it is known that every sequence is longer than ``step``."""
    return isinstance(lengths, np.ndarray) and bool((lengths > step).all())


@importer("RNN", "GRU", "LSTM")
def _recurrent(s: Scope, n: Node) -> Sequence[Imported]:
    batch_first = bool(n.attr("layout", 0))
    direction = str(n.attr("direction", "forward"))
    require(direction in ("forward", "reverse", "bidirectional"), f"direction = {direction!r} is unknown")
    directions = 2 if direction == "bidirectional" else 1
    x = s.transpose(n.need(0), (1, 0, 2)) if batch_first else n.need(0)
    hidden = s.shape(n.need(2))[-1]
    _check_shapes(s, n, x, directions, hidden)
    if batch_first:
        swapped = [s.transpose(v, (1, 0, 2)) if v is not None and i in (5, 6) else v for i, v in enumerate(n.inputs)]
        n = Node(n.op_type, n.domain, n.version, swapped, n.attrs, n.outputs, n.name, n.location)
    runs = []
    for d, activations in enumerate(_activations(s, n, directions)):
        cell = _cell(s, n, d, hidden, activations)
        runs.append(_run(s, n, x, d, d == 1 or direction == "reverse", cell))
    columns = [s.op("stack", r.steps, axis=0) for r in runs]
    outputs = [s.op("stack", columns, axis=1)]
    outputs += [s.op("stack", list(parts), axis=0) for parts in zip(*(r.last for r in runs), strict=True)]
    if batch_first:
        orders = [(2, 0, 1, 3), (1, 0, 2), (1, 0, 2)]
        outputs = [s.transpose(v, order) for v, order in zip(outputs, orders, strict=False)]
    return outputs


def _check_shapes(s: Scope, n: Node, x: Imported, directions: int, hidden: int) -> None:
    require(s.rank(x) == 3, f"the input has shape {s.shape(x)}; it must have three dimensions")
    steps, batch, features = s.shape(x)
    gates = _GATES[n.op_type] * hidden
    require(n.attr("hidden_size", hidden) == hidden, f"hidden_size is {n.attr('hidden_size')}; R has {hidden}")
    wanted = {1: (directions, gates, features), 2: (directions, gates, hidden), 3: (directions, 2 * gates), 4: (batch,)}
    if n.op_type == "LSTM":
        wanted[7] = (directions, 3 * hidden)
    for index, shape in wanted.items():
        value = n.input(index)
        require(value is None or s.shape(value) == shape, f"input {index} has not the shape {list(shape)}")
    require(n.attr("layout", 0) in (0, 1), "layout must be 0 or 1")
