"""The driver and the pool as code: how work is divided, what a call is checked for, every target, time to emit."""

from __future__ import annotations

import ctypes
import re
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from toy_models import ADD, SHIFT, affine, arena, ring, weights_of, x_in, y_out

from nnefc.codegen.artefact import load_artefact
from nnefc.codegen.driver import BAD_CALL, CALL_SIZE, GROUP, driver_text, emit_driver
from nnefc.codegen.objectfile import emit_object, load_objects, undefined_symbols
from nnefc.codegen.pool import POOL_SLOT_BYTES, SYNC_BYTES, SYSTEMS, emit_pool, pool_text
from nnefc.codegen.spec import Barrier, Launch, LaunchPlan, Pointer, Space, Step, Tick
from nnefc.codegen.target import Target
from nnefc.codegen.ticks import counter, with_ticks
from nnefc.codegen.weights import Weights
from nnefc.runtime import memory, pool
from nnefc.runtime.memory import Call

TRIPLES = [f"{arch}-unknown-linux-gnu" for arch in SYSTEMS]

# Notes begin and end of each call in row g[0] of a table (two int64 per row).
_TRACE = """
define void @trace(ptr %table, ptr %g, i64 %begin, i64 %end) {
  %row = load i64, ptr %g
  %at = mul i64 %row, 16
  %p = getelementptr i8, ptr %table, i64 %at
  %q = getelementptr i8, ptr %p, i64 8
  store i64 %begin, ptr %p
  store i64 %end, ptr %q
  ret void
}
"""


def plan(steps: list[Step], parallel: bool = True) -> LaunchPlan:
    return LaunchPlan(tuple(steps), Weights.of(weights_of()), 0, 0, 0, parallel)


def test_layouts_agree_with_the_runtime() -> None:
    assert ctypes.sizeof(Call) == CALL_SIZE
    assert SYNC_BYTES == memory.SYNC_BYTES
    assert POOL_SLOT_BYTES == pool.SLOT_BYTES


def traced(steps: list[Step], threads: int) -> np.ndarray:
    """The (begin, end) that each thread gives each step; -1 where it calls nothing. Threads run in turn, unhindered."""
    target = Target.host()
    text = driver_text([plan(steps)], {ADD: "trace"}, "t")
    nothing = "define void @t_barrier(ptr %s, i32 %n) {\n ret void\n}\n"
    handle = load_objects([emit_object(part, target, 1) for part in (text, _TRACE, nothing)])
    run = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32)(handle.address("t_run"))
    table = np.full((threads, len(steps), 2), -1, np.int64)
    sync = np.zeros(SYNC_BYTES, np.uint8)
    for tid in range(threads):
        output = (ctypes.c_void_p * 1)(table[tid].ctypes.data)
        call = Call(CALL_SIZE, None, ctypes.addressof(output), None, None, None, sync.ctypes.data)
        assert run(ctypes.addressof(call), tid, threads) == 0
    return table


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 64])
def test_parts_are_balanced_and_cover_the_units(threads: int) -> None:
    units = [1, 2, 3, 7, 8, 9, 63, 64, 65, 1000, 10**12 + 1]
    steps: list[Step] = [Launch(ADD, (y_out(),), (i,), u) for i, u in enumerate(units)]
    parts = traced(steps, threads)
    for i, u in enumerate(units):
        begun = [(b, e) for b, e in parts[:, i].tolist() if b >= 0]
        assert begun[0][0] == 0 and begun[-1][1] == u and len(begun) == min(u, threads)
        assert all(a[1] == b[0] for a, b in zip(begun, begun[1:], strict=False))
        lengths = [e - b for b, e in begun]
        assert max(lengths) - min(lengths) <= 1


def test_serial_and_empty_launches() -> None:
    steps: list[Step] = [
        Launch(ADD, (y_out(),), (0,), 10, serial=True),
        Launch(ADD, (y_out(),), (1,), 0),
        Launch(ADD, (y_out(),), (2,), 10),
    ]
    assert traced(steps, 2).tolist() == [[[0, 10], [-1, -1], [0, 5]], [[-1, -1], [-1, -1], [5, 10]]]


def test_no_threads_no_barrier() -> None:
    serial = plan([Launch(ADD, (y_out(),), (), 9), Barrier()], parallel=False)
    text = driver_text([serial], {ADD: "trace"}, "t")
    assert "barrier" not in text
    assert undefined_symbols(emit_object(text, Target.host())) == ("trace",)


def test_a_call_of_another_size_does_nothing() -> None:
    artefact = affine()
    handle = load_objects(artefact.objects("m"))
    run = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32)(handle.address("m_run"))
    small = Call(CALL_SIZE - 8)
    assert run(ctypes.addressof(small), 0, 1) == BAD_CALL


def test_a_caller_may_bring_its_own_threads() -> None:
    artefact, n, count = ring(rounds=50), 1000, 3
    handle = load_objects(artefact.objects("m"))
    run = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32)(handle.address("m_run"))
    x, y = np.arange(n, dtype=np.float32), np.empty(n, np.float32)
    space, sync = np.empty(artefact.plan.arena_size, np.uint8), np.zeros(SYNC_BYTES, np.uint8)
    inputs, outputs = (ctypes.c_void_p * 1)(x.ctypes.data), (ctypes.c_void_p * 1)(y.ctypes.data)
    weights = artefact.plan.weights.array().ctypes.data
    pointers = ctypes.addressof(inputs), ctypes.addressof(outputs), weights, None, space.ctypes.data, sync.ctypes.data
    call = Call(CALL_SIZE, *pointers)
    for _ in range(20):
        y[:] = -1
        threads = [threading.Thread(target=run, args=(ctypes.addressof(call), t, count)) for t in range(count)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        np.testing.assert_array_equal(y, np.roll(x, -50))


@pytest.mark.parametrize("triple", TRIPLES)
def test_every_target(triple: str) -> None:
    target = Target.parse(triple)
    launch = Launch(SHIFT, (x_in(), arena(64)), (3, 4), 7)
    steps: list[Step] = [launch, Barrier(), Tick(y_out(), counter(target)), Tick(y_out(), counter(target))]
    assert undefined_symbols(emit_driver([plan(steps)], {SHIFT: "k"}, "m", target)) == ("k", "m_barrier")
    assert undefined_symbols(emit_pool("m", target)) == ("m_run", "syscall")
    assert undefined_symbols(emit_pool("m", target, parallel=False)) == ("m_run",)


def test_the_futex_number_is_this_systems() -> None:
    system = SYSTEMS[Target.host().arch]
    libc = ctypes.CDLL(None, use_errno=True)
    word = ctypes.c_uint32(5)
    assert libc.syscall(ctypes.c_long(system.futex), ctypes.byref(word), 128, 4, None, None, 0) == -1
    assert ctypes.get_errno() == 11  # EAGAIN: the word does not hold the expected value
    assert f"i64 {system.futex}," in pool_text("m", Target.host())


def big_plan(launches: int) -> LaunchPlan:
    steps: list[Step] = []
    for i in range(launches):
        pointers = Pointer(Space.ARENA, 64 * i), Pointer(Space.WEIGHTS, 640 * i), y_out(), Pointer(Space.FLAG)
        steps += [Launch(ADD, pointers, tuple(range(i % 7, i % 7 + 12)), 17 + i, serial=i % 10 == 0), Barrier()]
    return plan(steps)


def cpu_seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def test_300_launches_emit_well_below_a_second() -> None:
    target, big = Target.host(), big_plan(300)
    assert min(cpu_seconds(lambda: emit_driver([big], {ADD: "k"}, "m", target)) for _ in range(3)) < 0.7


def test_equal_geometry_is_one_table() -> None:
    text = driver_text([big_plan(70)], {ADD: "k"}, "m")
    assert len(re.findall(r"^@\S+ = private unnamed_addr constant \[12 x i64\]", text, re.MULTILINE)) == 7


@pytest.mark.parametrize("threads", [1, 3])
def test_plans_of_several_groups(threads: int) -> None:
    model = load_artefact(ring(n=100, rounds=2 * GROUP + 1), threads=threads)
    x = np.arange(100, dtype=np.float32)
    np.testing.assert_array_equal(model(x), np.roll(x, -(2 * GROUP + 1)))


def test_ticks_rise_and_leave_the_results_alone() -> None:
    artefact = ring(rounds=20)
    x = np.arange(1000, dtype=np.float32)
    expected = load_artefact(artefact, 1)(x)
    for threads in (1, 3):
        y, ticks = load_artefact(with_ticks(artefact), threads)(x)
        np.testing.assert_array_equal(y, expected)
        assert ticks.shape == (21,) and (np.diff(ticks) > 0).all()
