"""Equal calls are made once."""

from __future__ import annotations

from dataclasses import fields, replace

from nnefc.ir.program import Call, Program
from nnefc.ir.view import Buffer, Role, View


def share(program: Program) -> Program:
    """The program without calls that compute, of the same operands, what an earlier one has computed; the same object
    where there are none.

    Both must write all of a scratch buffer that nothing else writes, in the same layout, and nothing may write to what
    they read in between.
    """
    writers: dict[str, int] = {}
    for call in program.calls:
        for v in call.writes():
            writers[v.buffer.name] = writers.get(v.buffer.name, 0) + 1
    written: dict[str, int] = {}
    known: dict[tuple[object, ...], tuple[int, Buffer]] = {}
    instead: dict[str, Buffer] = {}
    calls: list[Call] = []
    for n, call in enumerate(program.calls):
        call = call.with_views(lambda v: _moved(v, instead)) if instead else call
        form = _form(call, writers)
        earlier = known.get(form) if form is not None else None
        if earlier is not None and all(written.get(v.buffer.name, -1) <= earlier[0] for v in call.reads()):
            instead[call.writes()[0].buffer.name] = earlier[1]
            continue
        if form is not None:
            known[form] = (n, call.writes()[0].buffer)
        written.update({v.buffer.name: n for v in call.writes()})
        calls.append(call)
    return program.replace(calls=tuple(calls)) if instead else program


def _moved(view: View, instead: dict[str, Buffer]) -> View:
    return replace(view, buffer=instead[view.buffer.name]) if view.buffer.name in instead else view


def _form(call: Call, writers: dict[str, int]) -> tuple[object, ...] | None:
    """What the call computes, and how the result lies, without the name of what it writes; None where it may not be
    shared."""
    if len(call.writes()) != 1:
        return None
    (view,) = call.writes()
    buffer = view.buffer
    if buffer.role is not Role.TEMP or writers[buffer.name] != 1 or not view.dense or not call.reads():
        return None
    if any(v.buffer == buffer for v in call.reads()):
        return None
    rest = (getattr(call, f.name) for f in fields(call) if f.name not in ("origin", "output", "outputs"))
    return type(call), view.dtype, view.shape, view.strides, *rest
