"""Numbers that scale an operand of a product scale the product instead, where no tensor has to be written for it."""

from __future__ import annotations

from dataclasses import replace

from nnefc.ir.expr import Expr, arg, call
from nnefc.ir.program import Contract, Map, Program
from nnefc.ir.relocate import Relocation
from nnefc.ir.types import DType
from nnefc.ir.view import Role
from nnefc.passes.rewrite import Rewriting, once


def factor(program: Program) -> Program:
    """The program without Maps that multiply by a number what contractions alone read: these read the original, and
    multiply their sums. The same object where there are none."""
    state = _State(program)
    return once(program, state, state.step)


class _State(Rewriting):
    def step(self, n: int) -> bool:
        """Take out call ``n``, if it is such a Map."""
        scaled = self.calls[n]
        number = _number(scaled)
        if number is None or not isinstance(scaled, Map):
            return False
        (source,), (target,) = scaled.inputs, scaled.outputs
        name = target.buffer.name
        readers = sorted(self.readers.get(name, ()))
        if target.buffer.role is not Role.TEMP or self.writers[name] != {n} or not readers:
            return False
        moved = Relocation(target, source)
        made = [_scaled(self.call(k), name, moved, number) for k in readers]
        if any(c is None for c in made) or any(self.written(source.buffer.name, n, k + 1) for k in readers):
            return False
        for k, contraction in zip(readers, made, strict=True):
            self.replace(k, contraction)
        self.replace(n, None)
        return True


def _number(c: object) -> Expr | None:
    """The number that a Map multiplies its one operand by."""
    if not isinstance(c, Map) or len(c.exprs) != 1 or len(c.inputs) != 1:
        return None
    (expr,) = c.exprs
    if expr.op != "mul" or expr.dtype not in (DType.F32, DType.F64):
        return None
    x, y = expr.args if expr.args[0].op == "arg" else expr.args[::-1]
    return y if x.op == "arg" and y.op == "const" else None


def _scaled(c: object, name: str, moved: Relocation, number: Expr) -> Contract | None:
    """The contraction reading the original of the tensor ``name``, its sums multiplied; None where it cannot."""
    if not isinstance(c, Contract) or any(v.buffer.name == name for v in c.extras):
        return None
    post = c.post if c.post is not None else arg(0, c.sum_type)
    found = {}
    for field, view in (("x", c.x), ("w", c.w)):
        if view.buffer.name == name:
            there = moved(view)
            if there is None:
                return None
            found[field] = there
            value = call("mul", arg(0, number.dtype), number)
            post = post.substitute([value, *(arg(k, v.dtype) for k, v in enumerate(c.extras, 1))])
    return replace(c, x=found.get("x", c.x), w=found.get("w", c.w), post=post)
