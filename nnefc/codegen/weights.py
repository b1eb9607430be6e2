"""The content of weights.bin: filled piece by piece, on several threads, in memory or in the file."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from nnefc.codegen.made import PIECE_BYTES, Made
from nnefc.runtime.memory import ALIGNMENT, aligned

Constant = np.ndarray | Made
_T = TypeVar("_T")


class Weights:
    """``nbytes`` bytes, in which constants lie at offsets and zeros between them.

    The constants are let go of once the whole is in memory. It may be used by several threads.
    """

    def __init__(self, parts: Iterable[tuple[int, Constant]], nbytes: int):
        """``parts`` in ascending order of their offsets."""
        self.nbytes = nbytes
        self._parts = list(parts)
        self._array: np.ndarray | None = None
        self._lock = threading.Lock()

    @staticmethod
    def of(array: np.ndarray) -> Weights:
        """The content of an array of bytes."""
        return Weights([(0, array)], array.nbytes)

    def array(self) -> np.ndarray:
        """The content in memory fit for calls (uint8, aligned), always the same. Raises MemoryError."""
        with self._lock:
            if self._array is None:
                content = aligned(self.nbytes)
                parts, self._parts = deque(self._parts), []
                for _ in _in_order(_groups(parts, self.nbytes), lambda g: g.fill(content[g.start : g.end])):
                    pass
                self._array, self._parts = content, [(0, content)]
            return self._array

    def write(self, path: str | os.PathLike[str]) -> str:
        """Write the content to a new file. Returns its SHA-256, as hexadecimal digits. Raises OSError."""
        digest = hashlib.sha256()
        with self._lock:
            parts = deque(self._parts)
        with open(path, "xb") as file:
            for data in _in_order(_groups(parts, self.nbytes), lambda group: group.store(file.fileno())):
                digest.update(data.data)
        return digest.hexdigest()


@dataclass(frozen=True)
class _Piece:
    """``size`` bytes from the offset ``start`` on, and what writes them."""

    start: int
    size: int
    fill: Callable[[np.ndarray], None]


@dataclass(frozen=True)
class _Group:
    """Neighbouring pieces that are filled together: the bytes from ``start`` to ``end``."""

    start: int
    end: int
    pieces: tuple[_Piece, ...]

    def fill(self, out: np.ndarray) -> None:
        """Write the bytes to ``out``."""
        at = self.start
        for piece in self.pieces:
            end = piece.start + piece.size
            out[at - self.start : piece.start - self.start] = 0
            piece.fill(out[piece.start - self.start : end - self.start])
            at = end
        out[at - self.start :] = 0

    def store(self, descriptor: int) -> np.ndarray:
        """Write the bytes to their place in a file, and return them."""
        data = np.empty(self.end - self.start, np.uint8)
        self.fill(data)
        done = 0
        while done < data.size:
            done += os.pwrite(descriptor, data[done:].data, self.start + done)
        return data


def _groups(parts: deque[tuple[int, Constant]], nbytes: int) -> Iterator[_Group]:
    """All of ``nbytes`` bytes, in order; the parts are taken."""
    start, pieces = 0, list[_Piece]()
    for piece in _pieces(parts):
        if pieces and piece.start + piece.size - start > PIECE_BYTES:
            yield _Group(start, piece.start, tuple(pieces))
            start, pieces = piece.start, []
        pieces.append(piece)
    if start < nbytes:
        yield _Group(start, nbytes, tuple(pieces))


def _pieces(parts: deque[tuple[int, Constant]]) -> Iterator[_Piece]:
    while parts:
        offset, constant = parts.popleft()
        if isinstance(constant, Made):
            for first, made in constant.pieces():
                yield _Piece(offset + first * made.buffer.dtype.size, made.nbytes, _maker(made))
        else:
            data = constant.reshape(-1).view(np.uint8)
            for first in range(0, data.size, PIECE_BYTES):
                part = data[first : first + PIECE_BYTES]
                yield _Piece(offset + first, part.size, _copier(part))


def _maker(made: Made) -> Callable[[np.ndarray], None]:
    return lambda out: made.fill(out.view(made.buffer.dtype.numpy))


def _copier(data: np.ndarray) -> Callable[[np.ndarray], None]:
    def copy(out: np.ndarray) -> None:
        out[...] = data

    return copy


def _in_order(groups: Iterator[_Group], action: Callable[[_Group], _T]) -> Iterator[_T]:
    """The results of an action on each group, in order; a few are at work ahead, on all processors."""
    count = len(os.sched_getaffinity(0))
    pending: deque[Future[_T]] = deque()
    with ThreadPoolExecutor(count) as pool:
        for group in groups:
            pending.append(pool.submit(action, group))
            if len(pending) > count + 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def aligned_size(size: int) -> int:
    """``size`` bytes, rounded up to whole cache lines: every constant starts on one."""
    return -(-size // ALIGNMENT) * ALIGNMENT
