"""Models from one format to another."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnefc.api import Path as PathLike
from nnefc.api import Shapes, load
from nnefc.ir.graph import Graph

FORMATS = ("nnef", "onnx")
_NNEF_SUFFIXES = ("", ".nnef", ".tar", ".tgz", ".tar.gz", ".zip")
_EXTENSION = re.compile(r"^extension ([^;]+);", re.MULTILINE)


@dataclass(frozen=True)
class Conversion:
    """What :func:`convert` wrote.

    ``extensions`` are those that the NNEF text declares; ``plain`` says that they are Khronos' alone, so that any
    consumer of NNEF 1.0.5 can read the model, and ``beyond`` names the operations for which it cannot. ``opset`` is
    that of an ONNX model.
    """

    path: str
    format: str
    operations: int
    extensions: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()
    opset: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether the result is plain Khronos NNEF; False for ONNX."""
        return self.format == "nnef" and all(e.startswith("KHR_") for e in self.extensions)


def format_of(path: PathLike) -> str:
    """The format that the name of a file to be written stands for: an ``.onnx`` file, an NNEF archive or a folder.

    Raises ValueError where the name does not tell."""
    name = os.path.basename(os.path.normpath(os.fspath(path))).lower()
    if name.endswith(".onnx"):
        return "onnx"
    suffix = "" if Path(path).is_dir() else ".tar.gz" if name.endswith(".tar.gz") else Path(name).suffix
    if suffix in _NNEF_SUFFIXES:
        return "nnef"
    raise ValueError(f"the name of {os.fspath(path)!r} does not tell a format; name it .onnx, .nnef.tgz, .tar or .zip")


def convert(
    source: PathLike | Graph,
    destination: PathLike,
    *,
    to: str | None = None,
    shapes: Shapes | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
    strict: bool = False,
    opset: int | None = None,
    plain: bool = False,
) -> Conversion:
    """Read a model and write it in another format, or another container of the same.

    ``source`` is a path, read by :func:`nnefc.load` with ``shapes``, ``constants`` and ``strict``, or a Graph. ``to``
    is ``"nnef"`` or ``"onnx"`` (default: what the name of ``destination`` says). ``opset`` is that of an ONNX model.
    With ``plain``, operations of our extension are written as the standard operations that they are made of, where
    they are.

    Raises InvalidModelError, UnsupportedError, OSError, and ValueError for a format, an opset, or a name that does not
    tell the format.
    """
    to = format_of(destination) if to is None else to
    if to not in FORMATS:
        raise ValueError(f"there is no format {to!r}; there are {' and '.join(FORMATS)}")
    if opset is not None and to != "onnx":
        raise ValueError("only ONNX has an opset")
    if plain and to != "nnef":
        raise ValueError("only NNEF can be plain")
    notes: list[str] = []
    graph = source
    if not isinstance(graph, Graph):
        graph = load(graph, shapes=shapes, constants=constants, strict=strict, notes=notes)
    elif shapes or constants:
        raise ValueError("shapes and constants are for models that are read from a file")
    if to == "onnx":
        return _to_onnx(graph, destination, opset, notes)
    if plain:
        from nnefc.tools.plain import plainer

        graph = plainer(graph)
    return _to_nnef(graph, destination, notes)


def _to_onnx(graph: Graph, destination: PathLike, opset: int | None, notes: list[str]) -> Conversion:
    from nnefc.formats.onnx import save
    from nnefc.formats.onnx.write import default_opset

    opset = default_opset(graph) if opset is None else opset
    save(graph, destination, opset=opset, notes=notes)
    return Conversion(os.fspath(destination), "onnx", len(graph.ops), opset=opset, notes=tuple(notes))


def _to_nnef(graph: Graph, destination: PathLike, notes: list[str]) -> Conversion:
    from nnefc.formats.nnef import save

    extensions, beyond = nnef_extensions(graph)
    save(graph, destination)
    return Conversion(os.fspath(destination), "nnef", len(graph.ops), extensions, beyond, notes=tuple(notes))


def nnef_extensions(graph: Graph) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The extensions that the NNEF text of a graph declares, and the kinds of operations that plain NNEF has not."""
    from nnefc.formats.nnef import format_graph
    from nnefc.ir.text import is_extended
    from nnefc.ops.signatures import signatures

    header = format_graph(graph.replace(tensors={}), types=False).split("\ngraph ", 1)[0]
    names = [name.strip() for line in _EXTENSION.findall(header) for name in line.split(",")]
    known = signatures()
    beyond = {op.kind for op in graph.ops if op.kind not in known or is_extended(op, known[op.kind])}
    return tuple(dict.fromkeys(names)), tuple(sorted(beyond))
