"""Passes on Programs, by their text before and after, and by what they compute."""

from __future__ import annotations

from textwrap import dedent

import numpy as np
import pytest
from program_cases import F, X, Y, check, relu, text

from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.expr import call
from nnefc.ir.interpret import interpret
from nnefc.ir.types import DType
from nnefc.ir.window import Slide
from nnefc.passes.fold import fold, prune
from nnefc.passes.fuse import fuse
from nnefc.passes.spread import spread


def test_fuse_maps_and_the_copy_to_the_output() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (2, 3))
        b.output("y", relu(b, b.map(call("add", X, Y), [x, x])))

    check(
        build,
        fuse,
        """
        t: f32[2,3] = map([x: f32[2,3], x: f32[2,3]], add($0, $1));
        t.2: f32[2,3] = map([t: f32[2,3]], max($0, 0.0));
        y.out: f32[2,3] = map([t.2: f32[2,3]], $0);
        """,
        "y.out: f32[2,3] = map([x: f32[2,3], x: f32[2,3]], max(add($0, $1), 0.0));",
    )


def test_fuse_bias_relu_and_residual_into_a_product() -> None:
    def build(b: ProgramBuilder) -> None:
        x, w = b.input("x", F, (4, 8)), b.input("w", F, (8, 3))
        r, bias = b.input("r", F, (4, 3)), b.input("b", F, (1, 3))
        product = b.contract(x, w, groups=0, reduced=1)
        b.output("y", relu(b, b.map(call("add", X, Y), [b.map(call("add", X, Y), [product, bias]), r])))

    check(
        build,
        fuse,
        """
        t: f32[4,3] = contract(x: f32[4,8], w: f32[8,3], groups = 0, reduced = 1);
        t.2: f32[4,3] = map([t: f32[4,3], b: f32[4,3]@0(0,1)], add($0, $1));
        t.3: f32[4,3] = map([t.2: f32[4,3], r: f32[4,3]], add($0, $1));
        t.4: f32[4,3] = map([t.3: f32[4,3]], max($0, 0.0));
        y.out: f32[4,3] = map([t.4: f32[4,3]], $0);
        """,
        "y.out: f32[4,3] = contract(x: f32[4,8], w: f32[8,3], groups = 0, reduced = 1, "
        "post = max(add(add($0, $1), $2), 0.0) with [b: f32[4,3]@0(0,1), r: f32[4,3]]);",
    )


def test_fuse_keeps_what_others_read() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (5,))
        t = b.map(call("exp", X), [x])
        b.output("y", relu(b, t))
        b.output("z", t)

    check(
        build,
        fuse,
        """
        t: f32[5] = map([x: f32[5]], exp($0));
        t.2: f32[5] = map([t: f32[5]], max($0, 0.0));
        y.out: f32[5] = map([t.2: f32[5]], $0);
        z.out: f32[5] = map([t: f32[5]], $0);
        """,
        """
        z.out: f32[5] = map([x: f32[5]], exp($0));
        y.out: f32[5] = map([z.out: f32[5]], max($0, 0.0));
        """,
    )


def test_fuse_writes_into_a_padded_tensor_and_a_concat() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (1, 2, 4, 4))
        padded = b.pad(relu(b, x), [(0, 0), (0, 0), (1, 0), (0, 0)])
        out = b.new((1, 4, 5, 4), F)
        b.copy(b.map(call("exp", X), [padded]), out.slice(1, 0, 2))
        b.copy(b.map(call("neg", X), [padded]), out.slice(1, 2, 2))
        b.output("y", out)

    check(
        build,
        fuse,
        """
        t: f32[1,2,4,4] = map([x: f32[1,2,4,4]], max($0, 0.0));
        t.2: f32[1,2,4,4]@4(40,20,4,1) = map([t: f32[1,2,4,4]], $0);
        t.2: f32[1,2,1,4]@0(40,20,4,1) = map([], 0.0);
        t.4: f32[1,2,5,4] = map([t.2: f32[1,2,5,4]], exp($0));
        t.3: f32[1,2,5,4]@0(80,20,4,1) = map([t.4: f32[1,2,5,4]], $0);
        t.5: f32[1,2,5,4] = map([t.2: f32[1,2,5,4]], neg($0));
        t.3: f32[1,2,5,4]@40(80,20,4,1) = map([t.5: f32[1,2,5,4]], $0);
        y.out: f32[1,4,5,4] = map([t.3: f32[1,4,5,4]], $0);
        """,
        """
        t.2: f32[1,2,4,4]@4(0,20,4,1) = map([x: f32[1,2,4,4]], max($0, 0.0));
        t.2: f32[1,2,1,4]@0(40,20,4,1) = map([], 0.0);
        y.out: f32[1,2,5,4]@0(0,20,4,1) = map([t.2: f32[1,2,5,4]], exp($0));
        y.out: f32[1,2,5,4]@40(0,20,4,1) = map([t.2: f32[1,2,5,4]], neg($0));
        """,
    )


def test_fuse_does_not_scatter_what_a_kernel_stores_in_vectors() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (1, 3, 4, 4))
        pooled = b.reduce("max", [x.window((2, 3), (2, 2), (2, 2), (1, 1))], 2, order=channels_last(4))
        b.output("y", pooled)

    check(
        build,
        fuse,
        """
        t: f32[1,3,2,2]@0(12,1,6,3) = reduce([x: f32[1,3,2,2,2,2]@0(0,16,8,2,4,1)], max of $0 over 2);
        y.out: f32[1,3,2,2] = map([t: f32[1,3,2,2]@0(0,1,6,3)], $0);
        """,
    )


def test_fuse_into_windows() -> None:
    """A clamp and a residual follow a depthwise convolution."""

    def build(b: ProgramBuilder) -> None:
        x, w = b.input("x", F, (8, 5)), b.input("w", F, (8, 3))
        r, out = b.input("r", F, (8, 5)), b.new((8, 5), F)
        b.window("sum", x, [Slide(3, before=1)], out, weights=[w], expr=call("mul", X, Y))
        b.output("y", b.map(call("add", X, Y), [relu(b, out), r]))

    check(
        build,
        fuse,
        """
        t: f32[8,5] = window([x: f32[8,5], w: f32[8,3]], sum of mul($0, $1) over [3 before 1]);
        t.2: f32[8,5] = map([t: f32[8,5]], max($0, 0.0));
        t.3: f32[8,5] = map([t.2: f32[8,5], r: f32[8,5]], add($0, $1));
        y.out: f32[8,5] = map([t.3: f32[8,5]], $0);
        """,
        "y.out: f32[8,5] = window([x: f32[8,5], w: f32[8,3]], sum of mul($0, $1) over [3 before 1], "
        "post = add(max($0, 0.0), $1) with [r: f32[8,5]]);",
    )


def test_fuse_finds_split_dimensions() -> None:
    """A Map over channels, after a kernel that wrote them as groups times outputs."""

    def build(b: ProgramBuilder) -> None:
        x, w = b.input("x", F, (2, 5, 3)), b.input("w", F, (2, 3, 4))
        out = b.new((5, 8), F)
        b.contract(x, w, groups=1, reduced=1, out=out.split_dim(1, (2, 4)).transpose((1, 0, 2)))
        b.output("y", relu(b, out))

    check(
        build,
        fuse,
        """
        t: f32[2,5,4]@0(4,8,1) = contract(x: f32[2,5,3], w: f32[2,3,4], groups = 1, reduced = 1);
        t.2: f32[5,8] = map([t: f32[5,8]], max($0, 0.0));
        y.out: f32[5,8] = map([t.2: f32[5,8]], $0);
        """,
        "y.out: f32[2,5,4]@0(4,8,1) = contract(x: f32[2,5,3], w: f32[2,3,4], groups = 1, reduced = 1, "
        "post = max($0, 0.0));",
    )


def test_fuse_leaves_a_state_that_is_read_and_then_written() -> None:
    b = ProgramBuilder("p")
    state = b.state(np.arange(4, dtype=np.float32), "s")
    x = b.input("x", F, (4,))
    new = b.map(call("add", X, Y), [state, x])
    b.output("y", b.map(call("neg", X), [state]))
    b.update(state, new)
    program = b.finish()
    after = fuse(program)
    inputs = {"x": np.full(4, 10, np.float32)}
    for p in (program, after):
        states = {"s": np.arange(4, dtype=np.float32)}
        np.testing.assert_array_equal(interpret(p, inputs, states)["y"], -np.arange(4, dtype=np.float32))
        np.testing.assert_array_equal(states["s"], np.arange(4) + 10)
        np.testing.assert_array_equal(interpret(p, inputs, states)["y"], -np.arange(4, dtype=np.float32) - 10)


def test_fold_constants_and_prune() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (2, 2))
        c = b.const(np.eye(2, dtype=np.float32), "c")
        doubled = b.map(call("add", X, Y), [c, c])
        relu(b, x)
        b.output("y", b.map(call("mul", X, Y), [x, doubled]))

    check(
        build,
        fold,
        """
        t: f32[2,2] = map([c: f32[2,2], c: f32[2,2]], add($0, $1));
        t.2: f32[2,2] = map([x: f32[2,2]], max($0, 0.0));
        t.3: f32[2,2] = map([x: f32[2,2], t: f32[2,2]], mul($0, $1));
        y.out: f32[2,2] = map([t.3: f32[2,2]], $0);
        """,
        """
        t.3: f32[2,2] = map([x: f32[2,2], t: f32[2,2]], mul($0, $1));
        y.out: f32[2,2] = map([t.3: f32[2,2]], $0);
        """,
    )


def test_fold_needs_every_writer_constant() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (2,))
        out = b.new((4,), F)
        b.fill(out.slice(0, 0, 2), 1.0)
        b.copy(x, out.slice(0, 2, 2))
        b.output("y", out)

    calls = """
        t: f32[2]@0(1) = map([], 1.0);
        t: f32[2]@2(1) = map([x: f32[2]], $0);
        y.out: f32[4] = map([t: f32[4]], $0);
        """
    check(build, fold, calls, calls)


def test_fold_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    b = ProgramBuilder("p")
    b.output("y", b.map(call("exp", X), [b.const(np.zeros(8, np.float32))]))
    program = b.finish()
    assert len(fold(program).calls) == 1
    monkeypatch.setattr("nnefc.passes.fold.MAX_CALL_WORK", -100)
    assert fold(program) is program


def test_fold_grows_no_more_than_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    b = ProgramBuilder("p")
    b.output("y", b.map(call("exp", X), [b.const(np.zeros((1, 1), np.float32))], shape=(4, 4)))
    program = b.finish()
    assert len(fold(program).calls) == 1
    monkeypatch.setattr("nnefc.passes.fold.MAX_ELEMENTS", 8)
    assert fold(program) is program


def test_fold_leaves_what_depends_on_a_buffer_written_in_part_at_run_time() -> None:
    b = ProgramBuilder("p")
    x = b.input("x", F, (1,))
    joined = b.new((2,), F)
    b.copy(b.const(np.ones(1, np.float32)), joined.slice(0, 0, 1))
    early = b.map(call("exp", X), [joined.slice(0, 0, 1)])
    b.copy(x, joined.slice(0, 1, 1))
    b.output("early", b.map(call("neg", X), [early]))
    b.output("late", b.map(call("neg", X), [joined]))
    program = b.finish()
    assert fold(program) is program


def test_prune_keeps_a_gather_that_may_fail() -> None:
    b = ProgramBuilder("p")
    x, i = b.input("x", F, (4,)), b.input("i", DType.I64, (2,))
    b.gather(x, i, 0)
    b.gather(x, i, 0, check=False)
    b.output("y", x)
    assert (
        text(prune(b.finish()))
        == dedent(
            """
        t: f32[2] = gather(x: f32[4], i: i64[2], axis = 0, check);
        y.out: f32[4] = map([x: f32[4]], $0);
        """
        ).strip()
    )


def test_spread_rows_that_share_cache_sets() -> None:
    def build(b: ProgramBuilder) -> None:
        x, w = b.input("x", F, (3, 512)), b.input("w", F, (512, 4))
        t = b.map(call("exp", X), [x])
        b.map(call("neg", X), [t.slice(1, 256, 256)], out=b.new((3, 256), F))
        b.output("y", b.contract(t, w, groups=0, reduced=1))

    check(
        build,
        spread,
        """
        t: f32[3,512] = map([x: f32[3,512]], exp($0));
        t.2: f32[3,256] = map([t: f32[3,256]@256(512,1)], neg($0));
        t.3: f32[3,4] = contract(t: f32[3,512], w: f32[512,4], groups = 0, reduced = 1);
        y.out: f32[3,4] = map([t.3: f32[3,4]], $0);
        """,
        """
        t: f32[3,512]@0(528,1) = map([x: f32[3,512]], exp($0));
        t.2: f32[3,256] = map([t: f32[3,256]@256(528,1)], neg($0));
        t.3: f32[3,4] = contract(t: f32[3,512]@0(528,1), w: f32[512,4], groups = 0, reduced = 1);
        y.out: f32[3,4] = map([t.3: f32[3,4]], $0);
        """,
    )


def test_spread_leaves_what_runs_across_rows() -> None:
    b = ProgramBuilder("p")
    x, w = b.input("x", F, (3, 512)), b.input("w", F, (512, 4))
    t = b.map(call("exp", X), [x])
    flat = t.reshaped((1536,))
    assert flat is not None
    b.output("z", b.map(call("neg", X), [flat]))
    b.output("y", b.contract(t, w, groups=0, reduced=1))
    program = b.finish()
    assert spread(program) is program
