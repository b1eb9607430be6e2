"""A progress bar for long work: drawn on a terminal, silent elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Step = Callable[[str], None]
"""Says that one more piece is done, and names it."""


@contextmanager
def bar(title: str, total: int) -> Iterator[Step]:
    """A bar of ``total`` pieces on standard error while the block runs; nothing where that is no terminal."""
    if not total or not sys.stderr.isatty():
        yield lambda piece: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[piece]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total, piece="")
        yield lambda piece: progress.update(task, advance=1, piece=piece)
