"""A progress bar for long work: drawn on a terminal, silent elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Report = Callable[[int, int], None]
"""Told how many of how many pieces are done."""
_shown: ContextVar[Progress | None] = ContextVar("shown", default=None)
"""The bars that are drawn now."""


@contextmanager
def bar(title: str) -> Iterator[Report]:
    """A bar on standard error while the block runs, below those of the blocks around it; nothing where that is no
    terminal."""
    outer = _shown.get()
    if outer is not None:
        task = outer.add_task(title, total=None)
        try:
            yield lambda done, total: outer.update(task, completed=done, total=total)
        finally:
            outer.remove_task(task)
        return
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        token = _shown.set(progress)
        try:
            task = progress.add_task(title, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
        finally:
            _shown.reset(token)
