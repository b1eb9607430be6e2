"""Measuring one network: compiling it, and its calls in every engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import nnefc
from bench.bound import work
from bench.networks import ROOT, Network, recorded_inputs
from nnefc.errors import UnsupportedError
from nnefc.tools.bench import answers_apart, take_turns
from nnefc.tools.compare import complete
from nnefc.tools.engines import PEERS, Engine
from nnefc.tools.peaks import measure as measure_peaks

FASTEST = ("ort", "openvino")
"""The faster of these is what a ratio is to."""


def measure(
    network: Network, folder: Path, engines: Sequence[str], threads: Sequence[int], seconds: float, cold: bool
) -> dict[str, Any]:
    """All about one network; files go to ``folder``. ``seconds`` is for each engine and number of threads; ``cold``
    says whether compiling is timed."""
    graph = nnefc.load(network.path)
    needed = work(graph)
    inputs = folder / "inputs.npz"
    given = recorded_inputs(network, graph)
    np.savez(inputs, **complete(given, {v.name: v.type for v in graph.inputs}, 0))  # type: ignore[arg-type]
    record: dict[str, Any] = {"name": network.name, "group": network.group, "gflop": needed.flops * 1e-9}
    if "nnefc" in engines:
        record |= compiled(network, folder / "network", cold and network.group == "zoo")
    runs = [_run(network, folder, engines, count, seconds, inputs) for count in threads]
    for run in runs:
        peaks, held = measure_peaks(run["threads"]), needed.bytes + record.get("arena", 0)
        run["bound"] = needed.seconds(peaks, held)
        ours = run["engines"].get("nnefc", {}).get("median")
        peers = [run["engines"][e]["median"] for e in FASTEST if "median" in run["engines"].get(e, {})]
        if ours:
            run["share"] = run["bound"] / ours
            run["ratio"] = min(peers) / ours if peers else None
    outputs = [folder / f"nnefc-{count}.npz" for count in threads]
    if "nnefc" in engines and len(outputs) > 1:
        record["same_for_all_threads"] = all(answers_apart(outputs[0], other) == 0 for other in outputs[1:])
    return record | {"runs": runs}


def compiled(network: Network, folder: Path, cold: bool) -> dict[str, Any]:
    """Compile a network to a folder: sizes in bytes, and with ``cold`` the seconds without any cache, and then with
    one that holds the kernels."""
    command = [sys.executable, "-m", "nnefc", "compile", str(network.path), "-o", str(folder)]
    record: dict[str, Any] = {}
    if cold:
        with tempfile.TemporaryDirectory(prefix="nnefc-cold-") as scratch:
            for name in ("cold_seconds", "warm_seconds"):
                record[name] = _timed(command, {"XDG_CACHE_HOME": scratch})
    else:
        _timed(command, {})
    manifest = json.loads((folder / "manifest.json").read_text())
    record["arena"] = max(entry["arena"] for entry in manifest["entries"])
    record["library_bytes"] = (folder / "network.so").stat().st_size
    record["weights_bytes"] = (folder / "weights.bin").stat().st_size
    return record


def _timed(command: Sequence[str], extra: dict[str, str]) -> float:
    start = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | extra
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnsupportedError(f"{' '.join(command[2:])} failed: {done.stderr.strip()[-500:]}")
    return time.perf_counter() - start


def _run(
    network: Network, folder: Path, engines: Sequence[str], threads: int, seconds: float, inputs: Path
) -> dict[str, Any]:
    """Every engine with so many threads, in turns."""
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        opened: list[Engine] = []
        for name in engines:
            if threads > 1 and name in PEERS and not PEERS[name].threads:
                continue
            path = folder / "network" if name == "nnefc" else network.path
            try:
                opened.append(stack.enter_context(Engine(name, path, threads, inputs)))
            except UnsupportedError as error:
                found[name] = {"skipped": error.message}
        for engine, times in zip(opened, take_turns(opened, seconds), strict=True):
            engine.answers(folder / f"{engine.name}-{threads}.npz")
            found[engine.name] = {
                "median": float(np.median(times)),
                "p90": float(np.percentile(times, 90)),
                "min": min(times),
                "calls": len(times),
                "load": engine.load_seconds,
                "first": engine.first_seconds,
                "peak_memory": engine.peak_memory(),
            }
    expected = folder / f"ort-{threads}.npz"
    for name, entry in found.items():
        if name != "ort" and "median" in entry and expected.is_file():
            entry["error"] = answers_apart(folder / f"{name}-{threads}.npz", expected)
    return {"threads": threads, "engines": found}
