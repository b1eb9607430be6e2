"""Before selection: the weights of every contraction are laid out in the order in which its kernel reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nnefc.codegen.nest import Loop, Nest, collapsed, nest, ordered, volume
from nnefc.codegen.target import Target
from nnefc.ir.expr import arg, const
from nnefc.ir.program import Call, Contract, Map, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides


@dataclass(frozen=True)
class TileShape:
    """A register tile: ``rows`` pixels by ``cols`` vectors of ``lanes`` outputs."""

    rows: int
    cols: int
    lanes: int

    @property
    def width(self) -> int:
        """Outputs per panel of weights."""
        return self.cols * self.lanes


@dataclass(frozen=True)
class Panels(Call):
    """A Contract whose weights are packed: ``w`` is (G..., panel, R..., tile.width), zero-padded; see ``Contract``."""

    x: View
    w: View
    contract: Contract
    tile: TileShape

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


def tile_shape(rows: int, outputs: int, dtype: DType, target: Target, columns: int | None = None) -> TileShape:
    """The register tile for ``rows`` neighbouring pixels and ``outputs`` outputs.

    Accumulators, one row of weights and a broadcast pixel must fit the registers. Of the shapes that do (those of
    ``columns`` columns, if these are given), the one with the least estimated time, and of equals the largest.
    """
    tiles = _tiles(rows, outputs, dtype, target)
    chosen = [t for t in tiles if columns in (None, t[1].cols)]
    return min(chosen, key=lambda t: (t[0], -t[1].rows * t[1].cols))[1]


def _tiles(rows: int, outputs: int, dtype: DType, target: Target) -> list[tuple[float, TileShape]]:
    """The highest tile of each number of columns, with its estimated time per reduction step, in cycles.

    That is the largest of multiply-adds and loads (two a cycle each) and of the latency of a multiply-add, and a
    quarter of a cycle for each vector of weights, which stream from further away; times the number of tiles, the
    overlap of the last ones included.
    """
    lanes = target.lanes(dtype)
    vectors = math.ceil(outputs / lanes)
    budget = target.vector_registers - 2
    found: list[tuple[float, TileShape]] = []
    for cols in range(1, min(vectors, 8) + 1):
        most = min((budget - cols) // cols, 14, rows)
        if most < 1:
            break
        parts = math.ceil(rows / most)
        height = math.ceil(rows / parts)
        time = max(height * cols / 2, (height + cols) / 2, 4.0) + cols / 4
        found.append((time * parts * math.ceil(vectors / cols), TileShape(height, cols, lanes)))
    return found


WeightsKey = tuple[int, int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Weights as several Contracts see them: the identity of their array, the view of it, the order of reduction."""


def common_columns(programs: Sequence[Program], target: Target) -> dict[WeightsKey, int]:
    """How many vectors wide the panels of weights are that Contracts with different numbers of pixels share.

    That is where the sum of their estimated times, each relative to its best, is least.
    """
    uses: dict[WeightsKey, dict[int, Contract]] = {}
    for program in programs:
        for call in program.calls:
            key = _weights_key(call, program) if isinstance(call, Contract) else None
            if isinstance(call, Contract) and key is not None:
                uses.setdefault(key, {}).setdefault(_row_extent(call), call)
    return {key: _best_columns(calls, target) for key, calls in uses.items() if len(calls) > 1}


def _best_columns(calls: Mapping[int, Contract], target: Target) -> int:
    """The columns that suit Contracts of the same weights, given by their numbers of pixels in a row."""
    score: dict[int, float] = {}
    for rows, call in calls.items():
        tiles = _tiles(rows, call.w.shape[-1], call.x.dtype, target)
        least = min(time for time, _ in tiles)
        for time, tile in tiles:
            score[tile.cols] = score.get(tile.cols, 0.0) + time / least
    return min(score, key=lambda columns: score[columns])


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


def pack(program: Program, target: Target, columns: Mapping[WeightsKey, int] | None = None) -> Program:
    """Every Contract becomes Panels; copies that pack the weights precede it (folded later if they are constant).

    ``columns`` are the :func:`common_columns` of this and other Programs (default: of this one).
    """
    columns = common_columns([program], target) if columns is None else columns
    calls: list[Call] = []
    packed: dict[tuple[View, tuple[int, ...], int], View] = {}
    names = iter(_fresh(set(program.buffers())))
    written = {v.buffer.name for c in program.calls for v in c.writes()}
    for call in program.calls:
        if not isinstance(call, Contract):
            calls.append(call)
            continue
        shared = columns.get(known) if (known := _weights_key(call, program)) is not None else None
        tile = tile_shape(_row_extent(call), call.w.shape[-1], call.x.dtype, target, shared)
        order = _reduced_order(call)
        key = (call.w, order, tile.width)
        if key not in packed or call.w.buffer.name in written:
            packed[key], copies = _pack_weights(call, order, tile, next(names))
            calls += copies
        first = call.x.rank - call.reduced
        x = call.x.transpose((*range(first), *(first + d for d in order)))
        calls.append(Panels(x, packed[key], call, tile, origin=call.origin))
    return program.replace(calls=tuple(calls))


def _fresh(taken: set[str]) -> Iterator[str]:
    k = 0
    while True:
        k += 1
        if f"packed.{k}" not in taken:
            yield f"packed.{k}"


def _reduced_order(call: Contract) -> tuple[int, ...]:
    """The reduced dimensions from the largest step in x to the smallest."""
    first = call.x.rank - call.reduced
    return tuple(sorted(range(call.reduced), key=lambda d: (-abs(call.x.strides[first + d]), d)))


def _pack_weights(call: Contract, order: tuple[int, ...], tile: TileShape, name: str) -> tuple[View, list[Call]]:
    """The packed weights' view, and the calls that fill it."""
    w = _shared_groups(call.w, call.groups)
    w = w.transpose((*range(call.groups), *(call.groups + d for d in order), w.rank - 1))
    lead, outputs = w.shape[:-1], w.shape[-1]
    whole, rest = divmod(outputs, tile.width)
    panels = whole + (rest > 0)
    shape = (*lead[: call.groups], panels, *lead[call.groups :], tile.width)
    out = View(Buffer(name, w.dtype, math.prod(shape), Role.TEMP), 0, shape, dense_strides(shape))
    copy = (arg(0, w.dtype),)
    calls: list[Call] = []
    axis = call.groups
    if rest:
        last = out.slice(axis, whole, 1).squeeze(axis)
        filled = last.slice(last.rank - 1, 0, rest)
        unused = last.slice(last.rank - 1, rest, tile.width - rest)
        calls.append(Map((const(0, w.dtype),), (), (unused,)))
        calls.append(Map(copy, (w.slice(w.rank - 1, whole * tile.width, rest),), (filled,)))
    if whole:
        source = w.slice(w.rank - 1, 0, whole * tile.width).split_dim(w.rank - 1, (whole, tile.width))
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
