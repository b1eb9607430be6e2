"""Tensors inside of networks, sample by sample: what corrections and studies look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nnefc import api
from nnefc.ir.graph import Graph, Value

Arrays = Mapping[str, np.ndarray]


def up_to(graph: Graph, names: Sequence[str]) -> Graph:
    """The part of a graph that computes some of its tensors, which are its outputs, in this order."""
    needed = set(names)
    ops = []
    for op in reversed(graph.ops):
        if needed & {v.name for v in op.outputs} or op.kind == "external":
            ops.append(op)
            needed |= {v.name for v in op.inputs if isinstance(v, Value)}
    kept = tuple(reversed(ops))
    labels = {op.attrs["label"].lower() for op in kept if op.kind == "variable"}
    tensors = {label: t for label, t in graph.tensors.items() if label.lower() in labels}
    return graph.replace(ops=kept, outputs=tuple(graph.values[n] for n in names), tensors=tensors)


def outputs_of(graph: Graph, samples: Iterable[Arrays], **options: Any) -> Iterator[dict[str, np.ndarray]]:
    """The outputs of a graph, compiled with ``options``, for each sample."""
    model = api.compile(graph, **options)
    names = [port.name for port in model.outputs]
    for sample in samples:
        results = model(**sample)
        yield dict(zip(names, results if len(names) > 1 else [results], strict=True))


def tensors_of(
    graph: Graph, names: Sequence[str], samples: Iterable[Arrays], **options: Any
) -> Iterator[dict[str, np.ndarray]]:
    """Some tensors of a graph for each sample: inputs of the graph too."""
    computed = list(dict.fromkeys(n for n in names if n in graph.producers and graph.producers[n].kind != "external"))
    given = [n for n in names if n not in computed]
    if not computed:
        yield from ({n: sample[n] for n in given} for sample in samples)
        return
    kept: list[Arrays] = []

    def seen() -> Iterator[Arrays]:
        for sample in samples:
            kept[:] = [sample]
            yield sample

    for found in outputs_of(up_to(graph, computed), seen(), **options):
        yield {**found, **{n: kept[0][n] for n in given}}
