"""What ``stdlib.nnef`` and ``extension.nnef`` declare: the signature of each operation of the standard and of ours."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from importlib import resources
from types import MappingProxyType

from nnefc.ir.parse import parse_declarations
from nnefc.ir.signature import Signature, of_any_type, signature_of
from nnefc.ir.text import OPERATIONS_EXTENSION
from nnefc.ops.primitive import primitives

STDLIB = "stdlib.nnef"
"""The name under which places inside the standard library are known."""
EXTENSION = "extension.nnef"
"""The same for the operations of the extension ``NNEFC_operations``."""


@functools.cache
def signatures() -> Mapping[str, Signature]:
    """Every operation by name, those of the standard first, in the order of their files."""
    return MappingProxyType(_declared(STDLIB, None) | _declared(EXTENSION, OPERATIONS_EXTENSION))


def _declared(file: str, extension: str | None) -> dict[str, Signature]:
    text = resources.files("nnefc.ops").joinpath(file).read_text(encoding="utf-8")
    return {f.name: signature_of(f, file, extension) for f in parse_declarations(text, file)}


def signature(name: str) -> Signature:
    """The signature of an operation. Raises KeyError if there is none of that name."""
    return signatures()[name]


def is_extension(name: str) -> bool:
    """Whether an operation is one of the extension ``NNEFC_operations``. Raises KeyError for an unknown one."""
    return signatures()[name].extension is not None


def available(extensions: Collection[str]) -> dict[str, Signature]:
    """The operations that a document may use which declares these extensions: with ``NNEFC_operations`` ours too, and
    those of the standard that are more than their body on tensors of any type."""
    if OPERATIONS_EXTENSION in extensions:
        return {name: of_any_type(s) if name in primitives() else s for name, s in signatures().items()}
    return {name: s for name, s in signatures().items() if s.extension is None}


def require_declarations() -> None:
    """Raise ValueError naming the registered operations that neither file declares."""
    undeclared = [name for name in primitives() if name not in signatures()]
    if undeclared:
        raise ValueError(f"{STDLIB} and {EXTENSION} do not declare the registered operations {', '.join(undeclared)}")
