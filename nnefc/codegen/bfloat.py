"""Products of known weights in BF16, an option: which contractions take it, and what is stored so for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nnefc.codegen.groups import ordered_x, run_of
from nnefc.codegen.target import Target
from nnefc.codegen.winograd import faster_by_image_tiles
from nnefc.errors import UnsupportedError
from nnefc.ir.expr import arg, cast
from nnefc.ir.program import Call, Contract, Map, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View
from nnefc.passes.halves import converted, readable, storable
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
        calls.append(converted(call, stored, BF16))
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
    """The scratch buffers that lie in memory as BF16: what chosen contractions multiply."""

    def free(n: int, call: Call) -> tuple[View, ...]:
        return (*readable(call), call.reads()[0]) if n in chosen else readable(call)

    return storable(program, free) & {program.calls[n].reads()[0].buffer.name for n in chosen}


def _copied(x: View, copies: dict[View, View], name: Callable[[], str], reader: Call) -> tuple[View, list[Call]]:
    """``x`` in a rounded copy of what it reaches, and the call that makes that, unless there is one already."""
    low, high = x.span
    source = View(x.buffer, low, (high - low,), (1,))
    calls: list[Call] = []
    if source not in copies:
        copies[source] = View(Buffer(name(), BF16, high - low, Role.TEMP), 0, (high - low,), (1,))
        calls.append(Map((cast(arg(0, F32), BF16),), (source,), (copies[source],), origin=reader.origin))
    return View(copies[source].buffer, x.offset - low, x.shape, x.strides), calls
