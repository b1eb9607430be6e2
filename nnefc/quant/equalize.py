"""Cross-layer equalization (Nagel, van Baalen, Blankevoort and Welling: Data-Free Quantization Through Weight
Equalization and Bias Correction, 2019): channels of neighbouring layers are scaled so that one range suits all of them.

The function of the network stays what it is: what a layer's output is divided by, the next one's weights are multiplied
by, and everything in between passes a positive factor through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnefc.ir.graph import Attrs, Graph, Literal, Op, Origin, Tensor, Value
from nnefc.ir.types import TensorType
from nnefc.quant.layers import Layer, fresh_name, layers, used_once, values_of, with_values

SWEEPS, SETTLED = 40, 1e-3
"""The most times that all pairs are visited, and the change of every factor below which they are equal enough."""

ROUGHLY = np.log(2) / 2
"""The same for powers of two."""
UNEVEN = 32.0
"""How many times factors of channels must differ to outweigh the ranges of activations that they may upset."""

_MOVING = ("reshape", "squeeze", "unsqueeze", "transpose", "copy")
_PER_CHANNEL = ("relu", "leaky_relu", "max_pool", "avg_pool", "box", "mean_reduce", "sum_reduce", "max_reduce")
_UPSAMPLING = ("nearest_upsample", "multilinear_upsample", "nearest_downsample", "area_downsample")
_CLAMPING = ("clamp", "min", "max", "minimum", "maximum")


@dataclass(frozen=True)
class Bound:
    """A bound of a clamp on the way from a layer to the next: which operand of which operation it is, the dimension
    along which channels differ, and which output channel of the first layer each index along it is."""

    op: Op
    operand: int
    axis: int
    channel: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two layers, the first's output channels being the second's input channels: ``channel[k]`` is the output channel
    of ``first`` from which input channel k of ``second`` comes."""

    first: Layer
    second: Layer
    channel: np.ndarray
    bounds: tuple[Bound, ...]


def equalize(graph: Graph, *, cautious: bool = False) -> Graph:
    """The graph with the weights of every pair of neighbouring layers equalized; the same object where there is none.

    Layers follow each other through relu, leaky relu, pooling, sums over pixels, resampling, reshaping, and through
    clamps, whose bounds become per channel. Depthwise and pointwise layers of a chain are equalized pair by pair until
    nothing changes. A layer takes part if its weights, its bias and its output have no other user.

    Even weights may make ranges of activations uneven. So with ``cautious`` a pair is left where a clamp lies between,
    which keeps the ranges of channels alike, where factors differ by less than UNEVEN, or where they would make the
    biases more uneven than they are (channels of small weights and usual biases, which are nearly constant); and
    factors are powers of two, which change no result.
    """
    pairs = tuple(pair for pair in find_pairs(graph) if not (cautious and pair.bounds))
    if not pairs:
        return graph
    known = {x.name: x for pair in pairs for x in (pair.first, pair.second)}
    parts = {name: x.by_output(values_of(graph, x.weights)).astype(np.float64) for name, x in known.items()}
    factors = {pair.first.name: np.ones(pair.first.channels) for pair in pairs}
    for _ in range(SWEEPS):
        if max([_step(pair, parts, factors) for pair in pairs]) < (ROUGHLY if cautious else SETTLED):
            break
    made = {name: 1 / s for name, s in factors.items()}
    if cautious:
        made = {name: np.exp2(np.rint(np.log2(f))) for name, f in made.items()}
        made = {pair.first.name: made[pair.first.name] for pair in pairs if _is_worth(graph, pair, made)}
    return scaled(graph, made) if made else graph


def _is_worth(graph: Graph, pair: Pair, factors: Mapping[str, np.ndarray]) -> bool:
    """Whether the factors of a pair differ by UNEVEN, and make its biases no more uneven: by the deviation of their
    logarithms, zeros left out."""
    f = factors[pair.first.name]
    if f.max() < UNEVEN * f.min():
        return False
    if pair.first.bias is None:
        return True
    bias = np.abs(values_of(graph, pair.first.bias).astype(np.float64)).reshape(-1)
    used = bias > 0
    if bias.size != f.size or not used.any():
        return True
    return bool(np.log(bias[used] * f[used]).std() <= np.log(bias[used]).std())


def scaled(graph: Graph, factors: Mapping[str, np.ndarray]) -> Graph:
    """The graph with the output channels of layers multiplied by positive factors, which the layers after them take
    back: the same function. ``factors`` are by name of the first layer of a pair; see :func:`find_pairs`."""
    pairs = [pair for pair in find_pairs(graph) if pair.first.name in factors]
    known = {x.name: x for pair in pairs for x in (pair.first, pair.second)}
    parts = {name: x.by_output(values_of(graph, x.weights)).astype(np.float64) for name, x in known.items()}
    biases: dict[str, np.ndarray] = {}
    for pair in pairs:
        _scale(pair, parts, factors[pair.first.name])
        if pair.first.bias is not None:
            bias = values_of(graph, pair.first.bias)
            biases[pair.first.bias.output.name] = bias * factors[pair.first.name].reshape(bias.shape)
    weights = {x.weights.output.name: x.from_output(parts[name]) for name, x in known.items()}
    return _with_bounds(with_values(graph, weights | biases), pairs, factors)


def _step(pair: Pair, parts: dict[str, np.ndarray], factors: dict[str, np.ndarray]) -> float:
    """Equalize one pair: s = sqrt(r1 / r2) of each channel (equation 11). The largest change, as a logarithm."""
    first, second = parts[pair.first.name], parts[pair.second.name]
    produced = np.abs(first).max((2, 3)).reshape(-1)
    inputs = np.abs(second).max((1, 3)).reshape(-1)
    consumed = np.zeros_like(produced)
    np.maximum.at(consumed, pair.channel, inputs)
    used = (produced > 0) & (consumed > 0)
    s = np.where(used, np.sqrt(np.where(used, produced, 1) / np.where(used, consumed, 1)), 1.0)
    _scale(pair, parts, 1 / s)
    factors[pair.first.name] *= s
    return float(np.abs(np.log(s)).max())


def _scale(pair: Pair, parts: dict[str, np.ndarray], factor: np.ndarray) -> None:
    """Multiply the outputs of a pair's first layer, and divide the inputs of its second."""
    first, second = parts[pair.first.name], parts[pair.second.name]
    parts[pair.first.name] = first * factor.reshape(*first.shape[:2], 1, 1)
    parts[pair.second.name] = second / factor[pair.channel].reshape(second.shape[0], 1, second.shape[2], 1)


# ---- which layers are neighbours


def find_pairs(graph: Graph) -> tuple[Pair, ...]:
    """Every two layers between which each channel can be scaled, in the order of the first."""
    known = layers(graph)
    by_op = {id(layer.op): layer for layer in known}
    found = (_pair(graph, layer, by_op) for layer in known)
    return tuple(pair for pair in found if pair is not None)


def _own(graph: Graph, layer: Layer) -> bool:
    return used_once(graph, layer.weights) and (
        layer.plain or (layer.bias is not None and used_once(graph, layer.bias))
    )


def _pair(graph: Graph, first: Layer, by_op: Mapping[int, Layer]) -> Pair | None:
    if not _own(graph, first):
        return None
    value = first.output
    bounds: list[Bound] = []
    shape = value.type.extents
    channels = np.arange(first.channels).reshape([-1 if d == first.axis else 1 for d in range(len(shape))])
    ids = np.broadcast_to(channels, shape)
    while True:
        users = graph.users[value.name]
        if len(users) != 1 or value in graph.outputs or list(users[0].inputs).count(value) != 1:
            return None
        op = users[0]
        second = by_op.get(id(op))
        if second is not None:
            return _joined(graph, first, second, value, ids, tuple(bounds))
        moved = _passed(graph, op, value, ids)
        if moved is None:
            return None
        if op.kind in _CLAMPING:
            bounds += _bounds(op, ids)
        value, ids = op.output, moved


def _bounds(op: Op, ids: np.ndarray) -> list[Bound]:
    axis = _only_axis(ids)
    assert axis is not None
    channel = np.moveaxis(ids, axis, 0).reshape(ids.shape[axis], -1)[:, 0].copy()
    return [Bound(op, k, axis, channel) for k in range(1, len(op.inputs))]


def _joined(
    graph: Graph, first: Layer, second: Layer, value: Value, ids: np.ndarray, bounds: tuple[Bound, ...]
) -> Pair | None:
    """The pair, if the second layer is its input's only reader and takes each channel from one of the first."""
    if second.input != value or not used_once(graph, second.weights):
        return None
    axis = value.type.rank - 1 if second.op.kind in ("linear", "matmul") else 1
    lines = np.moveaxis(ids, axis, 0).reshape(ids.shape[axis], -1)
    if (lines != lines[:, :1]).any():
        return None
    return Pair(first, second, lines[:, 0].copy(), bounds)


def _only_axis(ids: np.ndarray) -> int | None:
    """The dimension along which channels differ, if it is one alone."""
    axes = [d for d in range(ids.ndim) if (ids != ids.take([0], d)).any()]
    return axes[0] if len(axes) == 1 else 0 if not axes else None


def _passed(graph: Graph, op: Op, value: Value, ids: np.ndarray) -> np.ndarray | None:
    """Which channel each element of the operation's output comes from; None where a factor does not pass through."""
    shape = op.output.type.extents
    if op.inputs[0] != value or len(op.outputs) != 1:
        return None
    if op.kind in _MOVING:
        return ids.transpose(op.attrs["axes"]) if op.kind == "transpose" else ids.reshape(shape)
    if op.kind in (*_PER_CHANNEL, *_UPSAMPLING):
        axis = _only_axis(ids)
        if axis is None or shape[axis] != ids.shape[axis] or op.attrs.get("border", "ignore") not in _BORDERS:
            return None
        first = tuple(slice(None) if d == axis else slice(0, 1) for d in range(ids.ndim))
        return np.broadcast_to(ids[first], shape)
    if op.kind in _CLAMPING and op.output.type.extents == ids.shape:
        axis = _only_axis(ids)
        fits = axis is not None and all(_is_bound(graph, v, ids.shape, axis) for v in op.inputs[1:])
        return ids if fits else None
    return None


_BORDERS = ("constant", "ignore", "replicate", "reflect", "reflect-even")


def _is_bound(graph: Graph, operand: Value | Literal, shape: tuple[int, ...], axis: int) -> bool:
    """Whether an operand is a number, or a variable of its own of a number for each channel."""
    if isinstance(operand, Literal):
        return True
    op = graph.producers.get(operand.name)
    wanted = tuple(n if d == axis else 1 for d, n in enumerate(shape))[: operand.type.rank]
    return (
        op is not None
        and op.kind == "variable"
        and op.attrs["label"] in graph.tensors
        and used_once(graph, op)
        and operand.type.extents == wanted
        and len(wanted) > axis
    )


# ---- clamps


def _with_bounds(graph: Graph, pairs: Sequence[Pair], factors: Mapping[str, np.ndarray]) -> Graph:
    """The graph with the bounds between layers multiplied by the factors of the channels that they bound."""
    changed: dict[str, dict[int, Value]] = {}
    added: dict[str, list[Op]] = {}
    values: dict[str, np.ndarray] = {}
    for pair in pairs:
        for bound in pair.bounds:
            s = factors[pair.first.name][bound.channel]
            operand = bound.op.inputs[bound.operand]
            if isinstance(operand, Literal):
                if operand.value == 0:
                    continue
                graph, variable = _new_bound(graph, bound, operand, s)
                changed.setdefault(bound.op.output.name, {})[bound.operand] = variable.output
                added.setdefault(bound.op.output.name, []).append(variable)
            else:
                array = values_of(graph, graph.producers[operand.name])
                values[operand.name] = array * s.reshape(array.shape)
    ops: list[Op] = []
    for op in graph.ops:
        name = op.outputs[0].name if op.outputs else ""
        ops += added.get(name, [])
        news = changed.get(name, {})
        ops.append(op.replace(inputs=tuple(news.get(k, v) for k, v in enumerate(op.inputs))) if news else op)
    return with_values(graph.replace(ops=tuple(ops)), values)


def _new_bound(graph: Graph, bound: Bound, literal: Literal, s: np.ndarray) -> tuple[Graph, Op]:
    """A variable with a bound for each index along the channels' dimension; the graph holds its values."""
    rank = bound.op.output.type.rank
    shape = tuple(len(s) if d == bound.axis else 1 for d in range(rank))
    data = (float(literal.value) * s).reshape(shape).astype(literal.dtype.numpy)
    name = fresh_name(graph, f"{bound.op.output.name}_bound{bound.operand}")
    value = Value(name, TensorType(literal.dtype, shape))
    op = Op("variable", (), Attrs(shape=shape, label=name, dtype=literal.dtype), (value,), Origin((name,)))
    return graph.replace(tensors={**graph.tensors, name: Tensor(data, "float", literal.dtype.bits)}), op
