"""What ``stdlib.nnef`` declares: the signature of each operation of the standard."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

from nnefc.ir.parse import parse_declarations
from nnefc.ir.signature import Signature, signature_of
from nnefc.ops.primitive import primitives

STDLIB = "stdlib.nnef"
"""The name under which places inside the standard library are known."""


@functools.cache
def signatures() -> Mapping[str, Signature]:
    """Every operation of the standard by name, in the order of ``stdlib.nnef``."""
    text = resources.files("nnefc.ops").joinpath(STDLIB).read_text(encoding="utf-8")
    return MappingProxyType({f.name: signature_of(f) for f in parse_declarations(text, STDLIB)})


def signature(name: str) -> Signature:
    """The signature of an operation of the standard. Raises KeyError if there is none of that name."""
    return signatures()[name]


def require_declarations() -> None:
    """Raise ValueError naming the registered operations that ``stdlib.nnef`` does not declare."""
    undeclared = [name for name in primitives() if name not in signatures()]
    if undeclared:
        raise ValueError(f"{STDLIB} does not declare the registered operations {', '.join(undeclared)}")
