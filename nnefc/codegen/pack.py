"""Before selection: the weights of every contraction are laid out in the order in which its kernel reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nnefc.codegen.nest import Loop, Nest, collapsed, nest, ordered, volume
from nnefc.codegen.target import Target
from nnefc.codegen.tiles import PIXEL_GAIN, Cut, TileShape, cut_time, cuts, pixel_tile, ranked_cuts, tile_shapes
from nnefc.codegen.ways import RULES, Ways, way_of
from nnefc.ir.expr import arg, const
from nnefc.ir.program import Call, Contract, Map, Program
from nnefc.ir.view import Buffer, Role, View, dense_strides


@dataclass(frozen=True)
class Panels(Call):
    """A Contract whose weights are packed: ``w`` is (G..., panel, R..., tile.width), zero-padded; see ``Contract``.

    With ``pixel_lanes`` the tile's lanes lie along pixels, its rows are all the outputs, and so is the one panel."""

    x: View
    w: View
    contract: Contract
    tile: TileShape
    pixel_lanes: bool = False

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
    for program in programs:
        for call in program.calls:
            key = _weights_key(call, program) if isinstance(call, Contract) else None
            if isinstance(call, Contract) and key is not None:
                uses.setdefault(key, {}).setdefault(_row_extent(call), call)
    return {key: _common_cut(calls, target, exact) for key, calls in uses.items() if len(calls) > 1}


def _common_cut(calls: Mapping[int, Contract], target: Target, exact: bool) -> Cut:
    """The cut that suits Contracts of the same weights, given by their numbers of pixels in a row."""
    call = next(iter(calls.values()))
    lanes, steps = target.lanes(call.x.dtype), _steps(call)
    found = cuts(call.w.shape[-1], lanes, target, exact)
    times = [[cut_time(cut, rows, steps, lanes, target) for cut in found] for rows in calls]
    score = [sum(t / min(row) for t, row in zip(column, times, strict=True)) for column in zip(*times, strict=True)]
    return found[score.index(min(score))]


def _weights_key(call: Contract, program: Program) -> WeightsKey | None:
    """None where the weights are computed."""
    w = call.w
    values = program.constants.get(w.buffer.name)
    return None if values is None else (id(values), w.offset, w.shape, w.strides, _reduced_order(call))


def _row_extent(call: Contract) -> int:
    """How many neighbouring pixels are cut into tiles."""
    loops = pixel_loops(call)
    row = row_loop(loops)
    return loops[row].extent if row is not None else 1


def _steps(call: Contract) -> int:
    """How many products each sum has."""
    return math.prod(call.x.shape[call.x.rank - call.reduced :])


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
    packed: dict[tuple[View, tuple[int, ...], int], View] = {}
    names = program.fresh_names("packed")
    written = {v.buffer.name for c in program.calls for v in c.writes()}
    for call in program.calls:
        if not isinstance(call, Contract):
            calls.append(call)
            continue
        order, known = _reduced_order(call), _weights_key(call, program)
        common = shared.get(known) if known is not None else None
        for part, tile, pixel_lanes in _parts(call, common, target, exact, ways):
            width = part.w.shape[-1] if pixel_lanes else tile.width
            key = (part.w, order, width)
            if key not in packed or part.w.buffer.name in written:
                packed[key], copies = _pack_weights(part, order, width, next(names))
                calls += copies
            first = call.x.rank - call.reduced
            x = call.x.transpose((*range(first), *(first + d for d in order)))
            calls.append(Panels(x, packed[key], part, tile, pixel_lanes, origin=call.origin))
    return program.replace(calls=tuple(calls))


def _parts(
    call: Contract, cut: Cut | None, target: Target, exact: bool, ways: Ways
) -> Iterator[tuple[Contract, TileShape, bool]]:
    """A contraction cut along its outputs (None: in the best way), each part with its tile, and whether the lanes of
    this lie along pixels."""
    rows, outputs, steps, lanes = _row_extent(call), call.w.shape[-1], _steps(call), target.lanes(call.x.dtype)
    pixels = pixel_loop(call)
    if cut is None:
        ranked, rank = ranked_cuts(rows, outputs, steps, lanes, target, exact), way_of(ways, call).rank
        cut = ranked[min(rank, len(ranked) - 1)]
        found = pixel_tile(pixels.extent, outputs, steps, lanes, target) if pixels is not None and not rank else None
        least = PIXEL_GAIN * cut_time(cut, rows, steps, lanes, target) / rows
        if pixels is not None and found is not None and found[0] / pixels.extent < least:
            yield call, found[1], True
            return
    first = 0
    for part, tile in zip(cut, tile_shapes(cut, rows, steps, lanes, target), strict=True):
        yield (call if len(cut) == 1 else _outputs(call, first, part.outputs)), tile, False
        first += part.outputs


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


def _reduced_order(call: Contract) -> tuple[int, ...]:
    """The reduced dimensions from the largest step in x to the smallest."""
    first = call.x.rank - call.reduced
    return tuple(sorted(range(call.reduced), key=lambda d: (-abs(call.x.strides[first + d]), d)))


def _pack_weights(call: Contract, order: tuple[int, ...], width: int, name: str) -> tuple[View, list[Call]]:
    """The view of weights packed in panels of ``width`` outputs, and the calls that fill it."""
    w = _shared_groups(call.w, call.groups)
    w = w.transpose((*range(call.groups), *(call.groups + d for d in order), w.rank - 1))
    lead, outputs = w.shape[:-1], w.shape[-1]
    whole, rest = divmod(outputs, width)
    panels = whole + (rest > 0)
    shape = (*lead[: call.groups], panels, *lead[call.groups :], width)
    out = View(Buffer(name, w.dtype, math.prod(shape), Role.TEMP), 0, shape, dense_strides(shape))
    copy = (arg(0, w.dtype),)
    calls: list[Call] = []
    axis = call.groups
    if rest:
        last = out.slice(axis, whole, 1).squeeze(axis)
        filled = last.slice(last.rank - 1, 0, rest)
        unused = last.slice(last.rank - 1, rest, width - rest)
        calls.append(Map((const(0, w.dtype),), (), (unused,)))
        calls.append(Map(copy, (w.slice(w.rank - 1, whole * width, rest),), (filled,)))
    if whole:
        source = w.slice(w.rank - 1, 0, whole * width).split_dim(w.rank - 1, (whole, width))
        source = source.transpose((*range(axis), source.rank - 2, *range(axis, source.rank - 2), source.rank - 1))
        calls.append(Map(copy, (source,), (out.slice(axis, 0, whole),)))
    calls = [replace(c, origin=call.origin) for c in calls]
    full = (*call.w.shape[: call.groups], *shape[call.groups :])
    strides = tuple(0 if n == 1 else s for n, s in zip(shape, out.strides, strict=True))
    return replace(out, shape=full, strides=strides), calls


def _shared_groups(w: View, groups: int) -> View:
    """Repeated group dimensions (stride 0) reduced to one: all groups read the same packed weights."""
    shape = tuple(1 if d < groups and w.strides[d] == 0 else n for d, n in enumerate(w.shape))
    return replace(w, shape=shape)


def reduced_loops(call: Panels) -> Nest:
    """The loops over the reduced dimensions of x, in the order of the packed weights, merged."""
    count = call.contract.reduced
    first = call.x.rank - count
    loops = tuple(Loop(n, (s,)) for n, s in zip(call.x.shape[first:], call.x.strides[first:], strict=True))
    return collapsed(loops) if volume(loops) > 1 else ()
