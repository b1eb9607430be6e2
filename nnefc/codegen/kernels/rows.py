"""Reductions and what uses them: pooling, depthwise convolution, sums, softmax and normalizations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from nnefc.codegen.kernels.lines import vectored_line
from nnefc.codegen.spec import Operand, OperandKernel
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr

BLOCK = 128
"""Terms that a lane adds up before they are added to the sum of those before."""


@dataclass(frozen=True)
class RowsKernel(OperandKernel):
    """One or more reductions over the reduced dimensions, then a store per kept index, or per element if ``mapped``.

    ``operands`` are the ``inputs`` inputs, the extras (read with the last store) and the output. If ``horizontal``,
    the lanes lie along the innermost reduced dimension, else along a kept one; then ``rows`` neighbours along the row
    dimension make a tile, the last tile overlapping the one before. ``outer`` and ``reduced`` count the kept dimensions
    beside row and lane, and the reduced ones beside the innermost. The final expression reads the inputs, the results
    and the output if ``mapped``, else the last result and the extras. If ``stored``, the last stage leaves what it adds
    up in the output, for the final expression to read. If ``blocked``, sums of floats are sums of blocks, of about
    BLOCK terms a lane.

    Geometry: rows, lanes, outer reduced extent in all, inner reduced extent; then strides per operand along rows,
    lanes, and the innermost reduced dimension; then per outer kept dimension, and per outer reduced dimension, its
    extent and the operands' strides.
    """

    family: ClassVar[str] = "rows"
    stages: tuple[tuple[str, Expr], ...]
    final: Expr
    mapped: bool
    operands: tuple[Operand, ...]
    inputs: int
    outer: int
    reduced: int
    rows: int
    lanes: int
    full: bool
    tail: bool
    horizontal: bool
    stored: bool
    blocked: bool

    def build(self, target: Target) -> Callable[..., Any]:
        return _horizontal(self, target) if self.horizontal else _vertical(self, target)


def _layout(spec: RowsKernel) -> tuple[int, int, int, int, int]:
    """Geometry positions: row, lane and inner strides, outer kept loops, outer reduced loops."""
    count = len(spec.operands)
    outer = 4 + 3 * count
    return 4, 4 + count, 4 + 2 * count, outer, outer + spec.outer * (count + 1)


def _vertical(spec: RowsKernel, target: Target) -> Callable[..., Any]:
    """Lanes along a kept dimension: every lane reduces its own elements."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen import reductions
    from nnefc.codegen.device import device

    count, lanes, rows = len(spec.operands), spec.lanes, spec.rows
    row_at, lane_at, inner_at, outer_at, reduced_at = _layout(spec)
    geometry, advance = i.geometry, i.advance(count)
    start, move = i.zeros(count), i.unit_offsets(count, spec.outer)
    step = i.unit_offsets(count, spec.reduced)

    def make_stage(number: int, masked: bool) -> Any:
        op, expr = spec.stages[number]
        lattice = _lattice(spec, target, rows, masked)
        begin = reductions.start(op, expr.dtype, rows, lanes)
        stored = spec.stored and number == len(spec.stages) - 1
        take = reductions.accumulate(lattice, op, expr, spec.inputs, number, False, stored)
        end = reductions.finish(op, expr.dtype, rows, lanes, target, False)

        @device
        def stage(results: Any, p: Any, offsets: Any, g: Any, valid: int) -> Any:
            acc = begin()
            inner = geometry(g, 3)
            for a in range(geometry(g, 2)):
                place = step(offsets, g, reduced_at, a)
                for t in range(inner):
                    acc = take(acc, results, p, advance(place, g, inner_at, t), g, valid, a * inner + t)
            return end(acc)

        if not spec.blocked or op != "sum" or expr.dtype.kind != "f":
            return stage
        merge = reductions.merge(expr.dtype, rows, lanes, target)

        @device
        def blocked(results: Any, p: Any, offsets: Any, g: Any, valid: int) -> Any:
            total = begin()
            above, inner = geometry(g, 2), geometry(g, 3)
            height = max(BLOCK // inner, 1)
            for high in range(0, above, height):
                for low in range(0, inner, BLOCK):
                    acc = begin()
                    for a in range(high, min(high + height, above)):
                        place = step(offsets, g, reduced_at, a)
                        for t in range(low, min(low + BLOCK, inner)):
                            acc = take(acc, results, p, advance(place, g, inner_at, t), g, valid, 0)
                    total = merge(total, acc)
            return end(total)

        return blocked

    def make_tile(masked: bool) -> Any:
        results = _chain([make_stage(k, masked) for k in range(len(spec.stages))])
        lattice = _lattice(spec, target, rows, masked)
        if not spec.mapped:
            store = i.store_tile(lattice, spec.final, range(spec.inputs, count - 1), count - 1)

            @device
            def reduce_tile(p: Any, offsets: Any, g: Any, valid: int) -> None:
                store((results((), p, offsets, g, valid)[-1],), p, offsets, g, valid)

            return reduce_tile
        write = i.map_results(lattice, spec.final, spec.inputs, len(spec.stages))

        @device
        def map_tile(p: Any, offsets: Any, g: Any, valid: int) -> None:
            found = results((), p, offsets, g, valid)
            for a in range(geometry(g, 2)):
                place = step(offsets, g, reduced_at, a)
                for t in range(geometry(g, 3)):
                    write(found, p, advance(place, g, inner_at, t), g, valid)

        return map_tile

    line = vectored_line(spec, make_tile(False), make_tile(True), lane_at)

    def kernel(p: Any, g: Any, begin: int, end: int) -> None:
        m, n = geometry(g, 0), geometry(g, 1)
        for unit in range(begin, end):
            place = move(start(), g, outer_at, unit)
            for r in range(0, m, rows):
                row = advance(place, g, row_at, min(r, m - rows))
                line(p, row, g, n)

    return kernel


def _horizontal(spec: RowsKernel, target: Target) -> Callable[..., Any]:
    """Lanes along the innermost reduced dimension: they are folded when a row is done."""
    from nnefc.codegen import instructions as i
    from nnefc.codegen import reductions
    from nnefc.codegen.device import device

    count, lanes = len(spec.operands), spec.lanes
    full, tail = spec.full, spec.tail
    row_at, lane_at, _, outer_at, reduced_at = _layout(spec)
    geometry, advance = i.geometry, i.advance(count)
    start, move = i.zeros(count), i.unit_offsets(count, spec.outer)
    step = i.unit_offsets(count, spec.reduced)

    def make_stage(number: int) -> Any:
        op, expr = spec.stages[number]
        begin = reductions.start(op, expr.dtype, 1, lanes)
        stored = spec.stored and number == len(spec.stages) - 1
        take, take_part = (
            reductions.accumulate(_lattice(spec, target, 1, masked), op, expr, spec.inputs, number, True, stored)
            for masked in (False, True)
        )
        end = reductions.finish(op, expr.dtype, 1, lanes, target, True)

        @device
        def stage(results: Any, p: Any, offsets: Any, g: Any, valid: int) -> Any:
            acc = begin()
            n = geometry(g, 1)
            for a in range(geometry(g, 2)):
                place = step(offsets, g, reduced_at, a)
                if full:
                    for x in range(0, n - lanes + 1, lanes):
                        acc = take(acc, results, p, advance(place, g, lane_at, x), g, lanes, a * n + x)
                if tail:
                    rest = n % lanes
                    x = n - rest
                    acc = take_part(acc, results, p, advance(place, g, lane_at, x), g, rest, a * n + x)
            return end(acc)

        if not spec.blocked or op != "sum" or expr.dtype.kind != "f":
            return stage
        merge = reductions.merge(expr.dtype, 1, lanes, target)
        block = BLOCK * lanes

        @device
        def blocked(results: Any, p: Any, offsets: Any, g: Any, valid: int) -> Any:
            total = begin()
            above, n = geometry(g, 2), geometry(g, 1)
            height = max(block // n, 1)
            whole = n - n % lanes
            for high in range(0, above, height):
                for low in range(0, n, block):
                    acc = begin()
                    for a in range(high, min(high + height, above)):
                        place = step(offsets, g, reduced_at, a)
                        if full:
                            for x in range(low, min(low + block, whole), lanes):
                                acc = take(acc, results, p, advance(place, g, lane_at, x), g, lanes, 0)
                        if tail:
                            for x in range(max(low, whole), min(low + block, n), lanes):
                                acc = take_part(acc, results, p, advance(place, g, lane_at, x), g, n - x, 0)
                    total = merge(total, acc)
            return end(total)

        return blocked

    results = _chain([make_stage(k) for k in range(len(spec.stages))])
    if spec.mapped:
        write = i.map_results(_lattice(spec, target, 1, False), spec.final, spec.inputs, len(spec.stages))
        write_part = i.map_results(_lattice(spec, target, 1, True), spec.final, spec.inputs, len(spec.stages))

        @device
        def put(found: Any, p: Any, offsets: Any, g: Any) -> None:
            n = geometry(g, 1)
            for a in range(geometry(g, 2)):
                place = step(offsets, g, reduced_at, a)
                if full:
                    for x in range(0, n - lanes + 1, lanes):
                        write(found, p, advance(place, g, lane_at, x), g, lanes)
                if tail:
                    rest = n % lanes
                    write_part(found, p, advance(place, g, lane_at, n - rest), g, rest)
    else:
        one = replace(_lattice(spec, target, 1, False), lanes=1)
        store = i.store_tile(one, spec.final, range(spec.inputs, count - 1), count - 1)

        @device
        def put(found: Any, p: Any, offsets: Any, g: Any) -> None:
            store((found[-1],), p, offsets, g, 1)

    def kernel(p: Any, g: Any, begin: int, end: int) -> None:
        for unit in range(begin, end):
            place = move(start(), g, outer_at, unit)
            for r in range(geometry(g, 0)):
                row = advance(place, g, row_at, r)
                put(results((), p, row, g, lanes), p, row, g)

    return kernel


def _lattice(spec: RowsKernel, target: Target, rows: int, masked: bool) -> Any:
    from nnefc.codegen.tile import Lattice

    row_at, lane_at, *_ = _layout(spec)
    return Lattice(target, spec.operands, rows, 1, spec.lanes, row_at, lane_at, masked)


def _chain(stages: list[Any]) -> Any:
    """A function that runs the stages in order; each sees the results of those before it."""
    from nnefc.codegen.device import device

    first, rest = stages[0], stages[1:]
    if not rest:

        @device
        def last(results: Any, p: Any, offsets: Any, g: Any, valid: int) -> Any:
            return (*results, first(results, p, offsets, g, valid))

        return last
    then = _chain(rest)

    @device
    def run(results: Any, p: Any, offsets: Any, g: Any, valid: int) -> Any:
        return then((*results, first(results, p, offsets, g, valid)), p, offsets, g, valid)

    return run
