"""Numbers and tables become operands where like calls differ in them, and kernels are shared so."""

from __future__ import annotations

import numpy as np
from program_cases import F, X, check, same_results, text

from nnefc.codegen.schedule import plan
from nnefc.codegen.target import Target
from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call, cast, const, table
from nnefc.ir.program import Program
from nnefc.ir.types import DType
from nnefc.passes.lift import lift

U = DType.U8
CODE = arg(0, U)


def program(*exprs: Expr, dtype: DType = F) -> Program:
    """Maps of one input, each to an output of its own."""
    b = ProgramBuilder("p")
    x = b.input("x", dtype, (2, 64))
    for k, expr in enumerate(exprs):
        b.output(f"y{k}", b.map(expr, [x]))
    return b.finish()


def exprs(found: Program) -> list[str]:
    """The expressions of its maps but for the copies to outputs."""
    return [str(e) for c in found.calls for e in c.exprs if e.op != "arg"]  # type: ignore[attr-defined]


def quantized(scale: float, zero: float) -> Expr:
    moved = call("add", call("round", call("div", X, const(scale, F))), const(zero, F))
    return cast(call("max", call("min", moved, const(255, F)), const(0, F)), U)


def test_what_differs_becomes_an_operand() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (2, 3))
        for k in (2.0, 3.0, 2.0):
            b.output(f"y{k}", b.map(call("add", call("mul", X, const(k, F)), const(0.5, F)), [x]))

    check(
        build,
        lift,
        """
        t: f32[2,3] = map([x: f32[2,3]], add(mul($0, 2.0), 0.5));
        y2.0.out: f32[2,3] = map([t: f32[2,3]], $0);
        t.2: f32[2,3] = map([x: f32[2,3]], add(mul($0, 3.0), 0.5));
        y3.0.out: f32[2,3] = map([t.2: f32[2,3]], $0);
        t.3: f32[2,3] = map([x: f32[2,3]], add(mul($0, 2.0), 0.5));
        y2.0.out.2: f32[2,3] = map([t.3: f32[2,3]], $0);
        """,
        """
        t: f32[2,3] = map([x: f32[2,3], lifted.1: f32[2,3]@0(0,0)], add(mul($0, $1), 0.5));
        y2.0.out: f32[2,3] = map([t: f32[2,3]], $0);
        t.2: f32[2,3] = map([x: f32[2,3], lifted.2: f32[2,3]@0(0,0)], add(mul($0, $1), 0.5));
        y3.0.out: f32[2,3] = map([t.2: f32[2,3]], $0);
        t.3: f32[2,3] = map([x: f32[2,3], lifted.1: f32[2,3]@0(0,0)], add(mul($0, $1), 0.5));
        y2.0.out.2: f32[2,3] = map([t.3: f32[2,3]], $0);
        """,
    )


def test_numbers_that_are_equal_everywhere_are_one_operand() -> None:
    def twice(k: float, other: float) -> Expr:
        return call("add", call("mul", X, const(k, F)), call("mul", call("abs", X), const(other, F)))

    together = lift(program(twice(2, 2), twice(3, 3)))
    assert exprs(together) == ["add(mul($0, $1), mul(abs($0), $1))"] * 2
    apart = lift(program(twice(2, 2), twice(3, 4)))
    assert exprs(apart) == ["add(mul($0, $1), mul(abs($0), $2))"] * 2


def test_what_decides_the_code_stays() -> None:
    for op in ("min", "max", "pow", "lt"):
        before = program(call(op, X, const(2, F)), call(op, X, const(3, F)))
        assert lift(before) is before
    before = program(*(call("div", arg(0, DType.I32), const(k, DType.I32)) for k in (3, 5)), dtype=DType.I32)
    assert lift(before) is before
    before = program(call("mul", X, const(2, F)), call("add", X, const(3, F)))
    assert lift(before) is before


def test_what_is_stored_of_sums() -> None:
    b = ProgramBuilder("p")
    x, w = b.input("x", F, (4, 8)), b.input("w", F, (8, 3))
    from nnefc.passes.fuse import fuse

    for k in (2.0, 3.0):
        b.output(f"y{k}", b.map(call("mul", X, const(k, F)), [b.contract(x, w, groups=0, reduced=1)]))
    before = fuse(b.finish())
    after = lift(before)
    assert text(after).count("post = mul($0, $1) with [lifted.") == 2
    same_results(before, after)


def test_tables_are_always_operands_and_share_a_kernel() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.integers(0, 256, 256).astype(np.uint8) for _ in range(3)]
    before = program(*(table(CODE, t) for t in tables), dtype=U)
    after = lift(before)
    assert exprs(after) == ["table<u8>($0, $1)"] * 3
    assert "lifted.2: u8[256]" in text(after)
    same_results(before, after)
    target = Target.host()
    assert len(plan(after, target).specs()) == 2 < len(plan(before, target).specs())


def test_layers_share_a_kernel() -> None:
    drawn = [(0.5, 100), (0.25, 3), (0.125, 3)]
    before = program(*(quantized(*q) for q in drawn))
    after = lift(before)
    assert exprs(after) == ["cast<u8>(max(min(add(round(div($0, $1)), $2), 255.0), 0.0))"] * 3
    same_results(before, after)
    assert lift(after) is after
