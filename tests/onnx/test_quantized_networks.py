"""Networks that ONNX Runtime's quantization wrote: they run on integers, and give what ONNX Runtime gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from models import info, model, node, weights
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import nnefc
from nnefc.codegen.execution import execution_of
from nnefc.formats.onnx import load, save
from nnefc.passes import pipeline
from nnefc.quant.quantize import quantize

SHAPE = (1, 3, 12, 12)


def network() -> onnx.ModelProto:
    """Convolutions, dense and depthwise, pools, a residual, a concatenation of tensors of other scales, an affine map
    per channel, resizing, a gate by channels, and a linear layer."""
    named = {
        "w1": weights(8, 3, 3, 3, seed=1),
        "b1": weights(8, seed=2),
        "w2": weights(8, 1, 3, 3, seed=3),
        "b2": weights(8, seed=4),
        "w3": weights(8, 8, 1, 1, seed=5) / 2,
        "b3": weights(8, seed=6),
        "w4": weights(10, 16, 3, 3, seed=7) / 4,
        "g1": weights(10, 10, 1, 1, seed=8),
        "w5": weights(5, 10, seed=9),
        "b5": weights(5, seed=10),
        "low": np.array(0.0, np.float32),
        "high": np.array(6.0, np.float32),
        "none": np.array([], np.float32),
        "twice": np.array([1, 1, 2, 2], np.float32),
    }
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1], group=8),
        node("Clip", ["c2", "low", "high"], ["r2"]),
        node("Conv", ["r2", "w3", "b3"], ["c3"]),
        node("Add", ["c3", "r1"], ["sum"]),
        node("Relu", ["sum"], ["r3"]),
        node("MaxPool", ["r3"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", ["p", "none", "twice"], ["u"], mode="nearest", nearest_mode="floor"),
        node("Concat", ["u", "r1"], ["cat"], axis=1),
        node("Conv", ["cat", "w4"], ["c4"], strides=[2, 2]),
        node("GlobalAveragePool", ["c4"], ["g"]),
        node("Conv", ["g", "g1"], ["gc"]),
        node("Sigmoid", ["gc"], ["gate"]),
        node("Mul", ["c4", "gate"], ["m"]),
        node("AveragePool", ["m"], ["a"], kernel_shape=[5, 5]),
        node("Flatten", ["a"], ["f"]),
        node("Gemm", ["f", "w5", "b5"], ["y"], transB=1),
    ]
    return model(nodes, [info("x", list(SHAPE))], [info("y", [1, 5])], named, opset=17)


class Samples(CalibrationDataReader):
    def __init__(self, shape: tuple[int, ...] = SHAPE) -> None:
        self._left: Iterator[dict[str, np.ndarray]] = iter([{"x": weights(*shape, seed=20 + k)} for k in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


def quantized(folder: Path, form: QuantFormat, activations: QuantType, per_channel: bool) -> Path:
    plain, made = folder / "plain.onnx", folder / "quantized.onnx"
    onnx.save(network(), plain)
    quantize_static(
        plain,
        made,
        Samples(),
        quant_format=form,
        per_channel=per_channel,
        activation_type=activations,
        weight_type=QuantType.QInt8,
    )
    return made


def runtime(path: Path, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    return y


FORMS = [
    (QuantFormat.QDQ, QuantType.QUInt8, True),
    (QuantFormat.QDQ, QuantType.QInt8, True),
    (QuantFormat.QDQ, QuantType.QUInt8, False),
    (QuantFormat.QOperator, QuantType.QUInt8, True),
]


@pytest.mark.parametrize(("form", "activations", "per_channel"), FORMS)
def test_whole_networks_run_on_integers(
    form: QuantFormat, activations: QuantType, per_channel: bool, tmp_path: Path
) -> None:
    path = quantized(tmp_path, form, activations, per_channel)
    graph, notes = load(path), []
    execution = execution_of(pipeline.run(graph, notes=notes))
    assert execution.share == 1 and not notes and not execution.islands
    for seed in range(3):
        x = weights(*SHAPE, seed=seed)
        wanted = runtime(path, x)
        got = nnefc.evaluate(graph, {"x": x}, execution="integer")["y"]
        spread = np.abs(runtime(tmp_path / "plain.onnx", x)).max()
        assert np.abs(got - wanted).max() <= 0.02 * spread
        steps = nnefc.evaluate(graph, {"x": x}, execution="float")["y"]
        assert np.abs(got - steps).max() <= 0.02 * spread


def test_writing_keeps_the_codes(tmp_path: Path) -> None:
    path = quantized(tmp_path, QuantFormat.QDQ, QuantType.QUInt8, True)
    graph, x = load(path), weights(*SHAPE, seed=3)
    wanted = nnefc.evaluate(graph, {"x": x}, execution="integer")["y"]
    save(graph, tmp_path / "again.onnx")
    nnefc.save(graph, tmp_path / "again.nnef.tgz")
    for again in (load(tmp_path / "again.onnx"), nnefc.load(tmp_path / "again.nnef.tgz")):
        assert execution_of(pipeline.run(again)).share == 1
        assert np.array_equal(nnefc.evaluate(again, {"x": x}, execution="integer")["y"], wanted)


def test_encodings_go_out_as_pairs_and_codes(tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "plain.onnx")
    graph = quantize(load(tmp_path / "plain.onnx"), [{"x": weights(*SHAPE, seed=k)} for k in range(4)])
    assert execution_of(pipeline.run(graph)).share == 1
    nnefc.save(graph, tmp_path / "made.nnef.tgz")
    save(graph, tmp_path / "made.onnx")
    x = weights(*SHAPE, seed=9)
    wanted = nnefc.evaluate(graph, {"x": x})["y"]
    assert np.array_equal(nnefc.evaluate(nnefc.load(tmp_path / "made.nnef.tgz"), {"x": x})["y"], wanted)
    made = onnx.load(tmp_path / "made.onnx")
    stored = {t.name: t.data_type for t in made.graph.initializer}
    decoded = [n.input[0] for n in made.graph.node if n.op_type == "DequantizeLinear"]
    assert sum(stored.get(name) == onnx.TensorProto.INT8 for name in decoded) == 6
    again = load(tmp_path / "made.onnx")
    assert execution_of(pipeline.run(again)).share == 1
    spread = np.abs(wanted).max()
    assert np.abs(nnefc.evaluate(again, {"x": x})["y"] - wanted).max() <= 0.02 * spread
    assert np.abs(runtime(tmp_path / "made.onnx", x) - wanted).max() <= 0.02 * spread


REAL = ("mnist_convsmall", "kws_dscnn", "resnet8_cifar10", "vww_mobilenetv1_025", "ad_autoencoder", "yunet_320")


@pytest.mark.parametrize("name", REAL)
def test_real_networks_run_on_integers(shared: Path, tmp_path: Path, name: str) -> None:
    """Whole, and within a code or two of 255 of what ONNX Runtime's own integer kernels give."""
    source, path = shared / "models" / name / f"{name}.onnx", tmp_path / "quantized.onnx"
    (port,) = load(source).inputs
    samples = [weights(*port.type.extents, seed=k) for k in range(2)]

    class Given(CalibrationDataReader):
        left = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            x = next(self.left, None)
            return None if x is None else {fed: x}

    fed = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"]).get_inputs()[0].name
    # Before opset 13 these operators have no axis, so no scale per channel.
    per_channel = onnx.load(source).opset_import[0].version >= 13
    quantize_static(source, path, Given(), per_channel=per_channel, activation_type=QuantType.QUInt8)
    graph, notes = load(path), []
    assert execution_of(pipeline.run(graph, notes=notes)).share == 1 and not notes
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {fed: samples[0]})
    got = nnefc.evaluate(graph, {port.name: samples[0]})
    for y, z in zip(got.values(), wanted, strict=True):
        assert np.abs(y - z).max() <= 0.01 * np.abs(z).max()


ROWS = (1, 18, 16)


def attention() -> onnx.ModelProto:
    """One head: products with stored weights, of two computed tensors, and a softmax between these."""
    named = {f"w{k}": weights(16, 16, seed=k) / 2 for k in range(4)}
    nodes = [
        node("MatMul", ["x", "w0"], ["q"]),
        node("MatMul", ["x", "w1"], ["k"]),
        node("MatMul", ["x", "w2"], ["v"]),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["a"]),
        node("Softmax", ["a"], ["s"], axis=2),
        node("MatMul", ["s", "v"], ["b"]),
        node("MatMul", ["b", "w3"], ["y"]),
    ]
    return model(nodes, [info("x", list(ROWS))], [info("y", list(ROWS))], named, opset=17)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("activations", [QuantType.QUInt8, QuantType.QInt8])
def test_attention_runs_on_integers(activations: QuantType, symmetric: bool, tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.onnx", tmp_path / "quantized.onnx"
    onnx.save(attention(), plain)
    options = {"ActivationSymmetric": symmetric}
    quantize_static(
        plain,
        path,
        Samples(ROWS),
        quant_format=QuantFormat.QDQ,
        activation_type=activations,
        weight_type=QuantType.QInt8,
        extra_options=options,
    )
    graph, notes = load(path), []
    execution = execution_of(pipeline.run(graph, notes=notes))
    assert execution.share == 1 and not notes
    for seed in range(3):
        x = weights(*ROWS, seed=seed)
        wanted, spread = runtime(path, x), np.abs(runtime(plain, x)).max()
        got = nnefc.evaluate(graph, {"x": x}, execution="integer")["y"]
        assert np.abs(got - wanted).max() <= 0.02 * spread
        assert np.abs(nnefc.compile(graph)(x) - got).max() <= 0.02 * spread
