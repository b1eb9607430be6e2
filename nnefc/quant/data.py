"""The data that a model is calibrated and judged with: read piece by piece, whatever form it is given in."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnefc.errors import InvalidModelError, Location
from nnefc.ir.graph import Value
from nnefc.ir.types import TensorType
from nnefc.tools.arrays import StoredArray, npz_names, stored_npy, stored_npz

Arrays = dict[str, np.ndarray]
BLOCK = 1 << 20
"""About so many bytes of a file are held at once, and one sample at least."""


class DataError(InvalidModelError, ValueError):
    """Data that a model cannot be fed with."""


class _Held:
    """An array in memory, as rows."""

    def __init__(self, array: Any, place: str):
        self.array, self.place = np.asarray(array), place
        self.shape, self.dtype = self.array.shape, self.array.dtype

    def rows(self, count: int) -> Iterator[np.ndarray]:
        yield self.array if self.array.ndim else self.array[None]


Source = StoredArray | _Held


@dataclass(frozen=True)
class _Part:
    """Rows for one input: ``shape`` is the source's seen as (rows, *shape of a sample)."""

    source: Source
    rows: int
    sample: tuple[int, ...]

    def blocks(self) -> Iterator[np.ndarray]:
        """The rows, several at a time."""
        size = max(1, math.prod(self.source.shape[1:]) * self.source.dtype.itemsize)
        whole = self.source.shape == self.sample
        for block in self.source.rows(max(1, *self.sample[:1]) if whole else max(1, BLOCK // size)):
            yield block.reshape(-1, *self.sample)


@dataclass
class _Pending:
    """Rows of one input that wait until there are enough for a call."""

    take: int
    rows: list[np.ndarray] = field(default_factory=list)
    count: int = 0
    seen: int = 0

    def add(self, block: np.ndarray) -> None:
        self.rows.append(block)
        self.count += len(block)
        self.seen += len(block)

    def pop(self) -> np.ndarray:
        if len(self.rows[0]) < self.take:
            self.rows = [np.concatenate(self.rows)]
        first = self.rows[0]
        self.rows[0] = first[self.take :]
        if not len(self.rows[0]):
            del self.rows[0]
        self.count -= self.take
        return first[: self.take]


class Samples:
    """Data as what a model is called with: iterating gives an array of each input's type, by name.

    Every array given is a row of samples: its leading dimension counts them and is cut into as many as the model's
    inputs hold along theirs. An array of one sample, without a leading dimension, and arrays of whole inputs are taken
    too. ``count`` is the number of calls, None where only the end of an iterator will tell. Samples that are left over
    when the last call is full are not used.
    """

    def __init__(self, data: Any, inputs: Sequence[Value], *, limit: int | None = None):
        """``data`` is a folder of .npy or .npz files, such a file, a list of them, an array, a mapping from inputs'
        names to arrays or .npy files, or an iterable of arrays, of tuples of arrays in the inputs' order, or of such
        mappings. A .npz file holds arrays under the inputs' names; .npy files and bare arrays are for models of one
        input. ``limit`` is the most calls.

        Raises DataError, before anything is computed, where files are missing, empty, or do not fit the inputs.
        """
        if not inputs:
            raise DataError("the model has no inputs")
        self._inputs = {v.name: v.type for v in inputs}
        self._limit = limit
        self._items: list[dict[str, _Part]] | None = None
        self._stream: Iterable[Any] | None = None
        items = self._listed(data)
        if items is None:
            self._stream = data
        else:
            self._items = [self._item(item, place) for item, place in items]
            if not self._items:
                raise DataError("there is no data")
        self.count = self._count()
        if self.count == 0:
            raise DataError(f"there are too few samples for a single call: the model takes {self._wanted()}")

    @property
    def again(self) -> bool:
        """Whether the data can be iterated over more than once."""
        return self._stream is None or iter(self._stream) is not self._stream

    def __iter__(self) -> Iterator[Arrays]:
        """The calls. Raises DataError for data that does not fit, NaN and infinities among it."""
        pending = {name: _Pending(type_.extents[0] if type_.rank else 1) for name, type_ in self._inputs.items()}
        made = 0
        for item in self._all_items():
            streams = {name: part.blocks() for name, part in item.items()}
            for waiting in pending.values():
                waiting.seen = 0
            while self._limit is None or made < self._limit:
                if not all(self._filled(pending[name], streams[name], name, item[name]) for name in pending):
                    break
                yield {name: self._shaped(p.pop(), name) for name, p in pending.items()}
                made += 1
        if not made:
            raise DataError(f"there are too few samples for a single call: the model takes {self._wanted()}")

    # ---- what there is

    def _listed(self, data: Any) -> list[tuple[Any, str]] | None:
        """The pieces of data that are all there, each with where it is; None for an iterable."""
        if isinstance(data, (str, os.PathLike)):
            return [(path, os.fspath(path)) for path in _files(Path(data))]
        if isinstance(data, (np.ndarray, Mapping)):
            return [(data, "")]
        if isinstance(data, Sequence):
            if not data:
                raise DataError("there is no data: the list is empty")
            listed: list[tuple[Any, str]] = []
            for number, item in enumerate(data, 1):
                is_path = isinstance(item, (str, os.PathLike))
                listed += [(p, os.fspath(p)) for p in _files(Path(item))] if is_path else [(item, f"item {number}")]
            return listed
        if not isinstance(data, Iterable):
            raise DataError(f"data is a {type(data).__name__}; it must be a path, arrays, or an iterable of arrays")
        return None

    def _all_items(self) -> Iterator[dict[str, _Part]]:
        if self._items is not None:
            yield from self._items
        else:
            assert self._stream is not None
            for number, item in enumerate(self._stream, 1):
                yield self._item(item, f"item {number}")

    def _count(self) -> int | None:
        if self._items is None:
            return None
        name, type_ = next(iter(self._inputs.items()))
        rows = sum(item[name].rows for item in self._items)
        calls = rows // (type_.extents[0] if type_.rank else 1)
        return calls if self._limit is None else min(calls, self._limit)

    def _wanted(self) -> str:
        return ", ".join(f"{name}: {type_}" for name, type_ in self._inputs.items())

    # ---- from pieces to rows

    def _item(self, item: Any, place: str) -> dict[str, _Part]:
        """A piece of data as rows of each input. Raises DataError where it does not fit."""
        parts = {name: self._part(name, source) for name, source in self._sources(item, place).items()}
        calls = {name: p.rows / (self._inputs[name].extents or (1,))[0] for name, p in parts.items()}
        if len(set(calls.values())) > 1:
            held = ", ".join(f"{p.rows} of {name!r}" for name, p in parts.items())
            raise _fault(f"the inputs have different numbers of samples: {held}", place)
        return parts

    def _sources(self, item: Any, place: str) -> dict[str, Source]:
        names = list(self._inputs)
        if isinstance(item, (str, os.PathLike)):
            path = os.fspath(item)
            if path.lower().endswith(".npz"):
                self._check_names(npz_names(path), path)
                return {name: stored_npz(path, name) for name in names}
            item = stored_npy(path)
        if isinstance(item, Mapping):
            self._check_names([str(name) for name in item], place)
            return {name: _source(item[name], f"{place}: {name!r}" if place else repr(name)) for name in names}
        if isinstance(item, tuple):
            if len(item) != len(names):
                raise _fault(f"there are {len(item)} arrays for {len(names)} inputs: {self._wanted()}", place)
            return {name: _source(array, place) for name, array in zip(names, item, strict=True)}
        if len(names) > 1:
            message = f"one array for {len(names)} inputs, {self._wanted()}; give them by name, as in an .npz file"
            raise _fault(message, place)
        return {names[0]: _source(item, place)}

    def _check_names(self, found: Sequence[str], place: str) -> None:
        for name in found:
            if name not in self._inputs:
                raise _fault(f"the model has no input {name!r}; its inputs are {self._wanted()}", place)
        missing = [name for name in self._inputs if name not in found]
        if missing:
            raise _fault(
                f"there is nothing for the input {missing[0]!r}; it holds {', '.join(found) or 'nothing'}", place
            )

    def _part(self, name: str, source: Source) -> _Part:
        type_ = self._inputs[name]
        if source.dtype.newbyteorder("=") != type_.dtype.numpy:
            found = f"{source.dtype.newbyteorder('=')}{list(source.shape)}"
            raise _fault(f"{name!r} has elements of {found}, but the model takes {_of(type_)}", source.place)
        shape, want = tuple(source.shape), type_.extents
        sample = want[1:]
        if shape[1:] == sample and len(shape) == len(want) and shape:
            rows = shape[0]
        elif shape[1:] == want and len(shape) == len(want) + 1:
            rows = shape[0] * (want or (1,))[0]
        elif shape == sample:
            rows = 1
        else:
            more = f", or {[-1, *sample]} with any number of samples" if want else ""
            message = f"{name!r} has the shape {list(shape)}, but the model takes {_of(type_)}"
            raise _fault(message + more.replace("-1", "N"), source.place)
        if not rows:
            raise _fault(f"{name!r} holds no samples", source.place)
        return _Part(source, rows, sample)

    def _filled(self, pending: _Pending, blocks: Iterator[np.ndarray], name: str, part: _Part) -> bool:
        """Whether there are enough rows for a call, after reading on where there are not."""
        while pending.count < pending.take:
            block = next(blocks, None)
            if block is None:
                return False
            if block.dtype.kind == "f" and not np.isfinite(block).all():
                flat = block.reshape(len(block), -1)
                row = int(np.argmin(np.isfinite(flat).all(1)))
                bad = "NaN" if np.isnan(flat[row]).any() else "an infinity"
                raise _fault(f"{name!r} holds {bad} in sample {pending.seen + row + 1}", part.source.place)
            pending.add(block)
        return True

    def _shaped(self, rows: np.ndarray, name: str) -> np.ndarray:
        type_ = self._inputs[name]
        return np.ascontiguousarray(rows, type_.dtype.numpy).reshape(type_.extents)


def _source(item: Any, place: str) -> Source:
    if isinstance(item, StoredArray):
        return item
    return stored_npy(os.fspath(item)) if isinstance(item, (str, os.PathLike)) else _Held(item, place)


def _files(path: Path) -> list[Path]:
    """The files that a path stands for: itself, or the .npy and .npz files of a folder, by name."""
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in (".npy", ".npz"))
        if not found:
            raise DataError("there are no .npy or .npz files in this folder", Location(str(path)))
        return found
    if not path.exists():
        raise DataError("there is no such file or folder", Location(str(path)))
    if path.suffix.lower() not in (".npy", ".npz"):
        raise DataError("data are .npy or .npz files, or folders of them", Location(str(path)))
    return [path]


def _of(type_: TensorType) -> str:
    return f"{type_.dtype.numpy}{list(type_.extents)}"


def _fault(message: str, place: str) -> DataError:
    """An error about data, at a file where it comes from one."""
    is_file = place.lower().endswith((".npy", ".npz"))
    return DataError(message, Location(place)) if is_file else DataError(f"{place}: {message}" if place else message)
