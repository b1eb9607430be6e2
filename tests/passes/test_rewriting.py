"""Simpler expressions, shared calls, and constants folded into weights: texts before and after, and equal results."""

from __future__ import annotations

import numpy as np
import pytest
from program_cases import F, X, Y, check, exp, mul

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call, const
from nnefc.ir.simplify import simplified
from nnefc.ir.types import DType
from nnefc.ir.view import View
from nnefc.passes.affine import affine
from nnefc.passes.factor import factor
from nnefc.passes.fuse import fuse
from nnefc.passes.simplify import simplify

Z = arg(2, F)
ONE, TWO, HALF = (const(c, F) for c in (1.0, 2.0, 0.5))


def test_a_tensor_is_read_once() -> None:
    def build(b: ProgramBuilder) -> None:
        x, y = b.input("x", F, (4, 3)), b.input("y", F, (4, 3))
        square = b.map(call("add", call("mul", X, Y), Z), [x, x, y])
        b.output("z", b.reduce("sum", [square, square], 1, expr=call("mul", X, Y)))

    check(
        build,
        simplify,
        """
        t: f32[4,3] = map([x: f32[4,3], x: f32[4,3], y: f32[4,3]], add(mul($0, $1), $2));
        t.2: f32[4] = reduce([t: f32[4,3], t: f32[4,3]], sum of mul($0, $1) over 1);
        z.out: f32[4] = map([t.2: f32[4]], $0);
        """,
        """
        t: f32[4,3] = map([x: f32[4,3], y: f32[4,3]], add(mul($0, $0), $1));
        t.2: f32[4] = reduce([t: f32[4,3]], sum of mul($0, $0) over 1);
        z.out: f32[4] = map([t.2: f32[4]], $0);
        """,
    )


def test_what_no_expression_needs_is_not_read() -> None:
    def build(b: ProgramBuilder) -> None:
        x, y = b.input("x", F, (4,)), b.input("y", F, (4,))
        b.output("z", b.map(call("sub", call("mul", ONE, X), call("mul", const(0.0, F), const(3.0, F))), [x, y]))

    check(
        build,
        simplify,
        """
        t: f32[4] = map([x: f32[4], y: f32[4]], sub(mul(1.0, $0), mul(0.0, 3.0)));
        z.out: f32[4] = map([t: f32[4]], $0);
        """,
        """
        t: f32[4] = map([x: f32[4]], $0);
        z.out: f32[4] = map([t: f32[4]], $0);
        """,
    )


def sigmoid(u: Expr) -> Expr:
    return call("sigmoid", u)


def tanh(u: Expr) -> Expr:
    return call("tanh", u)


def plus_one(u: Expr) -> Expr:
    return call("add", ONE, u)


CASES = {
    "number": (call("mul", X, call("add", ONE, TWO)), "mul($0, 3.0)"),
    "quotient": (call("div", X, const(4.0, F)), "mul($0, 0.25)"),
    "inexact": (call("div", X, const(3.0, F)), "div($0, 3.0)"),
    "clamps": (call("max", call("max", X, ONE), TWO), "max($0, 2.0)"),
    "negations": (call("neg", call("neg", X)), "$0"),
    "logistic": (call("div", ONE, plus_one(exp(call("neg", X)))), "sigmoid($0)"),
    "logistic of a product": (call("div", ONE, plus_one(exp(mul(X, const(-1.5, F))))), "sigmoid(mul($0, 1.5))"),
    "logistic upwards": (call("div", exp(X), plus_one(exp(X))), "sigmoid($0)"),
    "gelu": (mul(HALF, X, plus_one(tanh(mul(X, Y)))), "mul($0, sigmoid(mul(mul($0, $1), 2.0)))"),
    "halved last": (mul(mul(X, plus_one(tanh(Y))), HALF), "mul($0, sigmoid(mul($1, 2.0)))"),
    "not halved": (mul(X, plus_one(tanh(Y))), "mul(mul($0, sigmoid(mul($1, 2.0))), 2.0)"),
    "zero product": (mul(X, plus_one(tanh(Y)), const(0.0, F)), "mul(mul($0, sigmoid(mul($1, 2.0))), 0.0)"),
    "mish": (
        mul(X, tanh(call("log", plus_one(exp(X))))),
        "mul($0, div(mul(exp(min(20.0, $0)), add(exp(min(20.0, $0)), 2.0)), "
        "add(mul(exp(min(20.0, $0)), add(exp(min(20.0, $0)), 2.0)), 2.0)))",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_simplified_expressions(name: str) -> None:
    expr, expected = CASES[name]
    found = simplified(expr)
    assert str(found) == expected
    x = np.random.default_rng(0).normal(size=(2, 1000)).astype(np.float32) * 8
    # Near -1, 1 + tanh(u) of rounded numbers keeps an absolute error only.
    np.testing.assert_allclose(found.evaluate(list(x)), expr.evaluate(list(x)), rtol=2e-6, atol=4e-6)


def test_half_precision_keeps_its_roundings() -> None:
    x, one = arg(0, DType.F16), const(1.0, DType.F16)
    expr = call("div", one, call("add", one, call("exp", call("neg", x))))
    assert simplified(expr) is expr


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def convolved(b: ProgramBuilder, post: Expr, *extras: View) -> View:
    x = b.input("x", F, (5, 3))
    return b.contract(x, b.const(numbers(3, 4), "w"), groups=0, reduced=1, post=post, extras=extras)


def test_scales_and_shifts_go_into_weights_and_bias() -> None:
    def build(b: ProgramBuilder) -> None:
        scale, shift, bias = (b.const(numbers(4)[:4] + k, n).expand_dims(0) for k, n in enumerate("abc"))
        inner = call("sub", call("mul", call("add", X, arg(3, F)), Y), Z)
        b.output("y", convolved(b, call("max", call("mul", inner, HALF), const(0.0, F)), scale, shift, bias))

    check(
        build,
        affine,
        """
        t: f32[5,4] = contract(x: f32[5,3], w: f32[3,4], groups = 0, reduced = 1, post = max(mul(sub(mul(add($0,
          $3), $1), $2), 0.5), 0.0) with [a: f32[5,4]@0(0,1), b: f32[5,4]@0(0,1), c: f32[5,4]@0(0,1)]);
        y.out: f32[5,4] = map([t: f32[5,4]], $0);
        """,
        """
        t: f32[5,4] = contract(x: f32[5,3], affine.1: f32[3,4], groups = 0, reduced = 1, post = max(add($0, $1),
          0.0) with [affine.2: f32[5,4]@0(0,1)]);
        y.out: f32[5,4] = map([t: f32[5,4]], $0);
        """,
        atol=1e-6,
    )


def test_a_residual_ends_what_is_folded() -> None:
    def build(b: ProgramBuilder) -> None:
        scale, residual = b.const(numbers(4), "a").expand_dims(0), b.input("r", F, (5, 4))
        b.output("y", convolved(b, mul(call("add", mul(X, Y), Z), Y), scale, residual))

    check(
        build,
        affine,
        """
        t: f32[5,4] = contract(x: f32[5,3], w: f32[3,4], groups = 0, reduced = 1, post = mul(add(mul($0, $1), $2),
          $1) with [a: f32[5,4]@0(0,1), r: f32[5,4]]);
        y.out: f32[5,4] = map([t: f32[5,4]], $0);
        """,
        """
        t: f32[5,4] = contract(x: f32[5,3], affine.1: f32[3,4], groups = 0, reduced = 1, post = mul(add($0, $2), $1)
          with [a: f32[5,4]@0(0,1), r: f32[5,4]]);
        y.out: f32[5,4] = map([t: f32[5,4]], $0);
        """,
        atol=1e-6,
    )


def test_a_scale_of_rows_stays() -> None:
    def build(b: ProgramBuilder) -> None:
        b.output("y", convolved(b, mul(X, Y), b.const(numbers(5), "a").expand_dims(1)))

    check(
        build,
        affine,
        """
        t: f32[5,4] = contract(x: f32[5,3], w: f32[3,4], groups = 0, reduced = 1, post = mul($0, $1) with [a:
          f32[5,4]@0(1,0)]);
        y.out: f32[5,4] = map([t: f32[5,4]], $0);
        """,
        atol=1e-6,
    )


def test_weights_that_others_read_are_not_scaled() -> None:
    def build(b: ProgramBuilder) -> None:
        w = b.const(numbers(3, 4), "w")
        b.output("y", b.contract(b.input("x", F, (5, 3)), w, groups=0, reduced=1, post=mul(X, HALF)))
        b.output("z", b.contract(b.input("v", F, (6, 3)), w, groups=0, reduced=1))

    check(
        build,
        affine,
        """
        t: f32[5,4] = contract(x: f32[5,3], w: f32[3,4], groups = 0, reduced = 1, post = mul($0, 0.5));
        y.out: f32[5,4] = map([t: f32[5,4]], $0);
        t.2: f32[6,4] = contract(v: f32[6,3], w: f32[3,4], groups = 0, reduced = 1);
        z.out: f32[6,4] = map([t.2: f32[6,4]], $0);
        """,
        atol=1e-6,
    )


def test_a_kernel_takes_in_readers_that_have_become_one() -> None:
    """x sigmoid(x) of a product: both operations read the product until one has taken in the other."""

    def build(b: ProgramBuilder) -> None:
        product = convolved(b, X)
        b.output("y", b.map(call("mul", X, Y), [product, b.map(sigmoid(X), [product])]))

    check(
        build,
        fuse,
        """
        t: f32[5,4] = contract(x: f32[5,3], w: f32[3,4], groups = 0, reduced = 1, post = $0);
        t.2: f32[5,4] = map([t: f32[5,4]], sigmoid($0));
        t.3: f32[5,4] = map([t: f32[5,4], t.2: f32[5,4]], mul($0, $1));
        y.out: f32[5,4] = map([t.3: f32[5,4]], $0);
        """,
        """
        y.out: f32[5,4] = contract(x: f32[5,3], w: f32[3,4], groups = 0, reduced = 1, post = mul($0, sigmoid($0)));
        """,
    )


def test_numbers_move_behind_a_product() -> None:
    """As in attention: both operands scaled, one of them turned."""

    def build(b: ProgramBuilder) -> None:
        q, k = b.input("q", F, (5, 6)), b.input("k", F, (7, 6))
        turned = b.map(mul(X, HALF), [k], order=(1, 0)).transpose((1, 0))
        product = b.contract(b.map(mul(HALF, X), [q]), turned, groups=0, reduced=1, post=exp(X))
        b.output("y", product)

    check(
        build,
        factor,
        """
        t: f32[7,6]@0(1,7) = map([k: f32[7,6]], mul($0, 0.5));
        t.2: f32[5,6] = map([q: f32[5,6]], mul(0.5, $0));
        t.3: f32[5,7] = contract(t.2: f32[5,6], t: f32[6,7], groups = 0, reduced = 1, post = exp($0));
        y.out: f32[5,7] = map([t.3: f32[5,7]], $0);
        """,
        """
        t.3: f32[5,7] = contract(q: f32[5,6], k: f32[6,7]@0(1,6), groups = 0, reduced = 1, post = exp(mul(mul($0,
          0.5), 0.5)));
        y.out: f32[5,7] = map([t.3: f32[5,7]], $0);
        """,
    )


def test_a_scaled_tensor_that_others_read_stays() -> None:
    def build(b: ProgramBuilder) -> None:
        scaled = b.map(mul(X, TWO), [b.input("q", F, (5, 3))])
        b.output("y", b.contract(scaled, b.const(numbers(3, 4), "w"), groups=0, reduced=1))
        b.output("z", b.map(exp(X), [scaled]))

    check(
        build,
        factor,
        """
        t: f32[5,3] = map([q: f32[5,3]], mul($0, 2.0));
        t.2: f32[5,4] = contract(t: f32[5,3], w: f32[3,4], groups = 0, reduced = 1);
        y.out: f32[5,4] = map([t.2: f32[5,4]], $0);
        t.3: f32[5,3] = map([t: f32[5,3]], exp($0));
        z.out: f32[5,3] = map([t.3: f32[5,3]], $0);
        """,
    )
