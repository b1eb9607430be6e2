"""Where the time of a call goes: every launch of a compiled model measured in place, beside what the machine can do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnefc import api
from nnefc.ir.graph import Graph
from nnefc.ir.types import DType, TensorType
from nnefc.ir.view import Role
from nnefc.tools.compare import complete
from nnefc.tools.machine import machine, versions

if TYPE_CHECKING:
    from nnefc.codegen.cost import Cost
    from nnefc.codegen.spec import Launch
    from nnefc.tools.peaks import Peaks

MIN_RUNS, MAX_RUNS = 5, 2000


@dataclass(frozen=True)
class Kernel:
    """One launch: the operations of the network that it stands for, its family and instance, the shape that it writes,
    what it costs (see :class:`nnefc.codegen.cost.Cost`), and the median of its times. ``limit`` is the least time that
    the measured peaks allow, ``level`` where most of its data come from: constants from the level that holds what a
    whole call touches, others from the nearest that holds what the launch touches. ``kind`` is what most of its
    arithmetic is on, as :func:`nnefc.codegen.cost.flops_by_kind` tells kinds apart."""

    names: tuple[str, ...]
    family: str
    kernel: str
    shape: tuple[int, ...]
    cost: Cost
    seconds: float
    level: str
    limit: float
    kind: str = "f32"

    @property
    def title(self) -> str:
        """The names in short; the family where there is none."""
        from nnefc.codegen.plan_text import title_of

        return title_of(self.names) or self.family

    @property
    def gflops(self) -> float:
        """Arithmetic per time."""
        return self.cost.flops / self.seconds * 1e-9

    @property
    def bandwidth(self) -> float:
        """GB/s, each element counted once."""
        return self.cost.bytes / self.seconds * 1e-9

    @property
    def intensity(self) -> float:
        """Operations per byte."""
        return self.cost.flops / max(self.cost.bytes, 1)


@dataclass(frozen=True)
class Profile:
    """The kernels of a model in the order in which they run, ``seconds`` being the median time of a whole call, as the
    caller sees it and without the measuring; ``runs`` is how many runs the medians are taken over."""

    name: str
    target: str
    kernels: tuple[Kernel, ...]
    seconds: float
    runs: int
    peaks: Peaks
    machine: Mapping[str, str | int]
    versions: Mapping[str, str]

    @property
    def kernel_seconds(self) -> float:
        """The times of the kernels added up."""
        return sum(k.seconds for k in self.kernels)

    def record(self) -> dict[str, Any]:
        """All of it, ready for JSON: times in seconds, sizes in bytes, rates in GFLOP/s and GB/s."""
        total = self.kernel_seconds
        kernels = [
            {
                "title": k.title,
                "names": list(k.names),
                "family": k.family,
                "kernel": k.kernel,
                "shape": list(k.shape),
                "seconds": k.seconds,
                "share": k.seconds / total,
                **asdict(k.cost),
                "gflops": k.gflops,
                "bandwidth": k.bandwidth,
                "intensity": k.intensity,
                "level": k.level,
                "limit": k.limit,
                "kind": k.kind,
            }
            for k in self.kernels
        ]
        whole = {"name": self.name, "target": self.target, "seconds": self.seconds, "runs": self.runs}
        whole |= {"kernel_seconds": total, "flops": sum(k.cost.flops for k in self.kernels)}
        return {
            **whole,
            "peaks": asdict(self.peaks),
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "kernels": kernels,
        }


def profile(
    model: api.Path | Graph,
    inputs: Mapping[str, np.ndarray] | None = None,
    *,
    threads: int | None = None,
    seconds: float = 2.0,
    **options: Any,
) -> Profile:
    """Compile a model for this machine and measure each launch where it runs: in order, after the one before it.

    ``model`` is a path or a Graph and ``options`` are those of :func:`nnefc.compile`. ``inputs`` are by name; what is
    not given is random. ``threads`` is as for :func:`nnefc.compile`; with several, the time of a launch is that of the
    slowest. Runs are repeated for ``seconds``. Raises what :func:`nnefc.compile` raises, UnsupportedError for code that
    this machine cannot run, and ValueError for inputs that the model cannot work on.
    """
    from nnefc.codegen.artefact import load_artefact
    from nnefc.codegen.ticks import launches, with_ticks
    from nnefc.tools.peaks import measure

    made = api.compile(model, threads=threads, **options)
    artefact = made._made()
    artefact.target.check_host()
    measured = load_artefact(with_ticks(artefact), threads)
    types = {port.name: TensorType(DType.of(port.dtype), port.shape) for port in made.inputs}
    arrays = tuple(complete(inputs or {}, types, 0).values())
    peaks = measure(max(1, made.threads))
    calls: list[float] = []
    ticks: list[np.ndarray] = []
    scales: list[float] = []
    end = time.perf_counter() + seconds
    while len(ticks) < MIN_RUNS or (time.perf_counter() < end and len(ticks) < MAX_RUNS):
        start = time.perf_counter()
        made(*arrays)
        middle = time.perf_counter()
        counted = measured(*arrays)[-1]
        scales.append((time.perf_counter() - middle) / max(1, counted[-1] - counted[0]))
        calls.append(middle - start)
        ticks.append(np.diff(counted))
    times = np.median(np.array(ticks), axis=0) * min(scales)
    touched = artefact.plan.weights.nbytes + artefact.plan.arena_size
    kernels = tuple(_kernel(a, float(t), peaks, touched) for a, t in zip(launches(artefact.plan), times, strict=True))
    found = versions(["numba", "llvmlite", "numpy"])
    return Profile(made.name, made.target, kernels, float(np.median(calls)), len(calls), peaks, machine(), found)


def _kernel(launch: Launch, seconds: float, peaks: Peaks, working_set: int) -> Kernel:
    """``working_set`` is what a whole call touches: constants come from a level that holds all of it."""
    from nnefc.codegen.cost import cost, flops_by_kind, reached_bytes
    from nnefc.codegen.plan_text import launch_text

    call = launch.call
    assert call is not None
    spent = cost(call)
    constant = sum(reached_bytes(v) for v in dict.fromkeys(call.reads()) if v.buffer.role is Role.CONST)
    far, near = peaks.level(working_set), peaks.level(spent.bytes)
    moving = constant / far.bandwidth + (spent.bytes - constant) / near.bandwidth
    work = flops_by_kind(call)
    limit = max(sum(n / peaks.rate(kind) for kind, n in work.items()), moving) * 1e-9
    level = (far if 2 * constant > spent.bytes else near).name
    kind, shape = max(work, key=lambda k: work[k]).value, call.writes()[0].shape
    return Kernel(call.origin.names, launch.family, launch_text(launch), shape, spent, seconds, level, limit, kind)
