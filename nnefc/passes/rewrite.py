"""What passes that rewrite calls one by one keep up to date: the calls, and who reads and writes each buffer."""

from __future__ import annotations

from collections.abc import Callable

from nnefc.ir.program import Call, Program


class Rewriting:
    """The calls of a Program under rewriting (None: gone), and the positions of each buffer's readers and writers."""

    def __init__(self, program: Program):
        self.calls: list[Call | None] = list(program.calls)
        self.readers: dict[str, set[int]] = {}
        self.writers: dict[str, set[int]] = {}
        for n in range(len(self.calls)):
            self._enter(n)

    def _enter(self, n: int) -> None:
        call = self.calls[n]
        if call is not None:
            for v in call.reads():
                self.readers.setdefault(v.buffer.name, set()).add(n)
            for v in call.writes():
                self.writers.setdefault(v.buffer.name, set()).add(n)

    def call(self, n: int) -> Call:
        """A call that is not gone."""
        call = self.calls[n]
        assert call is not None
        return call

    def replace(self, n: int, call: Call | None) -> None:
        """Put a call, or none, in the place of another."""
        old = self.calls[n]
        if old is not None:
            for v in old.reads():
                self.readers[v.buffer.name].discard(n)
            for v in old.writes():
                self.writers[v.buffer.name].discard(n)
        self.calls[n] = call
        self._enter(n)

    def written(self, name: str, first: int, last: int) -> bool:
        """Whether a call between two writes to a buffer."""
        return any(first < k < last for k in self.writers.get(name, ()))

    def result(self, program: Program) -> Program:
        """The program with these calls."""
        return program.replace(calls=tuple(c for c in self.calls if c is not None))


def once(program: Program, state: Rewriting, step: Callable[[int], bool]) -> Program:
    """The program with ``step(n)``, which rewrites ``state`` at call ``n`` and says whether it did, done for each call
    in order; the same object where it never did."""
    changed = [step(n) for n in range(len(state.calls))]
    return state.result(program) if any(changed) else program


def exhaust(program: Program, state: Rewriting, step: Callable[[int], bool]) -> Program:
    """As :func:`once`, done until ``step`` fits nowhere. A call may lose readers meanwhile, so that one fits that did
    not."""
    changed, again = False, True
    while again:
        again = False
        for n in range(len(state.calls)):
            while step(n):
                again = changed = True
    return state.result(program) if changed else program
