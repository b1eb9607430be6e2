"""Matrix products of two computed tensors on codes: exact for any zero points, refused where sums are too large."""

from __future__ import annotations

import re

import numpy as np
import pytest
from program_cases import text
from quantized_cases import decoded, network, quantized, zero_point

import nnefc
from nnefc.codegen.execution import execution_of
from nnefc.ir.graph import Graph
from nnefc.passes import pipeline

Parameters = tuple[float, int, int, int]
OUT = 0.05
PATHS = ("host", "x86_64-unknown-linux-gnu:x86-64-v3", "x86_64-unknown-linux-gnu:x86-64-v2")


def encoding(p: Parameters) -> str:
    return zero_point(p[0], p[1], 8, p[2] < 0, p[2] == -127)


def matmul(x: list[int], w: list[int], p: Parameters, q: Parameters, transposed: bool, out: str = "") -> Graph:
    body = f"""\
    x: f32{x} @ {encoding(p)} = external(shape = {x});
    w: f32{w} @ {encoding(q)} = external(shape = {w});
    m{out} = matmul(x, w, transposeB = {str(transposed).lower()});
    y = copy(m);"""
    return network(body, {}, "x, w")


CODES: dict[str, Parameters] = {
    "signed, symmetric": (0.02, 0, -127, 127),
    "signed": (0.03, -5, -128, 127),
    "unsigned from 0": (0.02, 0, 0, 255),
    "unsigned": (0.01, 77, 0, 255),
    "unsigned up to 0": (0.02, 255, 0, 255),
}
SHAPES = {
    "one": ([5, 9], [9, 6], False),
    "transposed": ([1, 5, 16], [1, 6, 16], True),
    "many": ([2, 3, 7, 13], [2, 3, 13, 4], False),
    "many, transposed": ([2, 3, 7, 13], [2, 3, 4, 13], True),
    "the same for all": ([3, 7, 13], [1, 13, 4], False),
    "one for each of many": ([1, 7, 13], [3, 13, 4], False),
}


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("right", CODES)
@pytest.mark.parametrize("left", CODES)
def test_products_are_exact(left: str, right: str, shapes: str) -> None:
    p, q = ((float(np.float32(c[0])), *c[1:]) for c in (CODES[left], CODES[right]))
    x, w, transposed = SHAPES[shapes]
    graph = matmul(x, w, p, q, transposed)
    notes: list[str] = []
    execution = execution_of(pipeline.run(graph, notes=notes))
    assert execution.share == 1 and not execution.islands and not notes
    rng = np.random.default_rng(len(left) + len(right))
    given = {"x": rng.normal(size=x).astype(np.float32), "w": rng.normal(size=w).astype(np.float32)}
    a, b = quantized(given["x"], p, True) - p[1], quantized(given["w"], q, True) - q[1]
    sums = np.matmul(a, b.swapaxes(-1, -2) if transposed else b)
    wanted = sums.astype(np.float32) * np.float32(np.float64(p[0]) * np.float64(q[0]))
    assert np.array_equal(nnefc.evaluate(graph, given, execution="integer")["y"], wanted)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shapes", ["transposed", "many", "the same for all"])
def test_compiled_products_give_the_same_codes(shapes: str, path: str) -> None:
    x, w, transposed = SHAPES[shapes]
    out = [*x[:-1], w[-2] if transposed else w[-1]]
    place = f": f32{out} @ {zero_point(OUT, 100)}"
    graph = matmul(x, w, CODES["unsigned"], CODES["signed"], transposed, place)
    rng = np.random.default_rng(0)
    given = {"x": rng.normal(size=x).astype(np.float32), "w": rng.normal(size=w).astype(np.float32)}
    wanted = nnefc.evaluate(graph, given, execution="integer")["y"]
    assert np.abs(wanted - nnefc.evaluate(graph, given, execution="float")["y"]).max() <= 1.001 * OUT
    for threads in (1, 2):
        assert np.array_equal(nnefc.compile(graph, target=path, threads=threads)(**given), wanted)


def calls(graph: Graph) -> str:
    return re.sub(r"@\d+\([-\d,]*\)", "", text(pipeline.run(graph, after="spread")))


def test_zero_points_are_made_up_for_by_sums() -> None:
    shape, unsigned = ([2, 5, 9], [2, 9, 6], False), CODES["unsigned"]
    made = calls(matmul(*shape[:2], unsigned, CODES["signed, symmetric"], False))
    assert (
        "integer.2: i32[2,6] = reduce([integer.1: i8[2,6,9]], sum of cast<i32>($0) over 1, post = mul($0, -77))" in made
    )
    assert (
        "contract(codes.1: u8[2,5,9], integer.1: i8[2,9,6], groups = 1, reduced = 1, post = mul(cast<f32>(add($0, $1))"
        in made
    )
    made = calls(matmul(*shape[:2], CODES["unsigned from 0"], CODES["signed, symmetric"], False))
    assert "reduce(" not in made and "post = mul(cast<f32>($0)," in made
    made = calls(matmul(*shape[:2], unsigned, CODES["unsigned from 0"], False))
    assert "i32[2,5] = reduce([codes.1: u8[2,5,9]], sum of sub(cast<i32>($0), 77) over 1, post = mul($0, 128))" in made
    assert "post = mul(cast<f32>(add(add($0, $1), $2))" in made


@pytest.mark.parametrize(("right", "terms"), [("signed, symmetric", 66000), ("unsigned", 33100)])
def test_sums_that_may_overflow_stay_with_floats(right: str, terms: int) -> None:
    most = terms * 255 * (128 if "signed," in right else 255)
    notes: list[str] = []
    pipeline.run(matmul([1, terms], [terms, 1], CODES["unsigned"], CODES[right], False), notes=notes)
    assert notes == [f"m is computed in float: its sums may come to {most}, more than 32 bits hold"]
    shorter = matmul([1, terms // 2 - 300], [terms // 2 - 300, 1], CODES["unsigned"], CODES[right], False)
    assert execution_of(pipeline.run(shorter)).share == 1


def test_the_largest_sums_are_exact() -> None:
    terms, p = 33000, CODES["unsigned up to 0"]
    q = CODES["unsigned from 0"]
    graph = matmul([1, terms], [terms, 1], p, q, False)
    given = {"x": np.full((1, terms), -255 * 0.02, np.float32), "w": np.full((terms, 1), 255 * 0.02, np.float32)}
    scale = np.float64(np.float32(0.02)) ** 2
    wanted = np.float32(-255 * 255 * terms) * np.float32(scale)
    assert nnefc.evaluate(graph, given, execution="integer")["y"].item() == wanted
    assert nnefc.compile(graph)(**given).item() == wanted


def test_what_is_not_coded_is_said() -> None:
    for coded, which in (("x", "second operand is neither constant codes nor"), ("w", "first operand is not")):
        x, w = (f" @ {encoding(CODES['signed'])}" if coded == name else "" for name in "xw")
        body = f"x: f32[4,4]{x} = external(shape = [4, 4]);\nw: f32[4,4]{w} = external(shape = [4, 4]);\n"
        notes: list[str] = []
        pipeline.run(network(body + "y = matmul(x, w);", {}, "x, w"), notes=notes)
        if coded == "w":
            assert notes == [
                "y is computed in float: its first operand is not quantized to 8 bits with one scale for all"
            ]
        else:
            assert notes == [f"y is computed in float: its {which} quantized to 8 bits with one scale for all"]


def test_codes_that_are_read_back() -> None:
    """The product of a tensor with itself."""
    p = CODES["signed, symmetric"]
    body = f"x: f32[1,4,4] @ {encoding(p)} = external(shape = [1, 4, 4]);\ny = matmul(x, x);"
    graph = network(body, {})
    x = np.random.default_rng(1).normal(size=(1, 4, 4)).astype(np.float32)
    held = decoded(quantized(x, p, True), p).astype(np.float64)
    assert np.allclose(nnefc.compile(graph)(x), held @ held, rtol=1e-6, atol=1e-6)
    assert execution_of(pipeline.run(graph)).share == 1
