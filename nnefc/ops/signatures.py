"""What ``stdlib.nnef`` and ``extension.nnef`` declare: the signature of each operation of the standard and of ours."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from importlib import resources

from nnefc.ir.parse import parse_declarations
from nnefc.ir.signature import Signature, of_any_type, signature_of
from nnefc.ir.text import OPERATIONS_EXTENSION
from nnefc.ops.primitive import primitives

STDLIB = "stdlib.nnef"
"""The name under which places inside the standard library are known."""
EXTENSION = "extension.nnef"
"""The same for the operations of the extension ``NNEFC_operations``."""


class _Declared(Mapping[str, Signature]):
    """Signatures by name, in the order of their files, each parsed when it is first asked for."""

    def __init__(self) -> None:
        self._texts = _declarations(STDLIB) | _declarations(EXTENSION)
        self._signatures: dict[str, Signature] = {}

    def __getitem__(self, name: str) -> Signature:
        if name not in self._signatures:
            file, text = self._texts[name]
            (fragment,) = parse_declarations(text, file)
            self._signatures[name] = signature_of(fragment, file, OPERATIONS_EXTENSION if file == EXTENSION else None)
        return self._signatures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def _declarations(file: str) -> dict[str, tuple[str, str]]:
    """The file and the text of each declaration, by name, on the lines on which it stands there."""
    text = resources.files("nnefc.ops").joinpath(file).read_text(encoding="utf-8")
    starts = [*re.finditer(r"^fragment\s+(\w+)", text, re.MULTILINE)]
    ends = [*(start.start() for start in starts[1:]), len(text)]
    lines = (text.count("\n", 0, start.start()) for start in starts)
    return {
        start[1]: (file, "\n" * line + text[start.start() : end])
        for start, end, line in zip(starts, ends, lines, strict=True)
    }


@functools.cache
def signatures() -> Mapping[str, Signature]:
    """Every operation by name, those of the standard first, in the order of their files."""
    return _Declared()


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
