"""What encodings become, as the execution asks, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from quantized_cases import network, zero_point

import nnefc
from nnefc.codegen.execution import execution_of
from nnefc.errors import InvalidModelError
from nnefc.formats.nnef import format_graph
from nnefc.ir.graph import Graph, Tensor
from nnefc.ir.program import Contract
from nnefc.ir.verify import verify
from nnefc.passes import pipeline
from nnefc.passes.encode import encode

ALGORITHMS = {
    "zero_point": zero_point(0.05, 100),
    "signed": zero_point(0.05, -3, signed=True, symmetric=True),
    "narrow": zero_point(0.4, 7, bits=4),
    "min_max": "min_max_linear_quantize(min = -3.0, max = 3.375, bits = 8, signed = false, symmetric = false)",
    "min_max_signed": "min_max_linear_quantize(min = -3.175, max = 3.175, bits = 8, signed = true, symmetric = true)",
    "linear": "linear_quantize(min = -1.0, max = 1.55, bits = 8)",
    "steps of 1": zero_point(1.0, 100),
    "signed steps of 1": zero_point(1.0, 0, signed=True, symmetric=True),
}


def network_of(x: str, w: str, y: str, weights: Tensor | None = None) -> Graph:
    body = f"""\
    x: f32[2,6] @ {x} = external(shape = [2, 6]);
    w: f32[4,6] @ {w} = variable(shape = [4, 6], label = 'w');
    y: f32[2,4] @ {y} = linear(x, w);"""
    if weights is None:
        weights = Tensor(np.random.default_rng(2).normal(size=(4, 6)).astype(np.float32), "float", 32)
    return network(body, {"w": weights})


def calls(graph: Graph) -> str:
    """The operations, without types."""
    body = format_graph(graph).split("{\n")[1].split("\n}")[0]
    return "\n".join(
        re.sub(r"\w+: \w+\[[\d,]*\]", lambda m: m[0].split(":")[0], line.strip()) for line in body.split("\n")
    )


W = zero_point(0.02, 0, signed=True, symmetric=True)


def test_integer_execution_quantizes_and_decodes() -> None:
    made = encode(network_of(zero_point(0.05, 100), W, zero_point(0.1, 3)), "integer")
    verify(made)
    assert calls(made) == (
        "x = external(shape = [2, 6]);\n"
        "x_encoded_codes = quantize_linear(x, 0.05, 100, rounding = 'up');\n"
        "x_encoded = dequantize_linear(x_encoded_codes, 0.05, 100);\n"
        "w_codes = variable<integer>(shape = [4, 6], label = 'w_codes');\n"
        "w = dequantize_linear(w_codes, 0.02, 0);\n"
        "y_exact = linear(x_encoded, w);\n"
        "y_codes = quantize_linear(y_exact, 0.1, 3, rounding = 'up');\n"
        "y = dequantize_linear(y_codes, 0.1, 3);"
    )
    assert made.tensors["w_codes"].data.dtype == np.int8


def test_float_execution_is_what_the_standard_says() -> None:
    made = encode(network_of(zero_point(0.05, 100), W, zero_point(0.1, 3)), "float")
    modes = "bits = 8, signed = false, symmetric = false"
    assert calls(made).splitlines()[1::3] == [
        f"x_encoded = zero_point_linear_quantize(x, 100, 0.05, {modes});",
        "y_exact = linear(x_encoded, w);",
    ]
    assert calls(made).splitlines()[-1] == f"y = zero_point_linear_quantize(y_exact, 3, 0.1, {modes});"


def test_ignoring_leaves_numbers_and_drops_pairs() -> None:
    graph = network_of(zero_point(0.05, 100), W, zero_point(0.1, 3))
    plain = encode(graph, "ignore")
    assert [op.kind for op in plain.ops] == ["variable", "linear"]
    assert all(v.type.encoding is None for v in plain.values.values())
    x = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    pairs = encode(encode(graph, "integer"), "ignore")
    assert [op.kind for op in pairs.ops] == ["copy", "variable", "dequantize_linear", "linear", "copy"]
    near = nnefc.evaluate(graph, {"x": x}, execution="ignore")["y"]
    assert np.abs(nnefc.evaluate(pairs, {"x": x}, execution="ignore")["y"] - near).max() <= 0.2


@pytest.mark.parametrize("y", ALGORITHMS)
@pytest.mark.parametrize("x", ALGORITHMS)
def test_linear_algorithms_run_on_integers(x: str, y: str) -> None:
    graph, notes = network_of(ALGORITHMS[x], W, ALGORITHMS[y]), []
    assert execution_of(pipeline.run(graph, notes=notes)).share == 1 and not notes
    values = np.random.default_rng(1).normal(size=(2, 6)).astype(np.float32)
    exact = nnefc.evaluate(graph, {"x": values}, execution="integer")["y"]
    meant = nnefc.evaluate(graph, {"x": values}, execution="float")["y"]
    steps = {
        "narrow": 0.4,
        "min_max": 0.025,
        "min_max_signed": 0.025,
        "linear": 0.01,
        "steps of 1": 1,
        "signed steps of 1": 1,
    }
    assert np.abs(exact - meant).max() <= 1.01 * steps.get(y, 0.05)
    assert np.array_equal(nnefc.compile(graph)(values), exact)


def test_stored_codes_are_used_as_they_are() -> None:
    codes = np.random.default_rng(3).integers(-7, 8, (4, 6)).astype(np.int8)
    encoding = zero_point([[0.1], [0.2], [0.3], [0.4]], 0, bits=4, signed=True, symmetric=True).replace("'", "")
    graph = network_of(zero_point(0.05, 100), encoding, zero_point(0.1, 3), Tensor(codes, "qint", 4))
    made = encode(graph, "integer")
    assert np.array_equal(made.tensors["w_codes"].data, codes)
    assert execution_of(pipeline.run(graph)).share == 1
    x = np.random.default_rng(4).normal(size=(2, 6)).astype(np.float32)
    assert np.array_equal(nnefc.compile(graph)(x), nnefc.evaluate(graph, {"x": x}, execution="integer")["y"])


LOGARITHMS = {
    "near": ("logarithmic_quantize(max = 2.0, bits = 2)", np.int8, 8),
    "far": ("logarithmic_quantize(max = 2.0, bits = 4)", np.int32, 2**15),
    "channels": ("logarithmic_quantize(max = [[2.0], [0.001], [64.0], [1e-6]], bits = 4)", np.int32, 2**15),
}


@pytest.mark.parametrize("kind", ("f32", "codes"))
@pytest.mark.parametrize("case", LOGARITHMS)
def test_logarithmic_weights_are_powers_of_two_on_integers(case: str, kind: str) -> None:
    """Stored as numbers, which have signs, or as codes, which have none (NNEF 1.0.5, 5.2)."""
    encoding, dtype, most = LOGARITHMS[case]
    rng, x = np.random.default_rng(2), np.random.default_rng(4).normal(size=(2, 6)).astype(np.float32)
    w = rng.normal(size=(4, 6)) * 2.0 ** rng.integers(-15, 2, (4, 6)) * np.array([[1], [0.001], [32], [1e-6]])
    weights = Tensor(w.astype(np.float32), "float", 32)
    if kind == "codes":
        weights = Tensor(rng.integers(0, 4 if dtype is np.int8 else 16, (4, 6)).astype(np.uint8), "quint", 8)
    graph, notes = network_of(zero_point(0.05, 100), encoding, zero_point(0.1, 3), weights), []
    program = pipeline.run(graph, notes=notes)
    assert execution_of(program).share == 1 and not notes
    codes = np.abs(encode(graph, "integer").tensors["w_codes"].data).ravel()
    assert codes.dtype == dtype and codes.max() <= most
    assert set(codes.tolist()) <= {0, *(1 << k for k in range(16))}
    exact, meant = (nnefc.evaluate(graph, {"x": x}, execution=e)["y"] for e in ("integer", "float"))
    assert np.abs(exact - meant).max() <= 0.1001
    assert np.array_equal(nnefc.compile(graph)(x), exact)


def test_weights_of_9_to_16_bits_run_on_integers() -> None:
    x = np.random.default_rng(4).normal(size=(2, 6)).astype(np.float32)
    for bits in range(9, 17):
        w = zero_point(float(np.float32(4 / 2**bits)), 0, bits=bits, signed=True, symmetric=True)
        graph, notes = network_of(zero_point(0.05, 100), w, zero_point(0.1, 3)), []
        assert execution_of(pipeline.run(graph, notes=notes)).share == 1 and not notes
        exact, meant = (nnefc.evaluate(graph, {"x": x}, execution=e)["y"] for e in ("integer", "float"))
        assert np.abs(exact - meant).max() <= 0.1001
        assert np.array_equal(nnefc.compile(graph)(x), exact)


POWERS = {
    "one sum": ((23, 0), 1, []),
    "two sums": ((24, 3, 0), 2, []),
    "as large as two can be": ((30, 22, 22, 0), 2, []),
    "larger": (
        (30, 23, 23, 0),
        1,
        ["y is computed in float: its sums may come to 278082355965, more than 32 bits hold"],
    ),
}


@pytest.mark.parametrize("case", POWERS)
def test_sums_that_32_bits_do_not_hold_are_two_or_stay_in_float_with_a_note(case: str) -> None:
    """(2^23 + 1) times 255 is less than 2^31, (2^24 + 2^3 + 1) times 255 is not."""
    powers, count, why = POWERS[case]
    weights = np.full((4, 6), 2.0**-30, np.float32)
    weights[0, : len(powers)] = 2.0 ** (np.array(powers) - 30)
    stored = Tensor(weights, "float", 32)
    graph, notes = (
        network_of(zero_point(0.05, 100), "logarithmic_quantize(max = 1.0, bits = 6)", zero_point(0.01, 3), stored),
        [],
    )
    program = pipeline.run(graph, notes=notes)
    assert len([c for c in program.calls if isinstance(c, Contract)]) == count
    assert execution_of(program).share == (not why) and notes == why
    x = np.random.default_rng(4).normal(size=(2, 6)).astype(np.float32)
    exact, meant = (nnefc.evaluate(graph, {"x": x}, execution=e)["y"] for e in ("integer", "float"))
    assert np.abs(exact - meant).max() <= 0.01001
    assert np.array_equal(nnefc.compile(graph)(x), exact)


FLOATS = {
    "16 bits": (zero_point(0.001, 3000, bits=16), "codes have 16 bits, and integer kernels take 8"),
    "32 bits": (zero_point(0.001, 3000, bits=32), "codes have 32 bits, and integer kernels take 8"),
    "no whole zero": ("linear_quantize(min = -1.0, max = 1.0, bits = 8)", "has no integer form"),
    "logarithms": ("logarithmic_quantize(max = 4.0, bits = 8)", "has no integer form"),
}


@pytest.mark.parametrize("case", FLOATS)
def test_other_codes_are_pseudo_quantized_with_a_note(case: str) -> None:
    encoding, why = FLOATS[case]
    graph, notes = network_of(encoding, W, zero_point(0.1, 3)), []
    program = pipeline.run(graph, notes=notes)
    assert why in notes[0] and notes[0].startswith("x_encoded: ")
    assert execution_of(program).share == 0
    assert notes[1] == "y is computed in float: its first operand is not quantized to 8 bits with one scale for all"
    x = np.random.default_rng(4).normal(size=(2, 6)).astype(np.float32)
    meant = nnefc.evaluate(graph, {"x": x}, execution="float")["y"]
    assert np.abs(nnefc.evaluate(graph, {"x": x}, execution="integer")["y"] - meant).max() <= 0.1001


BAD = {
    "scale": (zero_point(-0.5, 3), "zero_point_linear_quantize: scale = -0.5 must be above 0"),
    "no scale": (zero_point(0.0, 3), "zero_point_linear_quantize: scale = 0.0 must be above 0"),
    "zero point": (zero_point(0.5, 256), "zero_point = 256 is no code; codes are 0 to 255"),
    "signed zero point": (zero_point(0.5, 128, signed=True), "zero_point = 128 is no code; codes are -128 to 127"),
    "range": ("linear_quantize(min = 1.0, max = 1.0, bits = 8)", "min = 1.0 must be less than max = 1.0"),
    "maximum": ("logarithmic_quantize(max = 0.0, bits = 8)", "max = 0.0 must be above 0"),
    "bits": (zero_point(0.5, 3, bits=65), "bits = 65 is out of range"),
    "channels": (zero_point("[[0.5, 0.5, 0.5]]", 3), "does not broadcast to the shape [2,6]"),
}


@pytest.mark.parametrize("case", BAD)
def test_impossible_parameters_are_refused_with_the_place(case: str) -> None:
    encoding, message = BAD[case]
    with pytest.raises(InvalidModelError, match=re.escape(message)) as caught:
        network_of(encoding, W, zero_point(0.1, 3))
    assert str(caught.value).startswith("graph.nnef:7:")


def test_faults_of_graphs_made_otherwise_are_found_too() -> None:
    graph = network_of(zero_point(0.5, 3), W, zero_point(0.1, 3))
    (x,) = graph.inputs
    broken = x.type.with_encoding(
        type(x.type.encoding)("linear_quantize", (("min", 2.0), ("max", 1.0), ("bits", 8)))  # type: ignore[misc]
    )
    wrong = type(x)(x.name, broken)
    ops = tuple(op.replace(inputs=tuple(wrong if v == x else v for v in op.inputs)) for op in graph.ops)
    with pytest.raises(InvalidModelError, match=r"min = 2.0 must be less than max = 1.0"):
        encode(graph.replace(inputs=(wrong,), ops=ops), "integer")


def test_another_execution_is_refused() -> None:
    with pytest.raises(ValueError, match="execution is 'int'; it may be integer, float or ignore"):
        encode(network_of(zero_point(0.5, 3), W, zero_point(0.1, 3)), "int")
