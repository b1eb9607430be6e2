"""Products of known weights in BF16, an option: which contractions take it, and what is stored so for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nnefc.codegen.groups import ordered_x, run_of
from nnefc.codegen.target import Target
from nnefc.codegen.winograd import faster_by_image_tiles
from nnefc.errors import UnsupportedError
from nnefc.ir.expr import Expr, arg, cast
from nnefc.ir.program import Call, Contract, Map, Program, Reduce, Row
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View
from nnefc.ir.window import Window
from nnefc.passes.narrow import constant_weights, rounded

F32, BF16 = DType.F32, DType.BF16


def multiply_bf16(program: Program, target: Target, notes: list[str] | None = None, *, small: bool = False) -> Program:
    """The program whose F32 contractions by constant weights multiply numbers of BF16, and add up in F32.

    Weights are rounded, and so is what they multiply: a scratch tensor lies in memory as BF16 if all calls that write
    and read it can convert, which then read it so, whatever they are; of any other tensor a rounded copy is made.
    Contractions stay in F32 whose neighbours make no pairs, whose weights BF16 cannot hold or others read, and those
    that image tiles do faster (unless ``small``); a line about each is added to ``notes``, and one if the target has no
    instruction for pairs. The same object if there is nothing to do. Raises UnsupportedError where NumPy lacks BF16.
    """
    chosen, weights = _chosen(program, target, notes, small)
    if not chosen:
        return program
    if notes is not None and not target.bfdot:
        notes.append(f"{target.cpu} has no products of bf16: they are computed in f32, which saves no time")
    stored = _stored(program, chosen)
    names = program.fresh_names("bf16")
    copies: dict[View, View] = {}
    calls: list[Call] = []
    for n, call in enumerate(program.calls):
        if n in chosen:
            assert isinstance(call, Contract)
            if call.x.buffer.name not in stored:
                x, copying = _copied(call.x, copies, names.__next__, call)
                calls += copying
                call = replace(call, x=x)
            w = replace(call.w, buffer=replace(call.w.buffer, dtype=BF16))
            call = replace(call, w=w)
        for view in call.writes():
            copies = {v: copy for v, copy in copies.items() if v.buffer.name != view.buffer.name}
        calls.append(_converted(call, stored))
    return program.replace(calls=tuple(calls), constants=program.constants | weights)


def _chosen(
    program: Program, target: Target, notes: list[str] | None, small: bool
) -> tuple[set[int], dict[str, np.ndarray]]:
    """The contractions that multiply BF16, by position, and the rounded weights by name."""
    tiled = set() if small else faster_by_image_tiles(program, target, 0.5 if target.bfdot else 1.0)
    known, weights = constant_weights(program), dict[str, np.ndarray]()
    users: dict[str, list[int]] = {}
    reasons: dict[str, str] = {}
    for n, call in enumerate(program.calls):
        if not isinstance(call, Contract) or call.w.buffer.name not in known:
            continue
        users.setdefault(call.w.buffer.name, []).append(n)
        if call.x.buffer.role is Role.CONST:
            reasons[call.w.buffer.name] = "it has constant operands"
        elif run_of(ordered_x(call), call.reduced)[0] % 2:
            reasons[call.w.buffer.name] = "its neighbours in memory make no pairs"
        elif n in tiled:
            reasons[call.w.buffer.name] = "image tiles are faster"
    for name in users.keys() - reasons.keys():
        try:
            values = rounded(program.constants[name], BF16)
        except TypeError as error:
            raise UnsupportedError(str(error)) from error
        if values is None:
            reasons[name] = "bf16 cannot hold its weights"
        else:
            weights[name] = values
    if notes is not None:
        notes += [f"{known[name]} stays in f32: {why}" for name, why in reasons.items()]
    return {n for name in weights for n in users[name]}, weights


def _stored(program: Program, chosen: set[int]) -> set[str]:
    """The scratch buffers that lie in memory as BF16."""
    wanted = {program.calls[n].reads()[0].buffer for n in chosen}
    refused: set[str] = set()
    for n, call in enumerate(program.calls):
        open_to = {v.buffer.name for v in _readable(call)}
        if n in chosen:
            open_to.add(call.reads()[0].buffer.name)
        fixed = [v for v in call.reads() if v not in _readable(call) and not (n in chosen and v == call.reads()[0])]
        refused |= {v.buffer.name for v in fixed}
        if not isinstance(call, (Map, Contract, Reduce, Window, Row)) or (
            isinstance(call, (Reduce, Window)) and call.op.startswith("arg")
        ):
            refused |= {v.buffer.name for v in call.writes()}
    return {b.name for b in wanted if b.role is Role.TEMP and b.dtype is F32} - refused


def _readable(call: Call) -> tuple[View, ...]:
    """The views that a call may as well read as BF16."""
    if isinstance(call, Map):
        return call.inputs
    if isinstance(call, Contract):
        return call.extras
    if isinstance(call, Reduce):
        return (*call.inputs, *call.extras)
    return (call.x, *call.extras) if isinstance(call, Window) else ()


def _copied(x: View, copies: dict[View, View], name: Callable[[], str], reader: Call) -> tuple[View, list[Call]]:
    """``x`` in a rounded copy of what it reaches, and the call that makes that, unless there is one already."""
    low, high = x.span
    source = View(x.buffer, low, (high - low,), (1,))
    calls: list[Call] = []
    if source not in copies:
        copies[source] = View(Buffer(name(), BF16, high - low, Role.TEMP), 0, (high - low,), (1,))
        calls.append(Map((cast(arg(0, F32), BF16),), (source,), (copies[source],), origin=reader.origin))
    return View(copies[source].buffer, x.offset - low, x.shape, x.strides), calls


def _converted(call: Call, stored: set[str]) -> Call:
    """A call that reads and writes the ``stored`` buffers as BF16."""

    def view(v: View) -> View:
        return replace(v, buffer=replace(v.buffer, dtype=BF16)) if v.buffer.name in stored else v

    changed = call.with_views(view)
    if changed == call:
        return call
    if isinstance(changed, Map):
        args = _arguments(changed.inputs, call.reads())
        pairs = zip(changed.exprs, changed.outputs, strict=True)
        return replace(changed, exprs=tuple(_cast(e.substitute(args), v.dtype) for e, v in pairs))
    if isinstance(changed, Row):
        return replace(changed, expr=cast(changed.expr, changed.output.dtype))
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


def _cast(x: Expr, dtype: DType) -> Expr:
    """``x`` converted; what was just widened is as it was."""
    return x.args[0] if x.op == "cast" and x.args[0].dtype is dtype is BF16 else cast(x, dtype)


def _arguments(views: tuple[View, ...], before: tuple[View, ...], first: int = 0) -> list[Expr]:
    """Arguments for views, of the types that they had before."""
    pairs = enumerate(zip(views, before, strict=True), first)
    return [cast(arg(k, v.dtype), old.dtype) for k, (v, old) in pairs]
