"""A tensor that several calls write in parts, and that is only read to be quantized, is quantized part by part."""

from __future__ import annotations

from dataclasses import replace

from nnefc.ir.expr import Expr, arg
from nnefc.ir.program import Call, Contract, Map, Program, Reduce
from nnefc.ir.relocate import Relocation
from nnefc.ir.view import Role
from nnefc.ir.window import Window
from nnefc.passes.rewrite import Rewriting, once


def sink(program: Program) -> Program:
    """The program in which Maps of one tensor that make smaller elements of it are done by the calls that write its
    parts, so that the larger ones are never stored: codes of concatenated tensors. The same object where there are
    none."""
    state = _State(program)
    return once(program, state, state.step)


class _State(Rewriting):
    def step(self, n: int) -> bool:
        """Take out call ``n``, if it is such a Map."""
        c = self.calls[n]
        if not isinstance(c, Map) or len(c.exprs) != 1 or len(c.inputs) != 1:
            return False
        (source,), (target,), (expr,) = c.inputs, c.outputs, c.exprs
        name, other = source.buffer.name, target.buffer.name
        writers = sorted(self.writers.get(name, ()))
        if target.dtype.size >= source.dtype.size or len(writers) < 2 or writers[-1] > n:
            return False
        if source.buffer.role is not Role.TEMP or self.readers[name] != {n} or self.writers[other] != {n}:
            return False
        if min(self.readers.get(other, {n + 1})) < n or not source.dense:
            return False
        moved = Relocation(source, target)
        made = [_done(self.call(k), expr, moved) for k in writers]
        if any(m is None for m in made):
            return False
        for k, m in zip(writers, made, strict=True):
            self.replace(k, m)
        self.replace(n, None)
        return True


def _done(c: Call, expr: Expr, moved: Relocation) -> Call | None:
    """The call writing ``expr`` of what it writes, to where that goes; None where it cannot."""
    there = moved(c.writes()[0]) if len(c.writes()) == 1 else None
    if there is None:
        return None
    if isinstance(c, Map):
        return replace(c, exprs=(expr.substitute(c.exprs),), outputs=(there,))
    if isinstance(c, (Contract, Reduce, Window)):
        plain = arg(0, c.sum_type if isinstance(c, Contract) else c.output.dtype)
        return replace(c, post=expr.substitute([c.post if c.post is not None else plain]), output=there)
    return None
