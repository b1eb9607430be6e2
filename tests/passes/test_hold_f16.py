"""Scratch tensors in F16: which are held so, and what calls become."""

from __future__ import annotations

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import arg, call, const
from nnefc.ir.interpret import interpret
from nnefc.ir.program import Gather, Map, Program, Row
from nnefc.ir.program_text import format_program
from nnefc.ir.types import DType
from nnefc.passes.fuse import fuse
from nnefc.passes.halves import hold_f16

F = DType.F32


def twice(gathered: bool = False) -> Program:
    """A map of a map, or of elements that are gathered from one."""
    b = ProgramBuilder("p")
    a = b.map(call("mul", arg(0, F), const(0.1, F)), [b.input("x", F, (3, 20))])
    if gathered:
        out = b.new((3, 2), F)
        b.emit(Gather(a, b.const(np.array([1, 5])), out, 1, False))
        a = out
    b.output("y", b.map(call("add", arg(0, F), const(1.0, F)), [a]))
    return b.finish()


def test_what_is_handed_on_is_held() -> None:
    program = hold_f16(twice())
    found = [str(e) for c in program.calls if isinstance(c, Map) for e in c.exprs]
    assert found == ["cast<f16>(mul($0, 0.10000000149011612))", "cast<f16>(add(cast<f32>($0), 1.0))", "cast<f32>($0)"]
    x = np.random.default_rng(0).standard_normal((3, 20)).astype(np.float32)
    product = (x * np.float32(0.1)).astype(np.float16).astype(np.float32)
    assert np.array_equal(interpret(program, {"x": x})["y"], (product + 1).astype(np.float16).astype(np.float32))


def test_inputs_outputs_and_what_is_gathered_are_not() -> None:
    b = ProgramBuilder("p")
    b.output("y", b.map(call("neg", arg(0, F)), [b.input("x", F, (4,))]))
    for program in (fuse(b.finish()), fuse(twice(gathered=True))):
        assert hold_f16(program) is program


def test_copies_stay_copies() -> None:
    b = ProgramBuilder("p")
    a = b.map(call("neg", arg(0, F)), [b.input("x", F, (4, 4))])
    copy = b.map(arg(0, F), [a])
    b.output("y", b.map(call("neg", arg(0, F)), [copy]))
    _, moved, *_ = hold_f16(b.finish()).calls
    assert isinstance(moved, Map) and moved.exprs == (arg(0, DType.F16),)


def test_rows_are_read_in_f16_and_computed_in_f32() -> None:
    b = ProgramBuilder("p")
    a = b.map(call("neg", arg(0, F)), [b.input("x", F, (3, 20))])
    out = b.new((3, 20), F)
    difference = call("sub", arg(0, F), arg(1, F))
    b.emit(Row((("max", arg(0, F)),), difference, (a,), out, 1))
    b.output("y", b.map(call("neg", arg(0, F)), [out]))
    program = hold_f16(b.finish())
    _, row, *_ = program.calls
    assert isinstance(row, Row) and row.inputs[0].dtype is row.output.dtype is DType.F16
    assert str(row.stages[0][1]) == "cast<f32>($0)", format_program(program)
    assert str(row.expr) == "cast<f16>(sub(cast<f32>($0), $1))"
