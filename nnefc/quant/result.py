"""What a study finds: plain data, and what of it goes into study.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nnefc.ir.graph import Graph
from nnefc.quant.refine import Refinement
from nnefc.quant.search import Candidate
from nnefc.quant.sensitivity import LayerErrors
from nnefc.tools.machine import machine

FORMAT = "nnefc study 1"


@dataclass(frozen=True)
class Trial:
    """A way to quantize the whole network: a method for ranges, and remedies."""

    method: str
    refinement: Refinement
    metric: float
    snr: float
    bytes: int

    @property
    def key(self) -> tuple[float, float]:
        """Greater is better."""
        return self.metric, self.snr

    @property
    def name(self) -> str:
        """The method, and the remedies if there are any."""
        return self.method if self.refinement == Refinement() else f"{self.method} + {self.refinement}"


@dataclass(frozen=True)
class EmulatedEngine:
    """What another engine makes of the same codes: the metric and the SNR of the first ``calls`` answers, exact and
    there, and the share of saturated sums by layer."""

    engine: str
    calls: int
    exact_metric: float
    exact_snr: float
    metric: float
    snr: float
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Study:
    """The result of :func:`study`. ``trials`` are ways to quantize the whole network, ``base`` the number of the best;
    ``errors`` those of its layers; ``recovered`` by layer what the metric and the SNR become when it alone is in float;
    ``candidates`` mixed precisions. ``seconds`` (of a call) and ``slower`` (layers whose codes are slower than floats)
    were measured; so was ``front``, the candidates that no other beats, and ``chosen``, which ``graph`` is."""

    facts: Mapping[str, Any]
    real: Candidate
    trials: tuple[Trial, ...]
    base: int
    errors: tuple[LayerErrors, ...]
    recovered: Mapping[str, tuple[float, float]]
    candidates: tuple[Candidate, ...]
    emulated: tuple[EmulatedEngine, ...]
    least: float
    seconds: Mapping[str, float]
    slower: tuple[str, ...]
    extra: tuple[Candidate, ...]
    front: tuple[str, ...]
    chosen: str
    graph: Graph
    duration: float

    def record(self) -> dict[str, Any]:
        """All of it, ready for JSON. What is not under "measured" is the same in every run on the same inputs."""
        trials = [{**asdict(t), "refinement": str(t.refinement), "name": t.name} for t in self.trials]
        rows = [
            {**asdict(e), "recovered_metric": self.recovered[e.name][0], "recovered_snr": self.recovered[e.name][1]}
            if e.name in self.recovered
            else asdict(e)
            for e in self.errors
        ]
        return {
            "format": FORMAT,
            **self.facts,
            "least": self.least,
            "float": _record(self.real),
            "trials": trials,
            "base": self.trials[self.base].name,
            "layers": rows,
            "candidates": [_record(c) for c in self.candidates],
            "emulated": [{**asdict(e), "shares": dict(e.shares)} for e in self.emulated],
            "measured": {
                "machine": machine(),
                "seconds": dict(self.seconds),
                "slower": list(self.slower),
                "candidates": [_record(c) for c in self.extra],
                "front": list(self.front),
                "chosen": self.chosen,
                "duration": self.duration,
            },
        }


def _record(c: Candidate) -> dict[str, Any]:
    return {**asdict(c), "choice": dict(c.choice)}
