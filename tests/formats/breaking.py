"""Builders of model files that break a rule, and what a table says about each."""

from __future__ import annotations

import functools
import gzip
import io
import os
import socket
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nnefc.errors import InvalidModelError, NnefcError

GRAPH = b"version 1.0;\ngraph g(x) -> (y) { x = external(shape = [1]); y = copy(x); }\n"
DATA = struct.pack("<6f", *range(6))
MIB = 1 << 20


def header(
    *,
    magic: bytes = b"N\xef",
    version: tuple[int, int] = (1, 0),
    length: int = 24,
    rank: int = 2,
    extents: tuple[int, ...] = (2, 3),
    bits: int = 32,
    item: int = 0,
) -> bytes:
    """The 128 bytes that start a tensor file; by default those of a good f32[2,3]."""
    padded = (*extents, *[0] * 8)[:8]
    return struct.pack("<2sBBII8III", magic, *version, length, rank, *padded, bits, item) + bytes(76)


GOOD = {"graph.nnef": GRAPH, "w.dat": header() + DATA}


@dataclass(frozen=True)
class Broken:
    """``place`` is where the error is, relative to the model's path; ``label`` None: opening alone must fail."""

    build: Callable[[Path], Path]
    message: str
    place: str = ""
    label: str | None = None
    error: type[NnefcError] = InvalidModelError


def folder(files: dict[str, bytes]) -> Callable[[Path], Path]:
    def build(tmp: Path) -> Path:
        for name, data in files.items():
            (tmp / "model" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp / "model" / name).write_bytes(data)
        return tmp / "model"

    return build


def raw(name: str, data: bytes | Callable[[], bytes]) -> Callable[[Path], Path]:
    def build(tmp: Path) -> Path:
        (tmp / name).write_bytes(data() if callable(data) else data)
        return tmp / name

    return build


def entry(name: str, data: bytes = b"", *, size: int | None = None, kind: bytes = b"0", link: str = "") -> bytes:
    """A tar member; ``size`` is what its header claims."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def resum(block: bytes) -> bytes:
    """A tar header with its checksum made right."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:512])
    return block[:148] + b"%06o\0 " % total + block[156:]


END = bytes(1024)
GRAPH_ENTRY = entry("graph.nnef", GRAPH)


GOOD_TAR = GRAPH_ENTRY + entry("w.dat", GOOD["w.dat"]) + END
GOOD_TGZ = gzip.compress(GOOD_TAR, mtime=0)


def gzipped(*parts: bytes) -> Callable[[Path], Path]:
    """Parts that are gzip data already stay as they are."""
    return raw("m.tgz", lambda: b"".join(p if p.startswith(b"\x1f\x8b") else gzip.compress(p, 1) for p in parts))


def tar(*parts: bytes, end: bytes = END) -> Callable[[Path], Path]:
    return raw("m.tar", b"".join(parts) + end)


def pax(records: bytes) -> bytes:
    return entry("pax", records, kind=b"x")


def zipped(*infos: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for info, data in infos:
            archive.writestr(info, data, method)
    return out.getvalue()


def zip_info(name: str, *, mode: int = 0o100644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def patched(data: bytes, old: bytes, new: bytes, *, last: bool = True) -> bytes:
    at = data.rindex(old) if last else data.index(old)
    return data[:at] + new + data[at + len(old) :]


GOOD_ZIP = zipped(*GOOD.items())


def encrypted() -> bytes:
    """The flag that says so, in both headers of the first member."""
    data = bytearray(GOOD_ZIP)
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


def zip_stating(size: int) -> bytes:
    """A stored member that claims another size than it has."""
    data = zipped(("graph.nnef", GRAPH), ("w.dat", header() + DATA), method=zipfile.ZIP_STORED)
    at = data.rindex(b"PK\1\2")
    return data[: at + 24] + struct.pack("<I", size) + data[at + 28 :]


def zip_with_name(name: str) -> bytes:
    """A name that zipfile itself would not write, in place of one of the same length."""
    data = zipped(("graph.nnef", GRAPH), ("n" * len(name), b"?"))
    return data.replace(b"n" * len(name), name.encode())


def overlapping(count: int) -> bytes:
    """One compressed member that ``count`` entries of the directory share; each would unfold to 64 MiB."""
    one = zipped(("graph.nnef", GRAPH), ("00000.dat", bytes(64 * MIB)))
    first, last, end = one.index(b"PK\1\2"), one.rindex(b"PK\1\2"), one.rindex(b"PK\5\6")
    shared = one[last:end]
    directory = one[first:last] + b"".join(shared.replace(b"00000", b"%05d" % i) for i in range(count))
    numbers = (0, 0, count + 1, count + 1, len(directory), first, 0)
    return one[:first] + directory + struct.pack("<4sHHHHIIH", b"PK\5\6", *numbers)


@functools.cache
def zeros(mebibytes: int) -> bytes:
    """Gzip data that unfolds to so many MiB of zeros, a multiple of 64."""
    return gzip.compress(bytes(64 * MIB)) * (mebibytes // 64)


def padding_set() -> bytes:
    return header(length=1, rank=1, extents=(3,), bits=2, item=1) + b"\x03"


def linked(name: str, target: str) -> Callable[[Path], Path]:
    """A link in the model's folder that leads to a good file or folder outside."""

    def build(tmp: Path) -> Path:
        folder(GOOD | {"sub/keep": b""})(tmp)
        (tmp / "outside").mkdir()
        (tmp / "outside" / "v.dat").write_bytes(GOOD["w.dat"])
        (tmp / "outside" / "graph.nnef").write_bytes(GRAPH)
        (tmp / "model" / name).unlink(missing_ok=True)
        (tmp / "model" / name).symlink_to(target)
        return tmp / "model"

    return build


def special(name: str, make: Callable[[str], None], *, bare: bool = False) -> Callable[[Path], Path]:
    def build(tmp: Path) -> Path:
        model = folder({k: v for k, v in GOOD.items() if k != name})(tmp)
        make(str(model / name))
        return model / name if bare else model

    return build


def bind(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(os.path.dirname(path))
        try:
            bound.bind(os.path.basename(path))
        finally:
            os.chdir(here)


def sparse_text(tmp: Path) -> Path:
    with open(tmp / "big.nnef", "wb") as stream:
        stream.truncate(17 * MIB)
    return tmp / "big.nnef"
