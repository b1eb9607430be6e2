"""Copies that need not be made: a tensor that is copied into a larger one lies there from the start, and what reads a
copy reads the original where strides can say it.

Three rules. Copies that are neighbouring parts of one copy become that one. If a copy takes all that is ever used of a
buffer, and nothing else writes where it goes, the buffer's contents live in its place: tensors that are concatenated
several times, or padded and read besides, end up in the largest of them. If a buffer holds nothing but a copy, its
readers read the original; a contraction may sum over one dimension as several for that.
"""

from __future__ import annotations

from dataclasses import replace

from nnefc.ir.program import Call, Contract, Map, Program
from nnefc.ir.relocate import Relocation, disjoint
from nnefc.ir.view import Role, View
from nnefc.passes.fuse import is_copy
from nnefc.passes.rewrite import Rewriting

MANY = 256
"""Calls that touch a buffer beyond which it is left alone: what is looked at grows with their square."""
SHORT_ROW = 16
"""Pixels in a row: a contraction's rows are not cut into shorter ones."""


def place(program: Program) -> Program:
    """The program without the copies that the rules take out; the same object where none did."""
    state = _State(program)
    changed = False
    for n in range(len(state.calls)):
        while state.step(n):
            changed = True
    return state.result(program) if changed else program


class _State(Rewriting):
    def _copy(self, n: int) -> tuple[View, View] | None:
        """Source and target of call ``n``, if it is a copy."""
        call = self.calls[n]
        return (call.inputs[0], call.outputs[0]) if isinstance(call, Map) and is_copy(call) else None

    def step(self, n: int) -> bool:
        """Apply a rule to call ``n``, if one fits."""
        found = self._copy(n)
        if found is None:
            return False
        source, target = found
        if any(self._users(v.buffer.name) > MANY for v in found):
            return False
        return self._join(n, source, target) or self._place(n, source, target) or self._read_original(n, source, target)

    def _users(self, name: str) -> int:
        return len(self.writers.get(name, ())) + len(self.readers.get(name, ()))

    def _join(self, n: int, source: View, target: View) -> bool:
        """Make the copy one with an earlier one, if both are neighbouring parts and neither reads what is copied to."""
        for m in sorted(self.writers[target.buffer.name], reverse=True):
            other = self._copy(m) if m < n else None
            if other is None or other[0].buffer != source.buffer or self.written(source.buffer.name, m, n):
                continue
            pair = _joined(other, (source, target)) or _joined((source, target), other)
            if pair is not None and disjoint(*pair) and not self._touched(other[1], m, n):
                second = self.call(n)
                assert isinstance(second, Map)
                origin = self.call(m).origin.merged(second.origin)
                self.replace(m, None)
                self.replace(n, replace(second, inputs=(pair[0],), outputs=(pair[1],), origin=origin))
                return True
        return False

    def _touched(self, view: View, first: int, last: int) -> bool:
        """Whether calls between two read elements of the view."""
        between = (k for k in self.readers.get(view.buffer.name, ()) if first < k < last)
        return any(not disjoint(v, view) for k in between for v in self._views(k, view.buffer.name))

    def _views(self, n: int, name: str) -> list[View]:
        return [v for v in self.call(n).reads() + self.call(n).writes() if v.buffer.name == name]

    def _place(self, n: int, source: View, target: View) -> bool:
        """Let the source's buffer live in the copy's target."""
        buffer, other = source.buffer, target.buffer
        if buffer.role is not Role.TEMP or other.role not in (Role.TEMP, Role.OUTPUT) or buffer == other:
            return False
        if buffer.dtype is not other.dtype or any(k >= n for k in self.writers[buffer.name]):
            return False
        moved = Relocation(source, target)
        users = self.readers[buffer.name] | self.writers[buffer.name]
        if not all(_pays(self.call(k), buffer.name, moved) for k in users - {n}):
            return False
        strangers = self.writers[other.name] - {n}
        if any(not disjoint(v, target) for k in strangers for v in self.call(k).writes() if v.buffer == other):
            return False
        self.replace(n, None)
        for k in sorted(users - {n}):
            self.replace(k, self.call(k).with_views(lambda v: _relocated(v, moved) if v.buffer == buffer else v))
        return True

    def _read_original(self, n: int, source: View, target: View) -> bool:
        """Let those who read the copy read its source."""
        name = target.buffer.name
        if target.buffer.role is not Role.TEMP or self.writers[name] != {n} or source.buffer == target.buffer:
            return False
        moved = Relocation(target, source)
        readers = sorted(self.readers.get(name, ()))
        if not readers or any(k < n or self.written(source.buffer.name, n, k + 1) for k in readers):
            return False
        calls = [_redirected(self.call(k), name, moved) for k in readers]
        if any(c is None for c in calls):
            return False
        for k, call in zip(readers, calls, strict=True):
            self.replace(k, call)
        self.replace(n, None)
        return True


def _joined(first: tuple[View, View], second: tuple[View, View]) -> tuple[View, View] | None:
    """Two copies as one, where ``second`` goes on along one dimension where ``first`` ends; else None."""
    (a, b), (c, d) = first, second
    if a.rank != c.rank or not (a.moves_like(c.strides) and b.moves_like(d.strides)):
        return None
    for axis in range(a.rank):
        same = all(m == n for k, (m, n) in enumerate(zip(a.shape, c.shape, strict=True)) if k != axis)
        n = a.shape[axis]
        steps = (max(a.strides[axis], c.strides[axis]), max(b.strides[axis], d.strides[axis]))
        if same and steps[0] and (c.offset - a.offset, d.offset - b.offset) == (n * steps[0], n * steps[1]):
            shape = (*a.shape[:axis], n + c.shape[axis], *a.shape[axis + 1 :])
            return _grown(a, shape, axis, steps[0]), _grown(b, shape, axis, steps[1])
    return None


def _grown(view: View, shape: tuple[int, ...], axis: int, stride: int) -> View:
    strides = (*view.strides[:axis], stride, *view.strides[axis + 1 :])
    return View(view.buffer, view.offset, shape, strides)


def _relocated(view: View, moved: Relocation) -> View:
    found = moved(view)
    assert found is not None
    return found


def _pays(call: Call, name: str, moved: Relocation) -> bool:
    """Whether the views of the buffer ``name`` can be relocated and the call stays as fast. Neighbours may be written
    to every second element, which takes less time than a copy."""
    for views, step in ((call.reads(), 1), (call.writes(), 2)):
        for view in views:
            if view.buffer.name == name:
                there = moved(view)
                if there is None or not _stays_contiguous(view, there, step):
                    return False
    if not isinstance(call, Contract):
        return True
    after = _row(call.with_views(lambda v: _relocated(v, moved) if v.buffer.name == name else v))
    return after >= SHORT_ROW or after >= _row(call)


def _stays_contiguous(old: View, new: View, step: int = 1) -> bool:
    """Whether dimensions along which ``old`` is contiguous are so in ``new``, or move by at most ``step``."""
    pairs = zip(old.shape, old.strides, new.strides, strict=True)
    return all(abs(t) <= step for n, s, t in pairs if n > 1 and abs(s) == 1)


def _row(call: Contract) -> int:
    """The extent of the innermost loop over a contraction's pixels, neighbouring dimensions merged."""
    views = (call.output, call.x, *call.extras)
    pixels = [d for d in range(call.groups, call.output.rank - 1) if call.output.shape[d] > 1]
    extent, steps = 1, [0] * len(views)
    for d in sorted(pixels, key=lambda d: call.output.strides[d]):
        strides = [v.strides[d] for v in views]
        if extent > 1 and strides != steps:
            break
        extent *= call.output.shape[d]
        steps = [s * call.output.shape[d] for s in strides]
    return extent


def _redirected(call: Call, name: str, moved: Relocation) -> Call | None:
    """The call with reads of the buffer ``name`` relocated, unless it would read less evenly."""
    if isinstance(call, Contract) and call.x.buffer.name == name:
        call = _split(call, moved)
    views = [v for v in call.reads() if v.buffer.name == name]
    for view in views:
        there = moved(view)
        if there is None:
            return None
        free = isinstance(call, Contract) and view == call.x
        if not free and not _stays_contiguous(view, there):
            return None
    return call.with_views(lambda v: _relocated(v, moved) if v.buffer.name == name else v)


def _split(call: Contract, moved: Relocation) -> Contract:
    """The contraction with dimensions that it sums over cut up as the original has them."""
    first = call.x.rank - call.reduced
    for d in reversed(range(first, call.x.rank)):
        extents = moved.digits(call.x.shape[d], call.x.strides[d])
        if len(extents) > 1:
            x, w = call.x.split_dim(d, extents), call.w.split_dim(call.groups + d - first, extents)
            call = replace(call, x=x, w=w, reduced=call.reduced + len(extents) - 1)
    return call
