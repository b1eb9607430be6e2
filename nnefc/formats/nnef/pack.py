"""Writing the files of a model as a folder or an archive: atomically, and with bytes that depend on the model alone."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from nnefc.errors import Location, UnsupportedError
from nnefc.files import whole_file, whole_folder
from nnefc.formats.nnef.tensor import tensor_parts
from nnefc.ir.graph import Tensor

Files = Mapping[str, str | Tensor]
"""What to write, by path: a text, or a tensor file."""

_BLOCK = 512


def write(path: Path, files: Files, name: str) -> None:
    """Write the files at ``path``, in the form that its suffix asks for. ``name`` is the target's, for messages.

    Raises UnsupportedError if the target cannot be written or is something that should not be replaced, and what
    ``tensor_parts`` raises.
    """
    form = _form(path.name.lower())
    try:
        if form is None:
            _write_folder(path, files, name)
        else:
            with whole_file(path) as stream:
                form(stream, files)
    except OSError as error:
        raise UnsupportedError(f"cannot be written: {error.strerror or error}", Location(name)) from None


def _form(name: str) -> Callable[[BinaryIO, Files], None] | None:
    if name.endswith((".tgz", ".tar.gz")):
        return _gzip_tar
    return {".tar": _tar, ".zip": _zip}.get(os.path.splitext(name)[1])


def _parts(content: str | Tensor) -> Sequence[bytes | memoryview]:
    return (content.encode("utf-8"),) if isinstance(content, str) else tensor_parts(content)


def _in_order(files: Files) -> list[str]:
    """The texts first, so that a reader of the stream meets them before the data; then by name."""
    return sorted(files, key=lambda path: (not isinstance(files[path], str), path))


def _tar(stream: BinaryIO, files: Files) -> None:
    for path in _in_order(files):
        parts = _parts(files[path])
        info = tarfile.TarInfo(path)
        info.size = sum(map(len, parts))
        info.mode = 0o644
        stream.write(info.tobuf(tarfile.PAX_FORMAT))
        for part in parts:
            stream.write(part)
        stream.write(bytes(-info.size % _BLOCK))
    stream.write(bytes(2 * _BLOCK))


def _gzip_tar(stream: BinaryIO, files: Files) -> None:
    with gzip.GzipFile("", "wb", 6, stream, mtime=0) as packed:
        _tar(cast(BinaryIO, packed), files)


def _zip(stream: BinaryIO, files: Files) -> None:
    with zipfile.ZipFile(stream, "w") as archive:
        for path in _in_order(files):
            parts = _parts(files[path])
            info = zipfile.ZipInfo(path)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.file_size = sum(map(len, parts))
            with archive.open(info, "w") as member:
                for part in parts:
                    member.write(part)


def _write_folder(path: Path, files: Files, name: str) -> None:
    _check_replaceable(path, name)
    with whole_folder(path) as made:
        for member in _in_order(files):
            target = made.joinpath(member)
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as stream:
                for part in _parts(files[member]):
                    stream.write(part)


def _check_replaceable(path: Path, name: str) -> None:
    """Raise UnsupportedError unless nothing is there, or a folder that is empty or holds a model and nothing else."""
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise UnsupportedError("it exists and is no folder", Location(name))
    found = [os.path.join(base, file) for base, _, names in os.walk(path) for file in names]
    foreign = [f for f in found if os.path.basename(f) not in ("graph.nnef", "graph.quant") and not f.endswith(".dat")]
    if found and not (path / "graph.nnef").is_file():
        foreign = found
    if foreign:
        example = os.path.relpath(min(foreign), path)
        raise UnsupportedError(f"the folder exists and holds {example!r}, which is no part of a model", Location(name))
