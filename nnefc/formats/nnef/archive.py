"""Models on disk: folders, bare texts, tar and zip archives, opened as untrusted input and written atomically."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from nnefc.errors import InvalidModelError, Location, UnsupportedError
from nnefc.formats.nnef import pack, tar
from nnefc.formats.nnef.container import Container, Folder, GzipTarArchive, TarArchive, ZipArchive, open_file
from nnefc.formats.nnef.paths import label_path
from nnefc.formats.nnef.tensor import TensorHeader, read_tensor
from nnefc.ir.graph import Tensor
from nnefc.ir.parse import MAX_TEXT

GRAPH, QUANT = "graph.nnef", "graph.quant"

_SUFFIXES = (".tar", ".tgz", ".gz", ".zip")
_FOREIGN_ARCHIVES = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
}


class ModelFiles:
    """The files of a model, opened for reading; a context manager.

    ``graph_text`` is the text of ``graph.nnef`` and ``quant_text`` that of ``graph.quant``, None where there is none;
    ``graph_file`` and ``quant_file`` are their names for messages, as ``model.nnef.tgz/graph.nnef``.
    """

    def __init__(
        self, graph_text: str, graph_file: str, quant_text: str | None, container: Container | None, stack: ExitStack
    ) -> None:
        self._container = container
        self._stack = stack
        self._memory: dict[str, int] = {}
        self._total = 0
        self.graph_text = graph_text
        self.graph_file = graph_file
        self.quant_text = quant_text
        self.quant_file = container.display(QUANT) if container else QUANT

    def read_tensor(self, label: str, location: Location | None = None) -> Tensor | None:
        """The stored values of a variable, or None if the model has no file for the label.

        The file is ``LABEL.dat``, without distinction of case; where only ``LABEL.dat.SUFFIX`` exists, that one.
        Raises InvalidModelError, at ``location``, if the label is malformed or several files answer to it, and at the
        file if that is damaged; UnsupportedError for items that only a vendor's tools can read.
        """
        member = self._member_of(label_path(label, location) + ".dat", label, location)
        if member is None or self._container is None:
            return None
        container, most = self._container, self._container.most
        if most is not None:
            most -= self._total - self._memory.get(member, 0)
        with container.open(member) as (source, size):
            tensor = read_tensor(source, size, container.display(member), most=most)
        memory = TensorHeader(tensor.data.shape, tensor.item, tensor.bits).memory
        self._total += memory - self._memory.get(member, 0)
        self._memory[member] = memory
        return tensor

    def _member_of(self, path: str, label: str, location: Location | None) -> str | None:
        if self._container is None:
            return None
        members = self._container.find(path) or self._container.versions(path)
        if len(members) > 1:
            listed = ", ".join(members[:4]) + (", ..." if len(members) > 4 else "")
            raise InvalidModelError(f"several files answer to the label {label!r}: {listed}", location)
        return members[0] if members else None

    def close(self) -> None:
        """Release what is open. Tensors that were read stay valid; others are no longer found."""
        self._container = None
        self._stack.close()

    def __enter__(self) -> ModelFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_model(path: str | os.PathLike[str]) -> ModelFiles:
    """Open a model: a folder, a tar archive (plain or gzipped), a zip archive, or the text of a graph.

    Archives are told by their content. A text that is called ``graph.nnef`` stands for its folder; another has no
    tensor files. Raises InvalidModelError if there is no such model, if it cannot be read, is damaged or breaks a
    bound; UnsupportedError for other kinds of archive.
    """
    file = os.fspath(path)
    if os.path.basename(file) == GRAPH and os.path.lexists(file) and not os.path.isdir(file):
        return _files(Folder(os.path.dirname(file) or "."), ExitStack())
    if os.path.isdir(file):
        return _files(Folder(file), ExitStack())
    with ExitStack() as stack:
        raw, size = stack.enter_context(open_file(file, file, follow=True))
        archive = _archive(file, raw, size)
        if archive is not None:
            return _files(archive, stack)
        text = _decode(_read_text(raw, size, file), file)
        return ModelFiles(text, file, None, None, stack.pop_all())


def _files(container: Container, stack: ExitStack) -> ModelFiles:
    graph = _graph_text(container)
    quant = _member_text(container, QUANT) if QUANT in container.find(QUANT) else None
    return ModelFiles(graph, container.display(GRAPH), quant, container, stack.pop_all())


def _archive(file: str, raw: BinaryIO, size: int) -> Container | None:
    """The archive that the file is, or None."""
    start = raw.read(tar.BLOCK)
    raw.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return GzipTarArchive(file, raw, size)
    if start.startswith((b"PK\3\4", b"PK\5\6")):
        return ZipArchive(file, raw, size)
    if tar.is_tar(start) or file.lower().endswith(".tar"):
        return TarArchive(file, raw, size)
    for magic, what in _FOREIGN_ARCHIVES.items():
        if start.startswith(magic):
            raise UnsupportedError(
                f"{what} archives are not supported; a folder, .tar, .tgz and .zip are", Location(file)
            )
    if file.lower().endswith(_SUFFIXES):
        raise InvalidModelError("it is called an archive, but is neither gzip, zip nor tar", Location(file))
    return None


def _graph_text(container: Container) -> str:
    if GRAPH not in container.find(GRAPH):
        hints = [name for name in container.contents() if name.lower().endswith((".nnef", *_SUFFIXES))][:3]
        hint = f"; it holds {', '.join(map(repr, hints))}" if hints else ""
        raise InvalidModelError(f"there is no {GRAPH} in it{hint}", Location(container.file))
    return _member_text(container, GRAPH)


def _member_text(container: Container, member: str) -> str:
    file = container.display(member)
    with container.open(member) as (source, size):
        return _decode(_read_text(source, size, file), file)


def _read_text(source: BinaryIO | memoryview, size: int, file: str) -> bytes:
    if size > MAX_TEXT:
        raise InvalidModelError(f"the text has {size} bytes; at most {MAX_TEXT} are accepted", Location(file))
    data = bytes(source) if isinstance(source, memoryview) else source.read(size)
    if len(data) != size:
        raise InvalidModelError(f"the file ends after {len(data)} of {size} bytes", Location(file))
    return data


def _decode(data: bytes, file: str) -> str:
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        begin = data.rfind(b"\n", 0, error.start) + 1
        place = Location(
            file, data.count(b"\n", 0, error.start) + 1, len(data[begin : error.start].decode("utf-8")) + 1
        )
        raise InvalidModelError(f"not UTF-8 text: the byte 0x{data[error.start]:02x}", place) from None


def write_model(
    path: str | os.PathLike[str], graph_text: str, quant_text: str | None, tensors: Mapping[str, Tensor]
) -> None:
    """Write a model whose variables have the values ``tensors`` by label.

    A path that ends in ``.tar``, ``.tgz``, ``.tar.gz`` or ``.zip`` becomes that kind of archive, another a folder.
    The same model gives the same bytes. The target appears whole or not at all; an existing archive, or a folder that
    holds nothing but a model, is replaced. Raises InvalidModelError if labels are malformed, clash or lead out of the
    model, ValueError if a tensor does not fit its items, UnsupportedError if the target cannot be written.
    """
    files: dict[str, str | Tensor] = {GRAPH: graph_text}
    if quant_text is not None:
        files[QUANT] = quant_text
    taken = {name: name for name in files}
    for label in sorted(tensors):
        name = label_path(label) + ".dat"
        other = taken.setdefault(name.lower(), name)
        if other in files and files[other] != tensors[label]:
            raise InvalidModelError(f"the label {label!r} and another share the file {other!r}, but their data differ")
        files[other] = tensors[label]
    for name in files:
        parts = name.lower().split("/")
        for depth in range(1, len(parts)):
            if (folder := "/".join(parts[:depth])) in taken:
                raise InvalidModelError(f"{taken[folder]!r} would be both a file and a folder, of {name!r}")
    pack.write(Path(os.path.realpath(path)), files, os.fspath(path))
