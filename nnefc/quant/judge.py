"""What a study measures of each network: its answers to the test data, how good they are, how long a call takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnefc import api
from nnefc.ir.graph import Graph
from nnefc.quant.data import Samples
from nnefc.quant.metrics import Answers, Metric, snr
from nnefc.tools.engines import PAUSE

ROUNDS, TURN, CALLS = 5, 0.02, 3
"""Turns of each network when their times are compared, and the seconds and calls that a turn takes at least."""


@dataclass(frozen=True)
class Score:
    """``metric`` is what the study's metric gives, ``snr`` the signal-to-noise ratio of the worst output in dB."""

    metric: float
    snr: float

    @property
    def key(self) -> tuple[float, float]:
        """Greater is better."""
        return self.metric, self.snr


class Judge:
    """Test data, labels and a metric, and the answers of the network with real numbers."""

    def __init__(
        self,
        graph: Graph,
        samples: Samples,
        metric: Metric,
        labels: np.ndarray | None,
        threads: int | None = None,
    ):
        self.samples, self.metric, self.labels, self.threads = samples, metric, labels, threads
        self.real = self.compiled(graph)
        self.references = self.answers(self.real)

    def compiled(self, graph: Graph, **options: Any) -> api.Model:
        """The graph for this machine."""
        return api.compile(graph, threads=self.threads, **options)

    def answers(self, model: api.Model) -> Answers:
        """The outputs for all test data."""
        names = [port.name for port in model.outputs]
        inputs = [port.name for port in model.inputs]
        rows = []
        for sample in self.samples:
            results = model(*(sample[name] for name in inputs))
            rows.append(results if len(names) > 1 else (results,))
        return {name: np.stack(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}

    def score(self, answers: Answers) -> Score:
        """How good answers are."""
        return self.score_of(answers, self.references, self.labels)

    def score_of(self, answers: Answers, references: Answers, labels: np.ndarray | None) -> Score:
        """How good answers to a part of the data are."""
        return Score(self.metric(answers, references, labels), snr(answers, references))

    def latencies(self, models: Mapping[str, api.Model]) -> dict[str, float]:
        """The time of a call of each network in seconds: the least of its turns, which the networks take one by one."""
        sample = next(iter(self.samples))
        arrays = {name: [sample[port.name] for port in model.inputs] for name, model in models.items()}
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(ROUNDS):
            for name, model in models.items():
                times[name].append(_turn(model, arrays[name]))
        return {name: min(found) for name, found in times.items()}


def _turn(model: api.Model, arrays: Sequence[np.ndarray]) -> float:
    """The median of the seconds that calls take, after a rest in which idle threads of other networks go to sleep; what
    the first calls take, by which its own wake up, is above it."""
    time.sleep(PAUSE)
    times: list[float] = []
    end = time.perf_counter() + TURN
    while len(times) < CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        model(*arrays)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def stored_bytes(graph: Graph) -> int:
    """Bytes of the parameters that the graph uses, as they are stored."""
    labels = {op.attrs["label"].lower() for op in graph.ops if op.kind == "variable"}
    bits = sum(t.data.size * t.bits for label, t in graph.tensors.items() if label.lower() in labels)
    return (bits + 7) // 8
