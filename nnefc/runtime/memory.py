"""The memory of a call: arena, pointers to inputs and outputs, and the structure that native code reads."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

ALIGNMENT = 64
"""Bytes that arenas, weights and state are aligned to. Inputs and outputs are aligned to their elements."""

SYNC_BYTES = 192
"""Bytes of ``nnefc_sync``, all zero before the first call."""

STAGED_BYTES = 4096
"""Up to this size an array is copied to or from memory of the call: that costs less than asking where it lies."""


class Port(NamedTuple):
    """An input or output of a model."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The size of the array in bytes."""
        size = self.dtype.itemsize
        for extent in self.shape:
            size *= extent
        return size

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


class Entry(NamedTuple):
    """A set of shapes that a model was compiled for, the bytes of its arena, and how many threads can share its work.

    The entries of a model have inputs and outputs of the same names and element types.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arena_size: int
    max_threads: int

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the inputs, by which an entry is known."""
        return tuple(port.shape for port in self.inputs)

    def __str__(self) -> str:
        return " -> ".join(f"({', '.join(map(str, side))})" for side in (self.inputs, self.outputs))


class Call(ctypes.Structure):
    """``nnefc_call``: what ``NAME_run`` works on. A bare pointer array stands for inputs and for outputs."""

    _fields_ = [
        ("size", ctypes.c_uint64),
        *((name, ctypes.c_void_p) for name in ("inputs", "outputs", "weights", "state", "arena", "sync")),
        ("entry", ctypes.c_uint64),
    ]


HUGE_BYTES = 1 << 21
"""Bytes of a huge page. Memory of at least this size asks for such pages: with ordinary ones, finding where they lie
takes as long as reading them."""


class Request(ctypes.Structure):
    """What ``NAME_call`` works on: a call, the pool that it may use, and on how many threads."""

    _fields_ = [("pool", ctypes.c_void_p), ("call", ctypes.c_void_p), ("threads", ctypes.c_int32)]


def aligned(nbytes: int) -> np.ndarray:
    """``nbytes`` bytes (uint8, of no certain content) that begin at a multiple of ALIGNMENT; in huge pages where they
    fill one and the system has them."""
    alignment = ALIGNMENT if nbytes < HUGE_BYTES else HUGE_BYTES
    block = np.empty(nbytes + alignment, np.uint8) if nbytes < HUGE_BYTES else _pages(nbytes + alignment)
    start = -block.ctypes.data % alignment
    return block[start:][:nbytes]  # in two steps, since an empty slice begins where its array does


def _pages(nbytes: int) -> np.ndarray:
    """At least ``nbytes`` bytes of the system's, in whole huge pages if it has such. Raises MemoryError."""
    size = -(-nbytes // HUGE_BYTES) * HUGE_BYTES
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as e:
        raise MemoryError(f"the system gives no {size} bytes of memory: {e.strerror}") from e
    with contextlib.suppress(OSError):  # a system without them
        pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, np.uint8)


LARGE_BYTES = 1 << 28
"""What takes no more is allocated without asking how much the system has."""


def available_memory() -> int:
    """Bytes that this process could still take without disturbing others, as the system estimates them."""
    numbers = {}
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            name, _, rest = line.partition(":")
            numbers[name] = int(rest.split()[0]) * 1024
    free = numbers.get("MemAvailable", 0) + numbers.get("SwapFree", 0)
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as most:
            limit = most.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as now:
            used = int(now.read())
    except OSError:
        return free
    return free if limit == "max" else min(free, max(0, int(limit) - used))


def require_memory(nbytes: int, purpose: str) -> None:
    """Raise MemoryError, naming ``purpose``, if ``nbytes`` bytes are more than the system has."""
    if nbytes > LARGE_BYTES and nbytes > (available := available_memory()):
        raise MemoryError(f"{purpose} takes {nbytes} bytes of memory; {available} are available")


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two C-contiguous arrays share memory."""
    return bool(np.may_share_memory(a, b))


_ARRAY = np.ndarray
_first_byte: Callable[[Any], ctypes.c_char] = ctypes.c_char.from_buffer


def _address(array: np.ndarray) -> int:
    """Where an array begins. Through the buffer protocol that takes a third of the time, where the array may be
    written to and NumPy lends its memory."""
    try:
        return ctypes.addressof(_first_byte(array))
    except (TypeError, ValueError, BufferError):
        return array.ctypes.data


class Operand:
    """One input or output of one slot: where its pointer is stored, and its staging array if it is small."""

    __slots__ = ("dtype", "index", "pointers", "port", "shape", "stage")

    def __init__(self, port: Port, pointers: Any, index: int):
        self.port, self.dtype, self.shape = port, port.dtype, port.shape
        self.pointers, self.index = pointers, index
        self.stage = np.empty(port.shape, port.dtype) if port.nbytes <= STAGED_BYTES else None
        if self.stage is not None:
            pointers[index] = _address(self.stage)

    def load(self, array: np.ndarray) -> np.ndarray | None:
        """Make ``array`` the input. Returns what must stay alive during the call; raises as :func:`checked` does."""
        if type(array) is not _ARRAY or array.dtype is not self.dtype or array.shape != self.shape:
            array = checked(array, self.port, "input")
        if self.stage is not None:
            self.stage[...] = array
            return None
        flags = array.flags
        if not (flags.c_contiguous and flags.aligned):
            array = array.copy(order="C")
        self.pointers[self.index] = _address(array)
        return array

    def prepare(self, out: np.ndarray | None) -> np.ndarray | None:
        """Where the output will be written: ``out``, a new array, or (None) the staging array."""
        if self.stage is not None:
            return out
        array = np.empty(self.shape, self.dtype) if out is None else out
        self.pointers[self.index] = _address(array)
        return array

    def store(self, array: np.ndarray | None) -> np.ndarray:
        """The finished output; ``array`` is what :meth:`prepare` returned."""
        stage = self.stage
        if stage is None:
            assert array is not None
            return array
        if array is None:
            return stage.copy()
        array[...] = stage
        return array


def checked(value: object, port: Port, role: str) -> np.ndarray:
    """``value`` as a plain array of the port's dtype and shape.

    Raises TypeError for what is no array (or NumPy scalar) or has another dtype, ValueError for another shape.
    """
    if not isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(f"{role} {port.name!r} must be a NumPy array, not {type(value).__name__}")
    array = np.asarray(value)
    if array.dtype != port.dtype:
        raise TypeError(f"{role} {port.name!r} must have dtype {port.dtype}, not {array.dtype}")
    if array.shape != port.shape:
        raise ValueError(f"{role} {port.name!r} must have shape {port.shape}, not {array.shape}")
    return array


class Slot:
    """Everything that one call needs for itself; a model keeps finished ones for its next calls."""

    __slots__ = (
        "_memory",
        "_pool",
        "_request",
        "inputs",
        "max_threads",
        "outputs",
        "request",
        "stage",
        "staged",
        "team",
    )

    def __init__(self, entry: Entry, number: int, weights: int, state: int):
        """``number`` is that of the entry in its model; ``weights`` and ``state`` are addresses."""
        arena, sync = aligned(entry.arena_size), aligned(SYNC_BYTES)
        sync[:] = 0
        sources = (ctypes.c_void_p * max(1, len(entry.inputs)))()
        results = (ctypes.c_void_p * max(1, len(entry.outputs)))()
        call = Call(
            ctypes.sizeof(Call),
            ctypes.addressof(sources),
            ctypes.addressof(results),
            weights,
            state,
            _address(arena),
            _address(sync),
            number,
        )
        self.inputs = [Operand(port, sources, i) for i, port in enumerate(entry.inputs)]
        self.outputs = [Operand(port, results, i) for i, port in enumerate(entry.outputs)]
        single = len(entry.inputs) == 1 and self.inputs[0].stage is not None
        self.staged = self.inputs[0] if single else None
        self.stage = self.outputs[0].stage if len(entry.outputs) == 1 else None
        self.max_threads = entry.max_threads
        self._memory = call, arena, sync
        self._request = Request(None, ctypes.addressof(call), 1)
        self.request = ctypes.addressof(self._request)
        self.team: object = None
        self._pool: Any = None

    def load(self, arrays: tuple[Any, ...]) -> list[np.ndarray | None]:
        """Make ``arrays`` the inputs. Returns what must stay alive during the call; raises as :func:`checked` does."""
        return [operand.load(array) for operand, array in zip(self.inputs, arrays, strict=True)]

    def prepare(self) -> list[np.ndarray | None]:
        """Where the outputs will be written, the caller giving no place: see :meth:`Operand.prepare`."""
        return [operand.prepare(None) for operand in self.outputs]

    def join(self, team: object, pool: Any) -> None:
        """Run calls on the threads of ``pool``, or without one on the caller's; ``team`` is the mark of that choice."""
        self._pool = pool
        self._request.pool = pool.address if pool is not None else None
        self._request.threads = min(pool.threads, self.max_threads) if pool is not None else 1
        self.team = team
