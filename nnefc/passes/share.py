"""Equal tensors are computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

from nnefc.ir.program import Call, Program
from nnefc.ir.view import Buffer, Role, View

Form = tuple[object, ...]


def share(program: Program) -> Program:
    """The program without scratch tensors that an earlier one equals, as the same calls have written it: tensors padded
    alike for several readers, say. The same object where there are none.

    Nothing may write, between both, to what the calls read, and nothing may read a tensor before it is whole.
    """
    writers: dict[str, list[int]] = {}
    read: dict[str, int] = {}
    for n, call in enumerate(program.calls):
        for v in call.writes():
            writers.setdefault(v.buffer.name, []).append(n)
        for v in call.reads():
            read.setdefault(v.buffer.name, n)
    calls: list[Call | None] = list(program.calls)
    written: dict[str, int] = {}
    forms: dict[str, list[Form]] = {}
    known: dict[Form, tuple[int, Buffer]] = {}
    instead: dict[str, Buffer] = {}
    for n, original in enumerate(program.calls):
        call = original.with_views(_moving(instead)) if instead else original
        calls[n] = call
        form = _form(call)
        if form is not None:
            buffer = call.writes()[0].buffer
            forms.setdefault(buffer.name, []).append(form)
            if len(forms[buffer.name]) == len(writers[buffer.name]):
                key = (buffer.dtype, buffer.size, *forms[buffer.name])
                first, earlier = known.setdefault(key, (writers[buffer.name][0], buffer))
                places = writers[buffer.name]
                whole = read.get(buffer.name, n) >= n
                if earlier != buffer and whole and all(_unchanged(calls[k], written, first) for k in places):
                    instead[buffer.name] = earlier
                    for k in places:
                        calls[k] = None
                    continue
        written.update({v.buffer.name: n for v in call.writes()})
    return program.replace(calls=tuple(c for c in calls if c is not None)) if instead else program


def _moving(instead: dict[str, Buffer]) -> Callable[[View], View]:
    return lambda v: replace(v, buffer=instead[v.buffer.name]) if v.buffer.name in instead else v


def _unchanged(call: Call | None, written: dict[str, int], first: int) -> bool:
    """Whether all that a call reads was there before the call ``first``, and has stayed."""
    return call is not None and all(written.get(v.buffer.name, -1) < first for v in call.reads())


def _form(call: Call) -> Form | None:
    """What the call computes and where in its buffer the result lies, without the buffer's name; None where the tensor
    may not be shared."""
    if len(call.writes()) != 1:
        return None
    (view,) = call.writes()
    if view.buffer.role is not Role.TEMP or any(v.buffer == view.buffer for v in call.reads()):
        return None
    rest = (getattr(call, f.name) for f in fields(call) if f.name not in ("origin", "output", "outputs"))
    return type(call), view.offset, view.shape, view.strides, *rest
