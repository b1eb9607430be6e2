"""Tensor files and folders that are damaged or hostile, and files that are no models."""

from __future__ import annotations

import bz2
import lzma
import os
from pathlib import Path

from breaking import (
    DATA,
    GOOD,
    GOOD_TAR,
    GRAPH,
    Broken,
    bind,
    folder,
    header,
    linked,
    padding_set,
    raw,
    sparse_text,
    special,
)

from nnefc.errors import InvalidModelError, NnefcError, UnsupportedError


def tensor(data: bytes, message: str, error: type[NnefcError] = InvalidModelError) -> Broken:
    return Broken(folder({"graph.nnef": GRAPH, "w.dat": data}), message, "/w.dat", "w", error)


TENSORS = {
    "empty": tensor(b"", "the file ends inside its header: 0 bytes of 128"),
    "header cut": tensor(header()[:127], "the file ends inside its header: 127 bytes of 128"),
    "wrong magic": tensor(header(magic=b"PK") + DATA, "not a tensor file: it starts with 0x504b, not 0x4eef"),
    "version 1.1": tensor(header(version=(1, 1)) + DATA, "version 1.1 of tensor files is unknown; there is 1.0"),
    "version 2.0": tensor(header(version=(2, 0)) + DATA, "version 2.0 of tensor files is unknown; there is 1.0"),
    "rank 9": tensor(header(rank=9) + DATA, "rank 9 exceeds 8"),
    "rank of 32 bits": tensor(header(rank=2**32 - 1) + DATA, "rank 4294967295 exceeds 8"),
    "extent 0": tensor(
        header(extents=(0, 3), length=0),
        "the extents are [0, 3, 0, 0, 0, 0, 0, 0]; a tensor of rank 2 has 2 positive extents and zeros after them",
    ),
    "extent beyond the rank": tensor(
        header(extents=(2, 3, 1)) + DATA,
        "the extents are [2, 3, 1, 0, 0, 0, 0, 0]; a tensor of rank 2 has 2 positive extents and zeros after them",
    ),
    "extents of a scalar": tensor(
        header(rank=0, extents=(6,)) + DATA,
        "the extents are [6, 0, 0, 0, 0, 0, 0, 0]; a tensor of rank 0 has no extents",
    ),
    "product beyond 64 bits": tensor(
        header(rank=8, extents=(2**32 - 1,) * 8) + DATA,
        f"32-bit items of shape {[2**32 - 1] * 8} take {4 * (2**32 - 1) ** 8} bytes, "
        "but the header's data length is 24",
    ),
    "product that wraps to the length": tensor(
        header(rank=4, extents=(2**31, 2**31, 4, 3), length=0),
        f"32-bit items of shape [{2**31}, {2**31}, 4, 3] take {2**62 * 48} bytes, but the header's data length is 0",
    ),
    "length too small": tensor(
        header(length=20) + DATA[:20],
        "32-bit items of shape [2, 3] take 24 bytes, but the header's data length is 20",
    ),
    "length of 4 GiB": tensor(
        header(extents=(2**30 - 1, 1), length=2**32 - 4) + DATA,
        "the file has 152 bytes, but its header describes 4294967420 (128 and 4294967292 of data)",
    ),
    "data cut": tensor(
        header() + DATA[:-1], "the file has 151 bytes, but its header describes 152 (128 and 24 of data)"
    ),
    "data too long": tensor(
        header() + DATA + b"\0", "the file has 153 bytes, but its header describes 152 (128 and 24 of data)"
    ),
    "bits 0": tensor(header(bits=0, length=0, item=1), "uint items of 0 bits; they may have 1 to 64"),
    "bits 65": tensor(header(bits=65, length=49, item=4) + bytes(49), "int items of 65 bits; they may have 1 to 64"),
    "bits of 32 bits": tensor(
        header(bits=2**32 - 1, item=2) + DATA, "quint items of 4294967295 bits; they may have 1 to 64"
    ),
    "float of 24 bits": tensor(
        header(bits=24, length=18) + DATA[:18], "float items of 24 bits; they may have 16 or 32 or 64"
    ),
    "bool of 2 bits": tensor(header(bits=2, length=2, item=5) + b"\0\0", "bool items of 2 bits; they may have 1 or 8"),
    "unknown item type": tensor(header(item=6) + DATA, "unknown item type 6; the standard has 0 to 5"),
    "item type of a vendor": tensor(
        header(item=0x54521000, bits=2**32 - 1) + DATA,
        "item type 0x1000 of the vendor 0x5452 ('TR') is not supported",
        UnsupportedError,
    ),
    "item type of a nameless vendor": tensor(
        header(item=0x0001FFFF) + DATA, "item type 0xffff of the vendor 0x0001 is not supported", UnsupportedError
    ),
    "padding set": tensor(padding_set(), "the bits after the last item are not zero"),
    "not a tensor": tensor(GRAPH * 3, "not a tensor file: it starts with 0x7665, not 0x4eef"),
}

FOLDERS = {
    "no such path": Broken(lambda tmp: tmp / "absent.tgz", "cannot be read: no such file or folder"),
    "no such graph": Broken(lambda tmp: tmp / "graph.nnef", "cannot be read: no such file or folder"),
    "path through a file": Broken(lambda tmp: raw("a", GRAPH)(tmp) / "m.tgz", "cannot be read: Not a directory"),
    "empty folder": Broken(folder({"notes/readme.txt": b""}), "there is no graph.nnef in it"),
    "folder of an archive": Broken(folder({"m.nnef.tgz": b""}), "there is no graph.nnef in it; it holds 'm.nnef.tgz'"),
    "graph of another case": Broken(
        folder({"Graph.NNEF": GRAPH}), "there is no graph.nnef in it; it holds 'Graph.NNEF'"
    ),
    "graph is a folder": Broken(folder({"graph.nnef/x": b""}), "it is a folder, not a plain file", "/graph.nnef"),
    "graph is a link": Broken(
        linked("graph.nnef", "../outside/graph.nnef"), "it is a symbolic link, not a plain file", "/graph.nnef"
    ),
    "tensor is a link": Broken(
        linked("w.dat", "../outside/v.dat"), "it is a symbolic link, not a plain file", "/w.dat", "w"
    ),
    "tensor is a link inside": Broken(
        linked("v.dat", "w.dat"), "it is a symbolic link, not a plain file", "/v.dat", "v"
    ),
    "tensor is a link to a device": Broken(
        linked("w.dat", "/dev/zero"), "it is a symbolic link, not a plain file", "/w.dat", "w"
    ),
    "folder is a link": Broken(linked("a", "../outside"), "it is a symbolic link, not a folder", "/a", "a/v"),
    "tensor is a folder": Broken(folder(GOOD | {"v.dat/x": b""}), "it is a folder, not a plain file", "/v.dat", "v"),
    "tensor is a pipe": Broken(special("w.dat", os.mkfifo), "it is a named pipe, not a plain file", "/w.dat", "w"),
    "tensor is a socket": Broken(special("w.dat", bind), "it is a socket, not a plain file", "/w.dat", "w"),
    "model is a pipe": Broken(special("m.tgz", os.mkfifo, bare=True), "it is a named pipe, not a plain file"),
    "graph is a pipe": Broken(special("graph.nnef", os.mkfifo), "it is a named pipe, not a plain file", "/graph.nnef"),
    "model is a device": Broken(lambda tmp: Path("/dev/zero"), "it is a device, not a plain file"),
    "files of two cases": Broken(
        folder(GOOD | {"W.dat": GOOD["w.dat"]}), "several files answer to the label 'w': W.dat, w.dat", "?", "w"
    ),
    "not UTF-8": Broken(
        raw("net.nnef", "version 1.0;\n# é".encode() + b"\xff\n"), "not UTF-8 text: the byte 0xff", ":2:4"
    ),
    "quantization not UTF-8": Broken(
        folder(GOOD | {"graph.quant": b"\x80"}), "not UTF-8 text: the byte 0x80", "/graph.quant:1:1"
    ),
    "text too long": Broken(sparse_text, "the text has 17825792 bytes; at most 16777216 are accepted"),
}

OTHERS = {
    what: Broken(
        raw(name, data), f"{what} archives are not supported; a folder, .tar, .tgz and .zip are", error=UnsupportedError
    )
    for what, name, data in [
        ("bzip2", "m.tar.bz2", bz2.compress(GOOD_TAR)),
        ("xz", "m.tar.xz", lzma.compress(GOOD_TAR)),
        ("zstandard", "m.tar.zst", b"\x28\xb5\x2f\xfd" + bytes(20)),
        ("7z", "m.7z", b"7z\xbc\xaf\x27\x1c" + bytes(20)),
        ("rar", "m.rar", b"Rar!\x1a\x07\x00"),
    ]
} | {
    "called tgz": Broken(raw("m.nnef.tgz", GRAPH), "it is called an archive, but is neither gzip, zip nor tar"),
    "called zip": Broken(raw("m.zip", b""), "it is called an archive, but is neither gzip, zip nor tar"),
}
