"""3 x 3 convolutions by transformed image tiles: see nnefc.codegen.schemes for the algorithm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.schemes import Scheme, matrices
from nnefc.codegen.spec import Operand, OperandKernel
from nnefc.codegen.target import CACHE_LINE, Target
from nnefc.ir.expr import Expr
from nnefc.ir.types import DType

SIZE, TOTAL, BLOCKS, PANELS, UNITS, DOWN, ACROSS, HEIGHT, WIDTH, CHANNELS, OUTPUTS = range(11)
"""Geometry: image tiles of a block and in all; blocks; panels of weights; units; image tiles of a map down and across;
a map's height and width; channels; outputs."""
PLANE, PRODUCT_PLANE, PRODUCTS, WORK, SLOT, HEAD = range(11, 17)
"""Geometry: elements from plane to plane of transformed tiles and of products; in a unit's scratch memory, where the
products and the tile at work begin, and its size; the first number after these."""


@dataclass(frozen=True)
class WinogradKernel(OperandKernel):
    """``operands`` are x, the transformed weights, the extras, the output and the scratch memory; ``x`` lies along its
    channels, all else along the outputs.

    The items of work are the panels of weights for each block of image tiles, in order; a unit is a run of them. A
    range of units uses the part of the scratch memory that is its first unit's. For each block, all its image tiles
    are transformed, lanes along channels, to planes (vector of channels, image tile, lane), one for each of the
    ``n**2`` elements of a tile. For each panel, these are multiplied by the planes of weights, to planes (image
    tile, output), which are transformed back and stored. Every pixel is stored by one image tile: the last ones of a
    row or a column, which overlap those before, leave out what these store.

    Geometry: HEAD numbers as named above; strides per operand down the map, across it and along lanes, and of x from
    tap to tap down and across (of others 0); per image loop its extent and strides. ``images`` counts these loops;
    with each channel, ``ahead`` cache lines of the next plane of weights are fetched. ``ragged`` says that maps are no
    whole number of tiles wide, ``masked_in`` and ``masked_out`` that channels and outputs are no whole number of
    vectors.
    """

    family: ClassVar[str] = "winograd"
    final: Expr
    operands: tuple[Operand, ...]
    images: int
    scheme: Scheme
    rows: int
    cols: int
    lanes: int
    ahead: int
    ragged: bool
    masked_in: bool
    masked_out: bool

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i

        geometry = i.geometry
        transform, multiply, finish = _transform(self, target), _multiply(self, target), _finish(self, target)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            size, panels, units = geometry(g, SIZE), geometry(g, PANELS), geometry(g, UNITS)
            items, slot = geometry(g, BLOCKS) * panels, begin * geometry(g, SLOT)
            item, last = begin * items // units, end * items // units
            while item < last:
                block = item // panels
                first = min(block * size, geometry(g, TOTAL) - size)
                transform(p, g, first, slot)
                stop = min(last, (block + 1) * panels)
                for panel in range(item - block * panels, stop - block * panels):
                    multiply(p, g, panel, slot)
                    finish(p, g, first, panel, slot)
                item = stop

        return kernel

    @property
    def strides_at(self) -> tuple[int, int, int, int, int, int]:
        """Geometry positions: strides down the map, across it, along lanes, of taps down and across; image loops."""
        first, second, third, fourth, fifth, sixth = (HEAD + k * len(self.operands) for k in range(6))
        return first, second, third, fourth, fifth, sixth


def _corner(spec: WinogradKernel) -> Any:
    """corner(tile, g): offsets of an image tile's first pixel; how many of its rows and columns others store."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen.device import device

    count, m, geometry = len(spec.operands), spec.scheme.m, i.geometry
    down_at, across_at, _, _, _, images_at = spec.strides_at
    start, move, advance = i.zeros(count), i.unit_offsets(count, spec.images), i.advance(count)

    @device
    def corner(tile: int, g: Any) -> Any:
        across, down = geometry(g, ACROSS), geometry(g, DOWN)
        strip = tile // across
        image = strip // down
        top, left = (strip - image * down) * m, (tile - strip * across) * m
        y, x = min(top, geometry(g, HEIGHT) - m), min(left, geometry(g, WIDTH) - m)
        place = advance(advance(move(start(), g, images_at, image), g, down_at, y), g, across_at, x)
        return place, top - y, left - x

    return corner


def _transform(spec: WinogradKernel, target: Target) -> Any:
    """transform(p, g, first, slot): the planes of a block's image tiles."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen import transforms as t
    from nnefc.codegen.device import device
    from nnefc.codegen.tile import Lattice, Tile

    n, lanes, scratch = spec.scheme.n, spec.lanes, len(spec.operands) - 1
    _, _, lane_at, down_at, across_at, _ = spec.strides_at
    geometry, advance, corner = i.geometry, i.advance(len(spec.operands)), _corner(spec)
    tile = Tile(DType.F32, n, 1, lanes)
    take = i.load_tile(Lattice(target, spec.operands, n, 1, lanes, down_at, lane_at, spec.masked_in), 0)
    load, store = t.load_rows(tile), t.store_rows(tile)
    change = t.linear(matrices(spec.scheme)[0], tile, target, spec.scheme.pairs, inputs_paired=False)

    @device(inline=False)
    def transform(p: Any, g: Any, first: int, slot: int) -> None:
        size, channels, plane = geometry(g, SIZE), geometry(g, CHANNELS), geometry(g, PLANE)
        work, memory = slot + geometry(g, WORK), p[scratch]
        for k in range(size):
            place = corner(first + k, g)[0]
            for c in range(0, channels, lanes):
                vector = advance(place, g, lane_at, c)
                for x in range(n):
                    column = take(p, advance(vector, g, across_at, x), g, channels - c)
                    store(change(column), memory, work + x * lanes, n * lanes)
                at = slot + c * size + k * lanes
                for y in range(n):
                    row = load(memory, work + y * n * lanes, lanes)
                    store(change(row), memory, at + y * n * plane, plane)

    return transform


def _multiply(spec: WinogradKernel, target: Target) -> Any:
    """multiply(p, g, panel, slot): the planes of products of a panel of weights."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen import transforms as t
    from nnefc.codegen.device import device
    from nnefc.codegen.tile import Tile

    planes, lanes, rows, scratch = spec.scheme.n**2, spec.lanes, spec.rows, len(spec.operands) - 1
    w_type = spec.operands[1].dtype
    width, line = spec.cols * spec.lanes, CACHE_LINE // w_type.size
    fetched, share, farthest = spec.ahead, spec.ahead * line, max(width - spec.ahead * line, 0)
    geometry = i.geometry
    tile = Tile(DType.F32, rows, spec.cols, lanes)
    zero, outer = i.zero_tiles((tile,)), i.outer((tile,), target, DType.F32, w_type)
    store, fetch = t.store_rows(tile), i.prefetch

    @device
    def product(p: Any, g: Any, x: int, w: int, ahead: int) -> Any:
        acc = zero()
        channels, step = geometry(g, CHANNELS), geometry(g, SIZE) * lanes
        for c in range(0, channels, lanes):
            for k in range(min(lanes, channels - c)):
                for f in range(fetched):
                    fetch(p[1], w + ahead + f * line)
                acc = outer(acc, p[scratch], x + k, lanes, p[1], w)
                w += width
            x += step
        return acc

    @device(inline=False)
    def multiply(p: Any, g: Any, panel: int, slot: int) -> None:
        size, part = geometry(g, SIZE), geometry(g, CHANNELS) * width
        w, products = panel * planes * part, slot + geometry(g, PRODUCTS)
        for e in range(planes):
            for r in range(0, size, rows):
                row = min(r, size - rows)
                ahead = part + min(r // rows * share, farthest)
                acc = product(p, g, slot + e * geometry(g, PLANE) + row * lanes, w, ahead)
                store(acc[0], p[scratch], products + e * geometry(g, PRODUCT_PLANE) + row * width, width)
            w += part

    return multiply


def _finish(spec: WinogradKernel, target: Target) -> Any:
    """finish(p, g, first, panel, slot): the outputs of a panel for a block of image tiles."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen import transforms as t
    from nnefc.codegen.device import device
    from nnefc.codegen.tile import Lattice, Tile

    count, m, n, lanes, scratch = len(spec.operands), spec.scheme.m, spec.scheme.n, spec.lanes, len(spec.operands) - 1
    width, ragged = spec.cols * lanes, spec.ragged
    down_at, across_at, lane_at, *_ = spec.strides_at
    geometry, advance, corner = i.geometry, i.advance(count), _corner(spec)
    column, row, pixel = (Tile(DType.F32, k, 1, lanes) for k in (n, m, 1))
    load, store, load_pixel = t.load_rows(column), t.store_rows(row), t.load_rows(pixel)
    change = t.linear(matrices(spec.scheme)[2], column, target, spec.scheme.pairs, inputs_paired=True)

    def final(rows: int) -> Any:
        lattice = Lattice(target, spec.operands, rows, 1, lanes, across_at, lane_at, spec.masked_out)
        return i.store_tile(lattice, spec.final, range(2, count - 2), count - 2)

    put_row, put_pixel = final(m), final(1)

    @device
    def outputs(p: Any, g: Any, products: int, work: int, place: Any, above: int, before: int, valid: int) -> None:
        memory, plane = p[scratch], geometry(g, PRODUCT_PLANE)
        for x in range(n):
            store(change(load(memory, products + x * plane, n * plane)), memory, work + x * lanes, n * lanes)
        for y in range(above, m):
            strip = advance(place, g, down_at, y)
            line = change(load(memory, work + y * n * lanes, lanes))
            if ragged and before > 0:
                store(line, memory, work, lanes)
                for x in range(before, m):
                    value = load_pixel(memory, work + x * lanes, lanes)
                    put_pixel((value,), p, advance(strip, g, across_at, x), g, valid)
            else:
                put_row((line,), p, strip, g, valid)

    @device(inline=False)
    def finish(p: Any, g: Any, first: int, panel: int, slot: int) -> None:
        size, end = geometry(g, SIZE), geometry(g, OUTPUTS)
        products, work = slot + geometry(g, PRODUCTS), slot + geometry(g, WORK)
        for k in range(size):
            place, above, before = corner(first + k, g)
            at = products + k * width
            for o in range(panel * width, min((panel + 1) * width, end), lanes):
                outputs(p, g, at, work, advance(place, g, lane_at, o), above, before, end - o)
                at += lanes

    return finish
