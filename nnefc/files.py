"""Files and folders that appear whole or not at all: each is written beside its place, and then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

Place = str | os.PathLike[str]


def _beside(path: Path, end: str) -> Path:
    """A name in the same folder that nothing has, and that no listing by names shows."""
    return path.with_name(f".nnefc-{secrets.token_hex(8)}.{end}")


@contextmanager
def whole_file(path: Place) -> Iterator[BinaryIO]:
    """A new file to be written, which takes the place of ``path`` when the block ends.

    Where the block raises, nothing has changed. Raises OSError."""
    final = Path(path)
    temporary = _beside(final, "new")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Place, text: str) -> None:
    """Write a text, in UTF-8, as the whole of a file. Raises OSError."""
    with whole_file(path) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def whole_folder(path: Place) -> Iterator[Path]:
    """A new, empty folder to be filled, which takes the place of ``path``, and of what that holds, when the block ends.

    Where the block raises, or the place cannot be taken, what was there is there. Raises OSError."""
    final = Path(path)
    new, old = _beside(final, "new"), _beside(final, "old")
    try:
        new.mkdir()
        yield new
        if final.exists():
            final.rename(old)
        try:
            new.rename(final)
        except OSError:
            if old.exists():
                old.rename(final)
            raise
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
