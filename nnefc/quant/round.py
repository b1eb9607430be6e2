"""AdaRound (Nagel, Amjad, van Baalen, Louizos and Blankevoort: Up or Down? Adaptive Rounding for Post-Training
Quantization, 2020): whether a weight is rounded up or down is learned from what its layer gives.

The error of a layer, sum |Wx - W'x'|^2 over the samples, is a quadratic function of its weights W', whose matrices are
gathered in one pass: the optimization then takes the same time for any number of samples, and needs no random batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnefc.ir.encoding import Encoding
from nnefc.ir.graph import Graph, Op, Tensor
from nnefc.ops.contract import convolution
from nnefc.ops.geometry import extended, windows
from nnefc.ops.quantized import zero_point_range
from nnefc.quant.layers import Layer, layer_named, layers, used_once, values_of
from nnefc.quant.runs import Arrays, Walk

ITERATIONS, FEWEST = 500, 100
WORK = 2e11
"""Multiply-adds that a layer's optimization may take: large layers have fewer iterations, down to FEWEST."""
LARGEST = 6144
"""The most weights of one output channel of a layer that is optimized: the matrices have the square of it."""
RATE, DECAYS, EPSILON = 0.05, (0.9, 0.999), 1e-8
"""Adam's step and constants."""
STRETCH, SHIFT = 1.2, -0.1
"""The rectified sigmoid (equation 23): clip(sigmoid(v) STRETCH + SHIFT, 0, 1)."""
WEIGHT, START, BETA = 10.0, 0.2, (20.0, 2.0)
"""The regularizer (equation 24): its weight beside the error in units of rounding noise, the part of the iterations
before it begins, and its exponent there and at the end."""

Pair = tuple[np.ndarray, np.ndarray]
"""A tensor of a sample in two networks."""


@dataclass
class Moments:
    """What is known of a layer's data, by group: ``gram`` the sum of x' x'^T, (groups, K, K), ``cross`` that of
    (W x) x'^T, (groups, O, K), x being the layer's input with real numbers, x' that of the quantized network."""

    gram: np.ndarray
    cross: np.ndarray

    def errors(self, weights: np.ndarray) -> np.ndarray:
        """sum |W'x' - Wx|^2 for each output channel of W', (groups, O, K), but for what does not depend on W'."""
        w = weights.astype(np.float64)
        return np.einsum("gok,gok->go", w @ self.gram, w) - 2 * np.einsum("gok,gok->go", w, self.cross)

    def shrunk(self, real: np.ndarray, part: float) -> Moments:
        """Those of data of which a ``part`` has the same size, but neither correlation nor error in x': what few data
        seem to say of correlations is not to be believed (after Ledoit and Wolf, 2004)."""
        power = np.einsum("gkk->gk", self.gram)
        gram, cross = self.gram * (1 - part), self.cross * (1 - part) + part * power[:, None] * real
        np.einsum("gkk->gk", gram)[...] = power
        return Moments(gram, cross)


def adaround(
    graph: Graph,
    quantized: Graph,
    samples: Iterable[Arrays],
    *,
    iterations: int = ITERATIONS,
    only: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Graph:
    """``quantized`` with codes of weights that are rounded up or down as suits the layers' results; ``graph`` is the
    same network with real numbers. Layers are done in order, each on what the layers before it now give.

    ``samples`` are gone through once for each layer. Layers with weights of their own in symmetric linear codes take
    part; of each output channel the better of the learned and the nearest codes is kept. ``only`` names the layers;
    ``options`` are how :func:`nnefc.compile` is to compile the quantized network.
    """
    known = [x for x in layers(quantized) if (only is None or x.name in only) and _roundable(quantized, x)]
    right, seen = Walk(graph, samples), Walk(quantized, samples, **options)
    for done, found in enumerate(known, 1):
        layer, real = layer_named(quantized, found.name), layer_named(graph, found.name)
        right.reach(graph, real.input.name)
        seen.reach(quantized, layer.input.name)
        pairs = zip(right.tensors(graph, real.input.name), seen.tensors(quantized, layer.input.name), strict=True)
        quantized = _rounded(graph, quantized, real, layer, pairs, iterations)
        if progress is not None:
            progress(done, len(known))
    return quantized


def _roundable(graph: Graph, layer: Layer) -> bool:
    """Whether a layer's weights are codes that may be changed, and its matrices of a size that is worth it."""
    encoding, stored = layer.weights.output.type.encoding, _stored(graph, layer.weights)
    fan_in = int(np.prod(layer.by_output(np.empty(layer.weights.output.type.extents, np.int8)).shape[2:]))
    return (
        layer.op.kind != "deconv"
        and encoding is not None
        and encoding.algorithm == "zero_point_linear_quantize"
        and not np.any(encoding["zero_point"])
        and stored.item in ("qint", "quint")
        and used_once(graph, layer.weights)
        and fan_in <= LARGEST
    )


def _stored(graph: Graph, variable: Op) -> Tensor:
    label = str(variable.attrs["label"]).lower()
    return next(t for name, t in graph.tensors.items() if name.lower() == label)


def _rounded(
    graph: Graph,
    quantized: Graph,
    real: Layer,
    layer: Layer,
    pairs: Iterable[Pair],
    iterations: int,
) -> Graph:
    """The graph with learned codes for the weights of a layer, ``pairs`` being its inputs with real numbers and with
    codes."""
    encoding = layer.weights.output.type.encoding
    assert encoding is not None
    weights = _matrix(real, values_of(graph, real.weights))
    scale = _matrix(layer, _full(encoding, "scale", layer.weights.output.type.extents))
    moments = _moments(real, layer, weights, pairs)
    bits = encoding["bits"]
    assert isinstance(bits, int)
    limits = zero_point_range(bits, bool(encoding["signed"]), bool(encoding["symmetric"]))
    stored = _stored(quantized, layer.weights)
    nearest = _matrix(layer, stored.data).astype(np.float32)
    codes = learn(weights, scale, nearest, limits, moments, iterations)
    data = layer.from_output(codes.reshape(layer.by_output(stored.data).shape)).astype(stored.data.dtype)
    changed = Tensor(data, stored.item, stored.bits, stored.header)
    return quantized.replace(tensors={k: changed if t is stored else t for k, t in quantized.tensors.items()})


def _full(encoding: Encoding, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter for every weight; parameters broadcast from the leading dimension."""
    value = np.asarray(encoding[name], np.float32)
    return np.broadcast_to(
        value.reshape(value.shape + (1,) * (len(shape) - value.ndim)) if value.ndim else value, shape
    )


def _matrix(layer: Layer, weights: np.ndarray) -> np.ndarray:
    """Weights as (groups, outputs of a group, products of an output)."""
    parts = layer.by_output(weights)
    return parts.reshape(*parts.shape[:2], -1)


# ---- data


def _moments(real: Layer, layer: Layer, weights: np.ndarray, pairs: Iterable[Pair]) -> Moments:
    groups, outputs, fan_in = weights.shape
    moments = Moments(np.zeros((groups, fan_in, fan_in)), np.zeros((groups, outputs, fan_in)))
    wide, count = weights.astype(np.float32), 0
    for ours, theirs in pairs:
        x, seen = _columns(real, ours), _columns(layer, theirs)
        turned = seen.swapaxes(1, 2)
        moments.gram += seen @ turned
        moments.cross += (wide @ x) @ turned
        count += seen.shape[2]
    return moments.shrunk(weights, fan_in / (fan_in + count))


def _columns(layer: Layer, x: np.ndarray) -> np.ndarray:
    """What each result of a layer multiplies with its weights: (groups, products, results)."""
    if layer.op.kind != "conv":
        return np.ascontiguousarray(x.reshape(-1, x.shape[-1]).T, np.float32)[None]
    shape = layer.weights.output.type.extents
    c = convolution(x.shape, shape, layer.op.attrs)
    seen = windows(extended(x.astype(np.float32, copy=False), c.reaches, c.border), c.axes)
    rank = len(c.axes)
    order = (1, *range(2 + rank, 2 + 2 * rank), 0, *range(2, 2 + rank))
    return seen.transpose(order).reshape(c.groups, c.inner * int(np.prod(shape[2:])), -1)


# ---- optimization


def learn(
    weights: np.ndarray,
    scale: np.ndarray,
    nearest: np.ndarray,
    limits: tuple[int, int],
    moments: Moments,
    iterations: int = ITERATIONS,
) -> np.ndarray:
    """The codes, of floor(W / scale) and the one above, between ``limits``, that make a layer's error small.

    All arrays are (groups, O, K). ``nearest`` are the codes to fall back on: no output channel becomes worse."""
    steps = max(min(iterations, int(WORK / max(1.0, float(weights.size) * weights.shape[2]))), FEWEST)
    low, high = (np.float32(n) for n in limits)
    below = np.floor(weights / scale).astype(np.float32)
    part = np.clip(weights / scale - below, 0.01, 0.99).astype(np.float32)
    v = -np.log(STRETCH / (part - SHIFT) - 1)
    gram, cross, ratio, to_code = _in_codes(scale, moments)
    mean, square = np.zeros_like(v), np.zeros_like(v)
    for step in range(1, steps + 1):
        soft = 1 / (1 + np.exp(-v))
        h = np.clip(soft * STRETCH + SHIFT, 0, 1)
        code = below + h
        inside = (h > 0) & (h < 1) & (code > low) & (code < high)
        gradient = (np.clip(code, low, high) * ratio) @ gram
        gradient -= cross
        gradient *= to_code
        gradient += _regularizer(h, step / steps, weights.shape[2])
        gradient *= STRETCH * soft * (1 - soft) * inside
        mean += (1 - DECAYS[0]) * (gradient - mean)
        square += (1 - DECAYS[1]) * (gradient * gradient - square)
        v -= RATE * (mean / (1 - DECAYS[0] ** step)) / (np.sqrt(square / (1 - DECAYS[1] ** step)) + EPSILON)
    learned = np.clip(below + (v >= 0), low, high)
    better = moments.errors(learned * scale) < moments.errors(nearest * scale)
    return np.where(better[..., None], learned, nearest)


def _in_codes(scale: np.ndarray, moments: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The matrices in units of an output channel's largest scale and of its group's mean power; the scales in these
    units; and what makes the derivative of the error, in units of the noise of rounding, of (W' gram - cross)."""
    power = np.einsum("gkk->gk", moments.gram)[:, None]
    mean = power.mean(2, keepdims=True)
    mean = np.where(mean > 0, mean, 1.0)
    largest = scale.max(2, keepdims=True).astype(np.float64)
    ratio = scale / largest
    noise = (ratio**2 * (power / mean)).sum(2, keepdims=True) / 12
    to_code = np.where(noise > 0, 2 * ratio / np.where(noise > 0, noise, 1.0), 0.0)
    made = (moments.gram / mean, moments.cross / mean / largest, ratio, to_code)
    gram, cross, ratio, to_code = (a.astype(np.float32) for a in made)
    return gram, cross, ratio, to_code


def _regularizer(h: np.ndarray, progress: float, fan_in: int) -> np.ndarray | float:
    """The derivative of WEIGHT / K * (1 - |2h - 1|^beta), which draws h to 0 or 1; beta falls by a cosine."""
    if progress <= START:
        return 0.0
    t = (progress - START) / (1 - START)
    beta = BETA[1] + (BETA[0] - BETA[1]) * 0.5 * (1 + np.cos(np.pi * t))
    away = 2 * h - 1
    slope = -2 * beta * np.sign(away) * np.abs(away) ** (beta - 1)
    return np.asarray(WEIGHT / fan_in * slope, np.float32)
