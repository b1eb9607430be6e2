"""Placing temporaries: on drawn programs, and texts of what may and may not be done in place."""

from __future__ import annotations

import random

import numpy as np
import pytest
from test_schedule import drawn_program

from nnefc.codegen import arena, schedule
from nnefc.codegen.artefact import assemble, load_artefact
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels
from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call
from nnefc.ir.program import Program
from nnefc.ir.types import DType, TensorType
from nnefc.ir.view import Role

F = DType.F32
ABS, ADD, NEG = call("abs", arg(0, F)), call("add", arg(0, F), arg(1, F)), call("neg", arg(0, F))


def uses(program: Program) -> dict[str, tuple[int, int, int]]:
    """Of each temporary: its first and last call, and its bytes."""
    found: dict[str, tuple[int, int, int]] = {}
    for n, c in enumerate(program.calls):
        for v in c.reads() + c.writes():
            if v.buffer.role is Role.TEMP:
                first = found.get(v.buffer.name, (n, n, 0))[0]
                found[v.buffer.name] = (first, n, v.buffer.bytes)
    return found


@pytest.mark.parametrize("many", [0, 10_000])
@pytest.mark.parametrize("seed", range(6))
def test_buffers_alive_at_once_do_not_overlap(seed: int, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two in the same place meet, if at all, in the one call where the one ends and the other begins."""
    monkeypatch.setattr(arena, "MANY_BUFFERS", many)
    program = drawn_program(random.Random(seed), 120)
    offsets, size = arena.place_temporaries(program)
    found = uses(program)
    assert offsets.keys() == found.keys()
    for name, (first, last, count) in found.items():
        assert offsets[name] % 64 == 0 and offsets[name] + count <= size
        for other, (begin, end, width) in found.items():
            if other != name and first <= end and begin <= last:
                apart = offsets[name] + count <= offsets[other] or offsets[other] + width <= offsets[name]
                assert apart or (offsets[name] == offsets[other] and (first == end or begin == last))
    assert arena.live_bytes(program) <= size <= sum(-(-count // 64) * 64 for _, _, count in found.values())


def chain(*exprs: Expr, width: int = 1000) -> Program:
    b = ProgramBuilder("p")
    v = b.input("x", F, (4, width))
    for expr in exprs:
        v = b.map(expr, [v])
    b.output("y", v)
    return b.finish()


def test_a_chain_of_maps_takes_one_place() -> None:
    program = chain(ABS, NEG, ABS, NEG)
    assert arena.live_bytes(program) == 16_000
    offsets, size = arena.place_temporaries(program)
    assert len(offsets) == 4 and set(offsets.values()) == {0} and size == 16_000


def test_what_is_read_later_stays() -> None:
    b = ProgramBuilder("p")
    first = b.map(ABS, [b.input("x", F, (1000,))])
    second = b.map(NEG, [first])
    b.output("y", b.map(ADD, [first, second]))
    program = b.finish()
    offsets, _ = arena.place_temporaries(program)
    assert arena.live_bytes(program) == 8000
    assert offsets[first.buffer.name] != offsets[second.buffer.name]


def test_what_is_read_elsewhere_too_is_not_overwritten() -> None:
    """Transposed, shifted or repeated, an element would be read after it was overwritten."""
    b = ProgramBuilder("p")
    square = b.map(ABS, [b.input("x", F, (32, 32))])
    turned = b.map(ADD, [square, square.transpose((1, 0))])
    b.output("y", b.map(NEG, [turned.slice(0, 0, 1).broadcast_to((32, 32))]))
    program = b.finish()
    offsets, _ = arena.place_temporaries(program)
    assert arena.live_bytes(program) == 8192
    assert offsets[square.buffer.name] != offsets[turned.buffer.name]


@pytest.mark.parametrize("threads", [1, 3])
def test_maps_in_place_give_what_they_give_apart(threads: int) -> None:
    """With a repeated operand, over several units and a last partial vector."""
    b = ProgramBuilder("p")
    x, s = b.input("x", F, (300, 1003)), b.input("s", F, (1, 1003))
    v = b.map(ABS, [x])
    scale = b.map(NEG, [s])
    v = b.map(ADD, [v, scale.broadcast_to((300, 1003))])
    b.output("y", b.map(NEG, [v]))
    target = Target.host()
    plan = schedule.plan(b.finish(), target)
    assert plan.arena_size < 300 * 1003 * 4 + 1003 * 4 + 128
    types = [[(n, TensorType(F, shape))] for n, shape in (("x", (300, 1003)), ("s", (1, 1003)), ("y", (300, 1003)))]
    entries = [(plan, types[0] + types[1], types[2])]
    model = load_artefact(assemble("m", entries, compile_kernels(plan.specs(), target), target), threads)
    rng = np.random.default_rng(0)
    a, c = rng.standard_normal((300, 1003), np.float32), rng.standard_normal((1, 1003), np.float32)
    np.testing.assert_array_equal(model(a, c), -(np.abs(a) - c))
