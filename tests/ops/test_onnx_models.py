"""Whole graphs written as ONNX: names, stored types, quantization, state, large models, and what cannot be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import ort_answers
import pytest

from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.formats.nnef import load as load_nnef
from nnefc.formats.onnx import load, save, to_model
from nnefc.formats.onnx.write import STATE_KEY
from nnefc.ir.encoding import Encoding, Parameter
from nnefc.ir.graph import Attrs, Graph, Literal, Op, Tensor, Value
from nnefc.ir.types import DType, TensorType
from nnefc.ops.evaluate import evaluate
from nnefc.passes.encode import encode

MODELS = (
    "ad_autoencoder",
    "kws_dscnn",
    "mnist_convsmall",
    "resnet8_cifar10",
    "ultraface_rfb320",
    "vww_mobilenetv1_025",
    "yunet_320",
)
F32 = DType.F32
RNG = np.random.default_rng(5)


def value(name: str, *shape: int, dtype: DType = F32, encoding: Encoding | None = None) -> Value:
    return Value(name, TensorType(dtype, shape, encoding))


def variable(result: Value, label: str = "w") -> Op:
    return Op("variable", (), Attrs(shape=result.type.shape, label=label, dtype=result.type.dtype), (result,))


def added(stored: Tensor, weights: Value) -> Graph:
    """y = x + w, with these stored values of w."""
    x, y = value("x", *weights.type.extents), value("y", *weights.type.extents)
    ops = (variable(weights), Op("add", (x, weights), Attrs(), (y,)))
    return Graph("added", (x,), ops, (y,), {"w": stored})


def check(graph: Graph, tolerance: float = 1e-6) -> onnx.ModelProto:
    """The model, accepted by the checker, and giving in ONNX Runtime what the graph means."""
    model = to_model(graph)
    onnx.checker.check_model(model, full_check=True)
    inputs = {v.name: RNG.standard_normal(v.type.extents).astype(v.type.dtype.numpy) for v in graph.inputs}
    (answer,) = ort_answers.run([(model.SerializeToString(), inputs)])
    assert not isinstance(answer, str), answer
    assert ort_answers.difference(answer, list(evaluate(graph, inputs).values()), tolerance) is None
    return model


def stored_types(model: onnx.ModelProto) -> dict[str, int]:
    return {t.name: t.data_type for t in model.graph.initializer}


@pytest.mark.parametrize("name", MODELS)
def test_real_models_give_the_recorded_answers(shared: Path, name: str) -> None:
    folder = shared / "models" / name
    graph = load_nnef(folder / f"{name}.nnef.tgz")
    model = to_model(graph)
    onnx.checker.check_model(model, full_check=True)
    with np.load(folder / "nnef_io.npz") as arrays:
        inputs = {v.name: arrays[v.name] for v in graph.inputs}
        wanted = [arrays[v.name] for v in graph.outputs]
    (answer,) = ort_answers.run([(model.SerializeToString(), inputs)])
    assert not isinstance(answer, str), answer
    assert ort_answers.difference(answer, wanted, 1e-5) is None
    kept = {i.name for i in model.graph.value_info} | {i.name for i in model.graph.output}
    computed = {v.name for op in graph.ops if op.kind != "variable" for v in op.outputs}
    assert computed <= kept | {i.name for i in model.graph.input}


def test_variables_keep_their_stored_type() -> None:
    data = RNG.standard_normal((2, 3))
    model = check(added(Tensor(data.astype(np.float32), "float", 32), value("w", 2, 3)))
    assert stored_types(model) == {"w": onnx.TensorProto.FLOAT}
    model = check(added(Tensor(data.astype(np.float16), "float", 16), value("w", 2, 3)))
    assert stored_types(model) == {"w_stored": onnx.TensorProto.FLOAT16}


def test_a_bias_that_is_stored_in_another_shape_keeps_its_name() -> None:
    x, w, b, y = value("x", 1, 2, 5, 5), value("w", 3, 2, 3, 3), value("b", 1, 3), value("y", 1, 3, 5, 5)
    attrs = Attrs(border="constant", padding=(), stride=(), dilation=(), groups=1)
    ops = (variable(w), variable(b, "b"), Op("conv", (x, w, b), attrs, (y,)))
    tensors = {
        label: Tensor(RNG.standard_normal(v.type.extents).astype(np.float32), "float", 32)
        for label, v in (("w", w), ("b", b))
    }
    model = check(Graph("net", (x,), ops, (y,), tensors))
    assert {t.name: list(t.dims) for t in model.graph.initializer} == {"w": [3, 2, 3, 3], "b": [3]}
    assert [n.op_type for n in model.graph.node] == ["Conv"]


ZERO_POINT = Encoding(
    "zero_point_linear_quantize",
    (
        ("zero_point", ((1,), (0,), (-3,))),
        ("scale", ((0.5,), (0.25,), (2.0,))),
        ("bits", 8),
        ("signed", True),
        ("symmetric", False),
    ),
)
MIN_MAX = Encoding(
    "min_max_linear_quantize", (("min", -1.0), ("max", 1.55), ("bits", 8), ("signed", False), ("symmetric", False))
)
LOGARITHMIC = Encoding("logarithmic_quantize", (("max", 4.0), ("bits", 4)))


def test_stored_codes_stay_integers() -> None:
    codes = RNG.integers(-128, 128, (3, 4)).astype(np.int8)
    model = check(added(Tensor(codes, "qint", 8), value("w", 3, 4, encoding=ZERO_POINT)))
    assert stored_types(model)["w_codes"] == onnx.TensorProto.INT8
    (node,) = [n for n in model.graph.node if n.op_type == "DequantizeLinear"]
    assert [a.i for a in node.attribute if a.name == "axis"] == [0]
    codes = RNG.integers(0, 256, (3, 4)).astype(np.uint8)
    model = check(added(Tensor(codes, "quint", 8), value("w", 3, 4, encoding=MIN_MAX)))
    assert stored_types(model)["w_codes"] == onnx.TensorProto.UINT8


UNEVEN = Encoding(
    "min_max_linear_quantize", (("min", -1.0), ("max", 1.0), ("bits", 8), ("signed", False), ("symmetric", False))
)


def test_codes_without_an_integer_form_are_decoded() -> None:
    codes = RNG.integers(0, 16, (3, 4)).astype(np.uint8)
    model = check(added(Tensor(codes, "quint", 8), value("w", 3, 4, encoding=UNEVEN)))
    assert stored_types(model) == {"w": onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("most", (4.0, ((4.0,), (0.5,), (1e-3,))))
@pytest.mark.parametrize("bits", (2, 4))
def test_powers_of_two_are_integers(bits: int, most: Parameter) -> None:
    """Whether they are stored as codes or as numbers: of 8 bits, or of 32, which have no zero point."""
    encoding = Encoding("logarithmic_quantize", (("max", most), ("bits", bits)))
    codes = RNG.integers(0, 2**bits, (3, 4)).astype(np.uint8)
    numbers = RNG.normal(size=(3, 4)) * 2.0 ** RNG.integers(-15, 3, (3, 4))
    for stored in (Tensor(codes, "quint", 8), Tensor(numbers.astype(np.float32), "float", 32)):
        model = to_model(added(stored, value("w", 3, 4, encoding=encoding)))
        assert stored_types(model)["w_codes"] == (onnx.TensorProto.INT8 if bits == 2 else onnx.TensorProto.INT32)
        (node,) = [n for n in model.graph.node if n.op_type == "DequantizeLinear"]
        assert len(node.input) == (3 if bits == 2 else 2)
    check(added(Tensor(codes, "quint", 8), value("w", 3, 4, encoding=encoding)))


@pytest.mark.parametrize(
    ("encoding", "step", "low", "high"),
    [(MIN_MAX, 0.01, -1.0, 1.55), (Encoding("linear_quantize", (("min", 0.0), ("max", 3.0), ("bits", 2))), 1.0, 0, 3)],
)
def test_encodings_of_computed_tensors_become_qdq(encoding: Encoding, step: float, low: float, high: float) -> None:
    x, y, z = value("x", 4, 50), value("y", 4, 50, encoding=encoding), value("z", 4, 50)
    ops = (Op("mul", (x, Literal(2.0, F32)), Attrs(), (y,)), Op("copy", (y,), Attrs(), (z,)))
    model = to_model(Graph("net", (x,), ops, (y, z)))
    onnx.checker.check_model(model, full_check=True)
    kinds = [n.op_type for n in model.graph.node]
    assert kinds.count("QuantizeLinear") == kinds.count("DequantizeLinear") == 1
    data = RNG.uniform(-3, 3, (4, 50)).astype(np.float32)
    (answer,) = ort_answers.run([(model.SerializeToString(), {"x": data})])
    assert not isinstance(answer, str), answer
    wanted = np.clip(np.round(data * 2 / step) * step, low, high)
    for result in answer:
        np.testing.assert_allclose(result, wanted, atol=step * 1e-3)


@pytest.mark.parametrize("encoding", (LOGARITHMIC, UNEVEN), ids=("logarithmic", "uneven"))
def test_an_encoding_without_an_integer_form_is_written_step_by_step(encoding: Encoding) -> None:
    x, y = value("x", 4, 50), value("y", 4, 50, encoding=encoding)
    graph, notes = Graph("net", (x,), (Op("neg", (x,), Attrs(), (y,)),), (y,)), []
    model = to_model(graph, notes=notes)
    onnx.checker.check_model(model, full_check=True)
    assert notes == [f"the encoding {encoding.algorithm} of 'y' has no integer form: written step by step"]
    data = RNG.uniform(-3, 3, (4, 50)).astype(np.float32)
    (answer,) = ort_answers.run([(model.SerializeToString(), {"x": data})])
    assert not isinstance(answer, str), answer
    np.testing.assert_allclose(answer[0], evaluate(encode(graph, "float"), {"x": data})["y"], rtol=1e-5, atol=1e-6)


def test_state_is_an_input_with_a_default_and_an_output() -> None:
    """y = s + x, and s becomes y: two calls add up."""
    x, s, y, t = value("x", 3), value("s", 3), value("y", 3), value("t", 3)
    ops = (variable(s), Op("add", (s, x), Attrs(), (y,)), Op("update", (s, y), Attrs(), (t,)))
    start = np.array([1, 2, 3], np.float32)
    model = to_model(Graph("net", (x,), ops, (y,), {"w": Tensor(start, "float", 32)}))
    onnx.checker.check_model(model, full_check=True)
    assert {p.key: p.value for p in model.metadata_props} == {STATE_KEY + "s": "t"}
    data = np.array([1, 10, 100], np.float32)
    first, second = ort_answers.run(
        [(model.SerializeToString(), {"x": data}), (model.SerializeToString(), {"x": data, "s": start + data})]
    )
    for answer, wanted in ((first, start + data), (second, start + 2 * data)):
        assert not isinstance(answer, str), answer
        assert [a.tolist() for a in answer] == [wanted.tolist()] * 2


def test_two_variables_of_one_label_are_stored_once() -> None:
    a, b, y = value("a", 2), value("b", 2), value("y", 2)
    ops = (variable(a, "W"), variable(b, "w"), Op("add", (a, b), Attrs(), (y,)))
    model = check(Graph("net", (), ops, (y,), {"W": Tensor(np.ones(2, np.float32), "float", 32)}))
    assert len(model.graph.initializer) == 1


def test_constants_and_inputs_may_be_outputs() -> None:
    x, c, w, y = value("x", 2), value("c", 2), value("w", 2), value("y", 2)
    constant = Op("constant", (), Attrs(shape=(2,), value=(1.0, 2.0), dtype=F32), (c,))
    ops = (constant, variable(w), Op("add", (x, c), Attrs(), (y,)))
    check(Graph("net", (x,), ops, (c, w, y), {"w": Tensor(np.ones(2, np.float32), "float", 32)}))


def test_a_large_constant_of_one_value_is_not_spelled_out() -> None:
    c, y = value("c", 1000, 1000), value("y", 1000, 1000)
    ops = (
        Op("constant", (), Attrs(shape=(1000, 1000), value=(0.5,), dtype=F32), (c,)),
        Op("neg", (c,), Attrs(), (y,)),
    )
    assert len(check(Graph("net", (), ops, (y,))).SerializeToString()) < 1000


def test_external_data(tmp_path: Path) -> None:
    """What is too large for one file lies beside it; small tensors stay inside."""
    data = RNG.standard_normal((300, 5)).astype(np.float32)
    graph = added(Tensor(data, "float", 32), value("w", 300, 5))
    save(graph, tmp_path / "net.onnx", external_data=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    assert (tmp_path / "net.onnx").stat().st_size < 1000 < data.nbytes == (tmp_path / "net.onnx.data").stat().st_size
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    (tensor,) = onnx.load(tmp_path / "net.onnx").graph.initializer
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), data)


def test_a_model_may_replace_itself(tmp_path: Path) -> None:
    """Its data are mapped while they are written."""
    data = RNG.standard_normal((300, 5)).astype(np.float32)
    save(added(Tensor(data, "float", 32), value("w", 300, 5)), tmp_path / "net.onnx", external_data=True)
    save(load(tmp_path / "net.onnx"), tmp_path / "net.onnx", external_data=True)
    (tensor,) = onnx.load(tmp_path / "net.onnx").graph.initializer
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), data)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]


def test_files_are_whole_and_reproducible(tmp_path: Path) -> None:
    graph = added(Tensor(np.ones(3, np.float32), "float", 32), value("w", 3))
    save(graph, tmp_path / "a.onnx")
    save(graph, tmp_path / "b.onnx")
    assert (
        (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes() == to_model(graph).SerializeToString()
    )
    with pytest.raises(OSError):
        save(graph, tmp_path / "missing" / "a.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_opsets() -> None:
    graph = added(Tensor(np.ones(3, np.float32), "float", 32), value("w", 3))
    newest = onnx.defs.onnx_opset_version()
    for opset in (21, newest):
        model = to_model(graph, opset=opset)
        onnx.checker.check_model(model, full_check=True)
        assert [o.version for o in model.opset_import] == [opset]
    for opset in (20, newest + 1):
        with pytest.raises(ValueError, match=f"it must be 21 to {newest}"):
            to_model(graph, opset=opset)


def test_what_cannot_be_written() -> None:
    x, y, w = value("x", 3), value("y", 3), value("w", 3)
    with pytest.raises(InvalidModelError, match="'w' with label 'w' has no stored values"):
        to_model(added(Tensor(np.ones(3, np.float32), "float", 32), w).replace(tensors={}))
    with pytest.raises(UnsupportedError, match="'no_such_operation' cannot be written as ONNX"):
        to_model(Graph("net", (x,), (Op("no_such_operation", (x,), Attrs(), (y,)),), (y,)))
