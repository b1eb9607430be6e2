"""What scales operands of products of matrices is done after them, which changes no result and leaves more to codes."""

from __future__ import annotations

import numpy as np
import pytest
from networks import network, samples

import nnefc
from nnefc.codegen.execution import execution_of
from nnefc.ir.graph import Graph
from nnefc.ir.verify import verify
from nnefc.passes import pipeline
from nnefc.quant import prepare, quantize
from nnefc.quant.coding import with_encodings
from nnefc.quant.metrics import snr
from nnefc.quant.placement import place
from nnefc.quant.postpone import postponed
from nnefc.quant.ranges import Codes, linear_encoding

INPUTS = "q = external[2, 3, 40, 8]; k = external[2, 3, 50, 8]; v = external[2, 3, 50, 8];\n"
SCORES = "a = matmul(q, k, transposeB = true); s = softmax(a, axes = [3]);"
HEAD = ["matmul", "max_reduce", "sub", "exp", "sum_reduce", "rcp"]
DIVIDED = {
    "attention": (SCORES + "y = matmul(s, v);", [*HEAD, "matmul", "mul"]),
    "two products": (
        SCORES + "b = matmul(s, v); c = matmul(s, v); y = add(b, c);",
        [*HEAD, "matmul", "mul", "matmul", "mul", "add"],
    ),
    "numbers before products": (
        "s = mul(q, 0.25); t = transpose(k, axes = [0, 1, 3, 2]); u = div(t, 3.0); y = matmul(s, u);",
        ["transpose", "matmul", "mul"],
    ),
    "a number before views": (
        "s = mul(-0.25, q); r = reshape(s, shape = [6, 40, 8]); t = reshape(k, shape = [6, 50, 8]);"
        "a = matmul(r, t, transposeB = true); b = matmul(r, r, transposeB = true); c = matmul(b, a); y = add(c, a);",
        ["reshape", "reshape", "matmul", "mul", "matmul", "matmul", "mul", "add"],
    ),
    "both": (
        "p = mul(q, 0.5); a = matmul(p, k, transposeB = true); s = softmax(a, axes = [3]); y = matmul(s, v);",
        ["matmul", "mul", *HEAD[1:], "matmul", "mul"],
    ),
}
KEPT = {
    "a product with what is stored": SCORES + "w = variable[1, 1, 50, 8]; b = matmul(s, w); y = add(b, q);",
    "a number before a layer": "s = mul(q, 0.5); w = variable[1, 1, 8, 8]; y = matmul(s, w);",
    "a number for others, too": "s = mul(q, 0.5); a = matmul(s, k, transposeB = true); b = matmul(a, v);y = add(s, b);",
    "no number": "s = div(2.0, q); t = mul(k, 0.0); y = matmul(s, t, transposeB = true);",
    "over another dimension": "a = matmul(q, k, transposeB = true); s = softmax(a, axes = [2]); y = matmul(s, v);",
    "the second operand": "a = matmul(k, q, transposeB = true); s = softmax(a, axes = [3]);"
    "t = transpose(v, axes = [0, 1, 3, 2]); y = matmul(t, s);",
    "the other way round": "a = matmul(k, q, transposeB = true); s = softmax(a, axes = [3]);"
    "y = matmul(s, v, transposeA = true);",
    "another reads it": SCORES + "b = matmul(s, v); m = mean_reduce(s, axes = [3]); y = add(b, m);",
    "its square": "a = matmul(k, k, transposeB = true); s = softmax(a, axes = [3]); b = matmul(s, s);y = matmul(b, v);",
}


def attention(body: str) -> Graph:
    return network(INPUTS + body, "q, k, v")


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops if op.kind not in ("variable", "external")]


@pytest.mark.parametrize("case", DIVIDED)
def test_the_function_stays(case: str) -> None:
    body, left = DIVIDED[case]
    graph = attention(body)
    made = prepare(graph)
    verify(made)
    assert kinds(made) == left
    assert [v.name for v in made.outputs] == ["y"] and postponed(made) is made
    for x in samples(graph, 2):
        x["q"] *= 20
        expected, found = (nnefc.evaluate(g, x)["y"] for g in (graph, made))
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("case", KEPT)
def test_what_is_not_divided_later(case: str) -> None:
    graph = attention(KEPT[case])
    assert postponed(graph) is graph


def test_a_result_of_the_network_stays() -> None:
    graph = network(INPUTS + SCORES + "y = matmul(s, v);", "q, k, v", "s, y")
    assert postponed(graph) is graph


def test_numerators_are_coded_and_scores_are_not() -> None:
    made = place(prepare(attention(SCORES + "b = matmul(s, v); w = variable[1, 1, 8, 8]; y = matmul(b, w);")))
    assert [set(g.members) for g in made.groups] == [{"q"}, {"k"}, {"v"}, {"s_numerator"}, {"b"}]


def test_names_of_the_operations_still_choose_them() -> None:
    graph = attention(SCORES + "y = matmul(s, v);")
    kept = quantize(graph, samples(graph, 2), exclude=["y"])
    assert kept.values["s_numerator"].type.encoding is None and kept.values["q"].type.encoding is not None


def mixed(graph: Graph, count: int, seed: int = 1) -> list[dict[str, np.ndarray]]:
    """Samples whose first queries look at one key, and the others at all of them."""
    given = samples(graph, count, seed)
    for x in given:
        x["q"][:, :, :2] *= 5
        x["q"][:, :, 2:] *= np.float32(0.2)
    return given


def ratio(graph: Graph, coded: Graph) -> float:
    """The signal-to-noise ratio of a quantized graph's output where queries look at all keys, in dB."""
    given = mixed(graph, 4, seed=7)
    exact, found = (
        {"y": np.stack([nnefc.evaluate(g, x, execution="integer")["y"][:, :, 2:] for x in given])}
        for g in (graph, coded)
    )
    return snr(found, exact)


def test_codes_of_numerators_are_finer() -> None:
    """Beside codes of the results of softmax, which rows of few large ones leave little to the others."""
    graph = attention(SCORES + "y = matmul(s, v);")
    coded = quantize(graph, mixed(graph, 4))
    assert execution_of(pipeline.run(coded)).share == 1
    found = {name: coded.values[name].type.encoding for name in ("v", "s_numerator")}
    assert found["s_numerator"] == linear_encoding(0.0, 1.0, Codes())
    numerators = with_encodings(prepare(graph), found, {})
    results = with_encodings(graph, {"v": found["v"], "s": found["s_numerator"]}, {})
    assert ratio(graph, numerators) >= ratio(graph, results) + 12


def test_compiled_attention_gives_the_codes_of_the_reference() -> None:
    """But for functions of floats, whose last bits differ: a code in many may be one off."""
    graph = attention(SCORES + "y = matmul(s, v);")
    coded = quantize(graph, samples(graph, 4))
    model = nnefc.compile(coded)
    for x in samples(graph, 2, seed=9):
        meant = nnefc.evaluate(coded, x, execution="integer")["y"]
        assert np.abs(model(**x) - meant).max() <= 2e-3 * np.abs(meant).max()
