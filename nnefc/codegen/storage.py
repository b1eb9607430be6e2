"""What weights.bin holds: the constants of all entries of an artefact, each stored once, and the initial state."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from nnefc.errors import UnsupportedError
from nnefc.ir.program import Program
from nnefc.runtime.memory import aligned

ALIGNMENT = 64
"""Bytes: every tensor starts on a cache line."""


def aligned_size(size: int) -> int:
    """``size`` bytes, rounded up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class Contents:
    """Arrays told apart by their bytes alone."""

    def __init__(self) -> None:
        self._by_size: dict[int, np.ndarray | None] = {}
        self._by_digest: dict[tuple[int, bytes], np.ndarray] = {}

    def original(self, array: np.ndarray) -> np.ndarray:
        """The first array of these bytes that was given: ``array`` itself if there was none.

        Bytes are compared by SHA-256; an array whose size no other has is not read.
        """
        size = array.nbytes
        if size not in self._by_size:
            self._by_size[size] = array
            return array
        only = self._by_size[size]
        if only is not None:
            self._by_digest[_key(only)] = only
            self._by_size[size] = None
        return self._by_digest.setdefault(_key(array), array)


def _key(array: np.ndarray) -> tuple[int, bytes]:
    return array.nbytes, hashlib.sha256(_bytes(array).data).digest()


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
        self._constants: dict[int, tuple[int, np.ndarray]] = {}
        self._states: dict[str, tuple[int, np.ndarray]] | None = None
        self.weights_size = 0
        self.state_size = 0

    def constant(self, values: np.ndarray) -> int:
        """Where a constant lies in the weights."""
        values = self._contents.original(values)
        if id(values) not in self._constants:
            self._constants[id(values)] = self.weights_size, values
            self.weights_size += aligned_size(values.nbytes)
        return self._constants[id(values)][0]

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

    def image(self) -> tuple[np.ndarray, int]:
        """The content of weights.bin, as uint8 in memory fit for calls, and where in it the initial state begins.

        Constants are let go of one by one as they are copied; this object is of no use afterwards.
        """
        content = aligned(self.weights_size + self.state_size)
        self._contents = Contents()
        for key in list(self._constants):
            offset, values = self._constants.pop(key)
            _write(content, offset, values)
            del values
        for offset, values in (self._states or {}).values():
            _write(content, self.weights_size + offset, values)
        return content, self.weights_size


def _write(content: np.ndarray, offset: int, values: np.ndarray) -> None:
    """Store ``values``, and zeros in what is left of their last cache line."""
    end = offset + values.nbytes
    content[offset:end] = _bytes(values)
    content[end : offset + aligned_size(values.nbytes)] = 0
