"""Reading ONNX models: names, shapes, constants, stored values, external data, functions, opsets."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from models import BOOL, F32, I64, conv_net, info, model, node, weights
from onnx import TensorProto, helper

import nnefc
from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.formats.onnx import load
from nnefc.ir.graph import Graph
from nnefc.ir.verify import verify
from nnefc.ops.evaluate import evaluate


def answers(graph: Graph, *inputs: np.ndarray) -> list[np.ndarray]:
    """The outputs of a graph that is well formed, for inputs in order."""
    verify(graph)
    results = evaluate(graph, {v.name: x for v, x in zip(graph.inputs, inputs, strict=True)})
    return [results[v.name] for v in graph.outputs]


def shapes(graph: Graph) -> dict[str, tuple]:
    return {v.name: v.type.shape for v in graph.inputs}


# ---- where a model comes from


def test_a_path_bytes_and_a_message_give_the_same(tmp_path: Path) -> None:
    made = conv_net()
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    graphs = [load(tmp_path / "m.onnx"), load(made.SerializeToString()), load(made)]
    assert graphs[0] == graphs[1] == graphs[2]
    assert graphs[0] == nnefc.load(tmp_path / "m.onnx")


def test_values_of_initialisers_are_not_copied(tmp_path: Path) -> None:
    def anonymous() -> int:
        return int(re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

    big = np.arange(16 << 20, dtype=np.float32).reshape(4096, 4096)
    made = model([node("MatMul", ["x", "w"], ["y"])], [info("x", [1, 4096])], initial={"w": big})
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    load(conv_net())
    del made
    before = anonymous()
    graph = load(path)
    assert anonymous() - before < big.nbytes / 4
    np.testing.assert_array_equal(graph.tensors["w"].data, big)
    with pytest.raises(ValueError, match="read-only"):
        graph.tensors["w"].data[0, 0] = 1


def test_a_file_is_unmapped_when_its_graph_goes(tmp_path: Path) -> None:
    path = tmp_path / "unmapped.onnx"
    path.write_bytes(conv_net().SerializeToString())
    gc.disable()
    try:
        graph = load(path)
        del graph
        assert path.name not in Path("/proc/self/maps").read_text()
    finally:
        gc.enable()


def test_command_line_compiles_onnx(guarded: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = model(
        [node("Reshape", ["x", "s"], ["r"]), node("Relu", ["r"], ["y"])], [info("x", ["N", 6]), info("s", [2], I64)]
    )
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    np.save(tmp_path / "s.npy", np.array([3, 4]))
    x = rng.standard_normal((2, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    reply = guarded(
        "run",
        tmp_path / "m.onnx",
        "--const",
        f"s={tmp_path / 's.npy'}",
        "--shape",
        "N=2",
        "--input",
        f"x={tmp_path / 'x.npy'}",
        "--output",
        tmp_path / "y.npz",
        "--reference",
    )
    assert reply.code == 0, reply.err
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["y"], np.maximum(x, 0).reshape(3, 4))


# ---- names


def test_names_become_identifiers_and_stay_in_origins() -> None:
    made = model(
        [node("Add", ["in:0", "w/1"], ["a.b"]), node("Relu", ["a.b"], ["a_b"]), node("Neg", ["a_b"], ["graph"])],
        [info("in:0", [2])],
        ["graph", "a_b"],
        initial={"w/1": weights(2)},
        name="my net",
    )
    graph = load(made)
    assert graph.name == "my_net"
    assert [v.name for v in graph.inputs] == ["in_0"] and [v.name for v in graph.outputs] == ["_graph", "a_b"]
    assert graph.tensors.keys() == {"w_1"}
    origins = {op.output.name: op.origin.names for op in graph.ops}
    assert origins["_graph"][0] == "graph" and origins["a_b"][0] == "a_b" and origins["a_b_1"][0] == "a.b"
    assert origins["w_1"] == ("w/1",)


def test_names_that_differ_in_case_only_have_labels_that_differ() -> None:
    made = model(
        [node("Add", ["w", "W"], ["z"]), node("Add", ["x", "z"], ["y"])],
        [info("x", [3])],
        initial={"w": weights(3), "W": weights(3, seed=1)},
    )
    graph = load(made)
    verify(graph)
    (got,) = answers(graph, np.zeros(3, np.float32))
    np.testing.assert_allclose(got, weights(3) + weights(3, seed=1))


def test_outputs_that_are_inputs_or_known_or_twice_the_same() -> None:
    made = model(
        [node("Identity", ["x"], ["p"]), node("Identity", ["x"], ["q"]), node("Identity", ["w"], ["r"])],
        [info("x", [3])],
        ["p", "q", "r", "x"],
        initial={"w": weights(3)},
    )
    graph = load(made)
    assert [v.name for v in graph.outputs] == ["p", "q", "r", "x_1"]
    x = weights(3, seed=4)
    for got, wanted in zip(answers(graph, x), (x, x, weights(3), x), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_nodes_that_nothing_needs_are_not_read() -> None:
    made = model([node("Relu", ["x"], ["y"]), node("Frobnicate", ["x"], ["unused"])], [info("x", [3])])
    assert [op.kind for op in load(made).ops] == ["relu"]


# ---- shapes, defaults, constants


def free() -> onnx.ModelProto:
    return model([node("Add", ["x", "z"], ["y"])], [info("x", ["N", "C", 4]), info("z", ["N", "C", 4])])


def test_the_batch_is_one_and_said_so() -> None:
    notes: list[str] = []
    made = model([node("Relu", ["x"], ["y"])], [info("x", ["N", 3])])
    assert shapes(load(made, notes=notes)) == {"x": (1, 3)}
    assert notes == ["model.onnx: note: the first extent, 'N', of 'x' is free: taken as 1"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"x": (2, 3, 4)}, (2, 3, 4)),
        ({"N": (5,), "C": (7,)}, (5, 7, 4)),
        ({"C": (2,)}, (1, 2, 4)),
    ],
)
def test_shapes_by_input_and_by_symbol(given: dict, wanted: tuple) -> None:
    assert shapes(load(free(), shapes=given)) == {"x": wanted, "z": wanted}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, UnsupportedError, r"dimension 1 of 'x' \('C'\); dimension 1 of 'z' \('C'\); give them with --shape"),
        ({"x": (1, 2, 4), "z": (1, 3, 4)}, InvalidModelError, "'C' would have the extents 2 and 3"),
        ({"x": (1, 2)}, InvalidModelError, "does not fit"),
        ({"q": (1, 2)}, InvalidModelError, "there is no input 'q' to give a shape; there are x, z, C, N"),
        ({"x": (1, -2, 4)}, InvalidModelError, "positive"),
    ],
)
def test_shapes_that_do_not_do(given: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        load(free(), shapes=given)


def test_an_input_with_a_stored_value_has_a_default() -> None:
    made = model([node("Add", ["x", "b"], ["y"])], [info("x", [3]), info("b", [3])], initial={"b": weights(3)})
    x = np.ones(3, np.float32)
    np.testing.assert_array_equal(answers(load(made), x)[0], x + weights(3))
    np.testing.assert_array_equal(answers(load(made, constants={"b": x}), x)[0], x + x)


def test_constants_bind_inputs() -> None:
    made = model([node("Reshape", ["x", "to:s"], ["y"])], [info("x", [6]), info("to:s", [2], I64)])
    with pytest.raises(UnsupportedError, match=r"depends on the input 'to:s'; bind it to values with --const"):
        load(made)
    for name in ("to:s", "to_s"):
        assert load(made, constants={name: np.array([2, 3])}).outputs[0].type.shape == (2, 3)
    for wrong, message in ((np.array([2, 3], np.int32), "int64 is wanted"), (np.array([6]), r"shape \[1\], not \[2\]")):
        with pytest.raises(InvalidModelError, match=message):
            load(made, constants={"to:s": wrong})
    with pytest.raises(InvalidModelError, match="no input 'q' to bind"):
        load(made, constants={"q": np.array([2, 3])})


def test_constants_are_for_onnx(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ONNX"):
        nnefc.load(tmp_path / "m.nnef", constants={"x": np.zeros(1)})


# ---- stored values

NUMBERS = {
    TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.FLOAT16: np.float16,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16, TensorProto.INT8: np.int8, TensorProto.INT16: np.int16,
    TensorProto.INT32: np.int32, TensorProto.INT64: np.int64, TensorProto.UINT8: np.uint8,
    TensorProto.UINT16: np.uint16, TensorProto.UINT32: np.uint32, TensorProto.UINT64: np.uint64,
    TensorProto.BOOL: np.bool_,
}  # fmt: skip


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", NUMBERS)
def test_every_element_type(kind: int, raw: bool) -> None:
    values = np.array([[0, 1, 3], [100, 7, 1]]).astype(NUMBERS[kind])
    stored = helper.make_tensor(
        "w",
        kind,
        [2, 3],
        values.tobytes()
        if raw
        else values.astype(np.float64).tolist()
        if values.dtype.kind in "fV"
        else values.tolist(),
        raw=raw,
    )
    made = model([node("Identity", ["w"], ["y"])], outputs=[info("y", [2, 3], kind)])
    made.graph.initializer.append(stored)
    (got,) = answers(load(made))
    assert got.dtype == values.dtype
    np.testing.assert_array_equal(got.astype(np.float64), values.astype(np.float64))


def outside(path: Path, tensor: onnx.TensorProto, name: str, **entries: int) -> None:
    """Say that a tensor's values lie in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": name, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))


def test_external_data(tmp_path: Path) -> None:
    made, plain = conv_net(), load(conv_net())
    (tmp_path / "data").mkdir()
    first, second = (t.raw_data for t in made.graph.initializer)
    (tmp_path / "data" / "w.bin").write_bytes(b"\0" * 5 + first + second)
    outside(tmp_path, made.graph.initializer[0], "data/w.bin", offset=5, length=len(first))
    outside(tmp_path, made.graph.initializer[1], "./data/w.bin", offset=5 + len(first))
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    assert load(tmp_path / "m.onnx") == plain
    with pytest.raises(InvalidModelError, match="was not read from a file"):
        load(made)


def test_external_data_beyond_2_gb(tmp_path: Path) -> None:
    values, offset = weights(16), 5 << 29
    with open(tmp_path / "w.bin", "wb") as file:
        file.seek(offset)
        file.write(values.tobytes())
    made = model([node("Add", ["x", "w"], ["y"])], [info("x", [16])], initial={"w": values})
    outside(tmp_path, made.graph.initializer[0], "w.bin", offset=offset, length=64)
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    np.testing.assert_array_equal(answers(load(tmp_path / "m.onnx"), np.zeros(16, np.float32))[0], values)


def test_a_file_beyond_2_gb(tmp_path: Path) -> None:
    """Values inside the file, more of them than a protobuf message may have; the file is mostly a hole."""
    empty = model([node("Gather", ["w", "x"], ["y"])], [info("x", [1], I64)])
    empty.graph.initializer.add(name="w", data_type=F32, dims=[5 << 17, 1 << 10])
    size = 5 << 29

    def varint(number: int) -> bytes:
        return bytes([number & 0x7F | 0x80]) + varint(number >> 7) if number > 0x7F else bytes([number])

    def field(number: int, head: bytes, more: int) -> bytes:
        return varint(number << 3 | 2) + varint(len(head) + more) + head

    weight = field(5, empty.graph.initializer[0].SerializeToString() + b"\x4a" + varint(size), size)
    del empty.graph.initializer[:]
    graph = field(7, empty.graph.SerializeToString() + weight, size)
    empty.ClearField("graph")
    with open(tmp_path / "m.onnx", "wb") as file:
        file.write(empty.SerializeToString() + graph)
        file.seek(size - 4096, 1)
        file.write(weights(1024).tobytes())
    read = load(tmp_path / "m.onnx")
    assert read.inputs[0].type.shape == (1,) and read.outputs[0].type.shape == (1, 1024)
    np.testing.assert_array_equal(read.tensors["w"].data[-1], weights(1024))


# ---- opsets and functions


def test_the_opset_of_the_file_is_honoured() -> None:
    """Softmax flattens from its axis on before opset 13, and works along it from there."""
    x = weights(2, 3, 4)
    whole = np.exp(x) / np.exp(x).sum((1, 2), keepdims=True)
    along = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    for opset, wanted in ((11, whole), (13, along)):
        made = model([node("Softmax", ["x"], ["y"], axis=1)], [info("x", [2, 3, 4])], opset=opset)
        np.testing.assert_allclose(answers(load(made), x)[0], wanted, rtol=1e-5)


def test_opset_6_broadcasts_where_it_says_so() -> None:
    made = model([node("Add", ["x", "b"], ["y"], broadcast=1, axis=1)], [info("x", [2, 3, 4]), info("b", [3])], opset=6)
    x, b = weights(2, 3, 4), weights(3)
    np.testing.assert_array_equal(answers(load(made), x, b)[0], x + b[:, None])


def test_local_functions_take_attributes_and_use_each_other() -> None:
    scaled = helper.make_node("LeakyRelu", ["a"], ["b"])
    scaled.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    inner = helper.make_function("f", "Inner", ["a"], ["b"], [scaled], [helper.make_opsetid("", 17)], ["slope"])
    call = helper.make_node("Inner", ["a"], ["t"], domain="f")
    call.attribute.add(name="slope", ref_attr_name="s", type=onnx.AttributeProto.FLOAT)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("f", 1)]
    outer = helper.make_function(
        "f",
        "Outer",
        ["a", "c"],
        ["b"],
        [call, node("Max", ["t", "c"], ["b"])],
        opsets,
        attribute_protos=[helper.make_attribute("s", 0.5)],
    )
    nodes = [node("Outer", ["x", "x"], ["p"], domain="f", s=0.25), node("Outer", ["p", "x"], ["y"], domain="f")]
    graph = load(model(nodes, [info("x", [3])], ["p", "y"], domains={"f": 1}, functions=[outer, inner]))
    x = np.array([-4, 0, 8], np.float32)
    for got, wanted in zip(answers(graph, x), ([-1, 0, 8], [-0.5, 0, 8]), strict=True):
        np.testing.assert_array_equal(got, np.array(wanted, np.float32))


def test_an_operation_without_an_importer_is_its_body() -> None:
    from nnefc.formats.onnx.registry import importers

    assert ("", "SoftmaxCrossEntropyLoss") not in importers()
    made = model([node("SoftmaxCrossEntropyLoss", ["x", "t"], ["y"])], [info("x", [3, 5]), info("t", [3], I64)])
    x, t = weights(3, 5), np.array([1, 0, 4])
    logs = x - np.log(np.exp(x).sum(1, keepdims=True))
    np.testing.assert_allclose(answers(load(made), x, t)[0], -logs[np.arange(3), t].mean(), rtol=1e-5)


def test_notes_of_an_input_without_elements() -> None:
    notes: list[str] = []
    made = model([node("Concat", ["x", "e"], ["y"], axis=0)], [info("x", [3]), info("e", [0])])
    graph = load(made, notes=notes)
    assert shapes(graph) == {"x": (3,)} and "'e' has the shape [0]" in notes[0]
    np.testing.assert_array_equal(answers(graph, weights(3))[0], weights(3))


def test_kinds_of_elements_pass_through() -> None:
    made = model([node("Not", ["c"], ["y"])], [info("c", [2], BOOL)], [info("y", [2], BOOL)])
    np.testing.assert_array_equal(answers(load(made), np.array([True, False]))[0], [False, True])
    assert F32 == TensorProto.FLOAT
