"""One model for several sets of shapes: each entry answers as a model of those shapes alone does, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nnefc
from nnefc.ir.graph import Tensor

Shapes = Mapping[str, Sequence[int]]


def numbers(seed: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) / 4).astype(np.float32)


def saved(path: Path, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], **weights: np.ndarray) -> Path:
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "net", inputs, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolutions, a residual sum and pooling over whatever is left; batch, height and width are free."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "a", "ab"], ["h"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["h"], ["r"]),
        node("Conv", ["r", "b"], ["s"], pads=[1, 1, 1, 1]),
        node("Add", ["s", "r"], ["t"]),
        node("Conv", ["t", "c"], ["u"], pads=[1, 1, 1, 1], group=24),
        node("Conv", ["u", "d"], ["v"]),
        node("GlobalAveragePool", ["v"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "e", "eb"], ["y"], transB=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])
    weights = {
        "a": numbers(1, 24, 3, 3, 3),
        "ab": numbers(2, 24),
        "b": numbers(3, 24, 24, 3, 3),
        "c": numbers(4, 24, 1, 3, 3),
        "d": numbers(5, 96, 24, 1, 1),
        "e": numbers(6, 10, 96),
        "eb": numbers(7, 10),
    }
    return saved(tmp_path_factory.mktemp("net") / "conv.onnx", nodes, [x], **weights)


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One block of attention over ids of a free length, with a mask."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "ids"], ["e"]),
        *(node("MatMul", ["e", w], [f"{w}_e"]) for w in ("wq", "wk", "wv")),
        node("Transpose", ["wk_e"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["wq_e", "kt"], ["scores"]),
        node("Add", ["scores", "mask"], ["masked"]),
        node("Softmax", ["masked"], ["p"]),
        node("MatMul", ["p", "wv_e"], ["o"]),
        node("Add", ["o", "e"], ["r"]),
        node("LayerNormalization", ["r", "scale"], ["n"]),
        node("MatMul", ["n", "up"], ["f"]),
        node("Relu", ["f"], ["g"]),
        node("MatMul", ["g", "down"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["B", "S"]),
        helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["B", 1, "S"]),
    ]
    weights = {name: numbers(k, 48, 48) for k, name in enumerate(("wq", "wk", "wv"))}
    weights |= {"table": numbers(5, 100, 48), "scale": numbers(6, 48), "up": numbers(7, 48, 192)}
    return saved(tmp_path_factory.mktemp("net") / "block.onnx", nodes, inputs, down=numbers(8, 192, 48), **weights)


def drawn(model: nnefc.Model, entry: int) -> list[np.ndarray]:
    ports = model.entries[entry].inputs
    rng = np.random.default_rng(entry)
    return [
        rng.integers(0, 100, p.shape) if p.dtype == np.int64 else rng.standard_normal(p.shape).astype(p.dtype)
        for p in ports
    ]


def held(path: Path, sets: list[Shapes], threads: int, folder: Path) -> tuple[nnefc.Model, int]:
    """The model of all sets, in memory and as a package, held to those of each; and the bytes of the largest's
    weights."""
    model = nnefc.compile(path, shapes=sets, threads=threads)
    model.save(folder / "net")
    package = nnefc.load_compiled(folder / "net", threads=threads)
    assert package.entries == model.entries and len(model.entries) == len(sets)
    largest = 0
    for entry, shapes in enumerate(sets):
        alone = nnefc.compile(path, shapes=shapes, threads=1)
        arrays = drawn(model, entry)
        wanted = alone(*arrays)
        for made in (model, package):
            np.testing.assert_array_equal(made(*arrays), wanted)
        alone.save(folder / f"alone{entry}")
        largest = max(largest, (folder / f"alone{entry}" / "weights.bin").stat().st_size)
    return model, largest


CONVOLUTIONAL: list[Shapes] = [{"x": (1, 3, 32, 32)}, {"x": (4, 3, 32, 32)}, {"x": (1, 3, 47, 61)}]


@pytest.mark.parametrize(("threads", "count"), [(1, 3), (2, 2)])
def test_batch_and_picture(convolutional: Path, tmp_path: Path, threads: int, count: int) -> None:
    model, largest = held(convolutional, CONVOLUTIONAL[:count], threads, tmp_path)
    assert (tmp_path / "net" / "weights.bin").stat().st_size < 1.1 * largest
    words = r"shapes x \(2, 3, 32, 32\); it takes x \(1, 3, 32, 32\); x \(4, 3, 32, 32\)"
    with pytest.raises(ValueError, match=words):
        model(np.zeros((2, 3, 32, 32), np.float32))


@pytest.mark.parametrize("threads", [1, 2])
def test_sequences(transformer: Path, tmp_path: Path, threads: int) -> None:
    sets: list[Shapes] = [{"B": (1,), "S": (n,)} for n in (1, 16, 128)]
    model, largest = held(transformer, sets, threads, tmp_path)
    assert (tmp_path / "net" / "weights.bin").stat().st_size < 1.1 * largest
    with pytest.raises(ValueError, match=r"shapes ids \(1, 16\), mask \(1, 1, 128\); it takes ids \(1, 1\), mask"):
        model(np.zeros((1, 16), np.int64), np.zeros((1, 1, 128), np.float32))


def test_bytes_are_reproducible(transformer: Path, tmp_path: Path) -> None:
    sets: list[Shapes] = [{"S": (n,)} for n in (3, 5)]
    for name in ("a", "b"):
        nnefc.compile(transformer, shapes=sets).save(tmp_path / name / "net")
    for path in (tmp_path / "a").rglob("*.*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path


TRACT = """version 1.0;

extension tract_registry tract_core;
extension tract_symbol S;

graph net(x) -> (y)
{
    x = tract_core_external(shape = [1, S, 4], datum_type = 'f32');
    y = tract_core_softmax(x, axes = [2], exp = 'libc');
}
"""
PLAIN = """version 1.0;
graph net(x) -> (y)
{
    x = external<scalar>(shape = [1, 4]);
    w = variable<scalar>(shape = [6, 4], label = 'w');
    y = linear(x, w);
}
"""


def test_symbols_of_tract(tmp_path: Path) -> None:
    path = tmp_path / "graph.nnef"
    path.write_text(TRACT)
    held(path, [{"S": (5,)}, {"S": (33,)}], 1, tmp_path)


def test_inputs_of_nnef_and_graphs(tmp_path: Path) -> None:
    path = tmp_path / "graph.nnef"
    path.write_text(PLAIN)
    graph = nnefc.load(path)
    graph = graph.replace(tensors={"w": Tensor(numbers(1, 6, 4), "float", 32)})
    sets = [{"x": (n, 4)} for n in (1, 9)]
    by_shapes = nnefc.compile(graph, shapes=sets)
    graphs = [nnefc.load(path, shapes=s).replace(tensors=graph.tensors) for s in sets]
    by_graphs = nnefc.compile(graphs)
    for n in (1, 9):
        x = numbers(n, n, 4)
        np.testing.assert_array_equal(by_shapes(x), by_graphs(x))
        np.testing.assert_allclose(by_shapes(x), x @ numbers(1, 6, 4).T, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="shapes are for one Graph, not for several"):
        nnefc.compile(graphs, shapes=sets)
    with pytest.raises(ValueError, match="there is no Graph to compile"):
        nnefc.compile([])
    with pytest.raises(ValueError, match="shapes is an empty list"):
        nnefc.compile(graph, shapes=[])
    with pytest.raises(ValueError, match="two sets of shapes give the inputs the same shapes"):
        nnefc.compile(graph, shapes=[{"x": (1, 4)}, {}])


def test_extents_as_numbers(transformer: Path) -> None:
    by_numbers = nnefc.load(transformer, shapes={"B": 2, "S": np.int64(5)})
    assert by_numbers == nnefc.load(transformer, shapes={"ids": [2, 5], "mask": (2, 1, 5)})
    for wrong in ([{"S": 5}], {"S": "5"}, {"S": None}):
        with pytest.raises(TypeError, match="shape"):
            nnefc.load(transformer, shapes=wrong)  # type: ignore[arg-type]


COUNTER = """version 1.0;
graph net(x) -> (y)
{
    x = external<scalar>(shape = [1, 4]);
    s = variable<scalar>(shape = [1, 4], label = 's');
    t = add(s, sum_reduce(x, axes = [0]));
    u = update(s, t);
    y = add(x, t);
}
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_variables_are_common(tmp_path: Path, threads: int) -> None:
    path = tmp_path / "graph.nnef"
    path.write_text(COUNTER)
    graph = nnefc.load(path).replace(tensors={"s": Tensor(np.ones((1, 4), np.float32), "float", 32)})
    made = nnefc.compile(graph, shapes=[{}, {"x": (3, 4)}], threads=threads)
    made.save(tmp_path / "net")
    for model in (made, nnefc.load_compiled(tmp_path / "net", threads=threads)):
        assert [float(model(np.ones((n, 4), np.float32))[0, 0]) for n in (1, 3, 3, 1)] == [3, 6, 9, 10]
        model.reset()
        assert float(model(np.ones((3, 4), np.float32))[2, 3]) == 5
