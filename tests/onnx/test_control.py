"""Conditions, loops, scans, sequences and optionals, which are resolved when a model is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from models import BOOL, I64, graph, info, model, node, weights

from nnefc.errors import NnefcError
from nnefc.formats.onnx import load
from nnefc.formats.onnx.control import MAX_TRIPS
from nnefc.ops.evaluate import evaluate

X = [info("x", [2, 3])]
x = weights(2, 3)


def run(made: onnx.ModelProto, *inputs: np.ndarray, **options: Any) -> list[np.ndarray]:
    """The outputs by the NumPy meaning, which must be those of ONNX Runtime."""
    read = load(made, **options)
    results = evaluate(read, {v.name: a for v, a in zip(read.inputs, inputs, strict=True)})
    got = [results[v.name] for v in read.outputs]
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    given = dict(
        zip([i.name for i in session.get_inputs()], [*inputs, *options.get("constants", {}).values()], strict=True)
    )
    for a, b in zip(got, session.run(None, given), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    return got


# ---- If


def conditional(*nodes: onnx.NodeProto, inputs: Any = X) -> onnx.ModelProto:
    """``y`` is max(x, 0), or -x where a condition is false; the branches see ``x`` outside."""
    branches = {
        "then_branch": graph([node("Relu", ["x"], ["a"])], outputs=["a"]),
        "else_branch": graph([node("Neg", ["x"], ["a"])], outputs=["a"]),
    }
    return model([*nodes, node("If", ["c"], ["y"], **branches)], inputs)


@pytest.mark.parametrize("value", [True, False])
def test_a_known_condition_chooses_one_branch(value: bool) -> None:
    made = conditional(node("Constant", [], ["c"], value=onnx.numpy_helper.from_array(np.array(value))))
    assert [op.kind for op in load(made).ops] == ["relu" if value else "neg"]
    run(made, x)


@pytest.mark.parametrize("value", [True, False])
def test_a_computed_condition_selects(value: bool) -> None:
    made = conditional(inputs=[*X, info("c", [], BOOL)])
    assert {op.kind for op in load(made).ops} == {"relu", "neg", "select"}
    run(made, x, np.array(value))


# ---- Loop


def loop(trips: int, keep: bool = True) -> onnx.ModelProto:
    """v = v * 2 + i, from x; every v is collected."""
    body = graph(
        [
            node("Cast", ["i"], ["f"], to=1),
            node("Add", ["v", "v"], ["d"]),
            node("Add", ["d", "f"], ["w"]),
            node("Identity", ["w"], ["each"]),
            node("Identity", ["k"], ["k2"]),
        ],
        [info("i", [], I64), info("k", [], BOOL), info("v", [2, 3])],
        [info("k2", [], BOOL), info("w", [2, 3]), info("each", [2, 3])],
    )
    return model(
        [node("Loop", ["m", "go", "x"], ["y", "all"], body=body)],
        X,
        ["y", "all"],
        initial={"m": np.array(trips), "go": np.array(keep)},
    )


@pytest.mark.parametrize("trips", [1, 5])
def test_a_loop_is_unrolled(trips: int) -> None:
    last, every = run(loop(trips), x)
    assert every.shape == (trips, 2, 3)
    np.testing.assert_array_equal(every[-1], last)


def test_a_loop_ends_when_its_condition_does() -> None:
    body = graph(
        [node("Add", ["v", "v"], ["w"]), node("Less", ["i", "two"], ["k2"])],
        [info("i", [], I64), info("k", [], BOOL), info("v", [2, 3])],
        [info("k2", [], BOOL), info("w", [2, 3])],
    )
    made = model(
        [node("Loop", ["", "go", "x"], ["y"], body=body)], X, initial={"go": np.array(True), "two": np.array(2)}
    )
    np.testing.assert_array_equal(run(made, x)[0], x * 8)


def test_what_is_collected_in_no_trip_has_no_elements() -> None:
    with pytest.raises(NnefcError, match="runs 0 times"):
        load(loop(0))


def test_trips_are_bounded() -> None:
    with pytest.raises(NnefcError, match=f"more than {MAX_TRIPS} times"):
        load(loop(MAX_TRIPS + 1))


def test_trips_may_be_bound() -> None:
    made = loop(3)
    del made.graph.initializer[0]
    made.graph.input.append(info("m", [], I64))
    run(made, x, constants={"m": np.array(3)})


# ---- Scan


@pytest.mark.parametrize(("direction", "axis", "out"), [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1), (0, 0, -1)])
def test_a_scan_is_unrolled(direction: int, axis: int, out: int) -> None:
    part = 3 if axis == 0 else 2
    body = graph(
        [node("Add", ["s", "e"], ["t"]), node("Mul", ["t", "e"], ["o"])],
        [info("s", [part]), info("e", [part])],
        [info("t", [part]), info("o", [part])],
    )
    scan = node(
        "Scan",
        ["z", "x"],
        ["y", "all"],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[axis],
        scan_input_directions=[direction],
        scan_output_axes=[out],
        scan_output_directions=[direction],
    )
    run(model([scan], X, ["y", "all"], initial={"z": weights(part, seed=2)}), x)


# ---- sequences and optionals


def test_sequences_are_lists() -> None:
    nodes = [
        node("SequenceConstruct", ["x", "x"], ["s1"]),
        node("Neg", ["x"], ["n"]),
        node("SequenceInsert", ["s1", "n", "one"], ["s2"]),
        node("SequenceErase", ["s2", "zero"], ["s3"]),
        node("SequenceAt", ["s3", "zero"], ["y"]),
        node("SequenceLength", ["s2"], ["len"]),
        node("ConcatFromSequence", ["s2"], ["cat"], axis=1),
        node("ConcatFromSequence", ["s2"], ["stack"], axis=-1, new_axis=1),
    ]
    made = model(
        nodes, X, ["y", info("len", [], I64), "cat", "stack"], initial={"one": np.array(1), "zero": np.array(0)}
    )
    got = run(made, x)
    np.testing.assert_array_equal(got[0], -x)
    assert got[1] == 3 and got[2].shape == (2, 9) and got[3].shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("split", "axis", "keep"), [(None, 0, 1), (None, 1, 0), (np.array(2), 1, 1), (np.array([1, 2]), -1, 1)]
)
def test_a_tensor_splits_to_a_sequence(split: np.ndarray | None, axis: int, keep: int) -> None:
    inputs, initial = ["x"], {"at": np.array(-1)}
    if split is not None:
        inputs, initial = ["x", "split"], {**initial, "split": split}
    nodes = [node("SplitToSequence", inputs, ["s"], axis=axis, keepdims=keep), node("SequenceAt", ["s", "at"], ["y"])]
    run(model(nodes, X, initial=initial), x)


def test_a_sequence_is_mapped() -> None:
    body = graph([node("Mul", ["e", "e"], ["o"])], [info("e", [2, 3])], [info("o", [2, 3])])
    nodes = [
        node("Neg", ["x"], ["n"]),
        node("SequenceConstruct", ["x", "n"], ["s"]),
        node("SequenceMap", ["s"], ["m"], body=body),
        node("ConcatFromSequence", ["m"], ["y"], axis=0),
    ]
    np.testing.assert_array_equal(run(model(nodes, X), x)[0], np.concatenate([x * x, x * x]))


def test_optionals_are_known() -> None:
    nodes = [
        node("Optional", ["x"], ["o"]),
        node("OptionalHasElement", ["o"], ["has"]),
        node("OptionalGetElement", ["o"], ["y"]),
    ]
    got = run(model(nodes, X, ["y", info("has", [], BOOL)]), x)
    np.testing.assert_array_equal(got[0], x)
    assert got[1]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("SequenceAt", ["x", "at"], ["y"])], "a sequence is wanted"),
        (
            [node("SequenceConstruct", ["x"], ["s"]), node("SequenceAt", ["s", "at"], ["y"])],
            "position 7 is out of range",
        ),
        ([node("SequenceConstruct", ["x"], ["s"]), node("Relu", ["s"], ["y"])], "takes tensors"),
        ([node("SequenceEmpty", [], ["s"]), node("ConcatFromSequence", ["s"], ["y"], axis=0)], "no items"),
        ([node("SequenceConstruct", ["x"], ["y"])], "only tensors can be outputs"),
        ([node("SplitToSequence", ["x", "at"], ["s"], axis=9), node("SequenceAt", ["s", "at"], ["y"])], "axis 9"),
    ],
)
def test_what_does_not_fit(nodes: list, message: str) -> None:
    with pytest.raises(NnefcError, match=message):
        load(model(nodes, X, initial={"at": np.array(7)}))
