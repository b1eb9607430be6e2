"""Where encodings go: what is coded, what shares codes, and what stays in the registers of a kernel."""

from __future__ import annotations

import pytest
from networks import network

from nnefc.quant.placement import place

CONV = "w{0} = variable[4, 4, 1, 1]; {1} = conv({2}, w{0});"
IMAGE = "x = external[1, 4, 8, 8];\n"


def conv(n: int, result: str, operand: str) -> str:
    return CONV.format(n, result, operand)


CASES: dict[str, tuple[str, list[set[str]]]] = {
    "a result is not coded": (conv(1, "y", "x"), [{"x"}]),
    "activations fuse": (conv(1, "a", "x") + "b = relu(a);" + conv(2, "y", "b"), [{"x"}, {"b"}]),
    "a chain fuses": (
        "v = variable[1, 4];" + conv(1, "a", "x") + "b = add(a, v); c = sigmoid(b);" + conv(2, "y", "c"),
        [{"x"}, {"c"}],
    ),
    "a diamond fuses": (
        conv(1, "a", "x") + "s = sigmoid(a); b = mul(a, s);" + conv(2, "y", "b"),
        [{"x"}, {"b"}],
    ),
    "the later branch of a residual": (
        conv(1, "a", "x") + conv(2, "b", "x") + "c = add(a, b); d = relu(c);" + conv(3, "y", "d"),
        [{"x"}, {"b"}, {"d"}],
    ),
    "a residual of what is coded": (
        conv(1, "a", "x") + "b = relu(a);" + conv(2, "c", "b") + "d = add(c, b);" + conv(3, "y", "d"),
        [{"x"}, {"b"}, {"d"}],
    ),
    "moves share": (
        conv(1, "a", "x") + "b = relu(a); p = max_pool(b, size = [1, 1, 2, 2], stride = [1, 1, 2, 2]);"
        "q = pad(p, padding = [(0, 0), (0, 0), (1, 1), (1, 1)]);" + conv(2, "y", "q"),
        [{"x"}, {"b", "p", "q"}],
    ),
    "concatenated tensors share": (
        conv(1, "a", "x") + "b = relu(a);" + conv(2, "c", "x") + "d = concat([b, c], axis = 1);"
        "w3 = variable[4, 8, 1, 1]; y = conv(d, w3);",
        [{"x"}, {"b", "c", "d"}],
    ),
    "moves of results are not coded": (conv(1, "a", "x") + "y = reshape(a, shape = [1, -1]);", [{"x"}]),
    "views do not stop a fusion": (
        conv(1, "a", "x") + "r = reshape(a, shape = [1, 256]); b = relu(r); w2 = variable[5, 256]; y = linear(b, w2);",
        [{"x"}, {"b"}],
    ),
    "sums take codes": (
        conv(1, "a", "x") + "m = mean_reduce(a, axes = [2, 3]);" + conv(2, "y", "m"),
        [{"x"}, {"a"}, {"m"}],
    ),
    "squeeze and excite": (
        conv(1, "a", "x")
        + "b = relu(a); m = mean_reduce(b, axes = [2, 3]);"
        + conv(2, "c", "m")
        + "s = sigmoid(c); d = mul(b, s);"
        + conv(3, "y", "d"),
        [{"x"}, {"b"}, {"m"}, {"d"}],
    ),
    "islands stay float": (
        conv(1, "a", "x") + "s = softmax(a);" + conv(2, "b", "s") + "y = softmax(b);",
        [{"x"}, {"s"}],
    ),
    "an input that is normalized first": ("n = div(x, 255.0);" + conv(1, "y", "n"), [{"n"}]),
    "an input that is moved first": ("t = transpose(x, axes = [0, 1, 3, 2]);" + conv(1, "y", "t"), [{"x", "t"}]),
    "products of what is computed": (
        conv(1, "a", "x") + "t = transpose(a, axes = [0, 1, 3, 2]); y = matmul(a, t);",
        [{"x"}, {"a", "t"}],
    ),
    "a product with what is constant": (
        conv(1, "a", "x") + "c = constant(shape = [1, 4, 8, 8], value = [0.5]); y = matmul(c, a);",
        [{"x"}],
    ),
    "attention": (
        conv(1, "q", "x")
        + conv(2, "k", "x")
        + conv(3, "v", "x")
        + "a = matmul(q, k, transposeB = true); s = softmax(a, axes = [3]); b = matmul(s, v);"
        + conv(4, "y", "b"),
        [{"x"}, {"q"}, {"k"}, {"v"}, {"s"}, {"b"}],
    ),
    "nothing to gain": ("a = relu(x); y = softmax(a);", []),
}


@pytest.mark.parametrize("case", CASES)
def test_coded_tensors(case: str) -> None:
    body, expected = CASES[case]
    made = place(network(IMAGE + body))
    assert [set(g.members) for g in made.groups] == sorted(expected, key=lambda s: min(_order(body, n) for n in s))


def _order(body: str, name: str) -> int:
    return -1 if name == "x" else body.index(f"{name} = ")


def test_sources_are_the_tensors_that_are_not_moved() -> None:
    body, _ = CASES["concatenated tensors share"]
    groups = place(network(IMAGE + body)).groups
    assert [set(g.sources) for g in groups] == [{"x"}, {"b", "c"}]


def test_weights_and_their_channels() -> None:
    made = place(
        network(
            "x = external[1, 4, 8, 8]; w1 = variable[4, 4, 1, 1]; a = conv(x, w1); w2 = variable[4, 3, 2, 2];"
            "b = deconv(a, w2, padding = [(0, 0), (0, 0)]);"
            "r = reshape(b, shape = [1, 243]); w3 = variable[5, 243]; c = linear(r, w3);"
            "w4 = variable[5, 6]; d = matmul(c, w4); w5 = variable[7, 6]; y = matmul(d, w5, transposeB = true);"
        )
    )
    assert made.weights == {
        "w1": (0, ("a",)),
        "w2": (1, ("b",)),
        "w3": (0, ("c",)),
        "w4": (1, ("d",)),
        "w5": (0, ("y",)),
    }


def test_reasons_for_what_stays_float() -> None:
    body = conv(1, "a", "x") + "s = softmax(a);" + conv(2, "b", "s") + "t = transpose(b, axes = [0, 1, 3, 2]);"
    made = place(network(IMAGE + body + "c = matmul(b, t);" + conv(3, "y", "c")), {"y": "kept float", "x": "why not"})
    assert made.floats == {
        "a": "its operand 'x': why not",
        "s": "softmax has no integer form",
        "y": "kept float",
    }
    assert list(made.weights) == ["w2"]
    assert [g.members for g in made.groups] == [("s",), ("b", "t")]


def test_second_operands_are_symmetric() -> None:
    body, _ = CASES["attention"]
    groups = place(network(IMAGE + body)).groups
    assert {g.members[0]: g.symmetric for g in groups} == {
        **dict.fromkeys("xqsb", False),
        **dict.fromkeys("kv", True),
    }


def test_products_stay_float_where_an_operand_does() -> None:
    body, _ = CASES["attention"]
    made = place(network(IMAGE + body), {"k": "kept float", "v": "kept float", "b": "kept float"})
    assert made.floats["b"] == "kept float"
    assert [g.members for g in made.groups] == [("x",), ("q",), ("k",), ("b",)]
