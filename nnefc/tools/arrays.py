"""Arrays from .npy and .npz files. The files are untrusted: nothing is unpickled, and the shape that a file claims is
compared with the one expected before memory is taken."""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from nnefc.errors import InvalidModelError, Location
from nnefc.files import whole_file
from nnefc.ir.types import TensorType

MAX_ENTRIES = 10_000
_ZIP_FAULTS = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError, zlib.error)
_NPY_FAULTS = (ValueError, EOFError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)


def read_npy(path: str, name: str, expected: TensorType) -> np.ndarray:
    """The array in the file ``path``, which is to be ``name`` of type ``expected``. Raises InvalidModelError."""
    with _opened(path) as file:
        return _read(file, path, name, expected)


def read_any(path: str) -> np.ndarray:
    """The array in an .npy file, of whatever type and shape. Raises InvalidModelError."""
    with _opened(path) as file:
        shape, fortran, dtype = _header(file, path)
        data = file.read()
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise InvalidModelError(f"holds {len(data)} bytes of values, not those of {dtype}{list(shape)}", Location(path))
    array = np.frombuffer(data, dtype).reshape(shape[::-1]).T if fortran else np.frombuffer(data, dtype).reshape(shape)
    return np.array(array, dtype.newbyteorder("="), order="C")


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, read piece by piece; ``name`` is the entry's in an .npz file, None in an .npy file."""

    path: str
    name: str | None
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def place(self) -> str:
        """The file."""
        return self.path

    def rows(self, count: int) -> Iterator[np.ndarray]:
        """The array along its first dimension, at most ``count`` items at a time, in its own element type and native
        byte order. An array in Fortran's order is read whole. Raises InvalidModelError."""
        with _opened(self.path) as file, ExitStack() as stack:
            stream: BinaryIO = file
            if self.name is not None:
                archive = stack.enter_context(_zip(file, self.path))
                entry = next(e for e, name in _entries(archive, self.path, (self.name,)))
                stream = stack.enter_context(_member(archive, entry, self.name, self.path))
            shape, fortran, dtype = _header(stream, self.path)
            if (shape, dtype) != (self.shape, self.dtype):
                raise InvalidModelError("has changed while it was read", Location(self.path))
            items = shape[0] if shape else 1
            for start in range(0, items, items if fortran else count):
                taken = items if fortran else min(count, items - start)
                part = (taken, *shape[1:]) if shape else ()
                yield _read_items(stream, self.path, part, fortran, dtype)


def _read_items(file: BinaryIO, path: str, shape: tuple[int, ...], fortran: bool, dtype: np.dtype) -> np.ndarray:
    """The next items of a file as an array of ``shape``."""
    size = math.prod(shape) * dtype.itemsize
    data = file.read(size)
    if len(data) != size:
        raise InvalidModelError(f"is cut short: {len(data)} of {size} bytes", Location(path))
    flat = np.frombuffer(data, dtype)
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return np.asarray(array, dtype.newbyteorder("="))


def stored_npy(path: str) -> StoredArray:
    """The array of an .npy file, whose header alone is read. Raises InvalidModelError."""
    with _opened(path) as file:
        shape, _, dtype = _header(file, path)
    return StoredArray(path, None, shape, dtype)


def stored_npz(path: str, name: str) -> StoredArray:
    """The array ``name`` of an .npz file, whose header alone is read. Raises InvalidModelError."""
    with _opened(path) as file, _zip(file, path) as archive:
        for entry, _ in _entries(archive, path, (name,)):
            with _member(archive, entry, name, path) as stream:
                shape, _, dtype = _header(stream, path)
            return StoredArray(path, name, shape, dtype)
    raise InvalidModelError(f"there is no array {name!r} in it", Location(path))


def npy_shape(path: str) -> tuple[int, ...]:
    """The shape that an .npy file claims. Raises InvalidModelError."""
    with _opened(path) as file:
        return _header(file, path)[0]


def npz_shapes(path: str, names: Container[str]) -> dict[str, tuple[int, ...]]:
    """The shapes that arrays of an .npz file claim, those of ``names``. Raises InvalidModelError."""
    with _opened(path) as file, _zip(file, path) as archive:
        found = {}
        for entry, name in _entries(archive, path, names):
            with _member(archive, entry, name, path) as stream:
                found[name] = _header(stream, path)[0]
        return found


def npz_names(path: str) -> list[str]:
    """The names of the arrays in an .npz file, in order. Raises InvalidModelError."""
    with _opened(path) as file, _zip(file, path) as archive:
        return [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]


def read_npz(path: str, wanted: Mapping[str, TensorType]) -> dict[str, np.ndarray]:
    """Those arrays of an .npz file that ``wanted`` names. Raises InvalidModelError if one is not of its type."""
    arrays = {}
    with _opened(path) as file, _zip(file, path) as archive:
        for entry, name in _entries(archive, path, wanted):
            with _member(archive, entry, name, path) as stream:
                arrays[name] = _read(stream, path, name, wanted[name])
    return arrays


def _entries(archive: zipfile.ZipFile, path: str, names: Container[str]) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """The arrays of ``names`` in an .npz file."""
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name in names and entry.filename.endswith(".npy"):
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                message = f"the entry {name!r} is compressed in a way that NumPy does not use"
                raise InvalidModelError(message, Location(path))
            yield entry, name


@contextmanager
def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, path: str) -> Iterator[BinaryIO]:
    """What an .npz file holds under a name, to be read from."""
    try:
        with archive.open(entry) as stream:
            yield cast(BinaryIO, stream)
    except _ZIP_FAULTS as error:
        raise InvalidModelError(f"the entry {name!r} cannot be read: {error}", Location(path)) from error


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if Path(path).exists() and not Path(path).is_file():
        raise InvalidModelError("not a regular file", Location(path))
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; only the opening may fail here
    except (OSError, ValueError) as error:
        raise InvalidModelError(f"cannot be read: {getattr(error, 'strerror', error)}", Location(path)) from error
    with file:
        yield file


@contextmanager
def _zip(file: BinaryIO, path: str) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(file)
    except _ZIP_FAULTS as error:
        raise InvalidModelError(f"not an .npz file: {error}", Location(path)) from error
    if len(archive.infolist()) > MAX_ENTRIES:
        raise InvalidModelError(f"more than {MAX_ENTRIES} entries", Location(path))
    with archive:
        yield archive


def _read(file: BinaryIO, path: str, name: str, expected: TensorType) -> np.ndarray:
    shape, fortran, dtype = _header(file, path)
    if dtype.newbyteorder("=") != expected.dtype.numpy or shape != expected.extents:
        found = f"{dtype.newbyteorder('=')}{list(shape)}"
        want = f"{expected.dtype.numpy}{list(expected.extents)}"
        raise InvalidModelError(f"{name!r} is {found} here, but the model takes {want}", Location(path))
    size = expected.volume * dtype.itemsize
    data = file.read(size)
    if len(data) != size:
        raise InvalidModelError(f"{name!r} is cut short: {len(data)} of {size} bytes", Location(path))
    array = np.frombuffer(data, dtype).reshape(shape[::-1]).T if fortran else np.frombuffer(data, dtype).reshape(shape)
    return np.array(array, expected.dtype.numpy, order="C")


def _header(file: BinaryIO, path: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """The shape, whether in Fortran's order, and the element type, as the file's header says."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the format is not known")
        shape, fortran, dtype = read(file, max_header_size=10_000)
    except _NPY_FAULTS as error:
        raise InvalidModelError(f"not a .npy array: {error}".split("\n")[0], Location(path)) from error
    if dtype.hasobject:
        raise InvalidModelError("holds Python objects, which are not read", Location(path))
    return shape, fortran, dtype


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays under their names; the file appears whole or not at all. Raises OSError. (``numpy.savez`` takes some
    names for its own parameters.)"""
    with whole_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
