"""Before selection: the weights of every contraction are laid out in the order in which its kernel reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nnefc.codegen.bands import Bands, banded
from nnefc.codegen.choice import FUNCTION_COST, arithmetic
from nnefc.codegen.groups import (
    GROUP,
    NIBBLES,
    apart_order,
    group_of,
    grouped,
    grown,
    nibbles,
    ordered_x,
    reduced_order,
    run_of,
    step_loops,
    steps,
    with_room,
)
from nnefc.codegen.nest import Loop, Nest, collapsed, nest, ordered, volume
from nnefc.codegen.target import Target
from nnefc.codegen.tiles import (
    PIXEL_GAIN,
    Cut,
    TileShape,
    cut_time,
    cut_vectors,
    cuts,
    pixel_tile,
    ranked_cuts,
    step_of,
    tile_shapes,
)
from nnefc.codegen.ways import RULES, Ways, way_of
from nnefc.ir.expr import arg, const
from nnefc.ir.program import Call, Contract, Map, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides

GATHER = {True: 2.0, False: 4.0}
"""Instructions that put a group of codes into each lane of a vector, where lanes lie along pixels: if the group's codes
are neighbours, too, and if not."""


@dataclass(frozen=True)
class Panels(Call):
    """A Contract whose weights are packed: ``w`` is (G..., panel, R..., tile.width), zero-padded; see ``Contract``.
    Where a step sums a ``group`` of neighbours, R... are the steps, and the group's weights the last dimension: for
    NIBBLES their bytes, each of two weights. Weights of I32 are (G..., panel, bands, R..., tile.width, 4), and sums
    multiplied by one of ``factors`` after each band; see ``codegen.bands``.

    With ``pixel_lanes`` the tile's lanes lie along pixels, its rows are all the outputs, and so is the one panel; a
    group is of neighbours in the last reduced dimension of ``x``, whatever their step."""

    x: View
    w: View
    contract: Contract
    tile: TileShape
    pixel_lanes: bool = False
    group: int = 1
    factors: tuple[int, ...] = ()

    def reads(self) -> tuple[View, ...]:
        return (self.x, self.w, *self.contract.extras)

    def writes(self) -> tuple[View, ...]:
        return (self.contract.output,)


def pixel_loops(call: Contract) -> Nest:
    """The loops over what is neither group, reduced nor output: operands are x, the extras and the output."""
    first, last = call.groups, call.output.rank - 1
    views = (call.x, *call.extras, call.output)
    strides = [v.strides[first:last] for v in views]
    return collapsed(ordered(nest(call.output.shape[first:last], strides), len(views) - 1))


def row_loop(loops: Nest) -> int | None:
    """Which of the pixel loops is cut into tiles: the innermost, or a much longer one."""
    if not loops:
        return None
    best = len(loops) - 1
    for k, p in enumerate(loops):
        if loops[best].extent < 4 and p.extent > loops[best].extent:
            best = k
    return best


WeightsKey = tuple[int, int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Weights as several Contracts see them: the identity of their array, the view of it, the order of reduction."""


def common_cuts(programs: Sequence[Program], target: Target, exact: bool = False) -> dict[WeightsKey, Cut]:
    """How weights are cut into panels that Contracts with different numbers of pixels share; ``exact`` as in ``pack``.

    That is where the sum of their estimated times, each relative to its best, is least.
    """
    uses: dict[WeightsKey, dict[int, Contract]] = {}
    groups: dict[WeightsKey, int] = {}
    for program in programs:
        for call in program.calls:
            key = _weights_key(call, program) if isinstance(call, Contract) else None
            if isinstance(call, Contract) and key is not None:
                uses.setdefault(key, {}).setdefault(_row_extent(call), call)
                groups[key] = group_of(call, program.constants)
    return {key: _common_cut(calls, groups[key], target, exact) for key, calls in uses.items() if len(calls) > 1}


def _common_cut(calls: Mapping[int, Contract], group: int, target: Target, exact: bool) -> Cut:
    """The cut that suits Contracts of the same weights, given by their numbers of pixels in a row."""
    call = next(iter(calls.values()))
    lanes, count, step = target.lanes(call.sum_type), steps(call, group), step_of(group, target)
    found = cuts(call.w.shape[-1], lanes, target, exact)
    times = [[cut_time(cut, rows, count, lanes, target, step) for cut in found] for rows in calls]
    score = [sum(t / min(row) for t, row in zip(column, times, strict=True)) for column in zip(*times, strict=True)]
    return found[score.index(min(score))]


def _weights_key(call: Contract, program: Program) -> WeightsKey | None:
    """None where the weights are computed."""
    w = call.w
    values = program.constants.get(w.buffer.name)
    return None if values is None else (id(values), w.offset, w.shape, w.strides, reduced_order(call))


def _row_extent(call: Contract) -> int:
    """How many neighbouring pixels are cut into tiles."""
    loops = pixel_loops(call)
    row = row_loop(loops)
    return loops[row].extent if row is not None else 1


def pack(
    program: Program,
    target: Target,
    shared: Mapping[WeightsKey, Cut] | None = None,
    exact: bool = False,
    ways: Ways = RULES,
) -> Program:
    """Every Contract becomes Panels, one for each part of the cut of its outputs; copies that pack the weights precede
    them (folded later if they are constant).

    ``shared`` are the :func:`common_cuts` of this and other Programs (default: of this one). With ``exact`` no panel
    is filled up with zeros. ``ways`` override the choice of cuts that are not shared.
    """
    shared = common_cuts([program], target, exact) if shared is None else shared
    calls: list[Call] = []
    packed: dict[tuple[View, int, int, int], View] = {}
    constants = dict(program.constants)
    bands: dict[str, Bands | None] = {}
    names = program.fresh_names("packed")
    written = {v.buffer.name for c in program.calls for v in c.writes()}
    room: dict[str, int] = {}
    for call in program.calls:
        if not isinstance(call, Contract):
            calls.append(call)
            continue
        known = _weights_key(call, program)
        common = shared.get(known) if known is not None else None
        group = group_of(call, program.constants)
        parts = list(_parts(call, group, common, target, exact, ways))
        order = apart_order(call) if group > 1 and any(pixel_lanes for *_, pixel_lanes in parts) else None
        call, copies = with_room(call, group, order, room, names)
        calls += copies
        if call.w.buffer.name not in bands:
            bands[call.w.buffer.name] = banded(call, constants, names)
        wide = bands[call.w.buffer.name]
        for part, tile, pixel_lanes in parts:
            part = replace(part, x=call.x)
            width = part.w.shape[-1] if pixel_lanes else tile.width
            w, dims = _ordered_weights(part, group, order)
            key = (w, dims, width, group)
            if key not in packed or w.buffer.name in written:
                sources = (w,) if wide is None else wide.views(w)
                packed[key], copies = _pack_weights(part, sources, dims, group, width, names)
                calls += copies
            factors = () if wide is None else wide.factors
            x = ordered_x(part, order)
            calls.append(Panels(x, packed[key], part, tile, pixel_lanes, group, factors, origin=call.origin))
    made = tuple(grown(c, room) for c in calls) if room else tuple(calls)
    return program.replace(calls=made, constants=constants)


def _parts(
    call: Contract, group: int, cut: Cut | None, target: Target, exact: bool, ways: Ways
) -> Iterator[tuple[Contract, TileShape, bool]]:
    """A contraction cut along its outputs (None: in the best way), each part with its tile, and whether the lanes of
    this lie along pixels."""
    rows, outputs, count, lanes = _row_extent(call), call.w.shape[-1], steps(call, group), target.lanes(call.sum_type)
    step = step_of(group, target)
    if cut is None:
        ranked, rank = ranked_cuts(rows, outputs, count, lanes, target, exact, step), way_of(ways, call).rank
        cut = ranked[min(rank, len(ranked) - 1)]
        found = _pixel_tile(call, group, target) if not rank else None
        if found is not None and found[0] < PIXEL_GAIN * _cut_time(call, cut, group, target):
            yield call, found[1], True
            return
    first = 0
    for part, tile in zip(cut, tile_shapes(cut, rows, count, lanes, target, step), strict=True):
        yield (call if len(cut) == 1 else _outputs(call, first, part.outputs)), tile, False
        first += part.outputs


def contraction_cycles(call: Contract, target: Target) -> float:
    """The estimated time of a contraction that is done in the best way."""
    group = group_of(call, {})
    rows, count, lanes = _row_extent(call), steps(call, group), target.lanes(call.sum_type)
    (cut, *_) = ranked_cuts(rows, call.w.shape[-1], count, lanes, target, False, step_of(group, target))
    direct, found = _cut_time(call, cut, group, target), _pixel_tile(call, group, target)
    pixel = found[0] if found is not None and found[0] < PIXEL_GAIN * direct else direct
    return pixel * math.prod(call.output.shape[:-1])


def _cut_time(call: Contract, cut: Cut, group: int, target: Target) -> float:
    """The time of a contraction whose outputs are so cut, for one pixel."""
    rows, lanes = _row_extent(call), target.lanes(call.sum_type)
    time = cut_time(cut, rows, steps(call, group), lanes, target, step_of(group, target)) / rows
    return time + cut_vectors(cut, lanes) * _stored(call)


def _pixel_tile(call: Contract, group: int, target: Target) -> tuple[float, TileShape] | None:
    """:func:`pixel_tile` for a contraction, with the time for one pixel; None if there is none, as for weights in
    bands."""
    pixels, order = pixel_loop(call), apart_order(call) if group == GROUP else None
    if pixels is None or group not in (1, GROUP) or (group == GROUP and order is None) or call.w.dtype is DType.I32:
        return None
    line, x = line_loop(call, pixels), ordered_x(call, order)
    found = pixel_tile(
        pixels.extent,
        call.w.shape[-1],
        volume(step_loops(x, call.reduced, group, order is not None)),
        target.lanes(call.sum_type),
        target,
        line.extent if line is not None else 1,
        pixels.strides[-1] != 1,
        step_of(group, target),
        GATHER[x.strides[-1] == 1] if order is not None else 0.0,
        _stored(call),
    )
    return found and (found[0] / pixels.extent, found[1])


def _stored(call: Contract) -> float:
    """The operations on a vector that a contraction stores."""
    return arithmetic(call.post, FUNCTION_COST) if call.post is not None else 0


def line_loop(call: Contract, pixels: Loop) -> Loop | None:
    """The innermost loop over pixels but ``pixels``, whose neighbours may be one tile; None if there is none."""
    return next((p for p in reversed(pixel_loops(call)) if p != pixels), None)


def pixel_loop(call: Contract) -> Loop | None:
    """The longest loop over pixels along which vectors of x are contiguous, and those of the output, or else its
    outputs; operands are x, the extras and the output. None if there is none, or an extra is not as simple."""
    loops = [p for p in pixel_loops(call) if p.strides[0] == 1 and set(p.strides[1:-1]) <= {0, 1}]
    found = max(loops, key=lambda p: p.extent, default=None)
    if found is None or (found.strides[-1] != 1 and call.output.strides[-1] != 1):
        return None
    return found


def _outputs(call: Contract, first: int, count: int) -> Contract:
    """The contraction for some of its outputs."""

    def cut(v: View) -> View:
        return v.slice(v.rank - 1, first, count)

    return replace(call, w=cut(call.w), extras=tuple(map(cut, call.extras)), output=cut(call.output))


def _ordered_weights(call: Contract, group: int, order: Sequence[int] | None) -> tuple[View, int]:
    """The weights as they are packed, repeated groups once, the reduced dimensions as in x; and how many of the last of
    these are summed in groups, as one run: one if an ``order`` is given."""
    w = _shared_groups(call.w, call.groups)
    w = w.transpose((*range(call.groups), *(call.groups + d for d in order or reduced_order(call)), w.rank - 1))
    if group == 1 or order is not None:
        return w, int(group > 1)
    return w, run_of(ordered_x(call), call.reduced)[1]


def _pack_weights(
    call: Contract, sources: Sequence[View], dims: int, group: int, width: int, names: Iterator[str]
) -> tuple[View, list[Call]]:
    """The view of weights, or of several bands of them, packed in panels of ``width`` outputs, and the calls that fill
    it."""
    calls: list[Call] = []
    name = next(names)
    tail: tuple[int, ...] = ()
    if group > 1:
        made = [grouped(w, dims, group, names) for w in sources]
        sources, calls = [w for w, _ in made], [c for _, copies in made for c in copies]
        tail = (min(group, 4),)
    w, bands = sources[0], (len(sources),) if len(sources) > 1 else ()
    axis, lane = call.groups, w.rank - 1 - len(tail)
    panels = math.ceil(w.shape[lane] / width)
    shape = (*w.shape[:axis], panels, *bands, *w.shape[axis:lane], width, *tail)
    out = View(Buffer(name, w.dtype, math.prod(shape), Role.TEMP), 0, shape, dense_strides(shape))
    for k, w in enumerate(sources):
        band = out.slice(axis + 1, k, 1).squeeze(axis + 1) if bands else out
        calls += _filled(w, band, axis, lane, group == NIBBLES)
    calls = [replace(c, origin=call.origin) for c in calls]
    full = (*call.w.shape[:axis], *shape[axis:])
    strides = tuple(0 if n == 1 else s for n, s in zip(shape, out.strides, strict=True))
    return replace(out, shape=full, strides=strides), calls


def _filled(w: View, out: View, axis: int, lane: int, halves: bool) -> list[Call]:
    """What copies weights to panels, dimension ``axis`` of ``out``, of their outputs, dimension ``lane``; with
    ``halves`` as half bytes."""
    calls: list[Call] = []
    width = out.shape[lane + 1]
    whole, rest = divmod(w.shape[lane], width)

    def copy(source: View, goal: View) -> Map:
        expr, inputs = nibbles(source) if halves else (arg(0, w.dtype), (source,))
        return Map((expr,), inputs, (goal,))

    if rest:
        last = out.slice(axis, whole, 1).squeeze(axis)
        calls.append(Map((const(0, w.dtype),), (), (last.slice(lane, rest, width - rest),)))
        calls.append(copy(w.slice(lane, whole * width, rest), last.slice(lane, 0, rest)))
    if whole:
        source = w.slice(lane, 0, whole * width).split_dim(lane, (whole, width))
        source = source.transpose((*range(axis), lane, *range(axis, lane), *range(lane + 1, source.rank)))
        calls.append(copy(source, out.slice(axis, 0, whole)))
    return calls


def _shared_groups(w: View, groups: int) -> View:
    """Repeated group dimensions (stride 0) reduced to one: all groups read the same packed weights."""
    shape = tuple(1 if d < groups and w.strides[d] == 0 else n for d, n in enumerate(w.shape))
    return replace(w, shape=shape)


def reduced_loops(call: Panels) -> Nest:
    """The loops over the steps of the reduction, in the order of the packed weights, merged; operand is x."""
    return step_loops(call.x, call.contract.reduced, call.group, call.pixel_lanes and call.group > 1)
