"""Scratch tensors in half precision: which calls can convert as they write and read them, and such calls."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from nnefc.ir.expr import Expr, arg, cast
from nnefc.ir.precision import HALVES
from nnefc.ir.program import Call, Contract, Map, Program, Reduce, Row
from nnefc.ir.types import DType
from nnefc.ir.view import Role, View
from nnefc.ir.window import Window

Free = Callable[[int, Call], Collection[View]]
"""Of a call and its position, the views that it may as well read in half precision."""


def hold_f16(program: Program) -> Program:
    """The program with its F32 scratch tensors in F16: computed as before, rounded as they are stored, to nearest even.

    What is beyond 65504 becomes infinite. Tensors stay in F32 that inputs, outputs and states are, and those of
    which a call that cannot convert (a gather, a sort, ...) writes or reads any. The same object if none is left."""
    return held(program, storable(program, _any_operand), DType.F16)


def _any_operand(n: int, call: Call) -> Collection[View]:
    return call.reads() if isinstance(call, (Contract, Row)) else readable(call)


def readable(call: Call) -> tuple[View, ...]:
    """The views that a call converts as it reads them, whatever it makes of them then; operands of products and of rows
    left out."""
    if isinstance(call, Contract):
        return call.extras
    return call.reads() if isinstance(call, (Map, Reduce, Window)) else ()


def storable(program: Program, free: Free) -> set[str]:
    """The F32 scratch buffers that only calls write which can round their results, and whose reads are all ``free``."""
    refused: set[str] = set()
    for n, call in enumerate(program.calls):
        converted = free(n, call)
        refused |= {v.buffer.name for v in call.reads() if v not in converted}
        if not isinstance(call, (Map, Contract, Reduce, Window, Row)) or _finds(call):
            refused |= {v.buffer.name for v in call.writes()}
    scratch = {b.name for b in program.buffers().values() if b.role is Role.TEMP and b.dtype is DType.F32}
    return scratch - refused


def _finds(call: Call) -> bool:
    """Whether a call reduces to the place of an element."""
    return isinstance(call, (Reduce, Window)) and call.op.startswith("arg")


def held(program: Program, names: Collection[str], dtype: DType) -> Program:
    """The program with the buffers ``names``, :func:`storable` ones, in half precision: calls convert."""
    return program.replace(calls=tuple(converted(c, names, dtype) for c in program.calls)) if names else program


def converted(call: Call, names: Collection[str], dtype: DType) -> Call:
    """A call that reads and writes the buffers ``names`` in half precision, ``dtype``, and computes as before. What it
    multiplies, it reads as it lies."""

    def view(v: View) -> View:
        return replace(v, buffer=replace(v.buffer, dtype=dtype)) if v.buffer.name in names else v

    changed = call.with_views(view)
    if changed == call:
        return call
    if isinstance(changed, Map):
        args = _arguments(changed.inputs, call.reads())
        pairs = zip(changed.exprs, changed.outputs, strict=True)
        return replace(changed, exprs=tuple(_cast(e.substitute(args), v.dtype) for e, v in pairs))
    if isinstance(changed, Row):
        return _converted_row(changed, call.reads())
    assert isinstance(changed, (Contract, Reduce, Window)) and isinstance(call, type(changed))
    if isinstance(changed, Contract):
        total = arg(0, changed.sum_type)
    else:
        count = len(changed.reads()) - len(changed.extras)
        args = _arguments(changed.reads()[:count], call.reads()[:count])
        changed = replace(changed, expr=changed.expr.substitute(args))
        total = arg(0, changed.expr.dtype)
    post = changed.post if changed.post is not None else total
    args = [total, *_arguments(changed.extras, call.extras, 1)]
    post = cast(post.substitute(args), changed.output.dtype)
    return replace(changed, post=None if post == total else post)


def _converted_row(changed: Row, before: tuple[View, ...]) -> Row:
    args = _arguments(changed.inputs, before)
    stages: list[tuple[str, Expr]] = []
    for op, expr in changed.stages:
        stages.append((op, expr.substitute(args)))
        args.append(arg(len(args), expr.dtype))
    return replace(changed, stages=tuple(stages), expr=cast(changed.expr.substitute(args), changed.output.dtype))


def _cast(x: Expr, dtype: DType) -> Expr:
    """``x`` converted; what was just widened is as it was."""
    return x.args[0] if x.op == "cast" and x.args[0].dtype is dtype in HALVES else cast(x, dtype)


def _arguments(views: tuple[View, ...], before: tuple[View, ...], first: int = 0) -> list[Expr]:
    """Arguments for views, of the types that they had before."""
    pairs = enumerate(zip(views, before, strict=True), first)
    return [cast(arg(k, v.dtype), old.dtype) for k, (v, old) in pairs]
