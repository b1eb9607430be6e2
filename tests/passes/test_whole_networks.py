"""Small networks before and after all passes: equal results, and no calls but those that compute."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from nnefc.formats.nnef import parse_graph
from nnefc.ir.graph import Graph, Tensor
from nnefc.ir.interpret import interpret
from nnefc.passes.lower import lower
from nnefc.passes.pipeline import run

OPERATORS = "extension KHR_enable_operator_expressions;"
NETWORKS = {
    # inputs and their shapes, the body, and how many calls of which family remain
    "normalized convolutions": (
        {"x": [1, 3, 9, 20]},
        """
        w = variable<scalar>(shape = [8, 3, 1, 1], label = 'w');
        mean = variable<scalar>(shape = [1, 8], label = 'mean');
        variance = variable<scalar>(shape = [1, 8], label = 'variance');
        c = conv(x, w, 0.5);
        n = batch_normalization(c, mean, variance, 0.1, 1.5, epsilon = 0.001);
        y = relu(n);
        """,
        {"Contract": 1, "Map": 1},  # the map turns channels outwards, as the caller has them
    ),
    "dense block": (
        {"x": [1, 16, 4, 20]},
        """
        w1 = variable<scalar>(shape = [8, 16, 1, 1], label = 'w1');
        w2 = variable<scalar>(shape = [8, 24, 1, 1], label = 'w2');
        v = variable<scalar>(shape = [16, 16, 1, 1], label = 'v');
        a = relu(conv(x, v));
        b = concat([a, conv(a, w1)], axis = 1);
        c = concat([a, conv(a, w1), conv(b, w2)], axis = 1);
        y = sigmoid(c) * c;
        """,
        {"Contract": 3, "Map": 1},
    ),
    "attention": (
        {"q": [2, 20, 6], "k": [2, 20, 6], "v": [2, 20, 6]},
        """
        s = matmul(q * 0.5, k * 0.5, transposeB = true);
        e = exp(s - max_reduce(s, axes = [2]));
        y = matmul(e / sum_reduce(e, axes = [2]), v);
        """,
        {"Contract": 2, "Row": 1},
    ),
    "layer normalization": (
        {"x": [20, 12], "g": [1, 12]},
        """
        m = mean_reduce(x, axes = [1]);
        d = x - m;
        s = mean_reduce(d * d, axes = [1]);
        n = d / sqrt(s + 0.001) * g;
        y = 0.5 * n * (1.0 + tanh(n * 0.8));
        """,
        {"Row": 1},
    ),
    "classifier": (
        {"x": [2, 8, 4, 4]},
        """
        k = variable<scalar>(shape = [4, 8, 1, 1], label = 'k');
        w = variable<scalar>(shape = [5, 64], label = 'w');
        f = reshape(relu(conv(x, k)), shape = [2, -1]);
        y = softmax(linear(f, w, 0.25));
        """,
        {"Contract": 2, "Row": 1},
    ),
}


def network(name: str) -> Graph:
    inputs, body, _ = NETWORKS[name]
    externals = "".join(f"{i} = external<scalar>(shape = {shape});" for i, shape in inputs.items())
    graph = parse_graph(f"version 1.0; {OPERATORS} graph G({', '.join(inputs)}) -> (y) {{ {externals} {body} }}")
    rng = np.random.default_rng(0)
    variables = {
        op.attrs["label"]: Tensor(rng.uniform(0.5, 1.5, op.output.type.extents).astype(np.float32), "float", 32)
        for op in graph.ops
        if op.kind == "variable"
    }
    return graph.replace(tensors=variables)


@pytest.mark.parametrize("name", NETWORKS)
def test_fused_and_unfused_networks_are_equal(name: str) -> None:
    graph, rng = network(name), np.random.default_rng(1)
    inputs = {v.name: rng.normal(size=v.type.extents).astype(np.float32) for v in graph.inputs}
    plain, fused = lower(graph), run(graph)
    (wanted,), (got,) = (list(interpret(p, inputs).values()) for p in (plain, fused))
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-6 * np.abs(wanted).max())
    assert Counter(type(c).__name__ for c in fused.calls) == NETWORKS[name][2]
