"""Where the files of a model lie: a folder, a tar archive (plain or gzipped) or a zip archive, read as untrusted input.

Archives are never extracted. Folders are listed only where a label leads; no link in them is followed.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, cast

from nnefc.errors import InvalidModelError, Location, UnsupportedError
from nnefc.formats.nnef import tar
from nnefc.formats.nnef.paths import member_path
from nnefc.formats.nnef.tensor import HEADER_SIZE, MAX_U32

Data = tuple[BinaryIO | memoryview, int]
"""Where to read a file from, and its size."""

_FLOOR, _RATIO = 512 << 20, 8
_MAX_READ = 16 << 20
_ZIP_FAULTS = (zipfile.BadZipFile, struct.error, NotImplementedError, ValueError, OverflowError, EOFError, OSError)
_ZIP_METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstandard", 95: "xz", 99: "encryption"}
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def most_memory(size: int) -> int:
    """The bytes that a compressed file of ``size`` bytes may unfold to: 8 times as many, but at least 512 MiB."""
    return max(_FLOOR, _RATIO * size)


class Container(ABC):
    """The files of a model. ``file`` is what the user called it; paths inside are separated by ``/``; ``most`` bounds
    the memory of all tensors together where their data is compressed."""

    def __init__(self, file: str, most: int | None = None) -> None:
        self.file = file
        self.most = most

    def display(self, member: str) -> str:
        """The name of a member for messages."""
        return member if self.file == "." else os.path.join(self.file, member)

    @abstractmethod
    def find(self, path: str) -> list[str]:
        """The members of that path, without distinction of case."""

    @abstractmethod
    def versions(self, path: str) -> list[str]:
        """The members of that path with further suffixes."""

    @abstractmethod
    def contents(self) -> list[str]:
        """The members that are known without further search, sorted."""

    @abstractmethod
    def open(self, member: str) -> AbstractContextManager[Data]:
        """The member's data. Raises InvalidModelError where it cannot be read."""


def _unreadable(error: OSError, name: str) -> InvalidModelError:
    kinds = {errno.ELOOP: stat.S_IFLNK, errno.EISDIR: stat.S_IFDIR, errno.ENXIO: stat.S_IFSOCK}
    kind = kinds.get(error.errno or 0)
    if kind is not None:
        return _not_plain(kind, name)
    reason = "no such file or folder" if error.errno == errno.ENOENT else error.strerror or str(error)
    return InvalidModelError(f"cannot be read: {reason}", Location(name))


def _not_plain(mode: int, name: str) -> InvalidModelError:
    return InvalidModelError(f"it is {_KINDS.get(stat.S_IFMT(mode), 'special')}, not a plain file", Location(name))


@contextmanager
def open_file(path: str, name: str, *, follow: bool) -> Iterator[tuple[BinaryIO, int]]:
    """A plain file opened for reading, and its size; pipes and devices do not block.

    ``follow`` accepts a symbolic link as the last part of the path. Raises InvalidModelError, at ``name``, if it is no
    plain file or cannot be read.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        with open(os.open(path, flags), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _not_plain(status.st_mode, name)
            yield stream, status.st_size
    except OSError as error:
        raise _unreadable(error, name) from None


class _Names:
    """Names by what labels call them: without distinction of case, a backslash being a slash. ``versions`` has those
    with suffixes after ``.dat`` by the name without them."""

    def __init__(self) -> None:
        self.exact: dict[str, list[str]] = {}
        self.versions: dict[str, list[str]] = {}

    def add(self, name: str) -> None:
        key = name.lower().replace("\\", "/")
        self.exact.setdefault(key, []).append(name)
        stem, _, suffix = key.partition(".dat.")
        if suffix and not key.endswith(".dat"):
            self.versions.setdefault(stem + ".dat", []).append(name)


class Folder(Container):
    """A folder on disk. Links inside it are refused, files that no label names are not looked at."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self._listed: dict[str, _Names] = {}

    def find(self, path: str) -> list[str]:
        return sorted(
            f"{base}{name}" for base, rest in self._reach(path) for name in self._list(base).exact.get(rest, ())
        )

    def versions(self, path: str) -> list[str]:
        return sorted(
            f"{base}{name}" for base, rest in self._reach(path) for name in self._list(base).versions.get(rest, ())
        )

    def contents(self) -> list[str]:
        return sorted(name for names in self._list("").exact.values() for name in names)

    def _reach(self, path: str) -> Iterator[tuple[str, str]]:
        """Each folder on the way to the path (ending in a slash, or empty), with the rest of the path in lower case.

        A name on disk may itself contain backslashes, and so be several parts of the path.
        """
        reached = [("", path.lower().split("/"))]
        while reached:
            base, rest = reached.pop()
            yield base, "/".join(rest)
            for count in range(1, len(rest)):
                for name in self._list(base).exact.get("/".join(rest[:count]), ()):
                    reached.append((f"{base}{name}/", rest[count:]))

    def _list(self, base: str) -> _Names:
        """The names in a folder; none where it is no folder. Raises InvalidModelError for a link to one."""
        if base not in self._listed:
            path = os.path.join(self.file, base.removesuffix("/"))
            if base and os.path.islink(path):
                raise InvalidModelError("it is a symbolic link, not a folder", Location(path))
            self._listed[base] = _Names()
            for name in self._names(path) if os.path.isdir(path) else ():
                self._listed[base].add(name)
        return self._listed[base]

    def _names(self, path: str) -> list[str]:
        try:
            with os.scandir(path) as entries:
                names = [entry.name for entry, _ in zip(entries, range(tar.MAX_MEMBERS + 1), strict=False)]
        except OSError as error:
            raise _unreadable(error, path) from None
        if len(names) > tar.MAX_MEMBERS:
            raise InvalidModelError(f"the folder holds more than {tar.MAX_MEMBERS} files", Location(path))
        return names

    @contextmanager
    def open(self, member: str) -> Iterator[Data]:
        with open_file(os.path.join(self.file, member), self.display(member), follow=False) as data:
            yield data


class _Archive(Container):
    """What tar and zip share: an index of members by path."""

    def __init__(self, file: str, most: int | None = None) -> None:
        super().__init__(file, most)
        self._members: dict[str, None] = {}
        self._names = _Names()

    def _add(self, path: str) -> None:
        if path in self._members:
            raise InvalidModelError(f"the archive holds the member {path[:200]!r} twice", Location(self.file))
        self._members[path] = None
        self._names.add(path)

    def find(self, path: str) -> list[str]:
        return self._names.exact.get(path.lower(), [])

    def versions(self, path: str) -> list[str]:
        return self._names.versions.get(path.lower(), [])

    def contents(self) -> list[str]:
        return sorted(self._members)


def _holds_model_data(path: str) -> bool:
    """Whether the standard gives the file a meaning; other files may be anything."""
    return path in ("graph.nnef", "graph.quant") or path.lower().endswith(".dat") or ".dat." in path.lower()


class TarArchive(_Archive):
    """A plain tar file: indexed once, members read where they lie."""

    def __init__(self, file: str, raw: BinaryIO, size: int) -> None:
        super().__init__(file)
        self._raw = raw
        self._places: dict[str, tar.TarMember] = {}
        for member in tar.members(tar.FileStream(raw), file):
            if member.offset + member.size > size:
                message = f"the tar archive is cut off inside its member {member.path[:200]!r}"
                raise InvalidModelError(message, Location(file))
            self._add(member.path)
            self._places[member.path] = member

    @contextmanager
    def open(self, member: str) -> Iterator[Data]:
        place = self._places[member]
        try:
            self._raw.seek(place.offset)
            yield self._raw, place.size
        except OSError as error:
            raise _unreadable(error, self.display(member)) from None


class GzipTarArchive(_Archive):
    """A gzipped tar file: read once in order, the files of the model kept in memory, within ``most_memory``."""

    def __init__(self, file: str, raw: BinaryIO, size: int) -> None:
        super().__init__(file, most_memory(size))
        self._data: dict[str, bytearray] = {}
        stream = tar.GzipStream(raw, file, most_memory(size))
        for member in tar.members(stream, file):
            self._add(member.path)
            if _holds_model_data(member.path):
                self._data[member.path] = self._keep(stream, member)
        while stream.read(1 << 20):
            pass

    def _keep(self, stream: tar.GzipStream, member: tar.TarMember) -> bytearray:
        data = bytearray()
        while len(data) < member.size:
            chunk = stream.read(min(1 << 20, member.size - len(data)))
            if not chunk:
                message = f"the tar archive is cut off inside its member {member.path[:200]!r}"
                raise InvalidModelError(message, Location(self.file))
            data += chunk
        return data

    @contextmanager
    def open(self, member: str) -> Iterator[Data]:
        data = self._data[member]
        yield memoryview(data), len(data)


class _Bounded:
    """A file whose single reads are bounded, since zipfile reads some lengths that the archive states."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.seek, self.tell = raw.seek, raw.tell

    def seekable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        data = self._raw.read(count if 0 <= count <= _MAX_READ else _MAX_READ + 1)
        if len(data) > _MAX_READ:
            raise zipfile.BadZipFile("a part of it states an unlikely size")
        return data


class ZipArchive(_Archive):
    """A zip file: its directory is indexed, members are unpacked when asked for, within ``most_memory``."""

    def __init__(self, file: str, raw: BinaryIO, size: int) -> None:
        super().__init__(file, most_memory(size))
        try:
            self._zip = zipfile.ZipFile(_Bounded(raw))  # type: ignore[arg-type]
        except _ZIP_FAULTS as error:
            raise InvalidModelError(f"the zip archive is damaged: {error}", Location(file)) from None
        self._infos: dict[str, zipfile.ZipInfo] = {}
        entries = self._zip.infolist()
        if len(entries) > tar.MAX_MEMBERS:
            raise InvalidModelError(f"the archive has more than {tar.MAX_MEMBERS} members", Location(file))
        for info in entries:
            self._enter(info)
        total = sum(info.file_size for path, info in self._infos.items() if _holds_model_data(path))
        if total > most_memory(size):
            message = f"it unfolds to {total} bytes; the most for a compressed file of this size is {self.most}"
            raise InvalidModelError(message, Location(file))

    def _enter(self, info: zipfile.ZipInfo) -> None:
        path = member_path(info.filename, self.file)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            message = (
                f"the member {info.filename[:200]!r} is {_KINDS.get(kind, 'special')}; only plain files are accepted"
            )
            raise InvalidModelError(message, Location(self.file))
        if info.filename.endswith(("/", "\\")):
            return
        if path is None:
            raise InvalidModelError("a member has no name", Location(self.file))
        self._add(path)
        self._infos[path] = info

    @contextmanager
    def open(self, member: str) -> Iterator[Data]:
        info, place = self._infos[member], Location(self.display(member))
        if info.flag_bits & 0x41:
            raise UnsupportedError("the member is encrypted; encrypted archives are not supported", place)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            method = _ZIP_METHODS.get(info.compress_type, f"method {info.compress_type}")
            raise UnsupportedError(f"the member is compressed with {method}; stored and deflate are supported", place)
        if info.file_size > HEADER_SIZE + MAX_U32:
            raise InvalidModelError(f"the member states a size of {info.file_size} bytes", place)
        try:
            stream = self._zip.open(info)
        except _ZIP_FAULTS as error:
            raise _damaged(error, place) from None
        try:
            with stream:
                yield cast(BinaryIO, stream), info.file_size
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise _damaged(error, place) from None


def _damaged(error: Exception, place: Location) -> InvalidModelError:
    reason = error.strerror if isinstance(error, OSError) else error
    return InvalidModelError(f"the member is damaged: {reason or 'its data are cut off'}", place)
