"""Reductions whose instructions sum several neighbours at once: which neighbours, and weights in such groups."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from nnefc.codegen.nest import Loop, Nest, collapsed, volume
from nnefc.ir import expr as e
from nnefc.ir.expr import Expr, arg, const
from nnefc.ir.interpret import array
from nnefc.ir.program import Call, Contract, Map
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides

GROUP = 4
"""Codes that an instruction multiplies and adds up."""
NIBBLES = 8
"""The group of codes whose weights have 4 bits: two instructions' worth, in the bytes of one."""
NIBBLE_SCALE = 16
"""What sums of products by such weights are multiplied by, as they are taken from the upper halves of bytes."""
MOST_PRODUCTS = (2**31 - 1) // (255 * 8 * NIBBLE_SCALE)
"""Products by 4-bit weights whose sum, so multiplied, I32 holds."""


def group_of(call: Contract, constants: Mapping[str, np.ndarray]) -> int:
    """How many neighbouring elements of ``x`` a step of a contraction multiplies and adds up.

    4 for codes; NIBBLES where all weights are constants of -8 .. 7, and runs are not lengthened by it; 2 for BF16 where
    runs are even, since what lies beyond one may be no number, of which no weight makes 0; 1 for other floats."""
    if call.x.dtype not in (DType.U8, DType.BF16):
        return 1
    run, _ = run_of(ordered_x(call), call.reduced)
    if call.x.dtype is DType.BF16:
        return 1 if run % 2 else 2
    products = math.prod(call.x.shape[call.x.rank - call.reduced :])
    values = constants.get(call.w.buffer.name)
    if values is None or products > MOST_PRODUCTS or not 4 <= (run - 1) % NIBBLES:
        return 4
    w = array(call.w, {call.w.buffer.name: values})
    return NIBBLES if w.size and w.min() >= -8 and w.max() <= 7 else 4


def reduced_order(call: Contract) -> tuple[int, ...]:
    """The reduced dimensions from the largest step in x to the smallest."""
    first = call.x.rank - call.reduced
    return tuple(sorted(range(call.reduced), key=lambda d: (-abs(call.x.strides[first + d]), d)))


def ordered_x(call: Contract, order: Sequence[int] | None = None) -> View:
    """x with its reduced dimensions in an order: by default that one."""
    first = call.x.rank - call.reduced
    return call.x.transpose((*range(first), *(first + d for d in order or reduced_order(call))))


def apart_order(call: Contract) -> tuple[int, ...] | None:
    """The reduced dimensions as codes are summed where lanes lie along pixels, which neighbours of any step may make:
    last those that make the groups. A group that a dimension does not fill reads what follows, so that must lie
    together. None where there is no such dimension."""
    x, first = call.x, call.x.rank - call.reduced
    order = reduced_order(call)
    able = {
        d: (math.ceil(n / GROUP) / n, s != 1)
        for d, n, s in ((d, x.shape[first + d], x.strides[first + d]) for d in order)
        if n > 1 and (s == 1 or (s > 1 and n % GROUP == 0))
    }
    if not able:
        return None
    last = min(able, key=lambda d: able[d])
    return (*(d for d in order if d != last), last)


def run_of(x: View, reduced: int) -> tuple[int, int]:
    """How many elements of the ``reduced`` last dimensions of ``x`` lie one after the other, and how many of the last
    dimensions these are."""
    run = dims = 0
    extent = 1
    for n, s in zip(reversed(x.shape[x.rank - reduced :]), reversed(x.strides[x.rank - reduced :]), strict=True):
        if n > 1 and s != extent:
            break
        extent, dims = extent * n, dims + 1
        run = extent
    return max(run, 1), dims


def step_loops(x: View, reduced: int, group: int, apart: bool = False) -> Nest:
    """The loops over the steps of a reduction over the last dimensions of ``x``, in the order of the packed weights,
    merged; none for a single step. A run that is no multiple of a group has a last step that reads beyond it. If
    ``apart``, neighbours in the last dimension make the groups, whatever their step."""
    first = x.rank - reduced
    loops = tuple(Loop(n, (s,)) for n, s in zip(x.shape[first:], x.strides[first:], strict=True))
    if apart:
        loops = (*loops[:-1], Loop(math.ceil(x.shape[-1] / group), (group * x.strides[-1],)))
    elif group > 1:
        run, dims = run_of(x, reduced)
        loops = (*loops[: reduced - dims], Loop(math.ceil(run / group), (group,)))
    return collapsed(loops) if volume(loops) > 1 else ()


def steps(call: Contract, group: int) -> int:
    """How many steps each sum of a contraction takes."""
    return volume(step_loops(ordered_x(call), call.reduced, group))


def grouped(w: View, dims: int, group: int, names: Iterator[str]) -> tuple[View, list[Call]]:
    """Weights (..., run..., outputs), of whose dimensions ``dims`` are a run, as (..., steps, outputs, group): what
    the last step has beyond the run is 0. Where a copy is needed, the calls that fill it are given, too."""
    first = w.rank - 1 - dims
    extents = w.shape[first:-1]
    calls: list[Call] = []
    if dims and extents[-1] % group == 0:
        split = w.split_dim(w.rank - 2, (extents[-1] // group, group))
    else:
        run = math.prod(extents)
        count = math.ceil(run / group)
        shape = (*w.shape[:first], count * group, w.shape[-1])
        copy = View(Buffer(next(names), w.dtype, math.prod(shape), Role.TEMP), 0, shape, dense_strides(shape))
        if run < count * group:
            calls.append(Map((const(0, w.dtype),), (), (copy.slice(first, run, count * group - run),)))
        calls.append(Map((arg(0, w.dtype),), (w,), (copy.slice(first, 0, run).split_dim(first, extents),)))
        split = copy.split_dim(first, (count, group))
    rank = split.rank
    return split.transpose((*range(rank - 2), rank - 1, rank - 2)), calls


def nibbles(w: View) -> tuple[Expr, tuple[View, ...]]:
    """What packs weights (..., 8) of 4 bits to (..., 4) bytes, the first four in the lower halves; and its operands."""
    last, four = w.rank - 1, const(4, w.dtype)
    low = e.call("and", arg(0, w.dtype), const(15, w.dtype))
    return e.call("or", low, e.call("shl", arg(1, w.dtype), four)), (w.slice(last, 0, 4), w.slice(last, 4, 4))


def beyond(x: View, reduced: int, group: int, apart: bool = False) -> int:
    """How many elements after its buffer's end the steps of a reduction over ``x`` read (and multiply by 0)."""
    if group == 1 or not x.volume:
        return 0
    run = x.shape[-1] if apart else run_of(x, reduced)[0]
    return max(0, x.span[1] + -run % group - x.buffer.size)


def with_room(
    call: Contract, group: int, order: Sequence[int] | None, room: dict[str, int], names: Iterator[str]
) -> tuple[Contract, list[Call]]:
    """The contraction with an ``x`` whose steps stay inside its buffer, with groups of runs, or if ``order`` is given
    that of :func:`apart_order`. A scratch buffer is noted in ``room``, with the elements that it has to have more; of
    any other a copy is read, and the calls that make it are given."""
    more = beyond(ordered_x(call, order), call.reduced, group, order is not None)
    if not more:
        return call, []
    x = call.x
    if x.buffer.role is Role.TEMP:
        room[x.buffer.name] = max(room.get(x.buffer.name, 0), more)
        return call, []
    low, high = x.span
    copy = Buffer(next(names), x.dtype, high - low + more, Role.TEMP)
    source, made = View(x.buffer, low, (high - low,), (1,)), View(copy, 0, (high - low,), (1,))
    moved = replace(call, x=View(copy, x.offset - low, x.shape, x.strides))
    return moved, [Map((arg(0, x.dtype),), (source,), (made,), origin=call.origin)]


def grown(call: Call, room: dict[str, int]) -> Call:
    """The call with the buffers that :func:`with_room` noted enlarged."""

    def view(v: View) -> View:
        more = room.get(v.buffer.name)
        return v if more is None else replace(v, buffer=replace(v.buffer, size=v.buffer.size + more))

    return call.with_views(view)
