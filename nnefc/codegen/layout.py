"""Before packing: the layout of scratch tensors of few channels, chosen over the whole network.

Lowering lays images out with their channels last, where vectors lie along channels. Where there are fewer channels than
a vector has lanes, planes one after another let vectors lie along pixels instead. What writes one layout and reads the
other converts it, by strides, at a cost; so tensors that calls connect are looked at together. A layout is nothing but
the strides of views, and no call is added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from nnefc.codegen.choice import access_cost, vector_lanes, waste
from nnefc.codegen.groups import group_of
from nnefc.codegen.nest import Loop, Nest, collapsed, nest, volume
from nnefc.codegen.pack import contraction_cycles
from nnefc.codegen.target import Target
from nnefc.codegen.ways import RULES, Way, Ways, way_of
from nnefc.ir.program import Call, Contract, Map, Program, Reduce
from nnefc.ir.relocate import Relocation
from nnefc.ir.types import DType
from nnefc.ir.view import Role, View, dense_strides
from nnefc.ir.window import Window

GAIN = 0.95
"""The part of the time of calls with channels last below which tensors become planes."""
MANY = 64
"""Tensors that are connected beyond which only all of them or none become planes."""

Relocations = dict[str, Relocation]
"""By the names of tensors of few channels: from channels last to planes."""


def lay_out(program: Program, target: Target, ways: Ways = RULES) -> Program:
    """The program with scratch tensors of few channels in planes where its calls are expected to take less time so.

    Calls that ``ways`` override keep the layout in which they were measured. The same object if nothing changes."""
    moved = _few_channels(program, target, ways)
    users: dict[str, set[int]] = {name: set() for name in moved}
    for n, call in enumerate(program.calls):
        for view in call.reads() + call.writes():
            if view.buffer.name in moved:
                users[view.buffer.name].add(n)
    planes: set[str] = set()
    for names in _connected(users):
        planes |= _chosen(program, names, moved, users, target)
    if not planes:
        return program
    return program.replace(calls=tuple(_relaid(call, moved, planes) for call in program.calls))


def _few_channels(program: Program, target: Target, ways: Ways) -> Relocations:
    """Scratch tensors whose innermost dimension is shorter than a vector, and of which every view can be moved."""
    views: dict[str, list[View]] = {}
    fixed: set[str] = set()
    for call in program.calls:
        own = call.reads() + call.writes()
        for view in own:
            views.setdefault(view.buffer.name, []).append(view)
        if not _estimable(call) or (isinstance(call, Contract) and way_of(ways, call) != Way()):
            fixed |= {view.buffer.name for view in own}
    found: Relocations = {}
    for name, seen in views.items():
        if seen[0].buffer.role is Role.TEMP and name not in fixed:
            moved = _to_planes(seen, vector_lanes(target))
            if moved is not None:
                found[name] = moved
    return found


def _to_planes(views: Iterable[View], lanes: int) -> Relocation | None:
    """The move of a tensor of fewer channels than lanes to planes, if all views of it can follow."""
    whole = next((v for v in views if v.dense and sum(n > 1 for n in v.shape) > 1), None)
    if whole is None:
        return None
    order = [d for d in whole.dense_order if whole.shape[d] > 1]
    channels = order.pop()
    if whole.shape[channels] >= lanes:
        return None
    unit = (d for d in range(whole.rank) if whole.shape[d] == 1)
    strides = dense_strides(whole.shape, (channels, *unit, *order))
    moved = Relocation(whole, replace(whole, strides=strides))
    return moved if all(moved(v) is not None for v in views) else None


def _connected(users: dict[str, set[int]]) -> list[list[str]]:
    """The tensors in groups, within which calls have several of them."""
    groups: list[tuple[list[str], set[int]]] = []
    for name, calls in users.items():
        apart = [g for g in groups if not g[1] & calls]
        joined = [g for g in groups if g[1] & calls]
        names = [n for g in joined for n in g[0]]
        groups = [*apart, ([*names, name], calls.union(*(g[1] for g in joined)))]
    return [names for names, _ in groups]


def _chosen(
    program: Program, names: list[str], moved: Relocations, users: dict[str, set[int]], target: Target
) -> set[str]:
    """Which of some connected tensors become planes: from none and from all of them, one after another is turned over
    as long as that takes time off; the better end, if it is better than none by GAIN."""
    known: dict[tuple[int, frozenset[str]], float] = {}

    def cycles(calls: Iterable[int], planes: frozenset[str]) -> float:
        total = 0.0
        for n in calls:
            key = n, planes & {v.buffer.name for v in program.calls[n].reads() + program.calls[n].writes()}
            if key not in known:
                known[key] = expected_cycles(_relaid(program.calls[n], moved, planes), target)
            total += known[key]
        return total

    everything = set().union(*(users[name] for name in names))
    none = cycles(everything, frozenset())
    ends = [frozenset(names)]
    if len(names) <= MANY:
        ends = [_descended(start, names, users, cycles) for start in (frozenset[str](), frozenset(names))]
    best = min(ends, key=lambda planes: (cycles(everything, planes), len(planes)))
    return set(best) if cycles(everything, best) < GAIN * none else set()


def _descended(
    planes: frozenset[str],
    names: list[str],
    users: dict[str, set[int]],
    cycles: Callable[[Iterable[int], frozenset[str]], float],
) -> frozenset[str]:
    """``planes`` with single tensors turned over until none of them takes time off."""
    better = True
    while better:
        better = False
        for name in names:
            other = planes ^ {name}
            if cycles(users[name], other) < cycles(users[name], planes):
                planes, better = other, True
    return planes


def _relaid(call: Call, moved: Relocations, planes: Iterable[str]) -> Call:
    def view(v: View) -> View:
        found = moved[v.buffer.name](v) if v.buffer.name in planes else v
        assert found is not None
        return found

    return call.with_views(view)


# ---- what a call takes, by the strides of its views


def _estimable(call: Call) -> bool:
    """Whether :func:`expected_cycles` knows a call, and its channels need not be neighbours."""
    if isinstance(call, Contract):
        return call.x.dtype is DType.U8 or group_of(call, {}) == 1
    return isinstance(call, (Map, Reduce, Window))


def expected_cycles(call: Call, target: Target) -> float:
    """The time of a contraction as its tiles are chosen by; of other calls, a vector operation for each access and
    combination along the loop that makes the best vectors."""
    if isinstance(call, Contract):
        return contraction_cycles(call, target)
    kept, taps, operands = _loops(call)
    lanes = vector_lanes(target)
    weights = [1.0] * operands
    best = min((access_cost(p, weights) * waste(p.extent, lanes) for p in kept), default=float(lanes * operands))
    return best * volume(kept) * taps / lanes


def _loops(call: Call) -> tuple[Nest, int, int]:
    """The loops along which vectors may lie, how often each of their elements is combined, and how many operands they
    have."""
    if isinstance(call, Map):
        views = (*call.inputs, *call.outputs)
        return collapsed(nest(call.outputs[0].shape, views)), 1, len(views)
    if isinstance(call, Window):
        kept = call.kept
        views = (call.x, *call.weights, *call.extras, call.output)
        still = [Loop(n, (0,) * len(views)) for n in call.output.shape[kept:]]
        loops = nest(call.output.shape[:kept], [v.strides[:kept] for v in views])
        return collapsed(loops), call.taps * volume(tuple(still)), len(views)
    assert isinstance(call, Reduce)
    views = (*call.inputs, *call.extras, call.output)
    rank = call.output.rank
    loops = nest(call.output.shape, [v.strides[:rank] for v in views])
    return collapsed(loops), math.prod(call.inputs[0].shape[rank:]), len(views)
