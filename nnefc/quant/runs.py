"""Tensors inside of networks, sample by sample: what corrections and studies look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnefc import api
from nnefc.ir.graph import Graph, Value

KEPT = 1 << 26
"""Bytes of tensors that a walk keeps; those of other samples it computes again."""

Arrays = Mapping[str, np.ndarray]


def part_of(graph: Graph, given: Iterable[str], names: Sequence[str]) -> Graph:
    """The part of a graph that computes some of its tensors, which are its outputs, in this order, from ``given`` ones;
    its inputs are those of them that it needs."""
    known, needed = set(given), set(names)
    ops = []
    for op in reversed(graph.ops):
        if any(v.name in needed and v.name not in known for v in op.outputs):
            ops.append(op)
            needed |= {v.name for v in op.inputs if isinstance(v, Value)}
    used = needed & known
    labels = {op.attrs["label"].lower() for op in ops if op.kind == "variable"}
    return graph.replace(
        inputs=tuple(v for name, v in graph.values.items() if name in used),
        ops=tuple(reversed(ops)),
        outputs=tuple(graph.values[n] for n in names),
        tensors={label: t for label, t in graph.tensors.items() if label.lower() in labels},
    )


@dataclass(frozen=True)
class _Step:
    """A compiled part of a graph, and the tensors that are kept after it."""

    model: api.Model | None
    kept: tuple[str, ...]

    def __call__(self, known: Arrays) -> dict[str, np.ndarray]:
        found = dict(known) | (results(self.model, known) if self.model is not None else {})
        return {name: found[name] for name in self.kept}


def results(model: api.Model, given: Arrays) -> dict[str, np.ndarray]:
    """The outputs of a model by name, its inputs being taken from ``given``."""
    found = model(*(given[port.name] for port in model.inputs))
    names = [port.name for port in model.outputs]
    return dict(zip(names, found if len(names) > 1 else [found], strict=True))


class Walk:
    """Samples on their way through a network, of which more and more is settled.

    :meth:`reach` compiles what is new since the last time, and nothing twice: what comes later may still change in the
    graph that is given next. Each sample's tensors are kept where it stands, up to KEPT bytes of all; samples
    beyond take the whole way again. ``options`` are those of :func:`nnefc.compile`.
    """

    def __init__(self, graph: Graph, samples: Iterable[Arrays], **options: Any):
        self._samples, self._options = samples, options
        self._known = [v.name for v in graph.inputs]
        self._done: set[str] = set()
        self._steps: list[_Step] = []
        self._kept: dict[int, tuple[int, dict[str, np.ndarray]]] = {}
        self._bytes = 0

    def reach(self, graph: Graph, name: str) -> None:
        """Go on to a tensor. What it is computed from must not change in later graphs."""
        new = [op for op in part_of(graph, self._known, [name]).ops if op.kind not in ("variable", "constant")]
        self._done |= {op.outputs[0].name for op in new}
        made = [v.name for op in new for v in op.outputs]
        kept = [n for n in (*self._known, *made) if n == name or self._is_read(graph, n)]
        computed = [n for n in kept if n not in self._known]
        self._steps.append(_Step(self._compiled(graph, computed), tuple(kept)))
        self._known = kept

    def _is_read(self, graph: Graph, name: str) -> bool:
        return any(op.outputs[0].name not in self._done for op in graph.users[name])

    def _compiled(self, graph: Graph, names: Sequence[str], **changed: Any) -> api.Model | None:
        return api.compile(part_of(graph, self._known, names), **(self._options | changed)) if names else None

    def tensors(self, graph: Graph, name: str) -> Iterator[np.ndarray]:
        """A tensor of each sample: one that was reached, or one that follows from what was: in float, from the values
        that codes stand for."""
        model = None if name in self._known else self._compiled(graph, [name], execution="ignore")
        for known in self._each():
            yield known[name] if model is None else results(model, known)[name]

    def _each(self) -> Iterator[Arrays]:
        """The tensors that are kept of each sample."""
        for k, sample in enumerate(self._samples):
            at, known = self._kept.pop(k, (0, {}))
            self._bytes -= _size(known)
            live: Arrays = known if at else sample
            for step in self._steps[at:]:
                live = step(live)
            if self._steps and self._bytes + _size(live) <= KEPT:
                self._kept[k] = (len(self._steps), dict(live))
                self._bytes += _size(live)
            yield live


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def outputs_of(graph: Graph, samples: Iterable[Arrays], **options: Any) -> Iterator[dict[str, np.ndarray]]:
    """The outputs of a graph, compiled with ``options``, for each sample."""
    model = api.compile(graph, **options)
    for sample in samples:
        yield results(model, sample)


def tensors_of(
    graph: Graph, names: Sequence[str], samples: Iterable[Arrays], **options: Any
) -> Iterator[dict[str, np.ndarray]]:
    """Some computed tensors of a graph for each sample."""
    inputs = [v.name for v in graph.inputs]
    return outputs_of(part_of(graph, inputs, names), samples, **options)
