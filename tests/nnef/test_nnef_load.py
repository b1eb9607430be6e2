"""From files to Graphs: stored tensors, encodings, and shapes given by the caller."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nnef_texts import document

from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.formats.nnef import format_graph, load, parse_graph
from nnefc.formats.nnef.archive import write_model
from nnefc.ir.encoding import Encoding
from nnefc.ir.graph import Tensor

TEXT = document(
    "w = variable(shape = [4, 4], label = 'a/w');\nh = matmul(x, w);\ny = relu(h);", head="version 1.0;\n\n"
)
FLOATS = Tensor(np.arange(16, dtype="f4").reshape(4, 4), "float", 32)


def model(path: Path, text: str = TEXT, quant: str | None = None, **tensors: Tensor) -> Path:
    """A folder with a model whose labels are ``a/NAME``."""
    write_model(path / "m", text, quant, {f"a/{name}": tensor for name, tensor in tensors.items()})
    return path / "m"


def refused(path: Path, **options: object) -> str:
    with pytest.raises(InvalidModelError) as caught:
        load(path, **options)  # type: ignore[arg-type]
    return str(caught.value).splitlines()[0].removeprefix(f"{path}/")


def test_stored_values(tmp_path: Path) -> None:
    graph = load(model(tmp_path, w=FLOATS), strict=True)
    assert graph.tensors == {"a/w": FLOATS}


def test_no_values(tmp_path: Path) -> None:
    assert load(model(tmp_path), strict=True).tensors == {}


def test_shape_of_stored_values(tmp_path: Path) -> None:
    path = model(tmp_path, w=Tensor(np.zeros((4, 5), "f4"), "float", 32))
    assert refused(path) == "graph.nnef:5:5: error: the stored values of 'a/w' have shape [4,5], not [4,4]"


def test_item_type_of_stored_values(tmp_path: Path) -> None:
    path = model(tmp_path, w=Tensor(np.zeros((4, 4), "i4"), "int", 32))
    message = "the stored values of 'a/w' are of item type int; float or quint or qint is wanted"
    assert refused(path, strict=True) == f"graph.nnef:5:5: error: {message}"
    notes: list[str] = []
    assert load(path, notes=notes).tensors["a/w"].item == "int"
    assert notes == [f"{path}/graph.nnef:5:5: note: {message}"]


@pytest.mark.parametrize(("item", "kind"), [("quint", "u1"), ("qint", "i1"), ("float", "f8"), ("float", "f2")])
def test_item_types_of_scalars(tmp_path: Path, item: str, kind: str) -> None:
    stored = Tensor(np.ones((4, 4), kind), item, np.dtype(kind).itemsize * 8)
    assert load(model(tmp_path, w=stored), strict=True).tensors["a/w"] == stored


TWO = document(
    "w = variable(shape = [4, 4], label = 'a/w');\nv = variable(shape = [1, 4], label = 'a/v');\n"
    "h = matmul(x, w);\ny = add(h, v);",
    head="version 1.0;\n\n",
)


def test_values_of_some_variables_only(tmp_path: Path) -> None:
    path = model(tmp_path, TWO, w=FLOATS)
    message = "the variable 'v' has no stored values, for its label 'a/v'; other variables have"
    assert refused(path) == f"graph.nnef:6:5: error: {message}"


def test_a_variable_that_is_updated_needs_no_values(tmp_path: Path) -> None:
    text = TWO.replace("y = add(h, v);", "y = add(h, v);\nz = update(v, y);")
    assert list(load(model(tmp_path, text, w=FLOATS), strict=True).tensors) == ["a/w"]


def test_labels_differ_by_more_than_case(tmp_path: Path) -> None:
    text = TWO.replace("shape = [1, 4], label = 'a/v'", "shape = [4, 4], label = 'A/W'").replace("add(h", "matmul(h")
    graph = load(model(tmp_path, text, w=FLOATS), strict=True)
    assert graph.tensors == {"a/w": FLOATS, "A/W": FLOATS}


QUANT = "linear_quantize(min = 0.0, max = 1.0, bits = 8)"


def test_encodings(tmp_path: Path) -> None:
    graph = load(model(tmp_path, quant=f'"h": {QUANT};\n"x": {QUANT};\n'), strict=True)
    encoding = Encoding("linear_quantize", (("min", 0.0), ("max", 1.0), ("bits", 8)))
    assert {n: v.type.encoding for n, v in graph.values.items()} == {"x": encoding, "w": None, "h": encoding, "y": None}
    assert graph.producers["y"].inputs[0] == graph.values["h"]
    assert parse_graph(format_graph(graph)) == graph


def test_encoding_of_no_tensor(tmp_path: Path) -> None:
    path = model(tmp_path, quant=f'"h": {QUANT};\n"hh": {QUANT};\n')
    message = "the graph has no tensor 'hh' to quantize"
    for strict in (True, False):
        assert refused(path, strict=strict) == f"graph.quant:2:1: error: {message}"


def test_encoding_that_does_not_fit(tmp_path: Path) -> None:
    path = model(tmp_path, quant='"h": linear_quantize(min = [[0.0, 0.0, 0.0]], max = 1.0, bits = 8);\n')
    assert refused(path).startswith("graph.quant:1:1: error: min has shape [1,3], which does not broadcast to")


def test_encoding_per_channel(tmp_path: Path) -> None:
    path = model(tmp_path, quant='"h": linear_quantize(min = [[0.0, 0.5, 0.0, 0.0]], max = 1.0, bits = 8);\n')
    assert load(path, strict=True).values["h"].type.encoding["min"] == ((0.0, 0.5, 0.0, 0.0),)  # type: ignore[index]


def test_shapes_given_by_the_caller(tmp_path: Path) -> None:
    graph = load(model(tmp_path), shapes={"x": (8, 4)}, strict=True)
    assert [str(v.type) for v in (*graph.inputs, *graph.outputs)] == ["f32[8,4]", "f32[8,4]"]


def test_shapes_given_for_typed_text() -> None:
    typed = format_graph(parse_graph(TEXT))
    assert str(parse_graph(typed, shapes={"x": [2, 4]}).outputs[0].type) == "f32[2,4]"


def test_shapes_that_do_not_fit(tmp_path: Path) -> None:
    path = model(tmp_path)
    assert refused(path, shapes={"q": (1, 4)}) == (
        "graph.nnef:4:7: error: there is no input 'q' to give a shape; the inputs are x"
    )
    assert refused(path, shapes={"x": (1, 5)}).startswith("graph.nnef:6:5: error: matmul: ")
    assert refused(path, shapes={"x": (0, 4)}).startswith("graph.nnef:4:25: error: external: ")


def test_the_quant_file_is_named_in_its_errors(tmp_path: Path) -> None:
    path = model(tmp_path, quant='"h": rounding(bits = 8);\n')
    assert refused(path).startswith("graph.quant:1:6: error: unknown quantization algorithm 'rounding'")


def test_unknown_operations_are_unsupported_not_invalid() -> None:
    fragment = "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>);"
    with pytest.raises(UnsupportedError, match="the operation 'f' has no definition that nnefc knows"):
        parse_graph(document("y = f(x);", fragment))


@pytest.mark.parametrize(
    "name",
    "ad_autoencoder kws_dscnn mnist_convsmall resnet8_cifar10 ultraface_rfb320 vww_mobilenetv1_025 yunet_320".split(),
)
def test_real_models(shared: Path, name: str) -> None:
    """Read strictly, with all their values; typed text gives the same graph."""
    graph = load(shared / "models" / name / f"{name}.nnef.tgz", strict=True)
    with np.load(shared / "models" / name / "nnef_io.npz") as files:
        shapes = {key: files[key].shape for key in files}
    assert {v.name: v.type.shape for v in (*graph.inputs, *graph.outputs)} == shapes
    assert set(graph.tensors) == {op.attrs["label"] for op in graph.ops if op.kind == "variable"}
    assert parse_graph(format_graph(graph)).replace(tensors=graph.tensors) == graph


@pytest.mark.parametrize("name", ["t2n_plain_khronos", "t2n_ups_khronos"])
def test_models_that_need_tolerance(shared: Path, name: str) -> None:
    path = shared / "models" / "torch_to_nnef" / f"{name}.nnef.tgz"
    refused(path, strict=True)
    notes: list[str] = []
    graph = load(path, notes=notes)
    assert notes and format_graph(graph, types=False) == format_graph(
        parse_graph(format_graph(graph, types=False)), types=False
    )
