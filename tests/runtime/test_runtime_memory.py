"""Memory is asked for before it is taken."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from toy_models import ring

import nnefc
from nnefc.codegen.artefact import load_artefact
from nnefc.formats.nnef import parse_graph
from nnefc.runtime import memory, model

HUGE = """version 1.0;
graph G(x) -> (y)
{
    x = external<scalar>(shape = [1,1,1,1]);
    t = tile(x, repeats = [1,1,65536,65536]);
    s = softmax(t, axes = [2]);
    y = sum_reduce(s, axes = [2,3]);
}
"""


def test_available_memory_is_less_than_the_machine_has() -> None:
    with open("/proc/meminfo", encoding="ascii") as file:
        total = int(file.readline().split()[1]) * 1024
    assert 0 < memory.available_memory() < total + (1 << 40)


def test_what_is_there_is_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 1 << 30)
    memory.require_memory(1 << 30, "it")
    with pytest.raises(MemoryError, match=f"it takes {(1 << 30) + 1} bytes of memory; {1 << 30} are available"):
        memory.require_memory((1 << 30) + 1, "it")


def test_a_call_that_needs_more_than_there_is_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nnefc.compile(parse_graph(HUGE))
    monkeypatch.setattr(memory, "available_memory", lambda: 1 << 30)
    with pytest.raises(MemoryError, match="a call of G takes"):
        network(np.ones((1, 1, 1, 1), np.float32))
    with pytest.raises(MemoryError, match="a call of G takes"):
        network.require_memory()


def test_many_outputs_of_like_names_are_told_apart_quickly() -> None:
    ports = tuple(memory.Port(f"{'_' * (k % 900)}a{'_2' * (k // 900)}", np.dtype("f4"), (1,)) for k in range(4500))
    start = time.process_time()
    fields = model._result_type("m", ports)._fields
    assert len(set(fields)) == 4500
    assert time.process_time() - start < 5


@pytest.mark.parametrize("size", [0, 1, 64, memory.HUGE_BYTES - 1, memory.HUGE_BYTES, 5 * memory.HUGE_BYTES + 3])
def test_aligned_memory(size: int) -> None:
    block = memory.aligned(size)
    huge = size >= memory.HUGE_BYTES
    assert block.shape == (size,) and block.dtype == np.uint8 and block.flags.writeable
    assert block.ctypes.data % (memory.HUGE_BYTES if huge else memory.ALIGNMENT) == 0
    block[:] = 7
    assert block.sum(dtype=np.int64) == 7 * size


def test_what_the_system_refuses_is_a_memory_error() -> None:
    with pytest.raises(MemoryError, match="the system gives no"):
        memory.aligned(1 << 60)


def test_an_arena_is_given_back() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1])

    before = resident()
    for _ in range(20):
        memory.aligned(10 * memory.HUGE_BYTES)[:] = 1
    assert (resident() - before) * 4096 < 60 * memory.HUGE_BYTES


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n", [100, 20_000], ids=["staged", "in place"])
def test_memory_is_flat_over_100_000_calls(n: int, threads: int) -> None:
    """Python counts its objects, the system this process's pages; a leak of one object a call would show in both."""
    called = load_artefact(ring("flat", n, rounds=2 if n < 1000 else 1), threads=threads)
    x = np.zeros(n, np.float32)
    calls = 100_000 if n < 1000 and threads == 1 else 10_000

    def run(count: int) -> tuple[int, int]:
        for _ in range(count):
            called(x)
        with open("/proc/self/statm") as file:
            return sys.getallocatedblocks(), int(file.read().split()[1])

    before = run(1000)
    after = run(calls)
    assert after[0] - before[0] < 200
    assert (after[1] - before[1]) * 4096 < 1 << 20
