"""Where a quantized network loses: the errors of each layer, by cause."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nnefc.ir.graph import Attrs, Graph, Literal, Op, Operand, Value
from nnefc.ir.types import DType, TensorType
from nnefc.quant.layers import Layer, fresh_name, layers
from nnefc.quant.runs import Arrays, outputs_of, tensors_of

CAUSES = ("weights", "activations", "own")
"""What is coded of a layer that is looked at alone: its weights, its input, both."""


@dataclass(frozen=True)
class LayerErrors:
    """Signal-to-noise ratios in dB of what a layer gives (before a following activation function), beside the network
    with real numbers: with codes for its ``weights`` only, for its input (``activations``) only, for both (its
    ``own``), and for everything before it too (``accumulated``). Infinite where nothing is lost."""

    name: str
    kind: str
    weights: float
    activations: float
    own: float
    accumulated: float


class _Noise:
    """Sums of squares of a tensor, and of what another is off."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0

    def add(self, real: np.ndarray, seen: np.ndarray) -> None:
        real = real.astype(np.float64)
        self.signal += float(np.sum(real**2))
        self.noise += float(np.sum((seen - real) ** 2))

    @property
    def ratio(self) -> float:
        """In dB."""
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal and math.isfinite(self.noise) else -math.inf


def layer_errors(
    graph: Graph,
    quantized: Graph,
    samples: Iterable[Arrays],
    *,
    threads: int | None = None,
    execution: str = "integer",
) -> tuple[LayerErrors, ...]:
    """The errors of every layer of ``quantized`` that is also one of ``graph``, the network with real numbers that it
    was made of. ``samples`` are read twice."""
    coded = {layer.name: layer for layer in layers(quantized)}
    known = [layer for layer in layers(graph) if layer.name in coded]
    if not known:
        return ()
    probed, probes = _probes(graph, quantized, known, coded)
    found = {(layer.name, cause): _Noise() for layer in known for cause in (*CAUSES, "accumulated")}
    ours = outputs_of(probed, samples, threads=threads, execution="ignore")
    theirs = tensors_of(quantized, [x.name for x in known], samples, threads=threads, execution=execution)
    for alone, together in zip(ours, theirs, strict=True):
        for layer in known:
            real = alone[layer.name]
            for cause in CAUSES:
                found[layer.name, cause].add(real, alone[probes[layer.name, cause]])
            found[layer.name, "accumulated"].add(real, together[layer.name])
    return tuple(
        LayerErrors(x.name, x.op.kind, *(found[x.name, cause].ratio for cause in (*CAUSES, "accumulated")))
        for x in known
    )


def _probes(
    graph: Graph, quantized: Graph, known: list[Layer], coded: dict[str, Layer]
) -> tuple[Graph, dict[tuple[str, str], str]]:
    """The graph with each layer computed three times more, on codes of its weights, of its input and of both; and the
    names of these results. Outputs are the results of layers and of their probes."""
    ops, tensors = list(graph.ops), dict(graph.tensors)
    names: dict[tuple[str, str], str] = {}
    outputs: list[Value] = []
    for layer in known:
        build = _Probe(graph.replace(ops=tuple(ops), tensors=tensors))
        weights = build.weights(quantized, coded[layer.name])
        given = build.codes_of(layer.input, quantized.values[coded[layer.name].input.name])
        outputs.append(layer.op.output)
        for cause in CAUSES:
            x = given if cause != "weights" else layer.input
            w = weights if cause != "activations" else layer.weights.output
            value = build.again(layer.op, cause, (x, w, *layer.op.inputs[2:]))
            names[layer.name, cause] = value.name
            outputs.append(value)
        ops, tensors = list(build.graph.ops), dict(build.graph.tensors)
    return graph.replace(ops=tuple(ops), tensors=tensors, outputs=tuple(outputs)), names


class _Probe:
    """A graph to which operations are added."""

    def __init__(self, graph: Graph):
        self.graph = graph

    def _add(self, op: Op) -> Value:
        self.graph = self.graph.replace(ops=(*self.graph.ops, op))
        return op.outputs[0]

    def weights(self, quantized: Graph, layer: Layer) -> Value:
        """The weights of a quantized layer."""
        label = str(layer.weights.attrs["label"])
        stored = next(t for name, t in quantized.tensors.items() if name.lower() == label.lower())
        name = fresh_name(self.graph, f"{layer.weights.output.name}_coded")
        self.graph = self.graph.replace(tensors={**self.graph.tensors, name: stored})
        op = layer.weights.replace(
            attrs=layer.weights.attrs.updated(label=name), outputs=(Value(name, layer.weights.output.type),)
        )
        return self._add(op)

    def codes_of(self, real: Value, seen: Value) -> Value:
        """A tensor as its codes say: pseudo-quantized (NNEF 1.0.5, 4.9.5); itself where it has none."""
        encoding = seen.type.encoding
        if encoding is None or real.type.dtype.kind != "f":
            return real
        operands: list[Operand] = [real]
        attrs: dict[str, object] = {}
        for name, value in encoding.parameters:
            if name in ("bits", "signed", "symmetric"):
                attrs[name] = value
            else:
                operands.append(self._parameter(value, DType.I64 if name == "zero_point" else real.type.dtype))
        name = fresh_name(self.graph, f"{real.name}_coded")
        return self._add(Op(encoding.algorithm, tuple(operands), Attrs(attrs), (Value(name, real.type),)))

    def _parameter(self, value: object, dtype: DType) -> Operand:
        array = np.asarray(value)
        if not array.ndim:
            return Literal(array.item(), dtype)
        attrs = Attrs(shape=array.shape, value=array.reshape(-1).tolist(), dtype=dtype)
        name = fresh_name(self.graph, "parameter")
        return self._add(Op("constant", (), attrs, (Value(name, TensorType(dtype, array.shape)),)))

    def again(self, op: Op, cause: str, operands: tuple[Operand, ...]) -> Value:
        """The same operation on other operands."""
        name = fresh_name(self.graph, f"{op.output.name}_{cause}")
        return self._add(op.replace(inputs=operands, outputs=(Value(name, op.output.type),)))
