"""Attention without its scores in memory: products, softmax and products again, block of rows by block of rows.

Scores of a block of queries with all keys lie in scratch memory of a thread, small enough for the second-level cache.
They are made, normalized and multiplied by the values there, by the kernels that would do that for all rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from nnefc.codegen.pack import Panels
from nnefc.ir.program import Call, Program, Row
from nnefc.ir.view import Buffer, Role, View
from nnefc.passes.rewrite import Rewriting

LEAST_BYTES = 1 << 20
"""Bytes of scores below which they stay in the second-level cache anyway."""
BLOCK_BYTES = 64 << 10
"""Bytes of the scores of a block, at most: they stay in the second-level cache beside keys and values."""
UNITS = 16
"""Work units, at most: each has scratch memory of its own."""
MOST_STEP = 48
"""Rows that a block is a multiple of, at most, for whole tiles of all its contractions."""
PAD = 16
"""Elements between the rows of a block, which would else lie on the same few cache sets for powers of two."""


@dataclass(frozen=True)
class Chain(Call):
    """``heads`` write the elements of ``row``, whose results are the ``x`` of all ``tails``; see :func:`chained`.

    All have the kept dimensions of ``row``. A block is one index of these but the last, and ``rows`` neighbours along
    that, the last block overlapping the one before. ``scratch`` has a part for each of its ``units``."""

    heads: tuple[Panels, ...]
    row: Row
    tails: tuple[Panels, ...]
    scratch: View
    rows: int
    units: int

    def reads(self) -> tuple[View, ...]:
        inner = {self.scores.buffer, self.row.output.buffer}
        return tuple(v for call in self.calls for v in call.reads() if v.buffer not in inner)

    def writes(self) -> tuple[View, ...]:
        return (*(call.contract.output for call in self.tails), self.scratch)

    @property
    def calls(self) -> tuple[Call, ...]:
        """What is done, in order, for all rows at once."""
        return (*self.heads, self.row, *self.tails)

    @property
    def scores(self) -> View:
        """What the heads write, as ``row`` reads it."""
        buffer = self.heads[0].contract.output.buffer
        return next(v for v in self.row.inputs if v.buffer == buffer)

    @property
    def kept(self) -> tuple[int, ...]:
        """The extents of the kept dimensions."""
        return self.row.output.shape[:-1]

    @property
    def blocks(self) -> int:
        """The blocks of one index of the outer kept dimensions."""
        return math.ceil(self.kept[-1] / self.rows)

    @property
    def part(self) -> int:
        """Elements of a unit's scratch memory."""
        return self.rows * pitch(self.row)

    def block(self, index: tuple[int, ...]) -> tuple[Call, ...]:
        """The calls of the block that begins at an index of the kept dimensions, in the first part of the scratch."""
        inner = {self.scores.buffer: self.scores, self.row.output.buffer: self.row.output}

        def cut(v: View, dims: int) -> View:
            found = v
            for d in range(dims):
                if v.shape[d] > 1:
                    found = found.slice(d, index[d], self.rows if d == len(index) - 1 else 1)
            if v.buffer not in inner:
                return found
            first = v.offset - inner[v.buffer].offset
            strides = (*(0,) * (len(index) - 1), pitch(self.row), 1)
            return View(self.scratch.buffer, first, found.shape, strides)

        return tuple(_of_block(call, cut, len(index)) for call in self.calls)


def pitch(row: Row) -> int:
    """Elements from row to row of a block."""
    return math.ceil(row.output.shape[-1] / PAD) * PAD + PAD


def _of_block(call: Call, cut: Callable[[View, int], View], kept: int) -> Call:
    if isinstance(call, Row):
        inputs = tuple(cut(v, kept) for v in call.inputs)
        return replace(call, inputs=inputs, output=cut(call.output, kept))
    assert isinstance(call, Panels)
    plain, x = call.contract, cut(call.x, kept)
    contract = replace(
        plain,
        x=cut(plain.x, kept),
        w=cut(plain.w, plain.groups),
        extras=tuple(cut(v, kept) for v in plain.extras),
        output=cut(plain.output, kept),
    )
    return replace(call, x=x, w=cut(call.w, plain.groups), contract=contract)


def chained(program: Program) -> Program:
    """The Program with a Chain wherever contractions write rows that one Row alone reads, and other contractions alone
    read its result, as their rows: attention. The same object if there is none, or none that pays.

    It pays where scores take LEAST_BYTES or more."""
    state = Rewriting(program)
    names = program.fresh_names("scores")
    changed = False
    for n, call in enumerate(program.calls):
        found = _found(state, n, call) if isinstance(call, Row) else None
        if found is not None:
            heads, tails = found
            last = tails[-1]
            chain = _chain(state, heads, n, tails, next(names))
            for k in (*heads, n, *tails):
                state.replace(k, chain if k == last else None)
            changed = True
    return state.result(program) if changed else program


def _chain(state: Rewriting, heads: list[int], n: int, tails: list[int], name: str) -> Chain:
    row = state.call(n)
    assert isinstance(row, Row)
    first, then = _panels(state, heads), _panels(state, tails)
    heights = [call.tile.rows for call in (*first, *then)]
    step = found if (found := math.lcm(*heights)) <= MOST_STEP else max(heights)
    total, size = row.output.shape[-2], row.output.dtype.size
    most = max(step, BLOCK_BYTES // (pitch(row) * size) // step * step)
    blocks = math.ceil(total / most)
    rows = min(total, math.ceil(math.ceil(total / blocks) / step) * step)
    units = min(UNITS, math.prod(row.output.shape[:-2]) * math.ceil(total / rows))
    part = rows * pitch(row)
    scratch = View(Buffer(name, row.output.dtype, part * units, Role.TEMP), 0, (part * units,), (1,))
    origin = row.origin
    for k in (*heads, *tails):
        origin = state.call(k).origin.merged(origin)
    return Chain(first, row, then, scratch, rows, units, origin=origin)


def _panels(state: Rewriting, numbers: list[int]) -> tuple[Panels, ...]:
    calls = (state.call(k) for k in numbers)
    return tuple(call for call in calls if isinstance(call, Panels))


def _found(state: Rewriting, n: int, row: Row) -> tuple[list[int], list[int]] | None:
    """The positions of the contractions before and after a Row that can be one Chain with it."""
    result = row.output
    own = [v for v in row.inputs if v.buffer.role is Role.TEMP and state.readers[v.buffer.name] == {n}]
    if row.axes != 1 or result.rank < 2 or len(own) != 1 or result.buffer.role is not Role.TEMP:
        return None
    (scores,) = own
    heads, tails = sorted(state.writers.get(scores.buffer.name, ())), sorted(state.readers.get(result.buffer.name, ()))
    if state.writers[result.buffer.name] != {n} or not heads or not tails or not heads[-1] < n < tails[0]:
        return None
    first, then = _panels(state, heads), _panels(state, tails)
    if len(first) < len(heads) or len(then) < len(tails) or scores.dtype is not result.dtype:
        return None
    fit = all(_is_head(p, scores) for p in first) and all(_is_tail(p, result) for p in then)
    whole = sum(p.contract.output.shape[-1] for p in first) == scores.shape[-1]
    tall = all(p.tile.rows <= result.shape[-2] for p in (*first, *then))
    pays = result.volume * result.dtype.size >= LEAST_BYTES
    return (heads, tails) if fit and whole and tall and pays and _free(state, heads, n, tails) else None


def _is_head(call: Panels, scores: View) -> bool:
    out, kept = call.contract.output, scores.shape[:-1]
    lies = out.shape[:-1] == kept and scores.strides[-1] == 1 and out.moves_like((*scores.strides[:-1], 1))
    inside = 0 <= out.offset - scores.offset <= scores.shape[-1] - out.shape[-1]
    return lies and inside and _by_rows(call, kept)


def _is_tail(call: Panels, result: View) -> bool:
    alone = all(v.buffer != result.buffer for v in (call.w, *call.contract.extras))
    same = call.x.same_elements(result) and call.contract.x.same_elements(result) and result.strides[-1] == 1
    return alone and same and call.contract.output.shape[:-1] == result.shape[:-1] and _by_rows(call, result.shape[:-1])


def _by_rows(call: Panels, kept: tuple[int, ...]) -> bool:
    """Whether the rows of a contraction are cut into tiles along the last kept dimension, which is no group."""
    return not call.pixel_lanes and call.contract.groups < len(kept) and call.x.shape[: len(kept)] == kept


def _free(state: Rewriting, heads: list[int], n: int, tails: list[int]) -> bool:
    """Whether all can be done where the last of them is: nothing between writes what they read, or touches what they
    write."""
    members, last = {*heads, n, *tails}, tails[-1]
    for k in members:
        call = state.call(k)
        if any(k < m < last for v in call.reads() for m in state.writers.get(v.buffer.name, set()) - members):
            return False
        names = {v.buffer.name for v in call.writes()}
        touching = {m for name in names for m in state.readers.get(name, set()) | state.writers[name]}
        if any(k < m < last for m in touching - members):
            return False
    return True
