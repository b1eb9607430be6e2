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
def _naming(final: Path, *beside: Path) -> Iterator[None]:
    """Errors that tell of what lies beside a place meanwhile, or inside that, name the place."""
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, (str, os.PathLike)):
            named = Path(error.filename)
            for temporary in beside:
                if named.is_relative_to(temporary):
                    named = final / named.relative_to(temporary)
            error.filename, error.filename2 = str(named), None
        raise


@contextmanager
def whole_file(path: Place) -> Iterator[BinaryIO]:
    """A new file to be written, which takes the place of ``path`` when the block ends.

    Where the block raises, nothing has changed. Raises OSError."""
    final = Path(path)
    temporary = _beside(final, "new")
    try:
        with _naming(final, temporary):
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
        with _naming(final, new, old):
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
