"""How long a call takes, compiled and in other engines: in turns, each alone in a process of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnefc import api
from nnefc.errors import UnsupportedError
from nnefc.ir.graph import Graph
from nnefc.ir.types import DType, TensorType
from nnefc.passes.encode import encode
from nnefc.runtime.pool import available_cpus
from nnefc.tools.compare import complete, fitting
from nnefc.tools.engines import PEERS, Engine, require, version
from nnefc.tools.machine import machine

ROUNDS = 8
"""Turns of each engine."""


@dataclass(frozen=True)
class Timing:
    """The calls of one engine: ``times`` in seconds, in order. ``threads`` is how many it was allowed; ``load_seconds``
    how long it took to open the network, ``peak_memory`` the most bytes that its process held; ``error`` the largest
    difference of its outputs from nnefc's, relative to the largest magnitude (0 for nnefc, None if not comparable)."""

    engine: str
    version: str
    threads: int
    times: tuple[float, ...]
    load_seconds: float
    peak_memory: int
    error: float | None

    @property
    def median(self) -> float:
        """In seconds."""
        return float(np.median(self.times))

    @property
    def p90(self) -> float:
        """The time that nine calls of ten do not exceed, in seconds."""
        return float(np.percentile(self.times, 90))

    @property
    def least(self) -> float:
        """In seconds."""
        return min(self.times)


@dataclass(frozen=True)
class Benchmark:
    """The result of :func:`bench`: ``timings`` of nnefc first, then of the peers as they were named; ``skipped`` says
    which peers cannot run the network, and why."""

    timings: tuple[Timing, ...]
    skipped: Mapping[str, str]
    machine: Mapping[str, str | int]

    def ratio(self, timing: Timing) -> float:
        """The median of an engine's times by that of nnefc: above 1, nnefc is faster."""
        return timing.median / self.timings[0].median

    def record(self) -> dict[str, Any]:
        """All of it, ready for JSON; times in seconds, memory in bytes."""
        engines = [
            {
                "engine": t.engine,
                "version": t.version,
                "threads": t.threads,
                "calls": len(t.times),
                "median": t.median,
                "p90": t.p90,
                "min": t.least,
                "ratio": self.ratio(t),
                "load": t.load_seconds,
                "peak_memory": t.peak_memory,
                "error": t.error,
            }
            for t in self.timings
        ]
        return {"engines": engines, "skipped": dict(self.skipped), "machine": dict(self.machine)}


def bench(
    model: api.Path | Graph,
    inputs: Mapping[str, np.ndarray] | None = None,
    *,
    compare: Sequence[str] = (),
    threads: int | None = None,
    seconds: float = 2.0,
    runs: int | None = None,
    **options: Any,
) -> Benchmark:
    """Time calls of a model, compiled, and in the engines ``compare`` (of ``ort``, ``openvino``, ``tract``).

    ``model`` is a path, a Graph, or a compiled folder (then without peers); ``options`` are those of
    :func:`nnefc.compile`. Peers get the file itself where they read it, else the network written as ONNX: a quantized
    one with pairs of QuantizeLinear and DequantizeLinear, unless ``execution`` is ``"ignore"``. ``inputs`` are by name;
    what is not given is random. Every engine runs in a process of its own and they take turns, ROUNDS in all, of
    ``seconds`` for each engine altogether, and of at least ``runs`` calls. An engine whose turn it is not has its main
    thread asleep; each turn begins with a pause in which its predecessor's workers fall asleep too, and with calls that
    are not counted.

    Raises UnsupportedError for a peer that is not installed, ValueError for an unknown one, or for peers of a compiled
    folder, and what :func:`nnefc.compile` raises.
    """
    require(compare)
    is_folder = not isinstance(model, Graph) and (Path(model) / "manifest.json").is_file()
    if is_folder and compare:
        raise ValueError("a compiled folder holds no model that another engine could read")
    count = available_cpus() if threads is None else threads
    with tempfile.TemporaryDirectory(prefix="nnefc-bench-") as name, ExitStack() as stack:
        scratch = Path(name)
        if is_folder:
            made: api.Model = api.load_compiled(os.fspath(model), threads=count)  # type: ignore[arg-type]
            folder = Path(os.fspath(model))  # type: ignore[arg-type]
        else:
            made = api.compile(model, threads=count, **options)
            folder = scratch / "network"
            made.save(folder)
        entry = made.entries[fitting(made.entries, {name: a.shape for name, a in (inputs or {}).items()}) or 0]
        types = {port.name: TensorType(DType.of(port.dtype), port.shape) for port in entry.inputs}
        given = complete(inputs or {}, types, 0)
        np.savez(scratch / "inputs.npz", **given)  # type: ignore[arg-type]
        engines, skipped = [stack.enter_context(Engine("nnefc", folder, count, scratch / "inputs.npz"))], {}
        for peer in compare:
            try:
                engines.append(stack.enter_context(_peer(peer, model, scratch, options, count)))
            except UnsupportedError as error:
                skipped[peer] = error.message
        times = take_turns(engines, seconds, runs)
        timings = [_timing(e, t, scratch) for e, t in zip(engines, times, strict=True)]
    return Benchmark(tuple(timings), skipped, machine())


def take_turns(engines: Sequence[Engine], seconds: float, runs: int | None = None) -> list[list[float]]:
    """The times of each engine's calls; see :func:`bench`. Half as many turns where a call is longer than a turn."""
    times: list[list[float]] = [[] for _ in engines]
    least, turns, number = -(-(runs or ROUNDS) // ROUNDS), ROUNDS, 0
    while number < turns:
        order = range(len(engines)) if number % 2 == 0 else reversed(range(len(engines)))
        for k in order:
            times[k] += engines[k].round(seconds / ROUNDS, least)
        number += 1
        if runs is None and all(min(taken) > seconds / ROUNDS for taken in times):
            turns = ROUNDS // 2
    return times


def _peer(peer: str, model: api.Path | Graph, scratch: Path, options: Mapping[str, Any], threads: int) -> Engine:
    """The network in a peer: the model's own file where that reads it and nothing about it was changed, else ONNX."""
    own = not isinstance(model, Graph) and not options.get("constants") and not options.get("shapes")
    floats = options.get("execution") == "ignore"
    if own and not floats:
        path = Path(os.fspath(model))  # type: ignore[arg-type]
        if path.name.lower().endswith(".onnx"):
            return Engine(peer, path, threads, scratch / "inputs.npz")
        if peer == "tract":
            with suppress(UnsupportedError):
                return Engine(peer, path, threads, scratch / "inputs.npz")
    written = scratch / "network.onnx"
    if not written.exists():
        named = {k: options[k] for k in ("shapes", "constants") if k in options}
        graph = model if isinstance(model, Graph) else api.load(model, **named)
        api.save(encode(graph, "ignore") if floats else graph, written)
    return Engine(peer, written, threads, scratch / "inputs.npz")


def _timing(engine: Engine, times: Sequence[float], scratch: Path) -> Timing:
    engine.answers(scratch / f"{engine.name}.npz")
    error = 0.0 if engine.name == "nnefc" else answers_apart(scratch / f"{engine.name}.npz", scratch / "nnefc.npz")
    memory = engine.peak_memory()
    return Timing(engine.name, version(engine.name), engine.threads, tuple(times), engine.load_seconds, memory, error)


def answers_apart(path: Path, other: Path) -> float | None:
    """The largest difference of stored outputs, relative to the largest magnitude; None if they are not alike."""
    worst = 0.0
    with np.load(path) as a, np.load(other) as b:
        if len(a.files) != len(b.files):
            return None
        for x, y in ((a[n], b[n]) for n in a.files):
            if x.shape != y.shape or x.size == 0:
                if x.shape != y.shape:
                    return None
                continue
            apart = np.abs(x.astype(np.float64) - y.astype(np.float64)).max()
            largest = np.abs(y.astype(np.float64)).max()
            worst = max(worst, float(apart / largest if largest else apart))
    return worst


def engine_title(name: str) -> str:
    """An engine's name for people."""
    return PEERS[name].title if name in PEERS else name
