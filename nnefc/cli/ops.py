"""``nnefc ops``: the table of operations and what supports each."""

from __future__ import annotations

import argparse
import re
from importlib import resources
from typing import NamedTuple

from nnefc.cli.common import emit, table
from nnefc.ops.primitive import primitives
from nnefc.ops.signatures import EXTENSION, STDLIB

NAME = "ops"
HELP = "list the operations and what supports each"
DESCRIPTION = (
    "List the operations of NNEF 1.0.5 and of the extension NNEFC_operations: which have a shape rule, a NumPy meaning "
    "and a compiled form."
)

_GIVEN = ("external", "variable")
_HEADING = re.compile(r"# ---- ([^;\n]*)")
_FRAGMENT = re.compile(r"fragment (\w+)")


class Row(NamedTuple):
    """One operation. The last three are ``own`` (in Python), ``body`` (the declared one is expanded) or ``-``."""

    operation: str
    group: str
    shapes: str
    reference: str
    compiled: str


def operations() -> tuple[Row, ...]:
    """The table, in the order of ``stdlib.nnef`` and ``extension.nnef``."""
    registered = primitives()
    rows = []
    for name, group, has_body in _declared():
        fallback = "body" if has_body else "-"
        own = "own" if name in registered else fallback
        lowered = name in _GIVEN or (name in registered and registered[name].lower is not None)
        rows.append(Row(name, group, own, own, "own" if lowered else fallback))
    return tuple(rows)


def _declared() -> list[tuple[str, str, bool]]:
    """Name, group and whether it has a body, of each operation that nnefc declares."""
    files = resources.files("nnefc.ops")
    text = "".join((files / name).read_text() for name in (STDLIB, EXTENSION))
    found, group = [], ""
    for piece in re.split(r"^(?=# ----|fragment )", text, flags=re.MULTILINE):
        if heading := _HEADING.match(piece):
            group = re.sub(r"[\d.]+ ", "", heading[1])
        elif fragment := _FRAGMENT.match(piece):
            found.append((fragment[1], group, "{" in piece))
    return found


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments: there are none."""


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    rows = operations()
    if args.json:
        emit({"operations": [row._asdict() for row in rows]})
        return 0
    print(table([Row._fields, *rows]))
    print(f"\n{len(rows)} operations. own: written in Python; body: by expanding the declared definition.")
    return 0
