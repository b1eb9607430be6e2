"""Graphs to NNEF: the text, ``graph.quant`` and the tensors (NNEF 1.0.5, chapters 3 and 5)."""

from __future__ import annotations

import os

from nnefc.formats.nnef import archive, quantfile
from nnefc.ir.graph import Graph
from nnefc.ir.text import format_graph as format_with
from nnefc.ir.verify import verify
from nnefc.ops.signatures import signatures


def format_graph(graph: Graph, *, types: bool = True) -> str:
    """The graph as text: typed text that parses back to it, or (``types=False``) what the standard says alone.

    Raises UnsupportedError for an attribute without a literal.
    """
    return format_with(graph, signatures(), types=types)


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write a model: an archive if the name ends in ``.tar``, ``.tgz``, ``.tar.gz`` or ``.zip``, else a folder.

    Infinities and NaN are written as ``scalar('inf')`` and so on, for which NNEF has no literals; element types that it
    has no names for are written under the extension of ``nnefc.ir.text``. A graph that is called like an operation is
    written as ``NAME_graph``. Raises NnefcError for a faulty graph, UnsupportedError and OSError.
    """
    verify(graph)
    if graph.name in signatures():
        graph = graph.replace(name=f"{graph.name}_graph")
    encodings = {name: v.type.encoding for name, v in graph.values.items() if v.type.encoding is not None}
    quant = quantfile.format(encodings) if encodings else None
    archive.write_model(path, format_graph(graph, types=False), quant, graph.tensors)
