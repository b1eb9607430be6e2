"""Short NNEF texts for the tests of the language."""

from __future__ import annotations

from nnefc.errors import NnefcError
from nnefc.formats.nnef import format_graph, parse_graph
from nnefc.formats.nnef.dialect import STRICT, Dialect

EXTENSIONS = "extension KHR_enable_fragment_definitions, KHR_enable_operator_expressions;\n"
HEAD = "version 1.0;\n" + EXTENSIONS


def document(statements: str, fragments: str = "", *, head: str = HEAD, inputs: str = "x", outputs: str = "y") -> str:
    """A graph of one external ``x`` of shape [1,4]. The statements are in line 4, the fragments in line 3."""
    return f"{head}{fragments}\ngraph G({inputs}) -> ({outputs}) {{ x = external(shape = [1, 4]);\n{statements}\n}}\n"


def flat(text: str, dialect: Dialect = STRICT) -> str:
    """The statements after ``x`` that a text expands to, one per line."""
    lines = format_graph(parse_graph(text, dialect=dialect), types=False).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("    x = external"))
    return "\n".join(line.strip() for line in lines[first + 1 : -1])


def verdict(text: str, dialect: Dialect = STRICT) -> str:
    """``accepted``, or the place and message of the error."""
    try:
        parse_graph(text, dialect=dialect)
    except NnefcError as error:
        return f"{error.line}:{error.column}: {error.message}"
    return "accepted"
