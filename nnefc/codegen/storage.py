"""What weights.bin holds: the constants of all entries of an artefact, each stored once, and the initial state."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from nnefc.codegen.made import Made
from nnefc.codegen.weights import Constant, Weights, aligned_size
from nnefc.errors import UnsupportedError
from nnefc.ir.program import Program

SAMPLES = 1 << 10
"""Bytes of an array, evenly spread, that tell most arrays of one size apart."""


class Contents:
    """Arrays told apart by their bytes alone."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, object], np.ndarray] = {}
        self._entered: set[tuple[int, object]] = set()

    def original(self, array: np.ndarray) -> np.ndarray:
        """The first array of these bytes that was given: ``array`` itself if there was none.

        Bytes are compared by SHA-256. Only an array whose size and whose samples are those of another is read whole.
        """
        for level, mark in enumerate(_MARKS):
            key = level, mark(array)
            first = self._first.setdefault(key, array)
            if first is array or level + 1 == len(_MARKS):
                break
            if key not in self._entered:
                self._entered.add(key)
                self._first.setdefault((level + 1, _MARKS[level + 1](first)), first)
        return first


def _samples(array: np.ndarray) -> object:
    data = _bytes(array)
    return data.size, data[:: data.size // SAMPLES | 1].tobytes()


def _digest(array: np.ndarray) -> object:
    return array.nbytes, hashlib.sha256(_bytes(array).data).digest()


_MARKS: tuple[Callable[[np.ndarray], object], ...] = (lambda array: array.nbytes, _samples, _digest)
"""What tells arrays apart, the cheapest first; the last one alone tells whether they are equal."""


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def share_constants(programs: Sequence[Program]) -> Sequence[Program]:
    """The Programs with one array for all constants of equal bytes; a single one is left alone."""
    if len(programs) == 1:
        return programs
    contents = Contents()
    return [p.replace(constants={name: contents.original(a) for name, a in p.constants.items()}) for p in programs]


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and (a is b or np.array_equal(_bytes(a), _bytes(b)))


class Storage:
    """Places constants and variables of one artefact; sizes and offsets are in bytes.

    Constants of equal bytes share a place. Variables are the same in all entries, by name.
    """

    def __init__(self) -> None:
        self._contents = Contents()
        self._constants: dict[object, tuple[int, Constant]] = {}
        self._states: dict[str, tuple[int, np.ndarray]] | None = None
        self.weights_size = 0
        self.state_size = 0

    def constant(self, values: Constant) -> int:
        """Where a constant lies in the weights."""
        if isinstance(values, Made):
            sources = {name: self._contents.original(a) for name, a in values.sources.items()}
            values = replace(values, sources=sources)
            key = values.key()
        else:
            values = self._contents.original(values)
            key = id(values)
        if key not in self._constants:
            self._constants[key] = self.weights_size, values
            self.weights_size += aligned_size(values.nbytes)
        return self._constants[key][0]

    def states(self, variables: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Where the variables of an entry, given by name with their initial values, lie in the state.

        Raises UnsupportedError unless all entries have the same.
        """
        if self._states is None:
            self._states = {}
            for name, values in variables.items():
                self._states[name] = self.state_size, values
                self.state_size += aligned_size(values.nbytes)
        for name in (*self._states, *variables):
            known = self._states[name][1] if name in self._states else None
            if not _same(known, variables.get(name)):
                raise UnsupportedError(
                    f"the variable {name!r} depends on the shapes of the inputs; sets of shapes must share variables"
                )
        return {name: offset for name, (offset, _) in self._states.items()}

    def image(self) -> tuple[Weights, int]:
        """The content of weights.bin, and where in it the initial state begins."""
        states = [(self.weights_size + offset, values) for offset, values in (self._states or {}).values()]
        return Weights([*self._constants.values(), *states], self.weights_size + self.state_size), self.weights_size
