"""What this machine reaches at best, measured: multiply-adds of each kind, and reading from caches and memory."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnefc.codegen.artefact import assemble, load_artefact
from nnefc.codegen.kernels.peak import PeakKernel
from nnefc.codegen.spec import Launch, LaunchPlan, Pointer, Space
from nnefc.codegen.target import Target
from nnefc.codegen.ticks import with_ticks
from nnefc.codegen.weights import Weights
from nnefc.codegen.workers import compile_kernels
from nnefc.ir.types import DType, TensorType

SIZES = {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20}
"""Bytes of caches where the system does not tell."""
STEPS = 1 << 17
"""Steps of 16 multiply-adds of vectors by which the arithmetic peak is measured."""
READ = 1 << 27
"""Bytes that each thread reads, at least, in the measurement of a level."""
MOST = 1 << 28
"""Bytes that each thread reads at most, to measure the memory."""
RATED = (DType.F32, DType.U8, DType.BF16)
"""The kinds of arithmetic whose rates differ; see :func:`nnefc.codegen.cost.flops_by_kind`."""
RUNS = 9
"""Of which the fastest counts: a peak is what can be reached."""


@dataclass(frozen=True)
class Level:
    """A cache, or the memory, as all threads see it together: the bytes that it holds (the memory: 0, without limit)
    and the GB/s at which they are read, by each thread from a part of its own."""

    name: str
    size: int
    bandwidth: float


@dataclass(frozen=True)
class Peaks:
    """What ``threads`` threads reach together: single-precision GFLOP/s, the levels of memory from the nearest,
    10**9 operations a second on products of 8-bit codes that are added up in integers, and GFLOP/s of products of BF16
    that are added up in pairs."""

    threads: int
    gflops: float
    levels: tuple[Level, ...]
    gops: float
    bf16_gflops: float

    def rate(self, kind: DType) -> float:
        """10**9 operations a second of a kind of RATED."""
        return {DType.F32: self.gflops, DType.U8: self.gops, DType.BF16: self.bf16_gflops}[kind]

    def level(self, size: int) -> Level:
        """The nearest level that holds ``size`` bytes."""
        return next((v for v in self.levels[:-1] if size <= v.size), self.levels[-1])

    def seconds(self, flops: float, size: int) -> float:
        """The least time for so much arithmetic on ``size`` bytes, each read or written once."""
        return max(flops / self.gflops, size / self.level(size).bandwidth) * 1e-9


def cache_sizes() -> dict[str, int]:
    """Bytes of the data caches that the first CPU uses, by name."""
    found = dict(SIZES)
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K") and f"L{level}" in found:
            found[f"L{level}"] = int(size[:-1]) << 10
    return found


@functools.cache
def measure(threads: int) -> Peaks:
    """The peaks of this machine with so many threads. Takes about a second, more where kernels must be compiled first.

    Raises UnsupportedError where no code can be made for this CPU."""
    target, sizes = Target.host(), cache_sizes()
    lanes, many = target.lanes(DType.F32), target.vector_registers >= 32
    arithmetic = [PeakKernel(4, 4 if many else 2, lanes, False, kind) for kind in RATED]
    reading = PeakKernel(1, 8, lanes, True)
    own = (sizes["L1"], sizes["L2"], sizes["L3"] // threads)  # of each thread
    ranges = (own[0] // 2, own[1] // 2, max(2 * own[1], own[2] // 4), min(4 * own[2], MOST))
    vectors = [_launch(spec, 1, STEPS, 0, threads) for spec in arithmetic]
    for size in ranges:
        steps = size // (4 * reading.cols * lanes)
        vectors.append(_launch(reading, max(1, READ // size), steps, steps * reading.cols * lanes, threads))
    seconds = _best(vectors, ranges[-1] * threads, target)
    done = [threads * v.geometry[0] * v.geometry[1] * lanes * 1e-9 / t for v, t in zip(vectors, seconds, strict=True)]
    rates = [2 * s.rows * s.cols * s.group * n for s, n in zip(arithmetic, done, strict=False)]
    speeds = [4 * reading.cols * n for n in done[len(rates) :]]
    held = (threads * sizes["L1"], threads * sizes["L2"], sizes["L3"], 0)
    names = ("L1", "L2", "L3", "memory")
    return Peaks(threads, rates[0], tuple(map(Level, names, held, speeds)), rates[1], rates[2])


def _launch(spec: PeakKernel, passes: int, steps: int, apart: int, threads: int) -> Launch:
    """A unit for each thread, ``apart`` elements from each other."""
    pointers = (Pointer(Space.WEIGHTS), Pointer(Space.WEIGHTS), Pointer(Space.ARENA))
    return Launch(spec, pointers, spec.geometry(passes, steps, apart), threads)


def _best(work: list[Launch], size: int, target: Target) -> list[float]:
    """The seconds of the fastest of RUNS runs of each launch, over ``size`` bytes of ones."""
    threads = work[0].units
    data = np.ones(size // 4, np.float32).view(np.uint8)
    arena = max(launch.geometry[3] for launch in work) * 4 * threads
    plan = LaunchPlan(tuple(work), Weights.of(data), arena, 0, size, threads > 1)
    kernels = compile_kernels(plan.specs(), target)
    unused = [("unused", TensorType(DType.F32, (1,)))]
    model = load_artefact(with_ticks(assemble("peaks", [(plan, [], unused)], kernels, target)), threads)
    best: list[float] = []
    for _ in range(RUNS):
        start = time.perf_counter()
        ticks = model()[-1]
        scale = (time.perf_counter() - start) / (ticks[-1] - ticks[0])
        taken = (np.diff(ticks) * scale).tolist()
        best = list(map(min, best, taken)) if best else taken
    return best
