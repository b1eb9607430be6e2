"""The Python side of threads: it starts the workers, which then live in native code until the pool is closed."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from .memory import aligned

SLOT_BYTES = 128
"""Bytes of a pool per thread."""

_WORKER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32)
_STOP = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)


class Pool:
    """Worker threads ``1 .. threads - 1`` of a model; thread 0 is whoever calls.

    ``threads`` is less than asked for where the system starts no more. ``code`` is kept alive by the workers.
    """

    def __init__(self, name: str, address: Callable[[str], int], code: object, threads: int):
        self._memory = aligned(SLOT_BYTES * threads)
        self._memory[:] = 0
        self.address = self._memory.ctypes.data
        self._stop = _STOP(address(f"{name}_stop"))
        self._workers: list[threading.Thread] = []
        worker = _WORKER(address(f"{name}_worker"))
        for tid in range(1, threads):
            arguments = (worker, self._memory, self.address, tid, code)
            thread = threading.Thread(target=_serve, args=arguments, name=f"{name}-{tid}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                break
            self._workers.append(thread)
        self.threads = 1 + len(self._workers)

    def close(self, wait: float) -> None:
        """End the workers, once no call is under way; ``wait`` is the most seconds spent waiting for that.

        Later calls on this pool run on their own thread.
        """
        deadline = time.monotonic() + wait
        while not self._stop(self.address, self.threads):
            if time.monotonic() >= deadline:
                return
            time.sleep(0.001)
        for thread in self._workers if wait else ():
            thread.join(max(0.0, deadline - time.monotonic()))


def _serve(worker: Any, memory: object, address: int, tid: int, code: object) -> None:
    """A worker's life. The frame holds the pool's memory and the machine code until native code has returned."""
    worker(address, tid)


def available_cpus() -> int:
    """How many CPUs this process may use, by its affinity and its control group's quota."""
    count = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return max(1, min(count, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return count
