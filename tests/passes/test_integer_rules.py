"""Each rule of the passes on codes: the calls before and after, and what they give."""

from __future__ import annotations

import re

import numpy as np
import pytest
from program_cases import text
from quantized_cases import network, zero_point

import nnefc
from nnefc.ir.graph import Graph, Tensor
from nnefc.passes import pipeline

X, Y = zero_point(0.5, 100), zero_point(0.25, 3)
SIGNED_X = zero_point(0.5, 0, signed=True, symmetric=True)
SIGNED = zero_point(0.015625, 0, signed=True, symmetric=True)


def after(graph: Graph, name: str | None = None) -> str:
    """The calls, without views' places."""
    return re.sub(r"@\d+\([-\d,]*\)", "", text(pipeline.run(graph, after=name)))


def weights(*shape: int) -> Tensor:
    values = np.arange(np.prod(shape)) % 7 - 3
    return Tensor(values.reshape(shape).astype(np.float32) / 64, "float", 32)


def decoded_input(body: str, **tensors: Tensor) -> Graph:
    return network(f"x: f32[1,8,4,4] @ {X} = external(shape = [1, 8, 4, 4]);\n{body}", tensors)


CUT = "post = cast<u8>(max(cast<i32>(min("
RULES = {
    "a contraction adds up integers": (
        decoded_input(
            f"w: f32[3,8,1,1] @ {SIGNED} = variable(shape = [3, 8, 1, 1], label = 'w');\n"
            f"c: f32[1,3,4,4] @ {Y} = conv(x, w);\ny = copy(c);",
            w=weights(3, 8, 1, 1),
        ),
        "contract(codes.1: u8[1,4,4,8], integer.1: i8[8,3], groups = 0, reduced = 1, "
        + CUT
        + "add(mul(cast<f32>(add($0, $1)), $2), $3), 255.0)), 0))",
    ),
    "relu cuts codes": (
        decoded_input(
            f"w: f32[3,8,1,1] @ {SIGNED} = variable(shape = [3, 8, 1, 1], label = 'w');\n"
            f"c = conv(x, w);\nr: f32[1,3,4,4] @ {Y} = relu(c);\ny = copy(r);",
            w=weights(3, 8, 1, 1),
        ),
        CUT + "add(mul(cast<f32>(add($0, $1)), $2), $3), 255.0)), $4))",
    ),
    "a clamp cuts both ends": (
        decoded_input(
            f"w: f32[3,8,1,1] @ {SIGNED} = variable(shape = [3, 8, 1, 1], label = 'w');\n"
            f"c = conv(x, w);\nr: f32[1,3,4,4] @ {Y} = clamp(c, 0.0, 6.0);\ny = copy(r);",
            w=weights(3, 8, 1, 1),
        ),
        CUT + "min(add(mul(cast<f32>(add($0, $1)), $2), $3), $4), 255.0)), $5))",
    ),
    "a residual is one more product": (
        decoded_input(
            f"w: f32[8,8,1,1] @ {SIGNED} = variable(shape = [8, 8, 1, 1], label = 'w');\n"
            f"c = conv(x, w);\ns: f32[1,8,4,4] @ {Y} = add(c, x);\ny = copy(s);",
            w=weights(8, 8, 1, 1),
        ),
        CUT + "add(add(mul(cast<f32>(add($0, $2)), $3), mul(cast<f32>($1), $4)), $5), 255.0)), 0))",
    ),
    "a depthwise convolution passes over what lies outside": (
        decoded_input(
            f"w: f32[8,1,3,3] @ {SIGNED} = variable(shape = [8, 1, 3, 3], label = 'w');\n"
            f"c: f32[1,8,4,4] @ {Y} = conv(x, w, groups = 0);\ny = copy(c);",
            w=weights(8, 1, 3, 3),
        ),
        "sum of mul(sub(cast<i32>($0), 100), cast<i32>($1)) over [3 before 1, 3 before 1]",
    ),
    "an average is a sum of integers": (
        decoded_input(f"m: f32[1,8,1,1] @ {X} = mean_reduce(x, axes = [2, 3]);\ny = copy(m);"),
        "cast<u8>(max(cast<i32>(min(add(mul(cast<f32>(add($0, $1)), $2), $3), 255.0)), 0))",
    ),
    "the largest of codes is that of numbers": (
        decoded_input("p = max_pool(x, size = [1, 1, 2, 2], border = 'ignore');\ny = copy(p);"),
        "window([codes.2: u8[1,8,4,4]], max of $0 over [2, 2])",
    ),
    "moves of codes that are cut off are copies": (
        network(
            f"x: f32[1,8,4,4] @ {SIGNED_X} = external(shape = [1, 8, 4, 4]);\n"
            f"t: f32[1,4,4,8] @ {SIGNED_X} = transpose(x, axes = [0, 2, 3, 1]);\n"
            "y = transpose(t, axes = [0, 3, 1, 2]);",
            {},
        ),
        "cast<u8>(max(min(add(round(mul($0, 2.0)), 128.0), 255.0), 1.0))), 128)), 0.5)",
    ),
    "padding is a code": (decoded_input("y = pad(x, padding = [(0, 0), (0, 0), (1, 1), (1, 1)]);"), "= map([], 100)"),
    "a product of codes is exact": (
        decoded_input(
            f"p: f32[1,8,4,4] @ {Y} = mul(x, g);\ny = copy(p);".replace(
                "p:", f"g: f32[1,8,1,1] @ {X} = max_reduce(x, axes = [2, 3]);\np:"
            )
        ),
        "cast<f32>(sub(cast<i32>($4), $0))), $1), $2), 255.0)), 0)",
    ),
    "functions of a code are tables": (
        decoded_input(f"s: f32[1,8,4,4] @ {zero_point(0.00390625, 0)} = sigmoid(x);\ny = copy(s);"),
        "lifted.1: u8[256]], mul(cast<f32>(cast<i32>(table<u8>(cast<u8>(max(",
    ),
    "signed codes are kept 128 higher": (
        network(
            f"x: f32[1,8,4,4] @ {zero_point(0.5, -3, signed=True)} = external(shape = [1, 8, 4, 4]);\ny = copy(x);", {}
        ),
        "add(round(mul($0, 2.0)), 125.0), 255.0), 0.0)",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_rules(rule: str) -> None:
    graph, wanted = RULES[rule]
    assert wanted in after(graph)
    x = np.random.default_rng(0).normal(size=(1, 8, 4, 4)).astype(np.float32) * 20
    got = nnefc.evaluate(graph, {"x": x}, execution="integer")["y"]
    meant = nnefc.evaluate(graph, {"x": x}, execution="float")["y"]
    assert got.any()
    assert np.abs(got - meant).max() <= 0.2501
    assert np.array_equal(nnefc.compile(graph)(x), got)


def test_concatenated_tensors_are_requantized_where_they_are_written() -> None:
    body = f"""\
    x: f32[1,4,5] @ {X} = external(shape = [1, 4, 5]);
    a: f32[1,4,5] @ {zero_point(0.1, 7)} = relu(x);
    c: f32[1,8,5] @ {Y} = concat([a, x], axis = 1);
    y = copy(c);"""
    graph = network(body, {})
    before, made = after(graph, "integer"), after(graph, "sink")
    assert before.count("c: f32[1,4,5] = map(") == 2
    assert "c: f32" not in made and made.count("c.2: u8[1,4,5] = map(") == 2
    x = np.random.default_rng(0).normal(size=(1, 4, 5)).astype(np.float32) * 20
    got = nnefc.evaluate(graph, {"x": x}, execution="integer")["y"]
    assert np.abs(got - nnefc.evaluate(graph, {"x": x}, execution="float")["y"]).max() <= 0.2501


def test_functions_of_sums_are_coarse_where_codes_are() -> None:
    """Unless a unit of what they are part of makes thousands of codes."""
    weight = f"w: f32[3,8,1,1] @ {SIGNED} = variable(shape = [3, 8, 1, 1], label = 'w');\nc = conv(x, w);\n"
    x = np.random.default_rng(0).normal(size=(1, 8, 4, 4)).astype(np.float32) * 20
    for scale, coarse in ((1 / 256, True), (2.0**-14, False)):
        body = f"{weight}s: f32[1,3,4,4] @ {zero_point(scale, 0)} = sigmoid(c);\ny = copy(s);"
        graph = decoded_input(body, w=weights(3, 8, 1, 1))
        assert ("coarse_sigmoid(" in after(graph)) == coarse
        got = nnefc.evaluate(graph, {"x": x}, execution="integer")["y"]
        found = nnefc.compile(graph)(x)
        assert np.abs(found - got).max() <= scale and (found != got).mean() < 0.05
    plain = decoded_input(f"{weight}y = sigmoid(c);", w=weights(3, 8, 1, 1))
    assert "coarse" not in after(plain)


ROWS = {
    "normalizations store codes": (
        f"n: f32[1,8,4,4] @ {zero_point(0.03125, 128)} = layer_normalization(x, 2.0, 0.5, axes = [2, 3], "
        "epsilon = 0.01);\nm = mean_reduce(n, axes = [1]); y = sub(n, m);",
        "rsqrt(add(mul($4, 0.0625), 0.009999999776482582))), $0), $1), 255.0)), 0)) over 2",
    ),
    "numerators of softmax are codes, and their sum is one of codes": (
        "l = max_reduce(x, axes = [1]); d = sub(x, l);\n"
        f"e: f32[1,8,4,4] @ {zero_point(0.00390625, 0)} = exp(d);\ns = sum_reduce(e, axes = [1]); y = div(e, s);",
        "sum of cast<i32>(cast<u8>(max(cast<i32>(min(add(mul(coarse_exp(sub(",
    ),
}


@pytest.mark.parametrize("rule", ROWS)
def test_rows_store_codes(rule: str) -> None:
    """Their functions are polynomials of our own, so that a code may be one off."""
    body, wanted = ROWS[rule]
    graph = decoded_input(body)
    assert wanted in after(graph)
    x = np.random.default_rng(0).normal(size=(1, 8, 4, 4)).astype(np.float32) * 4
    got = nnefc.evaluate(graph, {"x": x}, execution="integer")["y"]
    meant = nnefc.evaluate(graph, {"x": x}, execution="float")["y"]
    assert got.any()
    assert np.abs(got - meant).max() <= 0.04
    assert np.abs(nnefc.compile(graph)(x) - got).max() <= 0.04


def test_weights_that_are_no_signed_bytes_are_wider() -> None:
    values = np.linspace(-130, 0, 24).reshape(3, 8, 1, 1).astype(np.float32)
    body = f"w: f32[3,8,1,1] @ {zero_point(0.5, 255)} = variable(shape = [3, 8, 1, 1], label = 'w');\ny = conv(x, w);"
    graph, notes = decoded_input(body, w=Tensor(values, "float", 32)), []
    pipeline.run(graph, notes=notes)
    assert not notes and "integer.1: i32[8,3]" in after(graph)
    x = np.random.default_rng(0).normal(size=(1, 8, 4, 4)).astype(np.float32) * 20
    got = nnefc.evaluate(graph, {"x": x}, execution="integer")["y"]
    meant = nnefc.evaluate(graph, {"x": x}, execution="float")["y"]
    assert np.abs(got - meant).max() <= 1e-6 * np.abs(meant).max()


def test_what_stays_with_floats_is_noted() -> None:
    body = "w = variable(shape = [3, 8, 1, 1], label = 'w');\ny = conv(x, w);"
    graph, notes = decoded_input(body, w=weights(3, 8, 1, 1)), []
    pipeline.run(graph, notes=notes)
    why = "its second operand is neither constant codes nor quantized to 8 bits with one scale for all"
    assert notes == [f"y is computed in float: {why}"]


def test_sums_that_may_overflow_stay_with_floats() -> None:
    width = 70000
    body = f"""\
    x: f32[1,{width}] @ {X} = external(shape = [1, {width}]);
    w: f32[1,{width}] @ {SIGNED} = variable(shape = [1, {width}], label = 'w');
    y = linear(x, w);"""
    graph, notes = network(body, {"w": Tensor(np.full((1, width), 63.5, np.float32), "float", 32)}), []
    pipeline.run(graph, notes=notes)
    assert notes == [f"y is computed in float: its sums may come to {width * 127 * 255}, more than 32 bits hold"]
