"""Folders and archives that break a rule: by name, a builder and a part of the message that must name the fault."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

TEXT = (
    "version 1.0;\ngraph G(x) -> (y)\n{\n    x = external<scalar>(shape = [1, 4]);\n"
    "    w = variable<scalar>(shape = [3, 4], label = '%s');\n    y = linear(x, w);\n}\n"
)
DATA = np.arange(12, dtype="<f4").tobytes()
Builder = Callable[[Path], Path]


def header(
    *,
    magic: bytes = b"\x4e\xef",
    version: tuple[int, int] = (1, 0),
    length: int = len(DATA),
    rank: int = 2,
    extents: tuple[int, ...] = (3, 4),
    bits: int = 32,
    item: int = 0,
) -> bytes:
    """The 128 bytes that start a tensor file (NNEF 1.0.5, 5.2)."""
    padded = (extents + (0,) * 8)[:8]
    return magic + bytes(version) + struct.pack("<II8III", length, rank, *padded, bits, item) + bytes(76)


def folder(
    dat: bytes | None = None, *, text: str = TEXT % "w", name: str = "w.dat", quant: str | None = None
) -> Builder:
    """A folder with a graph, a tensor file unless ``dat`` is None, and quantization."""

    def build(tmp: Path) -> Path:
        model = tmp / "model"
        model.mkdir()
        (model / "graph.nnef").write_text(text)
        if dat is not None:
            (model / name).write_bytes(dat)
        if quant is not None:
            (model / "graph.quant").write_text(quant)
        return model

    return build


def outside(label: str) -> Builder:
    """A label that would reach a valid tensor file beside the model's folder."""

    def build(tmp: Path) -> Path:
        (tmp / "secret.dat").write_bytes(header() + DATA)
        return folder(text=TEXT % label.format(tmp=tmp))(tmp)

    return build


def link(target: str, name: str = "w.dat") -> Builder:
    """A file of the model that is a symbolic link."""

    def build(tmp: Path) -> Path:
        (tmp / "secret.dat").write_bytes(header() + DATA)
        (tmp / "secret.nnef").write_text("not for you")
        model = folder()(tmp)
        (model / name).unlink(missing_ok=True)
        (model / name).symlink_to(target.format(tmp=tmp))
        return model

    return build


def tar(entries: dict[str, bytes], *, mode: str = "w", cut: int = 0, name: str = "m.tar") -> Builder:
    """A tar file; the last ``cut`` bytes are left out."""

    def build(tmp: Path) -> Path:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode) as archive:
            for entry, content in entries.items():
                info = tarfile.TarInfo(entry)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        content = stream.getvalue()
        (tmp / name).write_bytes(content[: len(content) - cut])
        return tmp / name

    return build


def tar_link(kind: bytes, target: str) -> Builder:
    """A tar file whose tensor is a link or another special entry."""

    def build(tmp: Path) -> Path:
        (tmp / "secret.dat").write_bytes(header() + DATA)
        with tarfile.open(tmp / "m.tar", "w") as archive:
            graph = tarfile.TarInfo("graph.nnef")
            graph.size = len(TEXT % "w")
            archive.addfile(graph, io.BytesIO((TEXT % "w").encode()))
            info = tarfile.TarInfo("w.dat")
            info.type, info.linkname = kind, target.format(tmp=tmp)
            archive.addfile(info)
        return tmp / "m.tar"

    return build


def zipped(entries: dict[str, bytes], *, cut: int = 0) -> Builder:
    """A zip file; the last ``cut`` bytes are left out."""

    def build(tmp: Path) -> Path:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, content in entries.items():
                archive.writestr(entry, content)
        content = stream.getvalue()
        (tmp / "m.zip").write_bytes(content[: len(content) - cut])
        return tmp / "m.zip"

    return build


def gzip_bomb(tmp: Path) -> Path:
    """Fifty gigabytes of zeros, as members of one gzip stream, where a tar is expected."""
    member = gzip.compress(bytes(1 << 26))
    (tmp / "m.tgz").write_bytes(member * 800)
    return tmp / "m.tgz"


def tar_bomb(tmp: Path) -> Path:
    """A compressed tar whose tensor entry is ten gigabytes of zeros."""
    graph = (TEXT % "w").encode()
    first = tarfile.TarInfo("graph.nnef")
    first.size = len(graph)
    second = tarfile.TarInfo("w.dat")
    second.size = 10 << 30
    start = first.tobuf() + graph.ljust(-(-len(graph) // 512) * 512, b"\0") + second.tobuf()
    (tmp / "m.tgz").write_bytes(gzip.compress(start) + gzip.compress(bytes(1 << 26)) * 160)
    return tmp / "m.tgz"


def raw(name: str, content: bytes) -> Builder:
    """A file of that content."""

    def build(tmp: Path) -> Path:
        (tmp / name).write_bytes(content)
        return tmp / name

    return build


def fifo(tmp: Path) -> Path:
    os.mkfifo(tmp / "graph.nnef")
    return tmp / "graph.nnef"


def fifo_inside(tmp: Path) -> Path:
    model = folder()(tmp)
    os.mkfifo(model / "w.dat")
    return model


def empty_folder(tmp: Path) -> Path:
    (tmp / "model").mkdir()
    return tmp / "model"


GOOD = {"graph.nnef": (TEXT % "w").encode(), "w.dat": header() + DATA}

TENSORS: dict[str, tuple[Builder, str]] = {
    "tensor file missing": (folder(), "no stored values"),
    "tensor file empty": (folder(b""), "w.dat"),
    "tensor header cut": (folder(header()[:100]), "w.dat"),
    "tensor magic": (folder(header(magic=b"PK") + DATA), "w.dat"),
    "tensor version": (folder(header(version=(9, 0)) + DATA), "w.dat"),
    "tensor rank beyond eight": (folder(header(rank=9) + DATA), "w.dat"),
    "tensor rank beyond all": (folder(header(rank=0xFFFFFFFF) + DATA), "w.dat"),
    "tensor length short of its shape": (folder(header(length=44) + DATA), "w.dat"),
    "tensor length beyond the file": (folder(header(length=0xFFFFFFFF) + DATA), "w.dat"),
    "tensor data cut": (folder(header() + DATA[:-5]), "w.dat"),
    "tensor extents overflow": (folder(header(rank=8, extents=(0xFFFFFFFF,) * 8) + DATA), "w.dat"),
    "tensor extent of zero": (folder(header(extents=(0, 4), length=0)), "w.dat"),
    "tensor of another shape": (folder(header(extents=(4, 3)) + DATA), "[4,3]"),
    "tensor of another type": (folder(header(item=5, bits=8, length=12) + DATA[:12]), "item type bool"),
    "tensor bits of zero": (folder(header(bits=0) + DATA), "w.dat"),
    "tensor bits beyond 64": (folder(header(bits=65) + DATA), "w.dat"),
    "tensor float of 24 bits": (folder(header(bits=24, length=36) + DATA[:36]), "w.dat"),
    "tensor item type unknown": (folder(header(item=77) + DATA), "w.dat"),
}

LABELS: dict[str, tuple[Builder, str]] = {
    "label climbs": (outside("../secret"), "'../secret'"),
    "label climbs inside": (outside("a/../../secret"), "leads out"),
    "label absolute": (outside("{tmp}/secret"), "secret"),
    "label climbs with backslashes": (outside("..\\\\secret"), "leads out"),
    "label empty": (folder(text=TEXT % ""), "label = ''"),
    "label of forbidden characters": (folder(text=TEXT % "a:b*c"), "'*' ':'"),
    "tensor links outside": (link("{tmp}/secret.dat"), "symbolic link"),
    "tensor links up": (link("../secret.dat"), "symbolic link"),
    "tensor links to a device": (link("/dev/zero"), "symbolic link"),
    "graph links outside": (link("{tmp}/secret.nnef", "graph.nnef"), "symbolic link"),
    "tensor is a pipe": (fifo_inside, "named pipe"),
    "labels of one tensor, two shapes": (
        folder(
            header() + DATA,
            text=(TEXT % "w").replace("y =", "u = variable<scalar>(shape = [4, 3], label = 'W');\n    y ="),
        ),
        "[4,3]",
    ),
}

ARCHIVES: dict[str, tuple[Builder, str]] = {
    "no such file": (lambda tmp: tmp / "absent.nnef", "absent.nnef"),
    "empty folder": (empty_folder, "graph.nnef"),
    "empty file": (raw("m.nnef.tgz", b""), "m.nnef.tgz"),
    "zeros": (raw("m.nnef.tgz", bytes(4096)), "m.nnef.tgz"),
    "noise": (raw("m.tar", np.random.default_rng(0).bytes(20_000)), "m.tar"),
    "noise called graph.nnef": (raw("graph.nnef", np.random.default_rng(1).bytes(20_000)), "graph.nnef"),
    "not UTF-8": (raw("graph.nnef", b"version 1.0; # \xff\xfe\xfd\n"), "graph.nnef"),
    "device": (lambda tmp: Path("/dev/zero"), "/dev/zero"),
    "pipe": (fifo, "graph.nnef"),
    "gzip of noise": (raw("m.tgz", gzip.compress(np.random.default_rng(2).bytes(20_000))), "m.tgz"),
    "gzip cut": (tar(GOOD, mode="w:gz", cut=60, name="m.tgz"), "cut off"),
    "gzip bomb": (gzip_bomb, "unfolds to more"),
    "tar bomb": (tar_bomb, "unfolds to more"),
    "tar cut": (tar(GOOD, cut=9_900), "m.tar"),
    "tar without a graph": (tar({"w.dat": header() + DATA}), "graph.nnef"),
    "tar with a climbing name": (
        tar({**GOOD, "../w.dat": b"x"} | {"graph.nnef": (TEXT % "../w").encode()}),
        "'../w.dat'",
    ),
    "tar with two graphs": (tar({"a/graph.nnef": b"version 1.0;", "b/graph.nnef": b"version 1.0;"}), "graph.nnef"),
    "tar with a symbolic link": (tar_link(tarfile.SYMTYPE, "{tmp}/secret.dat"), "symbolic link"),
    "tar with a hard link": (tar_link(tarfile.LNKTYPE, "{tmp}/secret.dat"), "hard link"),
    "tar with a device": (tar_link(tarfile.CHRTYPE, ""), "device"),
    "zip cut": (zipped(GOOD, cut=40), "m.zip"),
    "zip without a graph": (zipped({"w.dat": header() + DATA}), "graph.nnef"),
    "zip bomb": (zipped({**GOOD, "w.dat": header(extents=(10**9, 4), length=0xFFFFFFFF) + bytes(1 << 27)}), "w.dat"),
    "zip of another shape": (zipped({**GOOD, "w.dat": header(extents=(4, 3)) + DATA}), "[4,3]"),
}

QUANT = '"%s": zero_point_linear_quantize(zero_point = 3, scale = 0.5, bits = 8, signed = false, symmetric = false);\n'
QUANTIZATION: dict[str, tuple[Builder, str]] = {
    "quantization of no tensor": (folder(header() + DATA, quant=QUANT % "q"), "q"),
    "quantization twice": (folder(header() + DATA, quant=QUANT % "y" * 2), "y"),
    "quantization by another operation": (folder(header() + DATA, quant='"y": relu();\n'), "relu"),
    "quantization by nothing known": (folder(header() + DATA, quant='"y": squash(bits = 8);\n'), "squash"),
    "quantization without scale": (
        folder(header() + DATA, quant=(QUANT % "y").replace("scale = 0.5, ", "")),
        "scale",
    ),
    "quantization syntax": (folder(header() + DATA, quant='"y" zero_point_linear_quantize();\n'), "graph.quant"),
    "quantization of channels that do not fit": (
        folder(header() + DATA, quant=(QUANT % "y").replace("0.5", "[[0.5, 0.25]]")),
        "scale",
    ),
    "quantization to no bits": (folder(header() + DATA, quant=(QUANT % "y").replace("bits = 8", "bits = 0")), "bits"),
}

FILES = {**TENSORS, **LABELS, **ARCHIVES, **QUANTIZATION}
