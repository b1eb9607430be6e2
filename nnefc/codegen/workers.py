"""Compiling kernels: from the cache on disk, else in worker processes of our own, several at once.

Numba's settings and its compiler lock belong to a process, and a fault inside LLVM ends one. So Numba runs in child
processes: this one never imports it, and a user's own Numba does not notice. Workers start when a kernel is missing,
stay for the next ones, and end when idle, with this process, or when its end of their pipe closes.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import pickle
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from nnefc.codegen import cache as kernel_cache
from nnefc.codegen.objectfile import KernelObject
from nnefc.codegen.spec import KernelSpec
from nnefc.codegen.target import Target
from nnefc.codegen.worker import read_message, write_message
from nnefc.errors import NnefcError

PRUNED_AT = "00"
"""How the keys of new entries begin after which the cache is pruned: one of 256, as looking through it takes time."""

_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from nnefc.codegen.worker import main
main()
"""


class _Worker:
    """A child process that compiles; ``busy`` is the spec it works at."""

    def __init__(self) -> None:
        self.busy: KernelSpec | None = None
        self.messages = tempfile.TemporaryFile()  # noqa: SIM115
        folder = Path(__file__).parent
        paths = [os.path.abspath(p) for p in [*sys.path, folder.parent.parent] if isinstance(p, str | Path)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "LC_", "LANG"))}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, json.dumps(paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.messages,
            cwd=folder,
            env=environment,
        )
        self.requests = cast(BinaryIO, self.process.stdin)
        self.answers = cast(BinaryIO, self.process.stdout)

    def send(self, spec: KernelSpec, target: Target) -> None:
        """Ask for a kernel. That the worker has ended is noticed when the answer is read."""
        request = pickle.dumps((spec, target, kernel_cache.symbol(spec, target)), protocol=5)
        self.busy = spec
        with contextlib.suppress(BrokenPipeError):
            write_message(self.requests, request)

    def receive(self) -> KernelObject | None:
        """The kernel asked for, or None if the worker had ended of idleness just before.

        Raises NnefcError if the kernel cannot be compiled or the worker broke down over it.
        """
        try:
            answer = read_message(self.answers)
        except EOFError:
            if self.process.wait() == 0:
                return None
            raise self._broke_down() from None
        spec, self.busy = self.busy, None
        if answer[0] == "done":
            return cast(KernelObject, answer[1])
        raise (answer[1] or NnefcError)(f"the kernel {spec!r} cannot be compiled: {answer[2]}")

    def _broke_down(self) -> NnefcError:
        code = self.process.returncode
        how = f"by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"with status {code}"
        self.messages.seek(0)
        said = self.messages.read()[-2000:].decode(errors="replace").strip()
        return NnefcError(f"the compiler process ended {how} at the kernel {self.busy!r}: {said or 'it said nothing'}")

    def close(self, kill: bool = False) -> None:
        """End the process, which is idle unless it is to be killed."""
        if kill:
            self.process.kill()
        self.forget()
        self.process.wait()

    def forget(self) -> None:
        """Close this process's ends of the pipes."""
        for stream in (self.requests, self.answers, self.messages):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


class _Pool:
    """The idle workers of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.idle: list[_Worker] = []

    def take(self) -> _Worker:
        """An idle worker, or a new one."""
        while True:
            with self.lock:
                worker = self.idle.pop() if self.idle else None
            if worker is None:
                kernel_cache.sources()  # before the worker reads them: an entry may be newer than its key, never older
                return _Worker()
            if worker.process.poll() is None:
                return worker
            worker.close()

    def give(self, worker: _Worker) -> None:
        """Keep a worker that is not busy for later."""
        with self.lock:
            self.idle.append(worker)

    def close(self) -> None:
        """End the idle workers."""
        with self.lock:
            workers, self.idle = self.idle, []
        for worker in workers:
            worker.close()

    def forget(self) -> None:
        """In a forked child: the workers are the parent's."""
        for worker in self.idle:
            worker.forget()
            worker.process.returncode = 0
        self.lock, self.idle = threading.Lock(), []


_pool = _Pool()
atexit.register(_pool.close)
os.register_at_fork(after_in_child=_pool.forget)


def warm_up(count: int = 1) -> None:
    """Start workers, without waiting, so that at least ``count`` are ready or getting ready."""
    for worker in [_pool.take() for _ in range(count)]:
        _pool.give(worker)


def compile_kernels(
    specs: Sequence[KernelSpec],
    target: Target,
    *,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: bool | Path = True,
) -> dict[KernelSpec, KernelObject]:
    """The objects of kernels, for a target, in the order of ``specs``.

    ``jobs`` is how many processes work at once (default: the CPUs this process may use), ``progress`` is told how many
    of how many kernels are there, ``cache`` is a folder, or True for the user's. Raises NnefcError, or the class of it
    that the kernel raised, naming the kernel.
    """
    wanted = list(dict.fromkeys(specs))
    store = kernel_cache.KernelCache(kernel_cache.default_directory() if cache is True else cache) if cache else None
    keys = {spec: kernel_cache.key(spec, target) for spec in wanted} if store else {}
    done: dict[KernelSpec, KernelObject] = {}
    if store:
        done = {spec: kernel for spec in wanted if (kernel := store.get(keys[spec])) is not None}
    report = progress or (lambda count, total: None)
    report(len(done), len(wanted))
    missing = deque(spec for spec in wanted if spec not in done)

    def finish(spec: KernelSpec, kernel: KernelObject) -> None:
        done[spec] = kernel
        if store:
            store.put(keys[spec], kernel)
        report(len(done), len(wanted))

    if missing:
        new = list(missing)
        _compile(missing, target, jobs or len(os.sched_getaffinity(0)), finish)
        if store and any(keys[spec].startswith(PRUNED_AT) for spec in new):
            store.prune()
    return {spec: done[spec] for spec in wanted}


def _compile(
    missing: deque[KernelSpec], target: Target, jobs: int, finish: Callable[[KernelSpec, KernelObject], None]
) -> None:
    """Compile what is missing with up to ``jobs`` workers; each gets its next kernel when it has done one."""
    active: set[_Worker] = set()
    with selectors.DefaultSelector() as selector:
        try:
            while missing or active:
                while missing and len(active) < jobs:
                    worker = _pool.take()
                    active.add(worker)
                    worker.send(missing.popleft(), target)
                    selector.register(worker.answers, selectors.EVENT_READ, worker)
                for ready, _ in selector.select():
                    worker, spec = ready.data, ready.data.busy
                    kernel = worker.receive()
                    if kernel is not None and missing:
                        worker.send(missing.popleft(), target)
                        finish(spec, kernel)
                        continue
                    selector.unregister(worker.answers)
                    active.remove(worker)
                    if kernel is not None:
                        _pool.give(worker)
                        finish(spec, kernel)
                    else:
                        worker.close()
                        missing.append(spec)
        finally:
            for worker in active:
                worker.close(kill=True)
