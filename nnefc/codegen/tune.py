"""Choosing by trial: every way to do a network's contractions is measured in the network itself."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from nnefc.codegen import cache
from nnefc.codegen.artefact import assemble, load_artefact
from nnefc.codegen.schedule import prepare, schedule
from nnefc.codegen.schemes import SIZES
from nnefc.codegen.target import Target
from nnefc.codegen.ticks import launches, with_ticks
from nnefc.codegen.ways import Way, Ways, signature
from nnefc.codegen.workers import compile_kernels
from nnefc.files import write_text
from nnefc.ir.graph import Origin
from nnefc.ir.program import Contract, Program
from nnefc.ir.types import TensorType

RANKS = 3
"""Cuts into panels that are tried, the best by the rule's estimate first."""
GAIN = 0.95
"""The part of the time of the rule's choice that another must not exceed to be taken."""
SECONDS, LEAST, MOST = 0.6, 9, 200
"""How long a way is measured, and in how many runs."""
PERCENTILE = 20
"""Of these runs: what counts."""

Times = Mapping[str, float]
"""The time of a contraction by its signature, in ticks."""


def tune(
    programs: Sequence[Program],
    target: Target,
    *,
    small: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Way]:
    """The ways that are faster than those of the rules, by more than the noise, for lowered Programs on this machine.

    Each way is given to all contractions that it suits, and the whole network is run; so each is measured with the
    caches as the network leaves them. What was found is kept beside the compiled kernels, and taken from there the next
    time. Raises UnsupportedError for a target whose code does not run here."""
    target.check_host()
    tried = _ways(small)
    report = progress or (lambda done, total: None)
    found: dict[str, Way] = {}
    for k, program in enumerate(programs):
        path = _file(program, target, small, threads)
        known = _read(path)
        if known is None:
            rules: Times = {}
            best: dict[str, tuple[float, Way]] = {}
            for n, way in enumerate((Way(), *tried)):
                times = _measured(program, target, small, threads, way)
                rules = rules or times
                for key, taken in times.items():
                    limit = best[key][0] if key in best else GAIN * rules.get(key, 0.0)
                    if taken < limit:
                        best[key] = taken, way
                report(k * (len(tried) + 1) + n + 1, len(programs) * (len(tried) + 1))
            known = {key: way for key, (_, way) in best.items()}
            _write(path, known)
        found |= known
    return found


def _ways(small: bool) -> tuple[Way, ...]:
    """All that are tried. Winograd's algorithm takes more weights."""
    images = () if small else (Way(0), *map(Way, SIZES))
    return (*images, *(Way(None, rank) for rank in range(1, RANKS)))


def _measured(program: Program, target: Target, small: bool, threads: int | None, way: Way) -> dict[str, float]:
    """The time of every contraction, all being done in one way: a low percentile of several runs, for what disturbs
    them only adds to it. Those that share their origin with others are left out."""
    kinds = _contractions(program)
    prepared = prepare(program, target, small=small, ways=dict.fromkeys(kinds.values(), way))
    plan = schedule(prepared, target)
    ports = [[(p.name, TensorType(p.dtype, p.shape)) for p in side] for side in (program.inputs, program.outputs)]
    artefact = with_ticks(
        assemble("tuned", [(plan, ports[0], ports[1])], compile_kernels(plan.specs(), target), target)
    )
    model = load_artefact(artefact, threads)
    generator = np.random.default_rng(0)
    inputs = [_random(generator, port.shape, port.dtype) for port in model.inputs]
    ticks: list[np.ndarray] = []
    end = time.perf_counter() + SECONDS
    while len(ticks) < LEAST or (time.perf_counter() < end and len(ticks) < MOST):
        ticks.append(np.diff(model(*inputs)[-1]))
    found: dict[str, list[float]] = {}
    for launch, taken in zip(launches(plan), np.percentile(ticks, PERCENTILE, axis=0), strict=True):
        origin = launch.call.origin if launch.call is not None else None
        if origin in kinds:
            found.setdefault(kinds[origin], []).append(float(taken))
    return {key: sum(times) for key, times in found.items()}


def _contractions(program: Program) -> dict[Origin, str]:
    """The signatures of contractions by their origin, where that is theirs alone."""
    found: dict[Origin, str] = {}
    several: set[Origin] = set()
    for call in program.calls:
        if isinstance(call, Contract):
            if call.origin in found:
                several.add(call.origin)
            found[call.origin] = signature(call)
    return {origin: key for origin, key in found.items() if origin not in several}


def _random(generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2, shape).astype(dtype)


# ---- what was found before


def _file(program: Program, target: Target, small: bool, threads: int | None) -> Path:
    """Where the ways of a program are kept: a name made of all that they depend on."""
    known = sorted(_contractions(program).values())
    parts = [target.key, cache.sources(), cache.versions(), str(small), str(threads or os.cpu_count()), *known]
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return _folder() / f"{name}.json"


def _folder() -> Path:
    return cache.default_directory().parent / "tuned"


def _read(path: Path) -> dict[str, Way] | None:
    """None where there is nothing, or nothing that can be understood."""
    try:
        content = json.loads(path.read_text())
        ways = {str(key): Way(**way) for key, way in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return ways if all(_is_way(way) for way in ways.values()) else None


def _is_way(way: Way) -> bool:
    return way.image in (None, 0, *SIZES) and isinstance(way.rank, int) and 0 <= way.rank < RANKS


def _write(path: Path, ways: Ways) -> None:
    """Keep the ways; where nothing can be written, the next time measures again."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_text(path, json.dumps({key: asdict(way) for key, way in ways.items()}, indent=1))
    except OSError:
        return
