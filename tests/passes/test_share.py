"""Calls that are made once for all: texts before and after, and equal results."""

from __future__ import annotations

import numpy as np
from program_cases import F, X, Y, check, exp, mul, relu

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import arg, call, const
from nnefc.passes.share import share

Z, TWO = arg(2, F), const(2.0, F)


def test_equal_calls_are_made_once() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (4,))
        twice = [b.map(exp(X), [x]) for _ in range(2)]
        b.output("y", b.map(call("add", X, Y), [relu(b, twice[0]), relu(b, twice[1])]))

    check(
        build,
        share,
        """
        t: f32[4] = map([x: f32[4]], exp($0));
        t.2: f32[4] = map([x: f32[4]], exp($0));
        t.3: f32[4] = map([t: f32[4]], max($0, 0.0));
        t.4: f32[4] = map([t.2: f32[4]], max($0, 0.0));
        t.5: f32[4] = map([t.3: f32[4], t.4: f32[4]], add($0, $1));
        y.out: f32[4] = map([t.5: f32[4]], $0);
        """,
        """
        t: f32[4] = map([x: f32[4]], exp($0));
        t.3: f32[4] = map([t: f32[4]], max($0, 0.0));
        t.5: f32[4] = map([t.3: f32[4], t.3: f32[4]], add($0, $1));
        y.out: f32[4] = map([t.5: f32[4]], $0);
        """,
    )


def test_calls_are_not_shared_over_a_change_of_what_they_read() -> None:
    def build(b: ProgramBuilder) -> None:
        s = b.state(np.ones(4, np.float32), "s")
        first = b.map(exp(X), [s])
        b.copy(b.input("x", F, (4,)), s)
        b.output("y", b.map(call("add", X, Y), [first, b.map(exp(X), [s])]))

    check(
        build,
        share,
        """
        t: f32[4] = map([s: f32[4]], exp($0));
        s: f32[4] = map([x: f32[4]], $0);
        t.2: f32[4] = map([s: f32[4]], exp($0));
        t.3: f32[4] = map([t: f32[4], t.2: f32[4]], add($0, $1));
        y.out: f32[4] = map([t.3: f32[4]], $0);
        """,
    )


def test_tensors_padded_alike_are_one() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (2, 5))
        first, second, other = (b.pad(x, [(0, 0), (1, 0)], value=v) for v in (0.0, 0.0, 1.0))
        sums = [b.reduce("sum", [v], 1) for v in (first, second, other)]
        b.output("y", b.map(call("add", call("add", X, Y), Z), sums))

    check(
        build,
        share,
        """
        t: f32[2,5]@1(6,1) = map([x: f32[2,5]], $0);
        t: f32[2,1]@0(6,1) = map([], 0.0);
        t.2: f32[2,5]@1(6,1) = map([x: f32[2,5]], $0);
        t.2: f32[2,1]@0(6,1) = map([], 0.0);
        t.3: f32[2,5]@1(6,1) = map([x: f32[2,5]], $0);
        t.3: f32[2,1]@0(6,1) = map([], 1.0);
        t.4: f32[2] = reduce([t: f32[2,6]], sum of $0 over 1);
        t.5: f32[2] = reduce([t.2: f32[2,6]], sum of $0 over 1);
        t.6: f32[2] = reduce([t.3: f32[2,6]], sum of $0 over 1);
        t.7: f32[2] = map([t.4: f32[2], t.5: f32[2], t.6: f32[2]], add(add($0, $1), $2));
        y.out: f32[2] = map([t.7: f32[2]], $0);
        """,
        """
        t: f32[2,5]@1(6,1) = map([x: f32[2,5]], $0);
        t: f32[2,1]@0(6,1) = map([], 0.0);
        t.3: f32[2,5]@1(6,1) = map([x: f32[2,5]], $0);
        t.3: f32[2,1]@0(6,1) = map([], 1.0);
        t.4: f32[2] = reduce([t: f32[2,6]], sum of $0 over 1);
        t.6: f32[2] = reduce([t.3: f32[2,6]], sum of $0 over 1);
        t.7: f32[2] = map([t.4: f32[2], t.4: f32[2], t.6: f32[2]], add(add($0, $1), $2));
        y.out: f32[2] = map([t.7: f32[2]], $0);
        """,
    )


def test_a_tensor_that_is_changed_between_is_not_shared() -> None:
    """The second tensor is made of the state before, the third after it has changed."""

    def build(b: ProgramBuilder) -> None:
        s = b.state(np.ones((1, 2), np.float32), "s")
        made = []
        for k in range(3):
            if k == 2:
                b.fill(s, 7.0)
            made.append(b.pad(s, [(0, 0), (1, 0)]))
        b.output("y", b.map(call("add", call("add", X, Y), Z), made))

    check(
        build,
        share,
        """
        t: f32[1,2]@1(3,1) = map([s: f32[1,2]], $0);
        t: f32[1,1]@0(3,1) = map([], 0.0);
        t.2: f32[1,2]@1(3,1) = map([s: f32[1,2]], $0);
        t.2: f32[1,1]@0(3,1) = map([], 0.0);
        s: f32[1,2] = map([], 7.0);
        t.3: f32[1,2]@1(3,1) = map([s: f32[1,2]], $0);
        t.3: f32[1,1]@0(3,1) = map([], 0.0);
        t.4: f32[1,3] = map([t: f32[1,3], t.2: f32[1,3], t.3: f32[1,3]], add(add($0, $1), $2));
        y.out: f32[1,3] = map([t.4: f32[1,3]], $0);
        """,
        """
        t: f32[1,2]@1(3,1) = map([s: f32[1,2]], $0);
        t: f32[1,1]@0(3,1) = map([], 0.0);
        s: f32[1,2] = map([], 7.0);
        t.3: f32[1,2]@1(3,1) = map([s: f32[1,2]], $0);
        t.3: f32[1,1]@0(3,1) = map([], 0.0);
        t.4: f32[1,3] = map([t: f32[1,3], t: f32[1,3], t.3: f32[1,3]], add(add($0, $1), $2));
        y.out: f32[1,3] = map([t.4: f32[1,3]], $0);
        """,
    )


def test_a_tensor_that_is_read_before_it_is_whole_is_not_shared() -> None:
    def build(b: ProgramBuilder) -> None:
        x, parts = b.input("x", F, (2,)), []
        for _ in range(2):
            t = b.new((2, 2), F)
            b.copy(x, t.slice(0, 0, 1).squeeze(0))
            b.map(exp(X), [t.slice(0, 0, 1)], out=b.new((1, 2), F))
            parts.append(b.map(mul(X, TWO), [t.slice(0, 0, 1)]))
            b.copy(x, t.slice(0, 1, 1).squeeze(0))
            parts.append(b.map(mul(X, TWO), [t]))
        total = b.map(call("add", X, Y), [parts[0], parts[2]])
        b.output("y", b.map(call("add", call("add", X, Y), Z), [total, parts[1], parts[3]], shape=(2, 2)))

    check(
        build,
        share,
        """
        t: f32[2]@0(1) = map([x: f32[2]], $0);
        t.2: f32[1,2] = map([t: f32[1,2]@0(0,1)], exp($0));
        t.3: f32[1,2] = map([t: f32[1,2]@0(0,1)], mul($0, 2.0));
        t: f32[2]@2(1) = map([x: f32[2]], $0);
        t.4: f32[2,2] = map([t: f32[2,2]], mul($0, 2.0));
        t.5: f32[2]@0(1) = map([x: f32[2]], $0);
        t.6: f32[1,2] = map([t.5: f32[1,2]@0(0,1)], exp($0));
        t.7: f32[1,2] = map([t.5: f32[1,2]@0(0,1)], mul($0, 2.0));
        t.5: f32[2]@2(1) = map([x: f32[2]], $0);
        t.8: f32[2,2] = map([t.5: f32[2,2]], mul($0, 2.0));
        t.9: f32[1,2] = map([t.3: f32[1,2], t.7: f32[1,2]], add($0, $1));
        t.10: f32[2,2] = map([t.9: f32[2,2]@0(0,1), t.4: f32[2,2], t.8: f32[2,2]], add(add($0, $1), $2));
        y.out: f32[2,2] = map([t.10: f32[2,2]], $0);
        """,
    )
