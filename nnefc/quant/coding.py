"""Graphs with encodings: weights stored as codes, and computed tensors that say how they are coded."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from nnefc.ir.encoding import Encoding, Parameter
from nnefc.ir.graph import Graph, Literal, Operand, Tensor, Value
from nnefc.quant.ranges import TINY, Codes, encoding_of

Scales = Callable[[np.ndarray, int | None, Codes], np.ndarray]
"""From weights, the dimension of their channels (None: one scale for all) and codes to the scale of each channel."""


def largest_scales(weights: np.ndarray, axis: int | None, codes: Codes) -> np.ndarray:
    """Scales with which the largest magnitude of each channel is coded by the last code."""
    others = tuple(d for d in range(weights.ndim) if d != axis)
    largest = np.abs(weights.astype(np.float64)).max(axis=others)
    return usable_scales(largest / codes.limits[1])


def usable_scales(scales: np.ndarray) -> np.ndarray:
    """Scales as float32 numbers that can be divided by: those of channels of zeros are the smallest of the others."""
    rounded = np.atleast_1d(scales).astype(np.float32)
    used = rounded[rounded >= TINY]
    return np.where(rounded >= TINY, rounded, used.min() if used.size else np.float32(1.0))


def coded_variable(
    stored: np.ndarray, axis: int | None, codes: Codes, scales: Scales = largest_scales
) -> tuple[Tensor, Encoding]:
    """Weights as symmetric codes per channel of ``axis`` (None: of one scale), and their encoding."""
    found = scales(stored, axis, codes)
    wide = found.astype(np.float64).reshape([-1 if d == axis else 1 for d in range(stored.ndim)])
    low, high = codes.limits
    with np.errstate(all="ignore"):
        whole = np.clip(np.floor(stored.astype(np.float64) / wide + 0.5), low, high)
    data = whole.astype(np.int8 if codes.bits <= 8 else np.int16)
    data.flags.writeable = False
    scale = per_channel([float(s) for s in found], axis) if axis is not None else float(found[0])
    return Tensor(data, "qint", codes.bits), encoding_of(0, scale, codes)


def logarithmic_encoding(weights: np.ndarray, axis: int | None, bits: int) -> Encoding:
    """``logarithmic_quantize`` (NNEF 1.0.5, 4.9.5) whose largest power is that nearest to the largest magnitude."""
    others = tuple(d for d in range(weights.ndim) if d != axis)
    largest = np.atleast_1d(np.abs(weights.astype(np.float64)).max(axis=others))
    largest = np.where(largest > 0, largest, 1.0)
    powers = [float(v) for v in np.exp2(np.floor(np.log2(largest) + 0.5))]
    return Encoding(
        "logarithmic_quantize", (("max", per_channel(powers, axis) if axis is not None else powers[0]), ("bits", bits))
    )


def per_channel(values: list[float], axis: int) -> Parameter:
    """Numbers as a parameter that broadcasts along a dimension: NNEF aligns the leading ones."""
    made: Parameter = tuple(values)
    for _ in range(axis):
        made = (made,)
    return made


def with_encodings(graph: Graph, encodings: Mapping[str, Encoding], tensors: Mapping[str, Tensor]) -> Graph:
    """The graph with encodings, by tensor, and other stored values, by label."""

    def typed(v: Operand) -> Operand:
        known = not isinstance(v, Literal) and v.name in encodings
        return Value(v.name, v.type.with_encoding(encodings[v.name])) if known else v  # type: ignore[union-attr]

    def retyped(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(Value(v.name, v.type.with_encoding(encodings.get(v.name, v.type.encoding))) for v in values)

    ops = tuple(op.replace(inputs=tuple(map(typed, op.inputs)), outputs=retyped(op.outputs)) for op in graph.ops)
    inputs, outputs = retyped(graph.inputs), retyped(graph.outputs)
    return graph.replace(inputs=inputs, ops=ops, outputs=outputs, tensors={**graph.tensors, **tensors})
