"""What tests of passes share: small programs, their text before and after, and that both compute the same."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call, const
from nnefc.ir.interpret import interpret
from nnefc.ir.program import Program
from nnefc.ir.program_text import format_program
from nnefc.ir.types import DType

F = DType.F32
X, Y = arg(0, F), arg(1, F)


def exp(u: Expr) -> Expr:
    return call("exp", u)


def mul(*factors: Expr) -> Expr:
    result, *rest = factors
    for x in rest:
        result = call("mul", result, x)
    return result


def relu(builder: ProgramBuilder, view):  # type: ignore[no-untyped-def]
    return builder.map(call("max", X, const(0.0, F)), [view])


def text(program: Program) -> str:
    """The calls alone."""
    lines = format_program(program).splitlines()
    return "\n".join(line.strip() for line in lines if " = " in line and line.startswith("    "))


def same_results(before: Program, after: Program, atol: float = 0.0) -> None:
    rng = np.random.default_rng(0)
    inputs = {p.name: rng.normal(size=p.shape).astype(p.dtype.numpy) for p in before.inputs}
    wanted, got = interpret(before, inputs), interpret(after, inputs)
    assert wanted.keys() == got.keys()
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-6, atol=atol)


def _unwrapped(text: str) -> str:
    """Calls as they are printed: one a line, where a text may have them over several."""
    return re.sub(r"(?<!;)\s*\n\s*", " ", re.sub(r";\s*\n\s*", ";\n", text.strip()))


def check(
    build: Callable[[ProgramBuilder], None],
    step: Callable[[Program], Program],
    before: str,
    after: str | None = None,
    atol: float = 0.0,
) -> None:
    """Hold both texts, and equal results: within ``atol`` where sums are taken in another order. Without ``after`` the
    step gives the same object back."""
    builder = ProgramBuilder("p")
    build(builder)
    program = builder.finish()
    assert text(program) == _unwrapped(before)
    result = step(program)
    if after is None:
        assert result is program
        return
    assert text(result) == _unwrapped(after)
    same_results(program, result, atol)
    assert step(result) is result or text(step(result)) == text(result)
