"""Tar archives as untrusted streams (IEEE 1003.1-2008 pax and ustar, GNU long names), read in order with bounds.

The standard library's reader takes extended headers at the size they claim, and expands sparse members; here every
size is bounded before it is read, and members that are no plain files are refused.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from nnefc.errors import InvalidModelError, Location
from nnefc.formats.nnef.paths import member_path

BLOCK = 512
MAX_MEMBERS = 65_536
_MAX_EXTENDED = 1 << 20
_MAX_GZIP_PARTS = 65_536
_CHUNK = 1 << 20
_LINKS = {b"1": "a hard link", b"2": "a symbolic link"}
_OTHERS = {b"3": "a device", b"4": "a device", b"6": "a named pipe", b"S": "a sparse file"}


@dataclass(frozen=True)
class TarMember:
    """A plain file in the archive: its path, size and where its data starts in the uncompressed archive."""

    path: str
    size: int
    offset: int


class Stream(Protocol):
    """Bytes read in order."""

    position: int

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes; fewer only where the stream ends."""

    def skip(self, count: int) -> None:
        """Pass over bytes, at most to the end."""


class FileStream:
    """A stream over an open file."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.position = 0

    def read(self, count: int) -> bytes:
        """The next bytes of the file."""
        data = self._raw.read(count)
        self.position += len(data)
        return data

    def skip(self, count: int) -> None:
        """Seek forward."""
        self.position = self._raw.seek(self.position + count)


class GzipStream:
    """A stream over gzip data, checked for damage, that yields no more than ``most`` bytes.

    Raises InvalidModelError, at ``file``, beyond that and where the data is damaged or cut off.
    """

    def __init__(self, raw: BinaryIO, file: str, most: int) -> None:
        self._raw = raw
        self._place = Location(file)
        self._most = most
        self._decoder = zlib.decompressobj(wbits=31)
        self._pending = b""
        self._parts = 1
        self._ended = False
        self.position = 0

    def read(self, count: int) -> bytes:
        """The next bytes, decompressed."""
        pieces = []
        while count and (piece := self._inflate(count)):
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def skip(self, count: int) -> None:
        """Decompress and drop bytes."""
        while count and (piece := self._inflate(min(count, _CHUNK))):
            count -= len(piece)

    def _inflate(self, count: int) -> bytes:
        """Between 1 and ``count`` bytes; none at the end."""
        while not self._ended:
            source = self._pending or self._raw.read(1 << 16)
            try:
                data = self._decoder.decompress(source, count)
            except zlib.error as error:
                raise InvalidModelError(f"the gzip data is damaged: {error}", self._place) from None
            self._pending = self._decoder.unconsumed_tail
            if self._decoder.eof:
                self._next_part()
            elif not source and not data:
                raise InvalidModelError("the gzip data is cut off", self._place)
            if data:
                self.position += len(data)
                if self.position > self._most:
                    message = f"it unfolds to more than {self._most} bytes, the most for a compressed file of this size"
                    raise InvalidModelError(message, self._place)
                return data
        return b""

    def _next_part(self) -> None:
        """Go on with the gzip data that follows, if any; zeros may pad the end."""
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest:
            chunk = self._raw.read(1 << 16)
            if not chunk:
                self._ended = True
                return
            rest = chunk.lstrip(b"\0")
        self._parts += 1
        if self._parts > _MAX_GZIP_PARTS:
            raise InvalidModelError(f"the gzip data has more than {_MAX_GZIP_PARTS} parts", self._place)
        self._decoder, self._pending = zlib.decompressobj(wbits=31), rest


def is_tar(start: bytes) -> bool:
    """Whether the first block of a file is a tar header."""
    return len(start) >= BLOCK and _checksum_holds(start[:BLOCK])


def members(stream: Stream, file: str) -> Iterator[TarMember]:
    """The plain files of the archive in order; at each, the stream stands at the member's data, which may be read.

    Folders are passed over. Raises InvalidModelError, at ``file``, if the archive is damaged or cut off, for links,
    devices, pipes and sparse files, for names that lead out of the archive, and for more than MAX_MEMBERS entries.
    """
    extended: dict[str, str] = {}
    for _ in range(MAX_MEMBERS + 1):
        header = _read_header(stream, file)
        if header is None:
            return
        kind, size = header[156:157], _number(header[124:136], file)
        if kind in (b"x", b"g", b"L", b"K"):
            fields = _read_extended(stream, kind, size, file)
            extended |= {} if kind == b"g" else fields
            continue
        name = extended.get("path") or extended.get("long name") or _name(header)
        size = _number(extended.get("size", "").encode(), file, base=10) if "size" in extended else size
        if any(key.startswith("GNU.sparse.") for key in extended):
            kind = b"S"
        extended = {}
        path = member_path(name, file)
        if kind == b"5" or (kind in (b"0", b"\0") and name.endswith("/")):
            continue
        _check_plain(kind, name, file)
        if path is None:
            raise InvalidModelError("a member has no name", Location(file))
        offset = stream.position
        yield TarMember(path, size, offset)
        stream.skip(offset + _padded(size) - stream.position)
    raise InvalidModelError(f"the archive has more than {MAX_MEMBERS} members", Location(file))


def _check_plain(kind: bytes, name: str, file: str) -> None:
    if kind in (b"0", b"\0", b"7"):
        return
    what = _LINKS.get(kind) or _OTHERS.get(kind) or f"of the unknown type {kind.decode('latin-1')!r}"
    raise InvalidModelError(f"the member {name[:200]!r} is {what}; only plain files are accepted", Location(file))


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _read_header(stream: Stream, file: str) -> bytes | None:
    """The next header, or None at the end-of-archive mark."""
    start = stream.position
    block = stream.read(BLOCK)
    if not start and not is_tar(block) and any(block):
        raise InvalidModelError("it holds no tar archive: it does not start with a tar header", Location(file))
    if len(block) < BLOCK:
        raise InvalidModelError("the tar archive is cut off: it has no end-of-archive mark", Location(file))
    if not any(block):
        return None
    if not _checksum_holds(block):
        message = f"the tar archive is damaged: the checksum of the header at byte {start} is wrong"
        raise InvalidModelError(message, Location(file))
    return block


def _checksum_holds(block: bytes) -> bool:
    try:
        stated = int(block[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    blank = block[:148] + b" " * 8 + block[156:]
    total = sum(blank)
    return stated == total or stated == total - 256 * sum(b > 127 for b in blank)


def _number(field: bytes, file: str, base: int = 8) -> int:
    """A size: digits, or GNU's binary form where the first byte says so."""
    try:
        binary = base == 8 and field[0] == 0x80
        value = int.from_bytes(field[1:], "big") if binary else int(field.strip(b" \0") or b"0", base)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 62:
        raise InvalidModelError(f"the tar archive is damaged: a size is written as {field[:40]!r}", Location(file))
    return value


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _read_extended(stream: Stream, kind: bytes, size: int, file: str) -> dict[str, str]:
    """The fields of an extended header: pax records, or GNU's long name as ``long name``."""
    if size > _MAX_EXTENDED:
        raise InvalidModelError(f"an extended header of the tar archive has {size} bytes, too many", Location(file))
    data = stream.read(_padded(size))
    if len(data) < size:
        raise InvalidModelError("the tar archive is cut off inside an extended header", Location(file))
    if kind == b"K":
        return {}
    if kind == b"L":
        return {"long name": data[:size].split(b"\0")[0].decode("utf-8", "replace")}
    return _pax_records(data[:size], file)


def _pax_records(data: bytes, file: str) -> dict[str, str]:
    """Records of the form ``LENGTH KEY=VALUE\\n``, the length counting the whole record."""
    fields: dict[str, str] = {}
    at = 0
    while at < len(data):
        digits = data[at : at + 8].split(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = data[at : at + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if len(record) != length or not record.endswith(b"\n") or not equals:
            raise InvalidModelError(
                f"the tar archive has a malformed extended header at {data[at : at + 20]!r}", Location(file)
            )
        fields[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        at += length
    return fields
