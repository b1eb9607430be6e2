"""How tensors get their names when a document is expanded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Union

from nnefc.ir import syntax as ast

MAX_STEM = 64
"""Characters of an outer name kept in a made-up one."""


@dataclass(frozen=True)
class Exact:
    """The name that a tensor must have."""

    name: str


@dataclass(frozen=True)
class Stem:
    """What a made-up name starts with."""

    name: str


Hint = Union[Exact, Stem, tuple["Hint", ...], None]  # noqa: UP007 (a recursive alias needs the quotes)
"""How to name a value: a tuple has a hint for each item; None leaves it to the operation."""


class Names:
    """Makes names up that nothing else has."""

    def __init__(self, reserved: Iterable[str]):
        self._next = dict.fromkeys(reserved, 1)

    def of(self, hint: Hint) -> str:
        """The exact name, or a new one."""
        if isinstance(hint, Exact):
            return hint.name
        return self.fresh(stem_of(hint))

    def fresh(self, stem: str) -> str:
        """``stem``, or with a number after it if that is taken."""
        name = stem
        while name in self._next:
            name = f"{stem}_{self._next[stem]}"
            self._next[stem] += 1
        self._next[name] = 1
        return name


def stem_of(hint: Hint) -> str:
    """What the names inside a fragment start with whose result is named by ``hint``."""
    if isinstance(hint, tuple):
        return stem_of(hint[0]) if hint else "t"
    return hint.name[:MAX_STEM] if hint is not None else "t"


def item_hint(hint: Hint, index: int) -> Hint:
    """The hint for an item of an array or tuple."""
    if isinstance(hint, tuple):
        return hint[index] if index < len(hint) else None
    return None if hint is None else Stem(f"{stem_of(hint)}_{index}")


def hint_of(target: ast.Expr, hints: Mapping[str, Hint] | None = None, stem: str = "") -> Hint:
    """The hint for what is assigned to a left-hand side: the names themselves in the body of the graph; in that of a
    fragment those of its results, or else ``stem_name``."""
    if isinstance(target, ast.Identifier):
        if hints is None:
            return Exact(target.name)
        return hints[target.name] if target.name in hints else Stem(f"{stem[:MAX_STEM]}_{target.name}")
    assert isinstance(target, (ast.ArrayExpr, ast.TupleExpr))
    return tuple([hint_of(item, hints, stem) for item in target.items])
