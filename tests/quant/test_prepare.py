"""A prepared network is the same function, without what its weights can hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import network, samples

import nnefc
from nnefc.formats.nnef import parse_graph
from nnefc.formats.nnef.tensor import tensor_of
from nnefc.ir.graph import Graph
from nnefc.ir.verify import verify
from nnefc.ops.evaluate import variable_values
from nnefc.quant import prepare, quantize

IMAGE = "x = external[2, 3, 6, 5];\n"
NORM = """mean = variable[1, 4]; variance = constant(shape = [1, 4], value = [0.5, 2.0, 0.1, 3.0]);
offset = variable[1, 4]; scale = variable[1, 4];
"""

CASES = {
    "batch normalization": (
        NORM + "w = variable[4, 3, 3, 3]; c = conv(x, w);"
        "y = batch_normalization(c, mean, variance, offset, scale, epsilon = 0.01);",
        ["conv"],
    ),
    "batch normalization after a bias": (
        NORM + "w = variable[4, 3, 3, 3]; b = variable[1, 4]; c = conv(x, w, b);"
        "n = batch_normalization(c, mean, variance, offset, scale, epsilon = 0.01); y = relu(n);",
        ["conv", "relu"],
    ),
    "after a depthwise convolution": (
        "w = variable[6, 1, 3, 3]; s = variable[1, 6]; c = conv(x, w, groups = 3); y = mul(s, c);",
        ["conv"],
    ),
    "a chain of steps": (
        "w = variable[4, 3, 1, 1]; s = variable[1, 4, 1, 1]; t = variable[1, 4]; c = conv(x, w); d = mul(c, s);"
        "e = sub(t, d); f = div(e, 3.0); y = add(f, s);",
        ["conv"],
    ),
    "deconvolution": ("w = variable[3, 4, 3, 3]; s = variable[1, 4]; c = deconv(x, w); y = mul(c, s);", ["deconv"]),
    "linear": (
        "r = reshape(x, shape = [2, 90]); w = variable[7, 90]; b = variable[1, 7]; s = variable[1, 7];"
        "c = linear(r, w, b); d = mul(c, s); y = add(d, b);",
        ["reshape", "linear"],
    ),
    "matrix product": (
        "r = reshape(x, shape = [2, 90]); w = variable[90, 7]; s = variable[1, 7]; c = matmul(r, w); y = mul(c, s);",
        ["reshape", "matmul"],
    ),
    "constants": (
        "w0 = variable[3, 3, 3, 4]; w = transpose(w0, axes = [3, 0, 1, 2]); b0 = variable[4];"
        "b = unsqueeze(b0, axes = [0]); y = conv(x, w, b);",
        ["conv"],
    ),
    "shared weights": (
        "w = variable[3, 3, 3, 3]; s = variable[1, 3]; c = conv(x, w); d = mul(c, s); e = conv(d, w); y = mul(e, s);",
        ["conv", "conv"],
    ),
}
KEPT = {
    "another reads the sum": (
        "w = variable[4, 3, 3, 3]; s = variable[1, 4]; c = conv(x, w); d = mul(c, s); y = add(c, d);",
        ["conv", "mul", "add"],
    ),
    "a factor for each pixel": (
        "w = variable[4, 3, 1, 1]; s = variable[1, 1, 6, 5]; c = conv(x, w); y = mul(c, s);",
        ["conv", "mul"],
    ),
    "a divisor that is the sum": ("w = variable[4, 3, 1, 1]; c = conv(x, w); y = div(1.0, c);", ["conv", "div"]),
    "an infinite factor": ("w = variable[4, 3, 1, 1]; c = conv(x, w); y = div(c, 0.0);", ["conv", "div"]),
    "a large constant": ("w = variable[4]; t = tile(w, repeats = [90]); y = add(x, t);", None),
}


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops if op.kind not in ("variable", "constant", "external")]


@pytest.mark.parametrize("case", CASES)
def test_prepared_networks_compute_the_same(case: str) -> None:
    body, left = CASES[case]
    graph = network(IMAGE + body)
    made = prepare(graph)
    verify(made)
    assert kinds(made) == left
    for x in samples(graph, 3):
        expected, found = (nnefc.evaluate(g, x)["y"] for g in (graph, made))
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert prepare(made) is made


@pytest.mark.parametrize("case", [c for c in KEPT if KEPT[c][1]])
def test_what_cannot_be_folded_stays(case: str) -> None:
    body, left = KEPT[case]
    graph = network(IMAGE + body)
    assert kinds(prepare(graph)) == left


def test_constants_that_are_weights_become_variables() -> None:
    graph = network(IMAGE + "w = constant(shape = [1, 3, 1, 1], value = [3.0, 2.0, 1.0]); y = conv(x, w);")
    made = prepare(graph)
    assert made.producers["w"].kind == "variable"
    assert made.tensors["w"].data.tolist() == [[[[3.0]], [[2.0]], [[1.0]]]]
    assert quantize(graph, samples(graph, 1)).tensors["w"].data.reshape(-1).tolist() == [127, 85, 42]


def test_names_and_labels_stay_where_they_can() -> None:
    graph = network(IMAGE + "w = variable[4, 3, 3, 3]; s = variable[1, 4]; c = conv(x, w); y = mul(c, s);")
    made = prepare(graph)
    assert set(made.tensors) == {"w"}
    assert "c" in made.producers["y"].origin.names or made.producers["y"].kind == "conv"


def test_encodings_are_dropped_and_codes_decoded(tmp_path: Path) -> None:
    graph = network(IMAGE + "w = variable[4, 3, 3, 3]; y = conv(x, w);")
    coded = quantize(graph, samples(graph, 2))
    made = prepare(coded)
    assert all(v.type.encoding is None for v in made.values.values())
    assert made.tensors["w"].item == "float"
    assert np.array_equal(variable_values(made, made.producers["w"]), variable_values(coded, coded.producers["w"]))


def test_preparing_evens_out_very_uneven_channels_exactly() -> None:
    """Where no clamp lies between layers, for ranges of channels behind a clamp are alike, and stay so; nor where it is
    only the weights of channels that are uneven, and not their biases."""
    text = """version 1.0;
    graph net(x) -> (y)
    {{
        x = external<scalar>(shape = [1, 3, 5, 5]);
        w1 = variable<scalar>(shape = [8, 3, 3, 3], label = 'w1');
        b1 = variable<scalar>(shape = [1, 8], label = 'b1');
        w2 = variable<scalar>(shape = [4, 8, 1, 1], label = 'w2');
        h = conv(x, w1, b1);
        r = {};
        y = conv(r, w2);
    }}
    """
    rng = np.random.default_rng(0)
    powers = np.exp2([-6, 6, -3, 4, 0, 5, -5, 1]).astype(np.float32)
    shapes = {"w1": (8, 3, 3, 3), "b1": (1, 8), "w2": (4, 8, 1, 1)}
    plain = {name: rng.uniform(0.5, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    nearly_constant = {**plain, "w1": plain["w1"] * powers.reshape(8, 1, 1, 1)}
    rescaled = {**nearly_constant, "b1": plain["b1"] * powers, "w2": plain["w2"] / powers.reshape(1, 8, 1, 1)}
    x = rng.standard_normal((1, 3, 5, 5)).astype(np.float32)
    for activation, weights, even in (
        ("relu(h)", rescaled, True),
        ("relu(h)", plain, False),
        ("relu(h)", nearly_constant, False),
        ("clamp(h, 0.0, 6.0)", rescaled, False),
    ):
        graph = parse_graph(text.format(activation))
        graph = graph.replace(tensors={name: tensor_of(a) for name, a in weights.items()})
        made = prepare(graph)
        assert (made is graph) == (not even)
        if even:
            ranges = np.abs(variable_values(made, made.producers["w1"])).max((1, 2, 3))
            assert ranges.max() / ranges.min() < 4
        np.testing.assert_array_equal(*(nnefc.evaluate(g, {"x": x})["y"] for g in (graph, made)))
