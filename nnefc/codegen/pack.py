"""Before selection: the weights of every contraction are laid out in the order in which its kernel reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator
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


def tile_shape(rows: int, outputs: int, dtype: DType, target: Target) -> TileShape:
    """The register tile for ``rows`` neighbouring pixels and ``outputs`` outputs.

    Accumulators, one row of weights and a broadcast pixel must fit the registers. Of the shapes that do, the one with
    the least estimated time per reduction step: the largest of multiply-adds and loads (two a cycle each) and of the
    latency of a multiply-add, and a quarter of a cycle for each vector of weights, which stream from further away;
    times the number of tiles, the overlap of the last ones included.
    """
    lanes = target.lanes(dtype)
    vectors = math.ceil(outputs / lanes)
    budget = target.vector_registers - 2
    best: tuple[float, int, TileShape] | None = None
    for cols in range(1, min(vectors, 8) + 1):
        most = min((budget - cols) // cols, 14, rows)
        if most < 1:
            break
        parts = math.ceil(rows / most)
        height = math.ceil(rows / parts)
        time = max(height * cols / 2, (height + cols) / 2, 4.0) + cols / 4
        cost = time * parts * math.ceil(vectors / cols)
        key = (cost, -height * cols, TileShape(height, cols, lanes))
        if best is None or key[:2] < best[:2]:
            best = key
    assert best is not None
    return best[2]


def pack(program: Program, target: Target) -> Program:
    """Every Contract becomes Panels; copies that pack the weights precede it (folded later if they are constant)."""
    calls: list[Call] = []
    packed: dict[tuple[View, tuple[int, ...], int], View] = {}
    names = iter(_fresh(set(program.buffers())))
    written = {v.buffer.name for c in program.calls for v in c.writes()}
    for call in program.calls:
        if not isinstance(call, Contract):
            calls.append(call)
            continue
        loops = pixel_loops(call)
        row = row_loop(loops)
        tile = tile_shape(loops[row].extent if row is not None else 1, call.w.shape[-1], call.x.dtype, target)
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
