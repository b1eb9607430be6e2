"""Networks with QuantizeLinear and DequantizeLinear keep them on the way through a Graph, and through NNEF."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from models import info, model, node, weights

import nnefc
from nnefc.formats import nnef
from nnefc.formats.onnx import load, to_model

PAIR = ("QuantizeLinear", "DequantizeLinear")


def network(signed: bool, per_channel: bool) -> onnx.ModelProto:
    """A convolution, its bias in 32-bit codes, a pool and a product, all of quantized tensors."""
    rng = np.random.default_rng(5)
    code = np.int8 if signed else np.uint8
    scales = (0.01 + 0.01 * rng.random(16 if per_channel else ())).astype(np.float32)
    named = {
        "xs": np.array(0.05, np.float32),
        "xz": np.array(3, code),
        "ws": scales,
        "wz": np.zeros_like(scales, np.int8),
        "w": rng.integers(-127, 128, (16, 3, 3, 3)).astype(np.int8),
        "bs": np.asarray(scales * 0.05, np.float32),
        "b": rng.integers(-3000, 3000, 16).astype(np.int32),
        "ys": np.array(0.2, np.float32),
        "yz": np.array(-5 if signed else 100, code),
        "m": weights(8, 4),
    }
    axis = {"axis": 0} if per_channel else {}
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], **axis),
        node("DequantizeLinear", ["b", "bs"], ["bd"], **axis),
        node("Conv", ["xd", "wd", "bd"], ["c"], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("QuantizeLinear", ["r", "ys", "yz"], ["rq"]),
        node("DequantizeLinear", ["rq", "ys", "yz"], ["rd"]),
        node("AveragePool", ["rd"], ["p"], kernel_shape=[1, 1]),
        node("QuantizeLinear", ["p", "ys", "yz"], ["pq"]),
        node("DequantizeLinear", ["pq", "ys", "yz"], ["pd"]),
        node("MatMul", ["pd", "m"], ["y"]),
    ]
    return model(nodes, [info("x", [1, 3, 8, 8])], [info("y", [1, 16, 8, 4])], named, opset=21)


def runtime(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    return y


def plain(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """The result without the run-time's integer kernels."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    return y


@pytest.mark.parametrize("per_channel", (False, True))
@pytest.mark.parametrize("signed", (False, True))
def test_pairs_are_kept(signed: bool, per_channel: bool, tmp_path: Path) -> None:
    source = network(signed, per_channel)
    x = 3 * weights(1, 3, 8, 8, seed=2)
    wanted = plain(source, x)
    graph = load(source)
    assert np.abs(nnefc.compile(graph)(x) - wanted).max() <= 1e-5 * np.abs(wanted).max()
    nnef.save(graph, tmp_path / "net")
    for again in (graph, nnef.load(tmp_path / "net")):
        written = to_model(again)
        onnx.checker.check_model(written, full_check=True)
        counts = [Counter(n.op_type for n in m.graph.node) for m in (source, written)]
        # The bias, a vector, is dequantized when the file is read.
        assert [counts[0][kind] for kind in PAIR] == [3, 5] and [counts[1][kind] for kind in PAIR] == [3, 4]
        kept = {t.name: t.data_type for t in written.graph.initializer}
        assert kept["w"] == onnx.TensorProto.INT8
        np.testing.assert_array_equal(plain(written, x), wanted)
        if not signed:
            # Of signed codes that a Reshape moves, the run-time's optimizer makes a node that it then refuses.
            np.testing.assert_allclose(runtime(written, x), runtime(source, x), atol=1e-5 * np.abs(wanted).max())
