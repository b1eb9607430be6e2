"""Selection of contractions: which loop makes the rows of the register tile, and which are work units."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nnefc.codegen.bands import MOST_BANDS
from nnefc.codegen.choice import Choice, operands_of
from nnefc.codegen.groups import NIBBLE_SCALE, NIBBLES
from nnefc.codegen.kernels.contract import ContractKernel
from nnefc.codegen.kernels.pixels import PixelsKernel
from nnefc.codegen.nest import Loop, collapsed, flattened, nest, places, unit_loop, volume, without
from nnefc.codegen.pack import Panels, line_loop, pixel_loop, pixel_loops, reduced_loops, row_loop
from nnefc.codegen.spec import Access, Operand
from nnefc.codegen.target import Target
from nnefc.codegen.tiles import TileShape, sum_parts
from nnefc.ir import expr
from nnefc.ir.expr import Expr, arg, const
from nnefc.ir.program import Contract
from nnefc.ir.types import DType

UNIT_COST = 64
"""What a work unit costs beside its tiles, in vector multiply-adds."""


def tiles_per_unit(tiles: int, outer: int, work: int) -> int:
    """How many of the ``tiles`` along rows make a unit: what takes the least time summed over 1, 2 and 4 threads.

    There are ``outer`` such rows of tiles; a tile takes ``work`` vector multiply-adds."""

    def cost(each: int) -> int:
        units = math.ceil(tiles / each) * outer
        divided = sum(math.ceil(units / n) * n * (each * work + UNIT_COST) for n in (2, 4))
        return divided + outer * tiles * work + units * UNIT_COST

    return min({math.ceil(tiles / parts) for parts in range(1, min(tiles, 64) + 1)}, key=lambda n: (cost(n), -n))


def prefetching(
    panel: int, units: int, tiles: int, tile: TileShape, denser: int = 1, per_output: int = 1
) -> tuple[int, ...]:
    """Elements of a panel, units of one panel, and what a unit of ``tiles`` tiles, a tile, and a step of the reduction
    prefetch: equal shares of the next panel, but no more per step than a vector's bytes, which hold ``denser`` times as
    many elements as the vector has lanes. An output has ``per_output`` elements in a step. Where a panel is used but
    once, none: it streams by itself."""
    if units * tiles == 1:
        return 0, 1, 0, 0, 0
    share = math.ceil(panel / (units * tiles))
    step = min(math.ceil(tile.width * per_output / (units * tiles)), tile.lanes * denser)
    return panel, units, tiles * share, share, step


def select_pixels(call: Panels) -> Choice:
    """A contraction whose lanes lie along pixels."""
    plain, tile = call.contract, call.tile
    views = (call.x, call.w, *plain.extras, plain.output)
    lane = pixel_loop(plain)
    assert lane is not None
    pixels, line = list(pixel_loops(plain)), line_loop(plain, lane)
    pixels.remove(lane)
    step = unit_loop(len(views))
    if line is not None and tile.lines > 1:
        pixels[pixels.index(line)] = Loop(line.extent // tile.lines, tuple(s * tile.lines for s in line.strides))
        step = Loop(tile.lines, (line.strides[0], 0, *line.strides[1:]))
    groups = collapsed(nest(plain.output.shape[: plain.groups], [v.strides[: plain.groups] for v in views]))
    outer = (*groups, *(Loop(p.extent, (p.strides[0], 0, *p.strides[1:])) for p in pixels))
    lane = Loop(lane.extent, (lane.strides[0], 0, *lane.strides[1:]))
    row = Loop(tile.rows, (0, 1, *(v.strides[-1] for v in views[2:])))
    reduced = reduced_loops(call) or (Loop(1, (0,)),)
    inner, above = reduced[-1], reduced[:-1]
    near = inner.strides[0] if call.group == 1 else call.x.strides[-1]
    spec = PixelsKernel(
        plain.post if plain.post is not None else arg(0, plain.sum_type),
        operands_of(views, lane, row),
        len(outer),
        near == 1,
        tile.rows,
        tile.cols,
        tile.lanes,
        tile.last,
        tile.lines,
        call.group,
    )
    geometry = (
        *(lane.extent, volume(above), inner.extent, inner.strides[0], call.x.strides[-1]),
        *(*row.strides, *lane.strides, *step.strides, *flattened(outer), *places(above)),
    )
    return Choice(spec, views, geometry, volume(outer))


def _final(call: Contract, group: int) -> Expr:
    """What is stored of what a kernel adds up."""
    total = arg(0, call.sum_type)
    post = call.post if call.post is not None else total
    if group != NIBBLES:
        return post
    total = expr.call("shr", total, const(NIBBLE_SCALE.bit_length() - 1, call.sum_type))
    return post.substitute([total, *(arg(k, v.dtype) for k, v in enumerate(call.extras, 1))])


def _without_bias(post: Expr, operands: Sequence[Operand]) -> tuple[Expr, int]:
    """If the one use of an integer sum is to add an operand to it that is the same for all rows: what is then stored of
    the sum that started from it, and its number; else the same and 0."""
    uses = list(_uses(post))
    if len(uses) != 1 or uses[0].op != "add" or uses[0].dtype is not DType.I32:
        return post, 0
    (added,) = (a for a in uses[0].args if a != arg(0, DType.I32))
    number = int(added.value or 0) + 1 if added.op == "arg" else 0
    if not number or operands[number].access is not Access.UNIT or operands[number].moves:
        return post, 0
    return _replaced(post, uses[0], arg(0, DType.I32)), number


def _uses(post: Expr) -> Iterator[Expr]:
    """The nodes of which ``$0`` is an operand, once for each that it is."""
    for a in post.args:
        if a.op == "arg" and not a.value:
            yield post
        yield from _uses(a)


def _replaced(post: Expr, old: Expr, new: Expr) -> Expr:
    return new if post == old else replace(post, args=tuple(_replaced(a, old, new) for a in post.args))


def select_contract(call: Panels, target: Target) -> Choice:
    if call.pixel_lanes:
        return select_pixels(call)
    plain, tile = call.contract, call.tile
    views = (call.x, call.w, *plain.extras, plain.output)
    count = len(views)
    pixels = tuple(Loop(p.extent, (p.strides[0], 0, *p.strides[1:])) for p in pixel_loops(plain))
    k = row_loop(pixels)
    row = pixels[k] if k is not None else unit_loop(count)
    groups = nest(plain.output.shape[: plain.groups], [v.strides[: plain.groups] for v in views])
    outputs = plain.output.shape[-1]
    lane = Loop(outputs, (0, 1, *(v.strides[-1] for v in views[2:])))
    axis = plain.groups
    panel = Loop(call.w.shape[axis], (0, call.w.strides[axis], *(s * tile.width for s in lane.strides[2:])))
    outer = [Loop(p.extent, (*p.strides, 0, 0)) for p in collapsed(groups)]
    if panel.extent > 1:
        outer.append(Loop(panel.extent, (*panel.strides, tile.width, 0)))
    outer += [Loop(p.extent, (*p.strides, 0, 0)) for p in without(pixels, k)]
    reduced = reduced_loops(call) or (Loop(1, (0,)),)
    inner, above = reduced[-1], reduced[:-1]
    group, per_output = call.group, call.w.shape[-1] if call.group > 1 else 1
    tiles = math.ceil(row.extent / tile.rows)
    block = tile.rows * tiles_per_unit(
        tiles, volume(tuple(outer)), tile.rows * math.ceil(tile.width / tile.lanes) * volume(reduced)
    )
    if tiles > 1:
        outer.append(Loop(math.ceil(row.extent / block), (0,) * (count + 1) + (block,)))
    units = volume(without(pixels, k)) * math.ceil(row.extent / block)
    denser = plain.sum_type.size // call.w.dtype.size
    operands = operands_of(views, lane, row)
    bands = call.factors
    final, start = (plain.post or arg(0, plain.sum_type), 0) if bands else _without_bias(_final(plain, group), operands)
    spec = ContractKernel(
        final,
        operands,
        len(outer),
        inner.strides[0] == group,
        tile.rows,
        tile.cols,
        tile.lanes,
        tile.last,
        outputs >= tile.width,
        outputs % tile.width != 0,
        group,
        start,
        sum_parts(tile, inner.extent) if group == 1 and panel.extent == 1 and not start else 1,
        bool(bands),
    )
    weights = volume(reduced) * tile.width * per_output * max(1, len(bands))
    geometry = (
        row.extent,
        outputs,
        volume(above),
        inner.extent,
        inner.strides[0],
        block,
        *prefetching(weights, units, block // tile.rows, tile, denser, per_output),
        *((len(bands), *bands, *(1,) * (MOST_BANDS - len(bands))) if bands else ()),
        *row.strides,
        *lane.strides,
        *flattened(tuple(outer)),
        *places(above),
    )
    return Choice(spec, views, geometry, volume(tuple(outer)))
