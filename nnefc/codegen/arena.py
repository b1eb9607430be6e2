"""Where temporaries lie in the arena: by lifetime, and a map's result upon an operand that nothing reads later."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

from nnefc.codegen.weights import aligned_size
from nnefc.ir.program import Call, Map, Program
from nnefc.ir.view import Role, View

MANY_BUFFERS = 2048
"""Beyond so many temporaries, placing them takes time in proportion rather than to the square."""


@dataclass(eq=False)
class Life:
    """Buffers that take the same place one after the other, from call number ``first`` to ``last``."""

    names: list[str]
    bytes: int
    first: int
    last: int

    @property
    def size(self) -> int:
        """The place that they take: whole cache lines."""
        return aligned_size(self.bytes)


def lives(program: Program) -> list[Life]:
    """The lives of the TEMP buffers. A buffer lives from its first write to its last use; where a Map may work in
    place, the life of its output continues that of an operand."""
    found: dict[str, Life] = {}
    for n, call in enumerate(program.calls):
        for v in call.reads() + call.writes():
            if v.buffer.role is Role.TEMP:
                life = found.setdefault(v.buffer.name, Life([v.buffer.name], v.buffer.bytes, n, n))
                life.last = n
    for n, call in enumerate(program.calls):
        pair = _in_place(call, n, found)
        if pair is not None:
            old, new = pair
            old.names += new.names
            old.last, old.bytes = new.last, max(old.bytes, new.bytes)
            found |= dict.fromkeys(new.names, old)
    return list(dict.fromkeys(found.values()))


def _in_place(call: Call, n: int, found: dict[str, Life]) -> tuple[Life, Life] | None:
    """The lives of an operand that call ``n`` may overwrite and of the output that it may overwrite it with.

    The output begins to live there, and the operand is read there for the last time, element by element at the places
    where the output is written. All operands lie along the output's strides or are repeated, so that no kernel is
    chosen that moves elements about.
    """
    if not isinstance(call, Map) or len(call.outputs) != 1:
        return None
    (out,) = call.outputs
    if out.buffer.role is not Role.TEMP or found[out.buffer.name].first != n or not _along(call.inputs, out):
        return None
    for x in call.inputs:
        same = (x.offset, x.strides, x.dtype.size) == (out.offset, out.strides, out.dtype.size)
        dies = x.buffer.role is Role.TEMP and found[x.buffer.name].last == n
        if same and dies and all(v == x for v in call.inputs if v.buffer.name == x.buffer.name):
            return found[x.buffer.name], found[out.buffer.name]
    return None


def _along(inputs: tuple[View, ...], out: View) -> bool:
    pairs = [(s, t) for v in inputs for s, t, n in zip(v.strides, out.strides, out.shape, strict=True) if n > 1]
    return all(s in (0, t) for s, t in pairs)


def live_bytes(program: Program) -> int:
    """The most bytes of temporary buffers that are alive at the same time: no arena can be smaller."""
    change: Counter[int] = Counter()
    for life in lives(program):
        change[life.first] += life.bytes
        change[life.last + 1] -= life.bytes
    alive = most = 0
    for n in sorted(change):
        alive += change[n]
        most = max(most, alive)
    return most


def place_temporaries(program: Program) -> tuple[dict[str, int], int]:
    """Byte offsets of the TEMP buffers in the arena, and its size.

    Buffers are placed in several orders, each at the lowest offset that none alive at the same time takes, and the
    smallest arena is taken (greedy by size and by breadth; Pisarchyk and Lee, 2020). Of more than MANY_BUFFERS, each is
    placed in order of time instead, in the smallest gap that it fits."""
    found = lives(program)
    if len(found) > MANY_BUFFERS:
        offsets, size = _placed_in_time(found)
    else:
        orders = (_by_size, _by_area, _by_breadth(found))
        offsets, size = min((_placed(sorted(found, key=order)) for order in orders), key=lambda placed: placed[1])
    return {name: offset for life, offset in offsets.items() for name in life.names}, size


Order = Callable[[Life], tuple[int, ...]]


def _by_size(life: Life) -> tuple[int, ...]:
    return -life.bytes, life.first


def _by_area(life: Life) -> tuple[int, ...]:
    return -life.bytes * (life.last - life.first + 1), life.first


def _by_breadth(found: list[Life]) -> Order:
    """Those first that live when the most bytes are alive, and of these the largest."""
    end = max((life.last for life in found), default=0) + 1
    change = [0] * (end + 1)
    for life in found:
        change[life.first] += life.bytes
        change[life.last + 1] -= life.bytes
    alive, now = [], 0
    for step in change:
        now += step
        alive.append(now)
    peak = {life: max(alive[life.first : life.last + 1]) for life in found}
    return lambda life: (-peak[life], -life.bytes, life.first)


def _placed(order: list[Life]) -> tuple[dict[Life, int], int]:
    """Offsets of lives, placed in this order, each as low as it can lie; and the size of the whole."""
    placed: list[tuple[int, int, int, int]] = []
    offsets: dict[Life, int] = {}
    for life in order:
        offset = 0
        for start, end, low, high in placed:
            if start >= offset + life.size:
                break
            if low <= life.last and life.first <= high and offset < end:
                offset = end
        offsets[life] = offset
        insort(placed, (offset, offset + life.size, life.first, life.last))
    return offsets, max((end for _, end, _, _ in placed), default=0)


def _placed_in_time(found: list[Life]) -> tuple[dict[Life, int], int]:
    """Offsets of lives, placed in the order of their beginnings, and the size of the whole."""
    offsets: dict[Life, int] = {}
    gaps: list[tuple[int, int]] = []  # (size, start), sorted
    starts: dict[int, int] = {}  # of gaps: start -> end
    ends: dict[int, int] = {}  # end -> start
    alive: list[tuple[int, int, int]] = []  # a heap of (last use, start, end)
    total = 0
    for life in sorted(found, key=lambda life: (life.first, life.last)):
        while alive and alive[0][0] < life.first:
            _, start, end = heappop(alive)
            if start in ends:
                start = _take_gap(gaps, starts, ends, ends[start])[0]
            if end in starts:
                end = _take_gap(gaps, starts, ends, end)[1]
            _add_gap(gaps, starts, ends, start, end)
        size = life.size
        k = bisect_left(gaps, (size, -1))
        if k < len(gaps):
            start, end = _take_gap(gaps, starts, ends, gaps[k][1])
            if end > start + size:
                _add_gap(gaps, starts, ends, start + size, end)
        else:
            start, total = total, total + size
        offsets[life] = start
        heappush(alive, (life.last, start, start + size))
    return offsets, total


def _add_gap(gaps: list[tuple[int, int]], starts: dict[int, int], ends: dict[int, int], start: int, end: int) -> None:
    insort(gaps, (end - start, start))
    starts[start], ends[end] = end, start


def _take_gap(gaps: list[tuple[int, int]], starts: dict[int, int], ends: dict[int, int], start: int) -> tuple[int, int]:
    """Remove the gap at ``start``; where it began and ended."""
    end = starts.pop(start)
    del ends[end], gaps[bisect_left(gaps, (end - start, start))]
    return start, end
