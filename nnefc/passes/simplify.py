"""Calls of fewer operands and simpler expressions: every tensor is read once, and only if it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nnefc.ir.expr import Expr, arg
from nnefc.ir.program import Call, Contract, Map, Program, Reduce, Row
from nnefc.ir.simplify import simplified
from nnefc.ir.view import View
from nnefc.ir.window import Window


def simplify(program: Program) -> Program:
    """The program with every call's expressions simplified, views of the same elements read once and views that no
    expression reads dropped; the same object where nothing changes."""
    calls = tuple(map(simpler, program.calls))
    return (
        program.replace(calls=calls) if any(a is not b for a, b in zip(calls, program.calls, strict=True)) else program
    )


def simpler(call: Call) -> Call:
    """One call after simplification; the same object where nothing changes."""
    found = call
    if isinstance(call, Map):
        inputs, exprs = _used(call.inputs, tuple(map(simplified, call.exprs)), 0)
        found = replace(call, inputs=inputs, exprs=exprs)
    elif isinstance(call, Row):
        exprs = tuple(simplified(e) for e in (*(e for _, e in call.stages), call.expr))
        inputs, exprs = _used(call.inputs, exprs, 0, len(call.stages), keep=True)
        stages = tuple((op, e) for (op, _), e in zip(call.stages, exprs, strict=False))
        found = replace(call, inputs=inputs, stages=stages, expr=exprs[-1])
    elif isinstance(call, (Reduce, Window, Contract)):
        if isinstance(call, Reduce):
            inputs, (expr,) = _used(call.inputs, (simplified(call.expr),), 0, keep=True)
            found = call = replace(call, inputs=inputs, expr=expr)
        if call.post is not None:
            extras, (post,) = _used(call.extras, (simplified(call.post),), 1)
            found = replace(call, extras=extras, post=None if post == arg(0, post.dtype) else post)
    return call if found == call else found


def _used(
    views: tuple[View, ...], exprs: tuple[Expr, ...], first: int, more: int = 0, keep: bool = False
) -> tuple[tuple[View, ...], tuple[Expr, ...]]:
    """The views that the expressions need, each once, and the expressions that read these. Views are the arguments from
    ``first`` on; ``more`` follow them. With ``keep`` views that none reads stay."""
    read = set().union(*(e.arguments() for e in exprs)) if exprs else set()
    kept: list[View] = []
    numbers = list(range(first))
    for k, view in enumerate(views):
        same = _find(kept, view)
        if same is None and (keep or first + k in read):
            same = len(kept)
            kept.append(view)
        numbers.append(first + (same or 0))
    numbers += range(first + len(kept), first + len(kept) + more)
    if len(kept) == len(views):
        return views, exprs
    return tuple(kept), tuple(e.renumbered(numbers) for e in exprs)


def _find(views: Sequence[View], view: View) -> int | None:
    return next((k for k, v in enumerate(views) if v.same_elements(view)), None)
