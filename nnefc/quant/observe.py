"""Watching tensors of a compiled model over data: one pass, and memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnefc.api import compile
from nnefc.ir.graph import Graph
from nnefc.progress import bar
from nnefc.quant.calibration import Calibration, model_hash
from nnefc.quant.data import DataError, Samples
from nnefc.quant.histogram import DECAY, Histogram, Statistics, moments, one_call
from nnefc.quant.runs import Arrays, results

GATHERED = 1 << 18
"""So many values of a tensor wait for being counted together."""
MAX_TAPPED = 1 << 28
"""Bytes of tensors that one compiled model gives; where there are more, several models are compiled."""


def observe(
    graph: Graph,
    data: Samples,
    names: Sequence[str],
    *,
    threads: int | None = None,
    seen: Callable[[Arrays], None] | None = None,
) -> Calibration:
    """The statistics of the tensors ``names`` of a graph over all samples, each of which ``seen`` is told.

    The graph is compiled as it is, its tensors' encodings ignored, with those tensors as outputs. Memory depends on the
    number of tensors and their sizes, not on that of samples. Raises DataError for data that does not fit and for
    tensors with NaN or infinities, ValueError for a tensor that is not one of floats of the graph, and what
    :func:`nnefc.compile` raises.
    """
    watched = {name: _Watch(name) for name in names}
    models = [(compile(graph, taps=group, threads=threads), group) for group in _groups(graph, names)]
    calls = 0
    with bar("calibrating") as report:
        for calls, sample in enumerate(data, 1):
            if seen is not None:
                seen(sample)
            for name in watched.keys() & sample.keys():
                watched[name].add(sample[name], calls)
            for model, group in models:
                given = results(model, sample)
                for name in group:
                    watched[name].add(given[name], calls)
            report(calls, data.count or calls)
    return Calibration(model_hash(graph), calls, {name: w.statistics() for name, w in watched.items()})


def _groups(graph: Graph, names: Sequence[str]) -> Iterator[list[str]]:
    """The tensors that are computed, in groups of at most MAX_TAPPED bytes."""
    group: list[str] = []
    size = 0
    for name in names:
        if name not in graph.values:
            raise ValueError(f"there is no tensor {name!r} in the graph {graph.name!r}")
        type_ = graph.values[name].type
        if type_.dtype.kind != "f":
            raise ValueError(f"{name!r} holds {type_}; only floats are observed")
        if name not in graph.producers:
            continue
        bytes_ = type_.volume * type_.dtype.size
        if group and size + bytes_ > MAX_TAPPED:
            yield group
            group, size = [], 0
        group.append(name)
        size += bytes_
    if group:
        yield group


@dataclass
class _Watch:
    """A tensor's statistics as they grow. Arrays that are given must not change afterwards."""

    name: str
    histogram: Histogram | None = None
    calls: int = 0
    total: float = 0.0
    squares: float = 0.0
    trail: list[float] = field(default_factory=lambda: [0.0, 0.0])
    waiting: list[np.ndarray] = field(default_factory=list)
    gathered: int = 0

    def add(self, values: np.ndarray, call: int) -> None:
        """Take in what the tensor holds after a call. Raises DataError for what is not finite."""
        flat = values.reshape(-1).astype(np.float32, copy=False) if values.dtype.itemsize < 4 else values.reshape(-1)
        total, squares = moments(flat)
        if not np.isfinite(total):
            raise DataError(f"the tensor {self.name!r} holds NaN or an infinity after call {call} of the model")
        self.calls += 1
        self.total, self.squares = self.total + total, self.squares + squares
        for k, end in enumerate((float(flat.min()), float(flat.max()))):
            self.trail[k] = DECAY * self.trail[k] + one_call(end)
        self.waiting.append(flat)
        self.gathered += flat.size
        if self.gathered >= GATHERED:
            self._count()

    def _count(self) -> None:
        """Count the values that wait."""
        if self.waiting:
            new = Histogram.of(np.concatenate(self.waiting) if len(self.waiting) > 1 else self.waiting[0])
            self.histogram = new if self.histogram is None else self.histogram.merged(new)
            self.waiting, self.gathered = [], 0

    def statistics(self) -> Statistics:
        """What was found. There was at least one call."""
        self._count()
        assert self.histogram is not None
        low, high = self.trail
        return Statistics(self.histogram, self.calls, self.total, self.squares, (low, high))
