"""A bound on the tables of numbers that importers compute."""

from __future__ import annotations

import math

from nnefc.formats.onnx.scope import Scope

MAX_TABLE = 2**25
"""The most elements of one table."""


def check_table(s: Scope, *extents: int) -> None:
    """Raise UnsupportedError if a table of these extents would be too large to compute at import."""
    if math.prod(extents) > MAX_TABLE:
        s.unsupported(f"it needs a table of {math.prod(extents)} numbers; at most {MAX_TABLE} are supported")
