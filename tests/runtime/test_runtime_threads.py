"""Workers under real conditions: more threads than cores, a busy machine, concurrent callers, fork, exit, disposal."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from toy_models import counter, picky, ring, waiting

from nnefc.codegen.artefact import Artefact, load_artefact, write_package
from nnefc.runtime import Model

N, ROUNDS = 1000, 20


@pytest.fixture(scope="module")
def artefact() -> Artefact:
    return ring(n=N, rounds=ROUNDS)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, artefact: Artefact) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_package(artefact, folder / "ring")
    write_package(counter(), folder / "counter")
    return folder


def check(model: Model, seed: int, calls: int = 1) -> None:
    x = np.random.default_rng(seed).standard_normal(N).astype(np.float32)
    for i in range(calls):
        np.testing.assert_array_equal(model(x + np.float32(i)), np.roll(x + np.float32(i), -ROUNDS))


def workers(name: str = "ring") -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(f"{name}-")]


@contextmanager
def busy_machine(processes: int = 2) -> Iterator[None]:
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.parametrize("threads", [2, 4, 9])
def test_any_number_of_threads(artefact: Artefact, threads: int) -> None:
    model = load_artefact(artefact, threads=threads)
    check(model, threads, calls=100)
    assert model._pool is not None and model._pool.threads == threads
    assert len(workers()) >= threads - 1


def test_oversubscribed_on_a_busy_machine(artefact: Artefact) -> None:
    model = load_artefact(artefact, threads=4)
    with busy_machine():
        check(model, 1, calls=100)


def test_many_more_threads_than_cores_do_not_spin_the_time_away() -> None:
    """Spinning at each of the barriers for as long as on a free machine would take seconds a call."""
    model = load_artefact(ring("crowd", N, 400), threads=64)
    x = np.arange(N, dtype=np.float32)
    times = []
    for _ in range(4):
        start = time.monotonic()
        np.testing.assert_array_equal(model(x), np.roll(x, -400))
        times.append(time.monotonic() - start)
    assert min(times) < 1.2


def test_a_wait_for_a_long_serial_kernel_blocks() -> None:
    model = load_artefact(waiting(n := 10_000_000), threads=2)
    x = np.ones(n, np.float32)
    model(x)
    cpu, start = time.process_time(), time.monotonic()
    for _ in range(5):
        model(x)
    assert time.process_time() - cpu < 1.6 * (time.monotonic() - start)


def test_workers_sleep_between_calls(artefact: Artefact) -> None:
    model = load_artefact(artefact, threads=4)
    check(model, 2)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.05
    check(model, 3)


def test_concurrent_callers(artefact: Artefact) -> None:
    model = load_artefact(artefact, threads=2)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: check(model, seed, calls=50), range(16)))
    assert len(model._calls.idle) <= 8


def test_concurrent_callers_with_state_take_turns() -> None:
    model = load_artefact(counter(), threads=2)
    one = np.ones(1, np.float32)
    with ThreadPoolExecutor(6) as pool:
        seen = sorted(pool.map(lambda _: float(model(one)[0]), range(300)))
    assert seen == [10.0 + i for i in range(300)]


def test_errors_do_not_reach_concurrent_calls() -> None:
    model = load_artefact(picky(), threads=2)
    x, good, bad = np.ones(32, np.float32), np.zeros(32, np.int64), np.full(32, 10)

    def one(i: int) -> bool:
        try:
            model(x, bad if i % 2 else good)
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(400))) == [i % 2 == 0 for i in range(400)]


def test_threads_change_while_others_call(artefact: Artefact) -> None:
    model = load_artefact(artefact, threads=3)
    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(check, model, seed, 150) for seed in range(3)]
        for count in (1, 2, 4, 1, 3, 2):
            model.threads = count
            time.sleep(0.01)
        for future in done:
            future.result()


def test_fewer_threads_where_the_system_starts_no_more(artefact: Artefact, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def limited(self: threading.Thread) -> None:
        if self.name in ("ring-2", "ring-3"):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    model = load_artefact(artefact, threads=4)
    check(model, 4, calls=5)
    assert model._pool is not None and model._pool.threads == 2


def test_a_dropped_model_ends_its_workers() -> None:
    model = load_artefact(ring("dropped", N, ROUNDS), threads=4)
    check(model, 5)
    assert len(workers("dropped")) == 3
    del model
    gc.collect()
    deadline = time.monotonic() + 5
    while workers("dropped") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not workers("dropped")


def test_a_signal_handler_may_call_the_model() -> None:
    model = load_artefact(counter(), threads=2)
    one, seen = np.ones(1, np.float32), []
    old = signal.signal(signal.SIGALRM, lambda *_: seen.append(model(one)[0]))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            model(one)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert len(seen) > 10 and len(set(seen)) == len(seen)


def in_child(action: object) -> int:
    """Runs ``action()`` in a fork of this process; its exit code, 0 if it returned, -9 if it hung for 20 seconds."""
    pid = os.fork()
    if pid == 0:
        try:
            action()  # type: ignore[operator]
            os._exit(0)
        finally:
            os._exit(1)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_fork(artefact: Artefact) -> None:
    model = load_artefact(artefact, threads=3)
    check(model, 6)

    def child() -> None:
        assert model._pool is None
        check(model, 7, calls=20)
        assert model._pool is not None and model._pool.threads == 3

    assert in_child(child) == 0
    check(model, 8, calls=20)
    assert in_child(lambda: (check(model, 9), os._exit(in_child(child)))) == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_fork_while_other_threads_call() -> None:
    model = load_artefact(counter(), threads=2)
    one, stop = np.ones(1, np.float32), threading.Event()

    def call() -> None:
        while not stop.is_set():
            model(one)

    def child() -> None:
        first = model(one)[0]
        assert first >= 10 and model(one)[0] == first + 1

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        assert [in_child(child) for _ in range(20)] == [0] * 20
    finally:
        stop.set()
        for caller in callers:
            caller.join()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_multiprocessing_by_fork(artefact: Artefact) -> None:
    model = load_artefact(artefact, threads=2)
    check(model, 10)
    process = multiprocessing.get_context("fork").Process(target=check, args=(model, 11, 10))
    process.start()
    process.join(20)
    assert process.exitcode == 0


def run_script(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script)],
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


EXITS = {
    "with idle workers": "y = ring(x); print('end')",
    "by exception": "y = ring(x); print('end'); raise SystemExit(0)",
    "with a daemon thread calling": """
        import threading
        def forever():
            while True: ring(x)
        for _ in range(3): threading.Thread(target=forever, daemon=True).start()
        import time; time.sleep(0.2); print('end')""",
    "with a thread that outlives the main one": """
        import threading, time
        def later():
            time.sleep(0.3)
            assert ring(x)[0] == 20
            print('end')
        ring(x)
        threading.Thread(target=later).start()""",
}


@pytest.mark.parametrize("script", EXITS.values(), ids=EXITS.keys())
def test_exit(package: Path, script: str) -> None:
    head = """
import atexit, threading, numpy as np
@atexit.register
def last():
    ring(x)
    print([t.name for t in threading.enumerate() if t.name.startswith("ring-")])
import ring
x = np.arange(1000, dtype=np.float32)
ring.model.threads = 3
"""
    start = time.monotonic()
    done = run_script(package, head + textwrap.dedent(script))
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n[]\n", "")
    assert time.monotonic() - start < 20


def test_two_packages_in_one_process(package: Path) -> None:
    script = """
    import numpy as np, ring, counter
    ring.model.threads = counter.model.threads = 2
    x = np.arange(1000, dtype=np.float32)
    for i in range(50):
        assert counter(np.ones(1, np.float32))[0] == 10 + i
        assert np.array_equal(ring(x), np.roll(x, -20))
    counter.model.reset()
    assert counter(np.ones(1, np.float32))[0] == 10
    print("end")
    """
    done = run_script(package, script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
