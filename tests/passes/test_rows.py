"""Softmax and normalizations from their parts, by the texts before and after, and equal results."""

from __future__ import annotations

from program_cases import F, X, Y, check

from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.expr import Expr, arg, call, const
from nnefc.ir.program import Program
from nnefc.ir.view import View
from nnefc.passes.fuse import fuse
from nnefc.passes.rows import rows


def binary(b: ProgramBuilder, op: str, x: View, y: View) -> View:
    return b.map(call(op, X, Y), [x, y])


def unary(b: ProgramBuilder, op: str, x: View) -> View:
    return b.map(call(op, X), [x])


def scaled(x: Expr, factor: float) -> Expr:
    return call("mul", x, const(factor, F))


def joined(program: Program) -> Program:
    return rows(fuse(program))


def test_softmax() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (20, 7))
        most = b.reduce("max", [x], 1)
        powers = unary(b, "exp", binary(b, "sub", x, most))
        b.output("y", binary(b, "div", powers, b.reduce("sum", [powers], 1)))

    check(
        build,
        joined,
        """
        t: f32[20] = reduce([x: f32[20,7]], max of $0 over 1);
        t.2: f32[20,7] = map([x: f32[20,7], t: f32[20,7]@0(1,0)], sub($0, $1));
        t.3: f32[20,7] = map([t.2: f32[20,7]], exp($0));
        t.4: f32[20] = reduce([t.3: f32[20,7]], sum of $0 over 1);
        t.5: f32[20,7] = map([t.3: f32[20,7], t.4: f32[20,7]@0(1,0)], div($0, $1));
        y.out: f32[20,7] = map([t.5: f32[20,7]], $0);
        """,
        """
        y.out: f32[20,7] = row([x: f32[20,7], x: f32[20,7]], max of $0, sum of exp(sub($1, $2)), then
          div(exp(sub($1, $2)), $3) over 1);
        """,
        atol=1e-6,
    )


def test_layer_normalization() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (20, 8))
        weight = b.input("w", F, (8,))
        mean = b.reduce("sum", [x], 1, post=scaled(X, 1 / 8))
        centred = binary(b, "sub", x, mean)
        variance = b.reduce("sum", [binary(b, "mul", centred, centred)], 1, post=scaled(X, 1 / 8))
        norm = unary(b, "rsqrt", b.map(call("add", X, const(1e-5, F)), [variance]))
        normed = binary(b, "mul", centred, norm)
        b.output("y", b.map(call("mul", X, Y), [normed, weight.expand_dims(0)]))

    check(
        build,
        joined,
        """
        t: f32[20] = reduce([x: f32[20,8]], sum of $0 over 1, post = mul($0, 0.125));
        t.2: f32[20,8] = map([x: f32[20,8], t: f32[20,8]@0(1,0)], sub($0, $1));
        t.3: f32[20,8] = map([t.2: f32[20,8], t.2: f32[20,8]], mul($0, $1));
        t.4: f32[20] = reduce([t.3: f32[20,8]], sum of $0 over 1, post = mul($0, 0.125));
        t.5: f32[20] = map([t.4: f32[20]], add($0, 9.999999747378752e-06));
        t.6: f32[20] = map([t.5: f32[20]], rsqrt($0));
        t.7: f32[20,8] = map([t.2: f32[20,8], t.6: f32[20,8]@0(1,0)], mul($0, $1));
        t.8: f32[20,8] = map([t.7: f32[20,8], w: f32[20,8]@0(0,1)], mul($0, $1));
        y.out: f32[20,8] = map([t.8: f32[20,8]], $0);
        """,
        """
        y.out: f32[20,8] = row([x: f32[20,8], x: f32[20,8], w: f32[20,8]@0(0,1)], sum of $0, sum of mul(sub($1,
          mul($3, 0.125)), sub($1, mul($3, 0.125))), then mul(mul(sub($1, mul($3, 0.125)), rsqrt(add(mul($4, 0.125),
          9.999999747378752e-06))), $2) over 1);
        """,
        atol=1e-5,
    )


def test_reduced_dimensions_may_come_first() -> None:
    """Over the channels of an image, which lie innermost in memory but not in the index."""

    def build(b: ProgramBuilder) -> None:
        image = b.map(call("exp", X), [b.input("x", F, (2, 3, 4, 5))], order=channels_last(4))
        channels_inside = image.transpose((0, 2, 3, 1))
        b.output("z", image)
        total = b.reduce("sum", [channels_inside], 1)
        b.output("y", b.map(call("div", X, Y), [image, total.expand_dims(1)], shape=image.shape))

    check(
        build,
        joined,
        """
        t: f32[2,3,4,5]@0(60,1,15,3) = map([x: f32[2,3,4,5]], exp($0));
        z.out: f32[2,3,4,5] = map([t: f32[2,3,4,5]@0(60,1,15,3)], $0);
        t.2: f32[2,4,5] = reduce([t: f32[2,4,5,3]], sum of $0 over 1);
        t.3: f32[2,3,4,5]@0(60,1,15,3) = map([t: f32[2,3,4,5]@0(60,1,15,3), t.2: f32[2,3,4,5]@0(20,0,5,1)], div($0,
          $1));
        y.out: f32[2,3,4,5] = map([t.3: f32[2,3,4,5]@0(60,1,15,3)], $0);
        """,
        """
        t: f32[2,3,4,5]@0(60,1,15,3) = map([x: f32[2,3,4,5]], exp($0));
        z.out: f32[2,3,4,5] = map([t: f32[2,3,4,5]@0(60,1,15,3)], $0);
        y.out: f32[2,4,5,3]@0(60,5,1,20) = row([t: f32[2,4,5,3], t: f32[2,4,5,3]], sum of $0, then div($1, $2) over
          1);
        """,
        atol=1e-6,
    )


def test_what_follows_a_row_is_done_by_it() -> None:
    """A Map of a normalization's result alone, with operands of its own; but no softmax's, whose kernel leaves
    exponentials where the result goes."""

    def build(b: ProgramBuilder) -> None:
        x, y = b.input("x", F, (4, 6)), b.input("y", F, (4,))
        two = arg(1, F)
        rows = b.row([("sum", call("mul", X, X)), ("max", X)], call("div", call("sub", X, arg(2, F)), two), [x], 1)
        b.output("z", b.map(call("add", call("mul", X, Y), X), [rows, y.expand_dims(1).broadcast_to((4, 6))]))
        soft = b.row([("sum", call("exp", X))], call("div", call("exp", X), two), [x], 1)
        b.output("u", b.map(call("mul", X, X), [soft]))

    check(
        build,
        fuse,
        """
        t: f32[4,6] = row([x: f32[4,6]], sum of mul($0, $0), max of $0, then div(sub($0, $2), $1) over 1);
        t.2: f32[4,6] = map([t: f32[4,6], y: f32[4,6]@0(1,0)], add(mul($0, $1), $0));
        z.out: f32[4,6] = map([t.2: f32[4,6]], $0);
        t.3: f32[4,6] = row([x: f32[4,6]], sum of exp($0), then div(exp($0), $1) over 1);
        t.4: f32[4,6] = map([t.3: f32[4,6]], mul($0, $0));
        u.out: f32[4,6] = map([t.4: f32[4,6]], $0);
        """,
        """
        z.out: f32[4,6] = row([x: f32[4,6], y: f32[4,6]@0(1,0)], sum of mul($0, $0), max of $0, then
          add(mul(div(sub($0, $3), $2), $1), div(sub($0, $3), $2)) over 1);
        t.3: f32[4,6] = row([x: f32[4,6]], sum of exp($0), then div(exp($0), $1) over 1);
        u.out: f32[4,6] = map([t.3: f32[4,6]], mul($0, $0));
        """,
        atol=1e-6,
    )


def test_what_is_computed_for_a_reduction() -> None:
    def build(b: ProgramBuilder) -> None:
        x, y = b.input("x", F, (4, 6)), b.input("y", F, (6,))
        b.output("z", b.reduce("sum", [unary(b, "exp", b.map(call("mul", X, Y), [x, y.expand_dims(0)]))], 1))

    check(
        build,
        joined,
        """
        t: f32[4,6] = map([x: f32[4,6], y: f32[4,6]@0(0,1)], mul($0, $1));
        t.2: f32[4,6] = map([t: f32[4,6]], exp($0));
        t.3: f32[4] = reduce([t.2: f32[4,6]], sum of $0 over 1);
        z.out: f32[4] = map([t.3: f32[4]], $0);
        """,
        """
        z.out: f32[4] = reduce([x: f32[4,6], y: f32[4,6]@0(0,1)], sum of exp(mul($0, $1)) over 1, post = $0);
        """,
    )


def test_a_result_of_other_elements_is_no_row() -> None:
    """The Map uses the sums of another tensor's rows, or the wrong way round."""

    def build(b: ProgramBuilder) -> None:
        x, y = b.input("x", F, (20, 20)), b.input("y", F, (20, 20))
        b.output("u", binary(b, "div", y, b.reduce("sum", [x], 1)))
        b.output("v", b.map(call("div", X, Y), [x, b.reduce("sum", [x], 1).expand_dims(0)]))

    check(
        build,
        joined,
        """
        t: f32[20] = reduce([x: f32[20,20]], sum of $0 over 1);
        t.2: f32[20,20] = map([y: f32[20,20], t: f32[20,20]@0(1,0)], div($0, $1));
        u.out: f32[20,20] = map([t.2: f32[20,20]], $0);
        t.3: f32[20] = reduce([x: f32[20,20]], sum of $0 over 1);
        t.4: f32[20,20] = map([x: f32[20,20], t.3: f32[20,20]@0(0,1)], div($0, $1));
        v.out: f32[20,20] = map([t.4: f32[20,20]], $0);
        """,
        """
        t: f32[20] = reduce([x: f32[20,20]], sum of $0 over 1);
        u.out: f32[20,20] = map([y: f32[20,20], t: f32[20,20]@0(1,0)], div($0, $1));
        t.3: f32[20] = reduce([x: f32[20,20]], sum of $0 over 1);
        v.out: f32[20,20] = map([x: f32[20,20], t.3: f32[20,20]@0(0,1)], div($0, $1));
        """,
    )


def test_few_long_rows_stay_apart() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (2, 40000))
        b.output("y", binary(b, "sub", x, b.reduce("max", [x], 1)))

    check(
        build,
        joined,
        """
        t: f32[2] = reduce([x: f32[2,40000]], max of $0 over 1);
        t.2: f32[2,40000] = map([x: f32[2,40000], t: f32[2,40000]@0(1,0)], sub($0, $1));
        y.out: f32[2,40000] = map([t.2: f32[2,40000]], $0);
        """,
        """
        t: f32[2] = reduce([x: f32[2,40000]], max of $0 over 1);
        y.out: f32[2,40000] = map([x: f32[2,40000], t: f32[2,40000]@0(1,0)], sub($0, $1));
        """,
    )


def test_a_result_that_others_read_stays() -> None:
    def build(b: ProgramBuilder) -> None:
        x = b.input("x", F, (20, 4))
        most = b.reduce("max", [x], 1)
        b.output("m", most)
        b.output("y", binary(b, "sub", x, most))

    check(
        build,
        joined,
        """
        t: f32[20] = reduce([x: f32[20,4]], max of $0 over 1);
        m.out: f32[20] = map([t: f32[20]], $0);
        t.2: f32[20,4] = map([x: f32[20,4], t: f32[20,4]@0(1,0)], sub($0, $1));
        y.out: f32[20,4] = map([t.2: f32[20,4]], $0);
        """,
        """
        m.out: f32[20] = reduce([x: f32[20,4]], max of $0 over 1);
        y.out: f32[20,4] = map([x: f32[20,4], m.out: f32[20,4]@0(1,0)], sub($0, $1));
        """,
    )
