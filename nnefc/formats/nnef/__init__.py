"""NNEF 1.0.5: models on disk to Graphs, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nnefc.errors import Location, NnefcError
from nnefc.formats.nnef import archive, quantfile
from nnefc.formats.nnef.context import Context
from nnefc.formats.nnef.dialect import STRICT, TOLERANT, TRACT_PREFIX, Dialect, Notes
from nnefc.formats.nnef.lift import ReadTensor, Shapes, lift
from nnefc.formats.nnef.quantfile import Entry
from nnefc.formats.nnef.typecheck import check
from nnefc.formats.nnef.write import format_graph, save
from nnefc.ir.graph import Graph
from nnefc.ir.parse import parse_document
from nnefc.ir.syntax import Document

__all__ = ["format_graph", "free_dimensions", "load", "parse_graph", "save"]


def load(
    path: str | os.PathLike[str],
    *,
    shapes: Shapes | None = None,
    strict: bool = False,
    notes: list[str] | None = None,
) -> Graph:
    """Read a model: a folder, a bare ``graph.nnef``, or an archive.

    ``shapes`` replaces the shapes of inputs, by name. Unless ``strict``, common departures from it are accepted;
    a line about each is added to ``notes``. Variables without a file have no values. Raises InvalidModelError and
    UnsupportedError, with the place.
    """
    dialect = STRICT if strict else TOLERANT

    def note(message: str, location: Location | None) -> None:
        if notes is not None:
            notes.append(f"{location}: note: {message}" if location else f"note: {message}")

    with archive.open_model(path) as files:
        entries: Mapping[str, Entry] = {}
        if files.quant_text is not None:
            entries = quantfile.parse_entries(files.quant_text, files.quant_file, dialect=dialect, note=note)
        return parse_graph(
            files.graph_text,
            files.graph_file,
            dialect=dialect,
            notes=note,
            shapes=shapes,
            quantization=entries,
            read_tensor=files.read_tensor,
        )


def free_dimensions(path: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """Input -> its dimensions that a symbol of tract's dialect decides: the symbol by their index. Raises
    InvalidModelError and UnsupportedError."""
    with archive.open_model(path) as files:
        document = parse_document(files.graph_text, files.graph_file)
    if not _declares_tract(document):
        return {}
    from nnefc.formats.nnef.tract.header import Symbols

    return Symbols(document, Context(TOLERANT)).free()


def parse_graph(
    text: str,
    file: str = "graph.nnef",
    *,
    dialect: Dialect = STRICT,
    notes: Notes | None = None,
    shapes: Shapes | None = None,
    quantization: Mapping[str, Entry] | None = None,
    read_tensor: ReadTensor | None = None,
) -> Graph:
    """The Graph of the text of a ``graph.nnef``; arguments as for ``lift``. Raises InvalidModelError and
    UnsupportedError, with the place and its source line."""
    document = parse_document(text, file)
    try:
        context = Context(dialect, notes)
        if dialect.tract and _declares_tract(document):
            from nnefc.formats.nnef import tract

            return tract.lift(document, context, shapes=shapes, quantization=quantization, read_tensor=read_tensor)
        return lift(check(document, context), shapes=shapes, quantization=quantization, read_tensor=read_tensor)
    except NnefcError as error:
        document.source.place(error)
        raise


def _declares_tract(document: Document) -> bool:
    """Whether a document says that it is in tract's dialect: by an extension, or by a fragment of tract's."""
    names = [e.words[0] for e in document.extensions] + [f.name for f in document.fragments]
    return any(name.startswith(TRACT_PREFIX) for name in names)
