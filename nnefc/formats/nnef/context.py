"""What the steps of reading a document share: its dialect, its notes, and how they word a fault."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn

from nnefc.errors import InvalidModelError, Location
from nnefc.formats.nnef.dialect import Dialect, Notes


def fail(message: str, location: Location | None) -> NoReturn:
    """Raise InvalidModelError at a place."""
    raise InvalidModelError(message, location)


def suggestion(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'relu'?`` where a known name resembles the one given, else nothing."""
    close = difflib.get_close_matches(name, list(known), 1, cutoff=0.7)
    return f"; did you mean {close[0]!r}?" if close else ""


@dataclass
class Context:
    """The dialect in force and where notes go. A tolerance noted ``once`` is noted at its first use only."""

    dialect: Dialect
    notes: Notes | None = None
    _noted: set[str] = field(default_factory=set)

    def tolerate(self, tolerance: str, message: str, location: Location | None, *, once: bool = False) -> None:
        """Note the use of a tolerance of the dialect. Raises InvalidModelError with the message where it is off."""
        if not getattr(self.dialect, tolerance):
            fail(message, location)
        if not (once and tolerance in self._noted):
            self.note(message, location)
        self._noted.add(tolerance)

    def note(self, message: str, location: Location | None) -> None:
        """Tell the caller something."""
        if self.notes is not None:
            self.notes(message, location)
