"""Copies that are not made: before and after as text, equal results, and what must stay."""

from __future__ import annotations

import numpy as np
import pytest
from program_cases import F, X, check, relu

from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.expr import call
from nnefc.ir.relocate import Relocation, disjoint
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.passes.place import place


def concat(b: ProgramBuilder, *views: View) -> View:
    channels = sum(v.shape[1] for v in views)
    out = b.new((1, channels, *views[0].shape[2:]), F, channels_last(views[0].rank))
    start = 0
    for v in views:
        b.copy(v, out.slice(1, start, v.shape[1]))
        start += v.shape[1]
    return out


def halved(b: ProgramBuilder, view: View) -> View:
    """A reduction of channel pairs, which no rule of fusion touches."""
    return b.reduce("max", [view.split_dim(1, (view.shape[1] // 2, 2)).transpose((0, 1, 3, 4, 2))], 1)


def test_tensors_that_are_concatenated_again_and_again_lie_in_the_largest() -> None:
    def build(b: ProgramBuilder) -> None:
        first = b.map(call("exp", X), [b.input("x", F, (1, 4, 2, 3))], order=channels_last(4))
        second = halved(b, first)
        third = relu(b, concat(b, first, second))
        b.output("y", halved(b, concat(b, first, second, third)))

    check(
        build,
        place,
        """
        t: f32[1,4,2,3]@0(24,1,12,4) = map([x: f32[1,4,2,3]], exp($0));
        t.2: f32[1,2,2,3]@0(12,1,6,2) = reduce([t: f32[1,2,2,3,2]@0(0,2,12,4,1)], max of $0 over 1);
        t.3: f32[1,4,2,3]@0(36,1,18,6) = map([t: f32[1,4,2,3]@0(0,1,12,4)], $0);
        t.3: f32[1,2,2,3]@4(36,1,18,6) = map([t.2: f32[1,2,2,3]@0(0,1,6,2)], $0);
        t.4: f32[1,6,2,3]@0(36,1,18,6) = map([t.3: f32[1,6,2,3]@0(0,1,18,6)], max($0, 0.0));
        t.5: f32[1,4,2,3]@0(72,1,36,12) = map([t: f32[1,4,2,3]@0(0,1,12,4)], $0);
        t.5: f32[1,2,2,3]@4(72,1,36,12) = map([t.2: f32[1,2,2,3]@0(0,1,6,2)], $0);
        t.5: f32[1,6,2,3]@6(72,1,36,12) = map([t.4: f32[1,6,2,3]@0(0,1,18,6)], $0);
        t.6: f32[1,6,2,3]@0(36,1,18,6) = reduce([t.5: f32[1,6,2,3,2]@0(0,2,36,12,1)], max of $0 over 1);
        y.out: f32[1,6,2,3] = map([t.6: f32[1,6,2,3]@0(0,1,18,6)], $0);
        """,
        """
        t.5: f32[1,4,2,3]@0(0,1,36,12) = map([x: f32[1,4,2,3]], exp($0));
        t.5: f32[1,2,2,3]@4(0,1,36,12) = reduce([t.5: f32[1,2,2,3,2]@0(0,2,36,12,1)], max of $0 over 1);
        t.5: f32[1,6,2,3]@6(0,1,36,12) = map([t.5: f32[1,6,2,3]@0(0,1,36,12)], max($0, 0.0));
        t.6: f32[1,6,2,3]@0(36,1,18,6) = reduce([t.5: f32[1,6,2,3,2]@0(0,2,36,12,1)], max of $0 over 1);
        y.out: f32[1,6,2,3] = map([t.6: f32[1,6,2,3]@0(0,1,18,6)], $0);
        """,
    )


def test_a_padded_tensor_that_is_read_besides() -> None:
    def build(b: ProgramBuilder) -> None:
        t = b.map(call("exp", X), [b.input("x", F, (1, 2, 3, 20))], order=channels_last(4))
        padded = b.pad(t, [(0, 0), (0, 0), (1, 1), (1, 1)])
        b.output("y", halved(b, padded))
        b.output("z", relu(b, t))

    check(
        build,
        place,
        """
        t: f32[1,2,3,20]@0(120,1,40,2) = map([x: f32[1,2,3,20]], exp($0));
        t.2: f32[1,2,3,20]@46(220,1,44,2) = map([t: f32[1,2,3,20]@0(0,1,40,2)], $0);
        t.2: f32[1,2,2,1,20]@2(220,1,176,44,2) = map([], 0.0);
        t.2: f32[1,2,5,1]@0(220,1,44,2) = map([], 0.0);
        t.2: f32[1,2,5,1]@42(220,1,44,2) = map([], 0.0);
        t.3: f32[1,1,5,22] = reduce([t.2: f32[1,1,5,22,2]], max of $0 over 1);
        y.out: f32[1,1,5,22] = map([t.3: f32[1,1,5,22]], $0);
        t.4: f32[1,2,3,20]@0(120,1,40,2) = map([t: f32[1,2,3,20]@0(0,1,40,2)], max($0, 0.0));
        z.out: f32[1,2,3,20] = map([t.4: f32[1,2,3,20]@0(0,1,40,2)], $0);
        """,
        """
        t.2: f32[1,2,3,20]@46(0,1,44,2) = map([x: f32[1,2,3,20]], exp($0));
        t.2: f32[1,2,2,1,20]@2(220,1,176,44,2) = map([], 0.0);
        t.2: f32[1,2,5,1]@0(220,1,44,2) = map([], 0.0);
        t.2: f32[1,2,5,1]@42(220,1,44,2) = map([], 0.0);
        y.out: f32[1,1,5,22] = reduce([t.2: f32[1,1,5,22,2]], max of $0 over 1);
        t.4: f32[1,2,3,20]@0(120,1,40,2) = map([t.2: f32[1,2,3,20]@46(0,1,44,2)], max($0, 0.0));
        z.out: f32[1,2,3,20] = map([t.4: f32[1,2,3,20]@0(0,1,40,2)], $0);
        """,
    )


def shuffled(b: ProgramBuilder, view: View, groups: int) -> View:
    """Channels dealt out: those of the ``groups`` groups in turns."""
    split = view.split_dim(1, (groups, view.shape[1] // groups)).transpose((0, 2, 1, 3, 4))
    return b.reshape(split, view.shape)


def test_shuffled_channels_are_written_in_turns_by_those_who_make_them() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (1, 8, 2, 3))
        parts = [b.map(call(op, X), [x.slice(1, k, 4)], order=channels_last(4)) for op, k in (("exp", 0), ("abs", 4))]
        b.output("y", halved(b, shuffled(b, concat(b, *parts), 2)))

    check(
        build,
        place,
        """
        t: f32[1,4,2,3]@0(24,1,12,4) = map([x: f32[1,4,2,3]@0(0,6,3,1)], exp($0));
        t.2: f32[1,4,2,3]@0(24,1,12,4) = map([x: f32[1,4,2,3]@24(0,6,3,1)], abs($0));
        t.3: f32[1,4,2,3]@0(48,1,24,8) = map([t: f32[1,4,2,3]@0(0,1,12,4)], $0);
        t.3: f32[1,4,2,3]@4(48,1,24,8) = map([t.2: f32[1,4,2,3]@0(0,1,12,4)], $0);
        t.4: f32[1,4,2,2,3]@0(48,2,1,24,8) = map([t.3: f32[1,4,2,2,3]@0(0,1,4,24,8)], $0);
        t.5: f32[1,4,2,3]@0(1,1,12,4) = reduce([t.4: f32[1,4,2,3,2]@0(0,2,24,8,1)], max of $0 over 1);
        y.out: f32[1,4,2,3] = map([t.5: f32[1,4,2,3]@0(0,1,12,4)], $0);
        """,
        """
        t.4: f32[1,4,2,3]@0(0,2,24,8) = map([x: f32[1,4,2,3]@0(0,6,3,1)], exp($0));
        t.4: f32[1,4,2,3]@1(0,2,24,8) = map([x: f32[1,4,2,3]@24(0,6,3,1)], abs($0));
        t.5: f32[1,4,2,3]@0(1,1,12,4) = reduce([t.4: f32[1,4,2,3,2]@0(0,2,24,8,1)], max of $0 over 1);
        y.out: f32[1,4,2,3] = map([t.5: f32[1,4,2,3]@0(0,1,12,4)], $0);
        """,
    )


def test_channels_dealt_out_to_three_are_copied() -> None:
    """Every third element is written one by one: a copy takes no more."""
    b = ProgramBuilder("p")
    x = b.map(call("exp", X), [b.input("x", F, (1, 6, 2, 3))], order=channels_last(4))
    b.output("y", halved(b, shuffled(b, x, 3)))
    program = b.finish()
    assert place(program) is program


@pytest.mark.parametrize("seed", range(40))
def test_copies_in_an_order_to_reshape_can_be_reshaped(seed: int) -> None:
    """Row-major elements of the copy are those of the original; dimensions that stay keep the order of their steps."""
    rng = np.random.default_rng(seed)
    extents = [int(n) for n in rng.choice((1, 2, 3, 4), int(rng.integers(1, 6)))]
    strides = dense_strides(extents, [int(d) for d in rng.permutation(len(extents))])
    view = View(Buffer("b", F, int(np.prod(extents)), Role.TEMP), 0, tuple(extents), strides)
    merged = [int(np.prod(part)) for part in np.split(extents, sorted(rng.integers(0, len(extents) + 1, 2)))]
    order = view.order_to_reshape(merged)
    copy = View(view.buffer, 0, view.shape, dense_strides(view.shape, order))
    flat = copy.reshaped(merged)
    assert sorted(order) == list(range(view.rank)) and flat is not None
    memory = np.arange(view.buffer.size)

    def elements(v: View) -> np.ndarray:
        return np.lib.stride_tricks.as_strided(memory, v.shape, [8 * s for s in v.strides])

    assert (elements(flat).ravel() == elements(copy).ravel()).all()
    if view.reshaped(extents) is not None and merged == extents:
        assert copy.moves_like(view.strides)


def test_a_product_reads_through_a_flattening_copy() -> None:
    def build(b: ProgramBuilder) -> None:
        t = b.map(call("exp", X), [b.input("x", F, (2, 3, 2, 2))], order=channels_last(4))
        flat = b.reshape(t, (2, 12))
        b.output("y", b.contract(flat, b.input("w", F, (12, 5)), groups=0, reduced=1))

    check(
        build,
        place,
        """
        t: f32[2,3,2,2]@0(12,1,6,3) = map([x: f32[2,3,2,2]], exp($0));
        t.2: f32[2,3,2,2] = map([t: f32[2,3,2,2]@0(12,1,6,3)], $0);
        t.3: f32[2,5] = contract(t.2: f32[2,12], w: f32[12,5], groups = 0, reduced = 1);
        y.out: f32[2,5] = map([t.3: f32[2,5]], $0);
        """,
        """
        t: f32[2,3,2,2]@0(12,1,6,3) = map([x: f32[2,3,2,2]], exp($0));
        y.out: f32[2,5] = contract(t: f32[2,3,4]@0(12,1,3), w: f32[3,4,5], groups = 0, reduced = 2);
        """,
    )


def test_a_copy_stays_if_its_source_changes_before_it_is_read() -> None:
    def build(b: ProgramBuilder) -> None:
        state = b.state(np.arange(4, dtype=np.float32), "s")
        kept = b.copy(state, b.new((4,), F))
        b.copy(b.input("x", F, (4,)), state)
        b.output("y", kept)

    check(
        build,
        place,
        """
        t: f32[4] = map([s: f32[4]], $0);
        s: f32[4] = map([x: f32[4]], $0);
        y.out: f32[4] = map([t: f32[4]], $0);
        """,
        """
        y.out: f32[4] = map([s: f32[4]], $0);
        s: f32[4] = map([x: f32[4]], $0);
        """,
    )


def test_copies_of_which_one_reads_what_the_other_wrote_stay_two() -> None:
    """A border reflected further than the tensor is long: rows 3 and 4 from 1 and 2, then 5 and 6 from 3 and 4."""

    def build(b: ProgramBuilder) -> None:
        out = b.new((7, 2), F)
        b.copy(b.input("x", F, (3, 2)), out.slice(0, 0, 3))
        b.copy(out.slice(0, 1, 2), out.slice(0, 3, 2))
        b.copy(out.slice(0, 3, 2), out.slice(0, 5, 2))
        b.output("y", b.map(call("exp", X), [out]))

    calls = """
        t: f32[3,2]@0(2,1) = map([x: f32[3,2]], $0);
        t: f32[2,2]@6(2,1) = map([t: f32[2,2]@2(2,1)], $0);
        t: f32[2,2]@10(2,1) = map([t: f32[2,2]@6(2,1)], $0);
        """
    last = "y.out: f32[7,2] = map([t: f32[7,2]], exp($0));"
    copied = "t.2: f32[7,2] = map([t: f32[7,2]], exp($0));\ny.out: f32[7,2] = map([t.2: f32[7,2]], $0);"
    check(build, place, calls + copied, calls + last)


def test_rows_of_a_product_are_not_cut_short() -> None:
    """The product reads 9 pixels in a row from t; inside the padded tensor they would lie in rows of 3."""

    def build(b: ProgramBuilder) -> None:
        t = b.map(call("exp", X), [b.input("x", F, (1, 2, 3, 3))], order=channels_last(4))
        b.output("y", halved(b, b.pad(t, [(0, 0), (0, 0), (1, 1), (1, 1)])))
        pixels = t.transpose((0, 2, 3, 1))
        b.output("z", b.contract(pixels, b.input("w", F, (2, 4)), groups=0, reduced=1))

    check(
        build,
        place,
        """
        t: f32[1,2,3,3]@0(18,1,6,2) = map([x: f32[1,2,3,3]], exp($0));
        t.2: f32[1,2,3,3]@12(50,1,10,2) = map([t: f32[1,2,3,3]@0(0,1,6,2)], $0);
        t.2: f32[1,2,2,1,3]@2(50,1,40,10,2) = map([], 0.0);
        t.2: f32[1,2,5,1]@0(50,1,10,2) = map([], 0.0);
        t.2: f32[1,2,5,1]@8(50,1,10,2) = map([], 0.0);
        t.3: f32[1,1,5,5] = reduce([t.2: f32[1,1,5,5,2]], max of $0 over 1);
        y.out: f32[1,1,5,5] = map([t.3: f32[1,1,5,5]], $0);
        t.4: f32[1,3,3,4] = contract(t: f32[1,3,3,2], w: f32[2,4], groups = 0, reduced = 1);
        z.out: f32[1,3,3,4] = map([t.4: f32[1,3,3,4]], $0);
        """,
        """
        t: f32[1,2,3,3]@0(18,1,6,2) = map([x: f32[1,2,3,3]], exp($0));
        t.2: f32[1,2,3,3]@12(50,1,10,2) = map([t: f32[1,2,3,3]@0(0,1,6,2)], $0);
        t.2: f32[1,2,2,1,3]@2(50,1,40,10,2) = map([], 0.0);
        t.2: f32[1,2,5,1]@0(50,1,10,2) = map([], 0.0);
        t.2: f32[1,2,5,1]@8(50,1,10,2) = map([], 0.0);
        y.out: f32[1,1,5,5] = reduce([t.2: f32[1,1,5,5,2]], max of $0 over 1);
        z.out: f32[1,3,3,4] = contract(t: f32[1,3,3,2], w: f32[2,4], groups = 0, reduced = 1);
        """,
    )


def test_a_tensor_is_not_placed_where_another_is_written() -> None:
    def build(b: ProgramBuilder) -> None:
        t = b.map(call("exp", X), [b.input("x", F, (1, 2, 2, 3))], order=channels_last(4))
        out = b.new((1, 4, 2, 3), F, channels_last(4))
        b.copy(t, out.slice(1, 0, 2))
        b.fill(out.slice(1, 1, 3), 1.0)
        b.output("y", halved(b, out))
        b.output("z", relu(b, t))

    check(
        build,
        place,
        """
        t: f32[1,2,2,3]@0(12,1,6,2) = map([x: f32[1,2,2,3]], exp($0));
        t.2: f32[1,2,2,3]@0(24,1,12,4) = map([t: f32[1,2,2,3]@0(0,1,6,2)], $0);
        t.2: f32[1,3,2,3]@1(24,1,12,4) = map([], 1.0);
        t.3: f32[1,2,2,3]@0(12,1,6,2) = reduce([t.2: f32[1,2,2,3,2]@0(0,2,12,4,1)], max of $0 over 1);
        y.out: f32[1,2,2,3] = map([t.3: f32[1,2,2,3]@0(0,1,6,2)], $0);
        t.4: f32[1,2,2,3]@0(12,1,6,2) = map([t: f32[1,2,2,3]@0(0,1,6,2)], max($0, 0.0));
        z.out: f32[1,2,2,3] = map([t.4: f32[1,2,2,3]@0(0,1,6,2)], $0);
        """,
    )


def view(size: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> View:
    return View(Buffer("t", F, size, Role.TEMP), offset, shape, strides)


@pytest.mark.parametrize("seed", range(200))
def test_relocated_views_reach_the_copies_of_what_they_reached(seed: int) -> None:
    """Random copies and views of the source: elements are followed one by one."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 5, 3))
    order = rng.permutation(3)
    source = view(int(np.prod(shape)), 0, shape, dense_strides(shape, order))
    wide = tuple(n + int(p) for n, p in zip(shape, rng.integers(0, 3, 3), strict=True))
    other = Buffer("u", F, int(np.prod(wide)), Role.TEMP)
    target = View(other, 0, wide, dense_strides(wide, rng.permutation(3)))
    for d, n in enumerate(shape):
        target = target.slice(d, int(rng.integers(0, wide[d] - n + 1)), n)
    seen = source
    for d, n in enumerate(shape):
        start = int(rng.integers(0, n))
        seen = seen.slice(d, start, int(rng.integers(1, n - start + 1)))
        seen = seen.flip(d) if rng.integers(2) else seen
    seen = seen.transpose(rng.permutation(3).tolist())
    if rng.integers(2):
        seen = seen.reshaped((seen.volume,)) or seen
    found = Relocation(source, target)(seen)
    assert found is not None or seen.rank == 1
    if found is not None:
        copied = dict(zip(addresses(source), addresses(target), strict=True))
        assert [copied[a] for a in addresses(seen)] == addresses(found)


def addresses(view: View) -> list[int]:
    return [view.offset + int(np.dot(i, view.strides)) for i in np.ndindex(view.shape)]


@pytest.mark.parametrize("seed", range(200))
def test_disjoint_views_share_no_element(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wide = tuple(int(n) for n in rng.integers(2, 6, 3))
    whole = view(int(np.prod(wide)), 0, wide, dense_strides(wide))
    parts = []
    for _ in range(2):
        part = whole
        for d in range(3):
            start = int(rng.integers(0, part.shape[d]))
            part = part.slice(d, start, int(rng.integers(1, part.shape[d] - start + 1)))
        parts.append(part.flip(int(rng.integers(3))))
    apart = not set(addresses(parts[0])) & set(addresses(parts[1]))
    assert disjoint(*parts) <= apart
    inside = all(p.shape[d] < wide[d] for p in parts for d in (1, 2))
    assert disjoint(*parts) == apart or not inside or any(1 in p.shape for p in parts)


def test_interleaved_or_repeated_elements_are_no_numbers() -> None:
    target = view(100, 0, (2, 3), (3, 1))
    assert not Relocation(view(100, 0, (2, 3), (1, 1)), target).valid
    assert not Relocation(view(100, 0, (2, 3), (0, 1)), target).valid
    assert Relocation(view(100, 0, (2, 3), (10, 2)), target)(view(100, 1, (2,), (10,))) is None
