"""The errors that nnefc raises on purpose, and the places in source text that they point at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Location:
    """A place in a source file. ``line`` and ``column`` count from 1; 0 means that only the file is known."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class NnefcError(Exception):
    """Base of every error that nnefc raises on purpose.

    ``location`` is where in the model the fault lies and ``source`` the text of that line, when both are known.
    ``str(error)`` reads ``file:line:column: error: what``, the source line and a caret.
    """

    exit_code = 5

    def __init__(self, message: str, location: Location | None = None, source: str | None = None):
        super().__init__(message)
        self.message = message
        self.location = location
        self.source = source

    @property
    def file(self) -> str | None:
        """The file at fault, or None."""
        return self.location.file if self.location else None

    @property
    def line(self) -> int | None:
        """The line at fault, from 1, or None."""
        return self.location.line or None if self.location else None

    @property
    def column(self) -> int | None:
        """The column at fault, from 1, or None."""
        return self.location.column or None if self.location else None

    def at(self, location: Location | None, source: str | None = None) -> NnefcError:
        """This error, placed at ``location`` unless it has a place already."""
        if self.location is None:
            self.location = location
            self.source = source
        elif self.source is None and self.location == location:
            self.source = source
        return self

    def __str__(self) -> str:
        text = f"error: {self.message}"
        if self.location is not None:
            text = f"{self.location}: {text}"
        if self.source is not None and self.column is not None:
            text += "\n" + _excerpt(self.source, self.column)
        return text


def _excerpt(source: str, column: int, width: int = 160) -> str:
    """The source line (a window of it, where it is long) and a caret under ``column``."""
    start = max(0, column - 1 - width // 2) if len(source) > width else 0
    window = source[start : start + width]
    lead = window[: column - 1 - start]
    return f"    {window}\n    {''.join(c if c == chr(9) else ' ' for c in lead)}^"


class InvalidModelError(NnefcError):
    """A model, or another input file, breaks the rules of its format (exit code 3)."""

    exit_code = 3


class UnsupportedError(NnefcError):
    """A valid model asks for something that this version, this target or this machine cannot do (exit code 4)."""

    exit_code = 4


class UnboundError(UnsupportedError):
    """A model leaves open what must be known when it is read: extents, or values of an input. They can be given."""
