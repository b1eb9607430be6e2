"""Rows that lie a large power of two apart would fall on the same few cache sets: they are spread."""

from __future__ import annotations

from dataclasses import replace

from nnefc.ir.program import Call, Contract, Program
from nnefc.ir.view import Buffer, Role, View

PERIOD = 2048
"""Bytes: rows a multiple of this apart share at most two cache sets of a common first-level cache."""
PAD = 64
"""Bytes put between rows: a cache line."""


def spread(program: Program) -> Program:
    """Scratch tensors whose rows a contraction reads PERIOD bytes (or a multiple) apart get PAD bytes between rows.

    A tensor is left alone if some view of it runs across rows in a way that would no longer be a view. The same object
    if there is none to spread.
    """
    rows: dict[str, int] = {}
    for call in program.calls:
        if isinstance(call, Contract) and call.x.buffer.role is Role.TEMP:
            row = _row(call)
            if row:
                rows.setdefault(call.x.buffer.name, row)
    views: dict[str, list[View]] = {name: [] for name in rows}
    for call in program.calls:
        for view in call.reads() + call.writes():
            if view.buffer.name in views:
                views[view.buffer.name].append(view)
    chosen = {n: row for n, row in rows.items() if all(_within_rows(v, row) for v in views[n])}
    if not chosen:
        return program
    return program.replace(calls=tuple(_respread(c, chosen) for c in program.calls))


def _row(call: Contract) -> int:
    """The step between neighbouring pixels of x, in elements, if it is one to avoid; else 0."""
    kept = range(call.groups, call.x.rank - call.reduced)
    steps = [abs(call.x.strides[d]) for d in kept if call.x.shape[d] > 1 and call.x.strides[d]]
    step = min(steps, default=0)
    return step if step and step * call.x.dtype.size % PERIOD == 0 else 0


def _within_rows(view: View, row: int) -> bool:
    """Whether each dimension of the view steps from row to row or stays inside one."""
    if view.buffer.size % row:
        return False
    low = high = view.offset % row
    for n, s in zip(view.shape, view.strides, strict=True):
        if n > 1 and s % row:
            low, high = low + min(0, (n - 1) * s), high + max(0, (n - 1) * s)
    return 0 <= low and high < row


def _respread(call: Call, rows: dict[str, int]) -> Call:
    return call.with_views(lambda v: _moved(v, rows[v.buffer.name]) if v.buffer.name in rows else v)


def _moved(view: View, row: int) -> View:
    """The view, of its buffer with wider rows."""
    wide = row + PAD // view.dtype.size
    buffer: Buffer = replace(view.buffer, size=view.buffer.size // row * wide)
    strides = tuple(s // row * wide if s % row == 0 else s for s in view.strides)
    return View(buffer, view.offset // row * wide + view.offset % row, view.shape, strides)
