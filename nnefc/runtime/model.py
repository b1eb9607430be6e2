"""A compiled model as a Python callable, whether its code lies in this process or in a package's library."""

from __future__ import annotations

import atexit
import collections
import ctypes
import keyword
import os
import re
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .memory import ALIGNMENT, Entry, Operand, Port, Slot, aligned, checked, overlap, require_memory
from .pool import Pool, available_cpus

ERRORS = {1: "an index, read from an index tensor, is out of range"}
"""What the codes mean that kernels store in the error word. Other codes are reported by number."""

_CALL = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
_EXIT_WAIT = 1.0
_IDLE_SLOTS = 8
_LISTED_ENTRIES = 16


class Code(NamedTuple):
    """A compiled model: its machine code, its constants and the memory that it asks for (sizes in bytes).

    ``weights`` is uint8 and begins at a multiple of ALIGNMENT; the initial state is its ``state_size`` bytes from
    ``state_init`` on. ``address`` gives a symbol's address, which holds as long as ``owner`` lives.
    """

    name: str
    entries: tuple[Entry, ...]
    weights: np.ndarray
    state_size: int
    state_init: int
    address: Callable[[str], int]
    owner: object

    @property
    def max_threads(self) -> int:
        """How many threads can share the work."""
        return max(entry.max_threads for entry in self.entries)


class _Calls:
    """The calls of one entry: the memory of those that are finished waits for the next."""

    __slots__ = ("entry", "idle", "number")

    def __init__(self, entry: Entry, number: int):
        self.entry, self.number = entry, number
        self.idle: list[Slot] = []


class Model:
    """A compiled model. ``model(x)``, ``model(name=x)`` and ``model(x, out=y)`` run it.

    One output gives an array, several a named tuple. Several Python threads may call a model at once; where it keeps
    state, their calls take turns. The results are the same for any number of threads. ``entries`` are the sets of
    shapes that it was compiled for, of which a call takes the one that its inputs have; ``inputs`` and ``outputs`` are
    those of the first.
    """

    def __init__(self, code: Code, threads: int | None = None):
        """``threads`` is how many a call may use at most; by default as many as CPUs are available."""
        self._code = code
        self.name = code.name
        self.entries = code.entries
        self.inputs = code.entries[0].inputs
        self.outputs = code.entries[0].outputs
        self._call = _CALL(code.address(f"{code.name}_call"))
        self._arity = len(self.inputs)
        self._state = aligned(code.state_size)
        self._stateful = code.state_size > 0
        calls = {entry.shapes: _Calls(entry, k) for k, entry in enumerate(code.entries)}
        self._calls = calls[self.entries[0].shapes] if len(calls) == 1 else None
        self._by_shapes = calls
        self._result = _result_type(code.name, self.outputs) if len(self.outputs) > 1 else None
        self._renew_locks()
        self._pool: Pool | None = None
        self._team = object()  # another one whenever threads start, end or are counted anew
        self._closer: weakref.finalize[Any, Model] | None = None
        self.threads = threads
        self.reset()
        _models.add(self)

    def __call__(self, /, *arrays: np.ndarray, out: Any = None, **named: np.ndarray) -> Any:
        """Run the model on inputs by position, by name, or both.

        ``out`` is an array to write a single output to, or a dict of arrays by output name; those arrays are returned.
        They must be C-contiguous, aligned and writable, and overlap neither inputs nor each other. Raises TypeError or
        ValueError for wrong arguments (among them inputs of shapes that no entry has) before anything runs, and
        ValueError for data that the model cannot work on, such as an index out of range (the state is then what the run
        made of it: ``reset`` it), and MemoryError if a call takes more memory than the system has.
        """
        if named or len(arrays) != self._arity:
            arrays = self._bind(arrays, named)
        calls = self._calls or self._calls_of(arrays)
        try:
            slot = calls.idle.pop()
        except IndexError:
            slot = self._new_slot(calls)
        try:
            staged = slot.staged
            held = slot.load(arrays) if staged is None else staged.load(arrays[0])  # lives while native code runs
            stage = slot.stage if out is None else None
            if stage is None:
                targets = slot.prepare() if out is None else self._targets(slot.outputs, out, arrays)
            if slot.team is not self._team:
                self._join(slot)
            if self._stateful:
                with self._turn:
                    status = self._call(slot.request)
            else:
                status = self._call(slot.request)
            if status:
                raise ValueError(f"{self.name}: {ERRORS.get(status, f'native code reports error {status}')}")
            del held
            if stage is not None:
                return stage.copy()
            if self._result is None:
                return slot.outputs[0].store(targets[0])
            return self._result(*[operand.store(y) for operand, y in zip(slot.outputs, targets, strict=True)])
        finally:
            if len(calls.idle) < _IDLE_SLOTS:
                calls.idle.append(slot)

    def __repr__(self) -> str:
        return f"<model {self.name}{' or '.join(map(str, self.entries))}>"

    def reset(self) -> None:
        """Give the variables that the model updates their initial values again."""
        code = self._code
        with self._turn:
            self._state[:] = code.weights[code.state_init : code.state_init + code.state_size]

    @property
    def threads(self) -> int:
        """How many threads a call may use: what was set, but no more than can share the work."""
        return self._threads

    @threads.setter
    def threads(self, count: int | None) -> None:
        count = available_cpus() if count is None else count
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"threads must be a positive number, not {count!r}")
        with self._starting:
            self._threads = min(count, max(1, self._code.max_threads))
            old = self._drop_pool()
        if old is not None:
            old.close(_EXIT_WAIT)

    def _join(self, slot: Slot) -> None:
        """Let the calls of a slot use the threads that there are now."""
        team = self._team
        alone = self._threads == 1 or slot.max_threads == 1
        slot.join(team, None if alone else self._pool or self._start_pool())

    def _start_pool(self) -> Pool:
        with self._starting:
            if self._pool is None:
                code = self._code
                pool = Pool(code.name, code.address, code.owner, self._threads)
                self._closer = weakref.finalize(self, pool.close, 0.0)
                self._closer.atexit = False
                self._pool = pool
            return self._pool

    def _drop_pool(self) -> Pool | None:
        """Forget the pool, which the caller then closes, or which has no threads any more."""
        pool, self._pool = self._pool, None
        self._team = object()
        if self._closer is not None:
            self._closer.detach()
            self._closer = None
        return pool

    def _renew_locks(self) -> None:
        # Re-entrant, because a signal handler may call the model while its own thread is in a call.
        self._turn = threading.RLock()
        self._starting = threading.RLock()

    def _after_fork(self) -> None:
        """Of the parent's threads only the caller of fork lives on: none holds a lock, none works in the pool.

        A state that another thread was changing at that moment starts anew.
        """
        torn = not self._turn.acquire(blocking=False)
        self._renew_locks()
        self._drop_pool()
        if torn:
            self.reset()

    def require_memory(self, entry: int = 0) -> None:
        """Raise MemoryError if a call of an entry, with its inputs and outputs, takes more memory than the system
        has."""
        found = self.entries[entry]
        ports = sum(port.nbytes for port in found.inputs + found.outputs)
        require_memory(found.arena_size + ports, f"a call of {self.name}")

    def _new_slot(self, calls: _Calls) -> Slot:
        entry = calls.entry
        require_memory(entry.arena_size + sum(port.nbytes for port in entry.outputs), f"a call of {self.name}")
        weights = self._code.weights.ctypes.data
        assert weights % ALIGNMENT == 0
        return Slot(entry, calls.number, weights, self._state.ctypes.data)

    def _calls_of(self, arrays: tuple[Any, ...]) -> _Calls:
        """Those of the entry that inputs of these shapes belong to."""
        try:
            return self._by_shapes[tuple([x.shape for x in arrays])]
        except (AttributeError, KeyError, TypeError):
            raise self._unknown_shapes(arrays) from None

    def _unknown_shapes(self, arrays: tuple[Any, ...]) -> Exception:
        """A TypeError if one of the inputs is no array, else a ValueError that lists the entries."""
        for port, array in zip(self.inputs, arrays, strict=True):
            if not isinstance(array, (np.ndarray, np.generic)):
                return TypeError(f"input {port.name!r} must be a NumPy array, not {type(array).__name__}")
        names = [port.name for port in self.inputs]
        given = [tuple(array.shape) for array in arrays]
        known = [_shapes_text(names, entry.shapes) for entry in self.entries[:_LISTED_ENTRIES]]
        more = len(self.entries) - len(known)
        listed = "; ".join([*known, f"and {more} more"] if more else known)
        return ValueError(
            f"{self.name} was not compiled for inputs of the shapes {_shapes_text(names, given)}; it takes {listed}"
        )

    def _bind(self, arrays: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """All inputs in order. Raises TypeError for too many, unknown, repeated or missing ones."""
        names = [port.name for port in self.inputs]
        listed = ", ".join(names)
        if len(arrays) > len(names):
            raise TypeError(f"{self.name} takes {len(names)} inputs ({listed}), but {len(arrays)} were given")
        bound = dict(zip(names, arrays, strict=False))
        for name, array in named.items():
            if name not in names:
                raise TypeError(f"{self.name} has no input {name!r}; its inputs are {listed}")
            if name in bound:
                raise TypeError(f"input {name!r} of {self.name} was given twice")
            bound[name] = array
        missing = [name for name in names if name not in bound]
        if missing:
            raise TypeError(f"{self.name} needs the inputs {listed}; missing: {', '.join(missing)}")
        return tuple(bound[name] for name in names)

    def _targets(self, operands: list[Operand], out: Any, arrays: tuple[Any, ...]) -> list[np.ndarray | None]:
        """Where to write each output, given the caller's ``out``."""
        if not isinstance(out, Mapping):
            if len(operands) != 1:
                raise TypeError(f"{self.name} has {len(operands)} outputs: out must be a dict of arrays by name")
            out = {operands[0].port.name: out}
        names = [operand.port.name for operand in operands]
        for name in out:
            if name not in names:
                raise TypeError(f"{self.name} has no output {name!r}; its outputs are {', '.join(names)}")
        taken = [(port.name, x) for port, x in zip(self.inputs, arrays, strict=True)]
        for operand in operands:
            array = out.get(operand.port.name)
            if array is not None:
                _check_target(array, operand.port, taken)
                taken.append((operand.port.name, array))
        return [operand.prepare(out.get(operand.port.name)) for operand in operands]


def _shapes_text(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in zip(names, shapes, strict=True))


def _check_target(array: Any, port: Port, taken: list[tuple[str, np.ndarray]]) -> None:
    """Raises TypeError or ValueError unless ``port`` may be written to ``array`` while ``taken`` are in use."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"out for {port.name!r} must be a NumPy array, not {type(array).__name__}")
    checked(array, port, "out for")
    flags = array.flags
    for word, good in (("C-contiguous", flags.c_contiguous), ("aligned", flags.aligned), ("writable", flags.writeable)):
        if not good:
            raise ValueError(f"out for {port.name!r} must be {word}")
    for name, other in taken:
        if isinstance(other, np.ndarray) and other.flags.c_contiguous and overlap(array, other):
            raise ValueError(f"out for {port.name!r} overlaps {name!r} in memory")


def _result_type(name: str, ports: tuple[Port, ...]) -> Any:
    """A named tuple type whose fields are the outputs' names, made into distinct identifiers."""
    fields: dict[str, int] = {}  # and how many were derived from each
    for port in ports:
        field = re.sub(r"\W", "_", port.name, flags=re.ASCII).lstrip("_")
        if not field or field[0].isdigit():
            field = f"output_{field}" if field else "output"
        if keyword.iskeyword(field):
            field += "_"
        base = field
        while field in fields:
            fields[base] += 1
            field = f"{base}_{fields[base]}"
        fields[field] = 1
    return collections.namedtuple(f"{name}_outputs", list(fields))


_models: weakref.WeakSet[Model] = weakref.WeakSet()


def _forget_threads() -> None:
    for model in list(_models):
        model._after_fork()


def _end_threads() -> None:
    """Calls that come later, from daemon threads or other exit handlers, use no workers."""
    for model in list(_models):
        model._threads = 1
        model._team = object()
        if model._pool is not None:
            model._pool.close(_EXIT_WAIT)


os.register_at_fork(after_in_child=_forget_threads)
atexit.register(_end_threads)
