"""The NumPy meaning of whole graphs: inputs, variables, updates, stored codes."""

from __future__ import annotations

import numpy as np
import pytest

from nnefc.errors import InvalidModelError, Location, UnsupportedError
from nnefc.ir.encoding import Encoding
from nnefc.ir.graph import Attrs, Graph, Literal, Op, Origin, Tensor, Value
from nnefc.ir.types import INTEGER, SCALAR, DType, TensorType
from nnefc.ops.evaluate import evaluate

PAIR = TensorType(SCALAR, (2,))
X, Y, A, B = (Value(name, PAIR) for name in "xyab")
HERE = Origin(("v",), (Location("graph.nnef", 3, 5),))


def variable(value: Value, label: str) -> Op:
    return Op("variable", (), Attrs(shape=(2,), label=label, dtype=SCALAR), (value,), HERE)


def stored(*values: float) -> Tensor:
    return Tensor(np.array(values, np.float32), "float", 32)


def array(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def swap() -> Graph:
    """Two variables that take each other's old value, and the sum of the old ones."""
    total, new_a, new_b = (Value(name, PAIR) for name in ("sum", "new_a", "new_b"))
    ops = (
        variable(A, "one"),
        variable(B, "two"),
        Op("update", (A, B), Attrs(), (new_a,)),
        Op("update", (B, A), Attrs(), (new_b,)),
        Op("sub", (A, B), Attrs(), (total,)),
    )
    return Graph("swap", (), ops, (new_a, total), {"one": stored(1, 2), "two": stored(5, 9)})


def test_update_lands_after_the_cycle() -> None:
    state: dict[str, np.ndarray] = {}
    first = evaluate(swap(), {}, state)
    np.testing.assert_array_equal(first["new_a"], [5, 9])
    np.testing.assert_array_equal(first["sum"], [-4, -7])
    second = evaluate(swap(), {}, state)
    np.testing.assert_array_equal(second["new_a"], [1, 2])
    np.testing.assert_array_equal(second["sum"], [4, 7])
    assert set(state) == {"one", "two"}


def test_without_state_each_call_starts_afresh() -> None:
    for _ in range(2):
        np.testing.assert_array_equal(evaluate(swap(), {})["sum"], [-4, -7])


def test_state_is_not_the_callers_array() -> None:
    new = Value("new", PAIR)
    graph = Graph("g", (X,), (variable(A, "a"), Op("update", (A, X), Attrs(), (new,))), (new,), {"a": stored(0, 0)})
    state: dict[str, np.ndarray] = {}
    given = array(3, 4)
    result = evaluate(graph, {"x": given}, state)
    given[:] = 0
    np.testing.assert_array_equal(state["a"], [3, 4])
    np.testing.assert_array_equal(result["new"], [3, 4])


def test_labels_ignore_case() -> None:
    out = Value("out", PAIR)
    ops = (variable(A, "Conv/W"), variable(B, "conv/w"), Op("add", (A, B), Attrs(), (out,)))
    result = evaluate(Graph("g", (), ops, (out,), {"CONV/W": stored(1, 2)}), {})
    np.testing.assert_array_equal(result["out"], [2, 4])


def test_literals_and_several_outputs() -> None:
    half, rest = Value("half", PAIR), Value("rest", PAIR)
    ops = (
        Op("mul", (X, Literal(0.5, SCALAR)), Attrs(), (half,)),
        Op("sub", (X, half), Attrs(), (rest,)),
    )
    result = evaluate(Graph("g", (X,), ops, (rest, X)), {"x": array(2, 6)})
    np.testing.assert_array_equal(result["rest"], [1, 3])
    np.testing.assert_array_equal(result["x"], [2, 6])


@pytest.mark.parametrize(
    "inputs, kind, message",
    [
        ({}, ValueError, "the input 'x' is missing; the inputs are x: f32[2]"),
        ({"x": array(1, 2), "z": array(1)}, ValueError, "there is no input 'z'; the inputs are x: f32[2]"),
        ({"x": [1.0, 2.0]}, TypeError, "input 'x' is a list; it must be a NumPy array"),
        ({"x": np.zeros(2)}, TypeError, "input 'x' has elements of float64; they must be float32"),
        ({"x": array(1, 2, 3)}, ValueError, "input 'x' has shape (3,); it must be (2,)"),
    ],
)
def test_wrong_inputs(inputs: dict[str, np.ndarray], kind: type[Exception], message: str) -> None:
    graph = Graph("g", (X,), (Op("neg", (X,), Attrs(), (Y,)),), (Y,))
    with pytest.raises(kind) as caught:
        evaluate(graph, inputs)
    assert str(caught.value) == message


def test_missing_and_misshapen_variables() -> None:
    with pytest.raises(InvalidModelError, match="'a' with label 'w' has no stored values") as caught:
        evaluate(Graph("g", (), (variable(A, "w"),), (A,)), {})
    assert caught.value.line == 3
    with pytest.raises(InvalidModelError, match=r"stored values of 'w' have shape \[3\]"):
        evaluate(Graph("g", (), (variable(A, "w"),), (A,), {"w": stored(1, 2, 3)}), {})


def test_update_of_something_else() -> None:
    new = Value("new", PAIR)
    with pytest.raises(InvalidModelError, match="must be the result of a variable"):
        evaluate(Graph("g", (X,), (Op("update", (X, X), Attrs(), (new,)),), (new,)), {"x": array(1, 2)})


def test_unknown_operation() -> None:
    with pytest.raises(UnsupportedError, match="no operation 'frobnicate'"):
        evaluate(Graph("g", (X,), (Op("frobnicate", (X,), Attrs(), (Y,)),), (Y,)), {"x": array(1, 2)})


def test_gather_out_of_range() -> None:
    index, out = Value("i", TensorType(INTEGER, (2,))), Value("out", PAIR)
    graph = Graph("g", (X, index), (Op("gather", (X, index), Attrs(axis=0), (out,)),), (out,))
    for wrong in (-1, 2):
        with pytest.raises(ValueError, match=f"index {wrong} is out of range"):
            evaluate(graph, {"x": array(1, 2), "i": np.array([0, wrong])})


def test_a_repeated_constant_takes_no_memory() -> None:
    big = Value("big", TensorType(SCALAR, (1 << 20, 1 << 19)))
    part = Value("part", TensorType(SCALAR, (1, 1)))
    ops = (
        Op("constant", (), Attrs(shape=big.type.shape, value=(2.5,), dtype=SCALAR), (big,)),
        Op("slice", (big,), Attrs(axes=(0, 1), begin=(7, 7), end=(8, 8), stride=()), (part,)),
    )
    np.testing.assert_array_equal(evaluate(Graph("g", (), ops, (part,)), {})["part"], [[2.5]])


_MODES = (("bits", 8), ("signed", True), ("symmetric", False))


@pytest.mark.parametrize(
    "codes, encoding, real",
    [
        (
            [-128, 3],
            Encoding("zero_point_linear_quantize", (("zero_point", 3), ("scale", 0.5), *_MODES)),
            [-65.5, 0],
        ),
        ([0, 255], Encoding("linear_quantize", (("min", -1.0), ("max", 4.0), ("bits", 8))), [-1, 4]),
        (
            [-128, 127],
            Encoding("min_max_linear_quantize", (("min", -1.0), ("max", 4.0), *_MODES)),
            [-1, 4],
        ),
        ([7, 5], Encoding("logarithmic_quantize", (("max", 4.0), ("bits", 3))), [4, 1]),
        (
            [10, 10],
            Encoding("zero_point_linear_quantize", (("zero_point", (0, 8)), ("scale", (0.5, 2.0)), *_MODES)),
            [5, 4],
        ),
    ],
    ids=lambda v: v.algorithm if isinstance(v, Encoding) else "",
)
def test_stored_codes_are_decoded(codes: list[int], encoding: Encoding, real: list[float]) -> None:
    value = Value("a", PAIR.with_encoding(encoding))
    tensor = Tensor(np.array(codes, np.int16), "qint", 8)
    result = evaluate(Graph("g", (), (variable(value, "w"),), (value,), {"w": tensor}), {})
    np.testing.assert_allclose(result["a"], real, rtol=1e-6)
    assert result["a"].dtype == DType.F32.numpy
