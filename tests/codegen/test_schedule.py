"""Finding hazards, dividing work, limits: held to what they mean, on drawn programs."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nnefc.codegen import schedule
from nnefc.codegen.arena import place_temporaries
from nnefc.codegen.select_contract import tiles_per_unit
from nnefc.codegen.spec import Barrier, Launch, Space
from nnefc.codegen.target import Target
from nnefc.errors import UnsupportedError
from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.expr import arg, call
from nnefc.ir.program import Program
from nnefc.ir.types import DType
from nnefc.ir.view import View

F = DType.F32
EXP = call("exp", arg(0, F))


def drawn_program(rng: random.Random, count: int) -> Program:
    """A program whose calls read results from near and far."""
    b = ProgramBuilder("p")
    views: list[View] = [b.input("x", F, (rng.randrange(1, 300),))]
    for _ in range(count):
        source = rng.choice(views[-8:] if rng.random() < 0.8 else views)
        shape = (rng.randrange(1, 40), *source.shape) if source.volume < 200 else source.shape[:1]
        if len(shape) < source.rank:
            views.append(b.reduce("sum", [source], source.rank - 1))
        else:
            views.append(b.map(EXP, [source.broadcast_to(source.shape)]))
            if len(shape) > source.rank:
                views[-1] = b.map(EXP, [views[-1].broadcast_to((*source.shape, shape[0]))])
    b.output("y", views[-1])
    return b.finish()


@pytest.mark.parametrize("seed", range(20))
def test_ranges_are_sets_of_bytes(seed: int) -> None:
    rng = random.Random(seed)
    ranges, naive = schedule._Ranges(), set()
    for _ in range(200):
        space, index = rng.choice([Space.ARENA, Space.OUTPUT]), rng.randrange(2)
        low = rng.randrange(300)
        high = low + rng.randrange(1, 12)
        place = {(space, index, k) for k in range(low, high)}
        assert ranges.touch([(space, index, low, high)]) == bool(naive & place)
        if rng.random() < 0.3:
            ranges.add([(space, index, low, high)])
            naive |= place


def test_memory_and_work_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    program = drawn_program(random.Random(0), 30)
    schedule.plan(program, Target.host())
    for name, least, message in (
        ("MAX_MEMORY", 100, "the network needs .* bytes of memory, .* of them for"),
        ("MAX_WORK", 100, "a call would read and write .* elements or more; at most 100 are supported"),
        ("MAX_KERNELS", 1, "more than 1 different kernels"),
    ):
        with monkeypatch.context() as patch, pytest.raises(UnsupportedError, match=message):
            patch.setattr(schedule, name, least)
            schedule.plan(program, Target.host())


@pytest.mark.parametrize("outer", [1, 3, 5, 40])
@pytest.mark.parametrize("tiles", [1, 4, 14, 15, 224])
def test_rows_of_tiles_divide_evenly_over_threads(tiles: int, outer: int) -> None:
    """Parts of a contraction's units differ little in tiles, for large tiles; small ones make no units of their own."""
    each = tiles_per_unit(tiles, outer, 14 * 2 * 256)
    assert 1 <= each <= tiles
    units = [min(each, tiles - begin) for _ in range(outer) for begin in range(0, tiles, each)]
    for threads in (2, 4):
        if tiles * outer >= 8 * threads:
            cuts = [len(units) * t // threads for t in range(threads + 1)]
            parts = [sum(units[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
            assert max(parts) <= 1.2 * tiles * outer / threads
    assert tiles_per_unit(tiles, outer, 4) >= each


@pytest.mark.parametrize(("rows", "parallel", "divided"), [(4, False, False), (2000, True, True)])
def test_what_is_expected_to_take_long_is_divided(rows: int, parallel: bool, divided: bool) -> None:
    """The weights are few and so are the results: what counts is the work between."""
    b = ProgramBuilder("p")
    x, w = b.input("x", F, (rows, 512)), b.const(np.ones((512, 16), np.float32))
    b.output("y", b.contract(x, w, groups=0, reduced=1))
    plan = schedule.plan(b.finish(), Target.host())
    launch = next(step for step in plan.steps if isinstance(step, Launch))
    assert plan.parallel is parallel
    assert (launch.units > 1 and not launch.serial) is divided


def padded_program(rng: random.Random) -> Program:
    """Tensors with borders, written part by part, in memory that others, which have nothing to do with them, used."""
    b = ProgramBuilder("p")
    x = b.input("x", F, (1, 4, rng.randrange(2, 9), rng.randrange(2, 9)))
    for k in range(rng.randrange(2, 6)):
        padded = b.pad(x, [(0, 0), (0, 0), (1, 1), (rng.randrange(3), rng.randrange(3))], order=channels_last(4))
        both = b.new((1, 8, *padded.shape[2:]), F, channels_last(4))
        b.map(EXP, [padded], out=both.slice(1, 0, 4))
        b.copy(padded, both.slice(1, 4, 4))
        seen = both.slice(1, rng.randrange(5), 4).window((2, 3), (2, 2), (1, 1), (1, 1))
        b.output(f"y{k}", b.reduce("max", [seen], 2))
    return b.finish()


def touched(view: View, places: dict[str, int]) -> set[tuple[str, int]]:
    """The elements of a view: of a temporary by their place in the arena."""
    base = places.get(view.buffer.name)
    at = np.add.outer(view.offset, 0)
    for n, s in zip(view.shape, view.strides, strict=True):
        at = np.add.outer(at, np.arange(n) * s)
    space = view.buffer.name if base is None else ""
    return {(space, (base or 0) // 4 + int(k)) for k in at.reshape(-1)}


@pytest.mark.parametrize("seed", range(12))
def test_no_barrier_is_missing(seed: int) -> None:
    """Between two barriers no call writes what another reads or writes; parts of one tensor need no barrier."""
    program = padded_program(random.Random(seed))
    places, _ = place_temporaries(program)
    reads: set[tuple[str, int]] = set()
    writes: set[tuple[str, int]] = set()
    steps = schedule.plan(program, Target.host()).steps
    for step in steps:
        if isinstance(step, Barrier):
            reads, writes = set(), set()
            continue
        assert step.call is not None
        mine = [set().union(*(touched(v, places) for v in views)) for views in (step.call.reads(), step.call.writes())]
        assert not (mine[0] | mine[1]) & writes and not mine[1] & reads
        reads |= mine[0]
        writes |= mine[1]
    assert sum(isinstance(step, Barrier) for step in steps) < len(steps) // 2
