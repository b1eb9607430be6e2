"""Normalizations: batch, instance, group, layer, RMS, local response, Lp, mean and variance (operators of ai.onnx)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nnefc.formats.onnx.importers.conv import channels
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope
from nnefc.ir.types import DType
from nnefc.ops.primitive import require


@importer("BatchNormalization")
def _batch(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    dtype = s.dtype(x)
    if int(n.attrs.get("spatial", 1)) != 1:
        s.unsupported("spatial = 0 is not supported")
    epsilon = float(n.attrs.get("epsilon", 1e-5))
    scale, offset, mean, variance = (s.cast(_channels(s, n.need(i)), dtype) for i in range(1, 5))
    if not n.attrs.get("training_mode", 0):
        return (s.op("batch_normalization", [x, mean, variance, offset, scale], epsilon=epsilon),)
    momentum = float(n.attrs.get("momentum", 0.9))
    axes = [d for d in range(len(s.shape(x))) if d != 1]
    now, spread = s.op("moments", [x], axes=axes)
    result = s.op("batch_normalization", [x, now, spread, offset, scale], epsilon=epsilon)
    running = []
    for new, old, source in ((now, mean, n.need(3)), (spread, variance, n.need(4))):
        flat = s.reshape(new, s.shape(old))
        mixed = s.op("add", [s.op("mul", [old, momentum]), s.op("mul", [flat, 1.0 - momentum])])
        running.append(s.cast(s.reshape(mixed, s.shape(source)), s.dtype(source)))
    return (result, *running)


def _channels(s: Scope, vector: Imported) -> Imported:
    return s.reshape(vector, (1, math.prod(s.shape(vector))))


@importer("InstanceNormalization")
def _instance(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    axes = list(range(2, len(s.shape(x))))
    operands = [x, channels(s, n.need(1)), channels(s, n.need(2))]
    return (s.op("layer_normalization", operands, axes=axes, epsilon=float(n.attrs.get("epsilon", 1e-5))),)


@importer("GroupNormalization")
def _group(s: Scope, n: Node) -> Sequence[Imported]:
    """Up to opset 20 scale and bias have one item per group, from 21 on one per channel."""
    x, scale, bias = n.need(0), n.need(1), n.need(2)
    shape, groups = s.shape(x), int(n.attrs["num_groups"])
    require(len(shape) >= 2, f"the input has the shape {list(shape)}; it must have channels, the second dimension")
    require(groups > 0 and shape[1] % groups == 0, f"num_groups = {groups} must divide the {shape[1]} channels")
    split = (shape[0], groups, shape[1] // groups, *shape[2:])
    extents = (1, groups, 1) if n.version < 21 else (1, groups, shape[1] // groups)
    operands = [s.reshape(x, split), s.reshape(scale, extents), s.reshape(bias, extents)]
    axes = list(range(2, len(split)))
    y = s.op("layer_normalization", operands, axes=axes, epsilon=float(n.attrs.get("epsilon", 1e-5)))
    return (s.reshape(y, shape),)


def _normalized_axes(s: Scope, n: Node, x: Imported) -> list[int]:
    rank = len(s.shape(x))
    axis = int(n.attrs.get("axis", -1))
    require(-rank <= axis < rank, f"axis = {axis} is out of range for {rank} dimensions")
    return list(range(axis % rank, rank))


def trailing(s: Scope, v: Imported, rank: int) -> Imported:
    """A tensor whose dimensions are the last ones of ``rank``: extents of 1 are put in front."""
    shape = s.shape(v)
    return s.reshape(v, (1,) * (rank - len(shape)) + tuple(shape))


@importer("LayerNormalization")
def _layer(s: Scope, n: Node) -> Sequence[Imported]:
    x, bias = n.need(0), n.input(2)
    rank, dtype = len(s.shape(x)), s.dtype(x)
    axes = _normalized_axes(s, n, x)
    epsilon = float(n.attrs.get("epsilon", 1e-5))
    offset = 0.0 if bias is None else trailing(s, bias, rank)
    y = s.op("layer_normalization", [x, trailing(s, n.need(1), rank), offset], axes=axes, epsilon=epsilon)
    if n.output_count < 2:
        return (y,)
    stash = DType.F32 if dtype in (DType.F16, DType.BF16) else dtype
    mean, variance = s.op("moments", [s.cast(x, stash)], axes=axes)
    deviation = s.op("rsqrt", [s.op("add", [variance, epsilon])])
    return y, mean, deviation


@importer("RMSNormalization")
def _rms(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    scale = trailing(s, n.need(1), len(s.shape(x)))
    epsilon = float(n.attrs.get("epsilon", 1e-5))
    return (s.op("rms_normalization", [x, scale], axes=_normalized_axes(s, n, x), epsilon=epsilon),)


@importer("LRN")
def _lrn(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    rank, size = len(s.shape(x)), int(n.attrs["size"])
    require(rank >= 2, "the input must have a channel dimension")
    result = s.op(
        "local_response_normalization",
        [x],
        size=[1, size] + [1] * (rank - 2),
        alpha=float(n.attrs.get("alpha", 1e-4)),
        beta=float(n.attrs.get("beta", 0.75)),
        bias=float(n.attrs.get("bias", 1.0)),
    )
    return (result,)


@importer("LpNormalization")
def _lp(s: Scope, n: Node) -> Sequence[Imported]:
    """A row of zeros stays zero."""
    x, p = n.need(0), int(n.attrs.get("p", 2))
    rank = len(s.shape(x))
    axis = int(n.attrs.get("axis", -1))
    require(p in (1, 2), f"p = {p}; it must be 1 or 2")
    require(-rank <= axis < rank, f"axis = {axis} is out of range for {rank} dimensions")
    least = {DType.F16: 6e-8, DType.F64: 5e-324}.get(s.dtype(x), 1e-45)
    return (s.op(f"l{p}_normalization", [x], axes=[axis % rank], bias=0.0, epsilon=least),)


@importer("MeanVarianceNormalization")
def _mean_variance(s: Scope, n: Node) -> Sequence[Imported]:
    """(x - mean) / (deviation + 1e-9)."""
    x = n.need(0)
    rank = len(s.shape(x))
    axes = [int(a) for a in n.attrs.get("axes", [0, 2, 3])]
    require(all(-rank <= a < rank for a in axes), f"axes = {axes} are out of range for {rank} dimensions")
    axes = [a % rank for a in axes]
    mean, variance = s.op("moments", [x], axes=axes)
    deviation = s.op("add", [s.op("sqrt", [variance]), 1e-9])
    return (s.op("div", [s.op("sub", [x, mean]), deviation]),)
