"""Nodes with drawn attributes: what they mean after import, and lowered, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from models import F32, I64, model, node

from nnefc.formats.onnx import load
from nnefc.ir.interpret import interpret
from nnefc.ops.evaluate import evaluate
from nnefc.passes.lower import lower

Drawn = tuple[onnx.NodeProto, dict[str, np.ndarray], dict[str, np.ndarray], int]
"""A node, its inputs, its initialisers and the opset."""


def scalars(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def pick(rng: np.random.Generator, *values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def _window(rng: np.random.Generator, spatial: int) -> dict[str, Any]:
    auto = pick(rng, "NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
    attrs = {"strides": [int(v) for v in rng.integers(1, 4, spatial)], "auto_pad": auto}
    if auto == "NOTSET":
        attrs["pads"] = [int(v) for v in rng.integers(0, 2, 2 * spatial)]
    return attrs


def convolutions(rng: np.random.Generator) -> Iterator[Drawn]:
    for _ in range(24):
        spatial, groups = int(rng.integers(1, 4)), pick(rng, 1, 1, 2)
        kernel = [int(v) for v in rng.integers(1, 4, spatial)]
        even = [max(k, 3) for k in kernel]
        extents = [int(v) for v in rng.integers(6, 11, spatial)]
        attrs = _window(rng, spatial) | {"group": groups}
        if attrs["auto_pad"] in ("NOTSET", "VALID"):
            attrs["dilations"] = [int(v) for v in rng.integers(1, 3, spatial)]
        x = scalars(rng, int(rng.integers(1, 3)), 2 * groups, *extents)
        named = {"w": scalars(rng, 3 * groups, 2, *kernel), "b": scalars(rng, 3 * groups)}
        yield node("Conv", ["x", "w", "b"], ["y"], **attrs), {"x": x}, named, 17
        attrs["strides"] = [max(2, v) for v in attrs["strides"]]
        if attrs["auto_pad"] == "NOTSET":
            attrs["output_padding"] = [int(v) for v in rng.integers(0, 2, spatial)]
        # With a window smaller than the stride and automatic padding ONNX Runtime leaves out the last elements.
        named = {"w": scalars(rng, 2 * groups, 3, *even), "b": scalars(rng, 3 * groups)}
        yield node("ConvTranspose", ["x", "w", "b"], ["y"], **attrs), {"x": x}, named, 17


def pools(rng: np.random.Generator) -> Iterator[Drawn]:
    for i in range(36):
        spatial, kind = int(rng.integers(1, 4)), ("MaxPool", "AveragePool", "LpPool")[i % 3]
        x = scalars(rng, 2, 3, *(int(v) for v in rng.integers(6, 11, spatial)))
        attrs = _window(rng, spatial) | {"kernel_shape": [int(v) for v in rng.integers(2, 4, spatial)]}
        fixed = attrs["auto_pad"] == "NOTSET"
        outputs = ["y"]
        if kind == "MaxPool":
            outputs = pick(rng, ["y"], ["y", "i"])
        if kind != "LpPool" and fixed:
            attrs["ceil_mode"] = int(rng.integers(2))
        if kind == "AveragePool":
            attrs["count_include_pad"] = int(rng.integers(2))
        if kind == "LpPool":
            attrs["p"] = int(rng.integers(1, 4))
        yield node(kind, ["x"], outputs, **attrs), {"x": x}, {}, 19


def resizes(rng: np.random.Generator) -> Iterator[Drawn]:
    modes = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
    for i in range(40):
        x = scalars(rng, 1, 2, int(rng.integers(2, 9)), int(rng.integers(2, 9)))
        method = ("nearest", "linear", "cubic")[i % 3]
        attrs = {"mode": method, "coordinate_transformation_mode": modes[i % 5]}
        if method == "nearest":
            attrs["nearest_mode"] = pick(rng, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        elif method == "cubic":
            attrs |= {"cubic_coeff_a": -0.5, "exclude_outside": int(rng.integers(2))}
        sizes = np.array([1, 2, *(int(v) for v in rng.integers(1, 20, 2))], np.int64)
        yield node("Resize", ["x", "", "", "sizes"], ["y"], **attrs), {"x": x}, {"sizes": sizes}, 19


def grids(rng: np.random.Generator) -> Iterator[Drawn]:
    for i in range(18):
        x, grid = scalars(rng, 2, 3, 5, 4), rng.uniform(-1.5, 1.5, (2, 3, 6, 2)).astype(np.float32)
        attrs = {
            "mode": ("linear", "nearest", "cubic")[i % 3],
            "padding_mode": ("zeros", "border", "reflection")[i // 3 % 3],
            "align_corners": i // 9,
        }
        yield node("GridSample", ["x", "g"], ["y"], **attrs), {"x": x, "g": grid}, {}, 20


def regions(rng: np.random.Generator) -> Iterator[Drawn]:
    for i in range(8):
        rois = np.sort(rng.uniform(-2, 14, (5, 2, 2)), axis=1).reshape(5, 4).astype(np.float32)
        attrs = {
            "mode": "avg",
            "coordinate_transformation_mode": ("half_pixel", "output_half_pixel")[i % 2],
            "output_height": 2 + i % 3,
            "output_width": 3,
            "sampling_ratio": 1 + i // 2 % 3,
            "spatial_scale": 0.5,
        }
        inputs = {"x": scalars(rng, 2, 3, 7, 9), "r": rois, "b": rng.integers(0, 2, 5)}
        yield node("RoiAlign", ["x", "r", "b"], ["y"], **attrs), inputs, {}, 16
        table = np.concatenate([inputs["b"][:, None], rois], 1).astype(np.float32)
        pooled = {"pooled_shape": [1 + i % 4, 3], "spatial_scale": 0.5}
        yield node("MaxRoiPool", ["x", "t"], ["y"], **pooled), {"x": inputs["x"], "t": table}, {}, 16


def recurrences(rng: np.random.Generator) -> Iterator[Drawn]:
    for i in range(18):
        kind = ("LSTM", "GRU", "RNN")[i % 3]
        direction = ("forward", "reverse", "bidirectional")[i // 3 % 3]
        directions, gates = 1 + (direction == "bidirectional"), {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
        steps, batch, features, hidden = 4, 3, 5, 6
        names = ["x", "w", "r", "b", "lengths" if i % 2 else "", "h"]
        named = {
            "w": scalars(rng, directions, gates * hidden, features),
            "r": scalars(rng, directions, gates * hidden, hidden),
            "b": scalars(rng, directions, 2 * gates * hidden),
        }
        inputs = {"x": scalars(rng, steps, batch, features), "h": scalars(rng, directions, batch, hidden)}
        if i % 2:
            (named if i % 4 == 1 else inputs)["lengths"] = np.array([4, 2, 3], np.int32)
        attrs: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
        outputs = ["y", "y_h"]
        if kind == "LSTM":
            names += ["c", "p"]
            outputs.append("y_c")
            inputs["c"] = scalars(rng, directions, batch, hidden)
            named["p"] = scalars(rng, directions, 3 * hidden)
        if kind == "GRU":
            attrs["linear_before_reset"] = i // 9
        if i >= 9:
            attrs["clip"] = 0.8
        yield node(kind, names, outputs, **attrs), inputs, named, 17


def quantized(rng: np.random.Generator) -> Iterator[Drawn]:
    for i in range(12):
        unsigned, per_channel = np.dtype("u1"), i % 2
        weights = rng.integers(-128, 128, (4, 3, 3, 3)).astype("i1")
        named = {
            "xs": np.float32(0.021),
            "xz": np.array(rng.integers(0, 256), unsigned),
            "w": weights,
            "ws": rng.uniform(0.001, 0.02, 4 if per_channel else ()).astype(np.float32),
            "wz": np.zeros(4 if per_channel else (), "i1"),
            "ys": np.float32(0.37),
            "yz": np.array(rng.integers(0, 256), unsigned),
            "b": rng.integers(-5000, 5000, 4).astype("i4"),
        }
        x = rng.integers(0, 256, (1, 3, 6, 7)).astype(unsigned)
        yield node("QLinearConv", ["x", *named], ["y"], pads=[1, 1, 1, 1]), {"x": x}, named, 13
        scale = {"s": np.float32(0.05), "z": np.array(rng.integers(0, 256), unsigned)}
        yield node("QuantizeLinear", ["x", "s", "z"], ["y"]), {"x": scalars(rng, 40) * 9}, scale, 13
        integers = {"b": rng.integers(-128, 128, (9, 5)).astype("i1"), "z": scale["z"], "bz": np.array(3, "i1")}
        a = rng.integers(0, 256, (2, 4, 9)).astype(unsigned)
        yield node("MatMulInteger", ["x", "b", "z", "bz"], ["y"]), {"x": a}, integers, 13


def normalizations(rng: np.random.Generator) -> Iterator[Drawn]:
    for i in range(6):
        x, axis = scalars(rng, 2, 3, 4, 5) + 2, int(rng.integers(1, 4))
        row = x.shape[axis:]
        named = {"s": scalars(rng, *row), "b": scalars(rng, *row)}
        yield node("LayerNormalization", ["x", "s", "b"], ["y", "m", "d"], axis=axis), {"x": x}, named, 17
        per = {"s": scalars(rng, 3), "b": scalars(rng, 3)}
        yield node("InstanceNormalization", ["x", "s", "b"], ["y"], epsilon=1e-3), {"x": x}, per, 17
        yield node("LRN", ["x"], ["y"], size=1 + i % 3 * 2, alpha=0.5, beta=0.6), {"x": x}, {}, 17


def older(rng: np.random.Generator) -> Iterator[Drawn]:
    """Operations as earlier opsets have them."""
    x = scalars(rng, 1, 2, 4, 5)
    for mode in ("nearest", "linear"):
        for factors in ((1.0, 1.0, 2.0, 3.0), (1.0, 1.0, 1.5, 2.4)):
            scales = {"s": np.array(factors, np.float32)}
            yield node("Upsample", ["x"], ["y"], mode=mode, scales=list(factors)), {"x": x}, {}, 7
            yield node("Upsample", ["x", "s"], ["y"], mode=mode), {"x": x}, scales, 9
            yield node("Resize", ["x", "s"], ["y"], mode=mode), {"x": x}, scales, 10
            yield node("Resize", ["x", "roi", "s"], ["y"], mode=mode), {"x": x}, scales | {"roi": np.empty(0, "f4")}, 11
    per = {"s": scalars(rng, 2), "b": scalars(rng, 2), "m": scalars(rng, 2), "v": scalars(rng, 2) ** 2 + 1}
    for opset in (7, 9, 14, 15):
        yield node("BatchNormalization", ["x", *per], ["y"], epsilon=1e-3), {"x": x}, per, opset
    grid = rng.uniform(-1.2, 1.2, (1, 3, 3, 2)).astype(np.float32)
    for mode in ("bilinear", "bicubic", "nearest"):
        yield node("GridSample", ["x", "g"], ["y"], mode=mode), {"x": x, "g": grid}, {}, 16
    rois = {"r": np.array([[0.0, 0.0, 3.5, 3.0]], np.float32), "b": np.zeros(1, np.int64)}
    attrs = {"output_height": 2, "output_width": 2, "sampling_ratio": 2}
    yield node("RoiAlign", ["x", *rois], ["y"], **attrs), {"x": x, **rois}, {}, 10
    adaptive = attrs | {"sampling_ratio": 0}
    yield node("RoiAlign", ["x", *rois], ["y"], **adaptive), {"x": x}, rois, 16
    per_group = {"s": scalars(rng, 2), "b": scalars(rng, 2)}
    wide = {"x": scalars(rng, 1, 4, 3)}
    yield node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=2), wide, per_group, 18


FAMILIES: dict[str, Callable[[np.random.Generator], Iterator[Drawn]]] = {
    "convolutions": convolutions,
    "pools": pools,
    "resizes": resizes,
    "grids": grids,
    "regions": regions,
    "recurrences": recurrences,
    "quantized": quantized,
    "normalizations": normalizations,
    "older": older,
}


def _proto(drawn: Drawn) -> onnx.ModelProto:
    made, inputs, named, opset = drawn
    ports = [onnx.helper.make_tensor_value_info(n, _kind(a), a.shape) for n, a in inputs.items()]
    results = [onnx.helper.make_tensor_value_info(n, _RESULTS.get((made.op_type, n), F32), None) for n in made.output]
    return model([made], ports, results, named, opset=opset)


_RESULTS = {
    ("MaxPool", "i"): I64,
    ("QLinearConv", "y"): onnx.TensorProto.UINT8,
    ("QuantizeLinear", "y"): onnx.TensorProto.UINT8,
    ("MatMulInteger", "y"): onnx.TensorProto.INT32,
}


def _kind(array: np.ndarray) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(array.dtype))


@pytest.mark.parametrize("family", FAMILIES)
def test_drawn_nodes(family: str) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    for drawn in FAMILIES[family](np.random.default_rng(len(family))):
        proto, inputs = _proto(drawn), drawn[1]
        graph = load(proto)
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
        wanted = session.run(None, inputs)
        arrays = {v.name: a for v, a in zip(graph.inputs, inputs.values(), strict=True)}
        for results in (evaluate(graph, arrays), interpret(lower(graph), arrays)):
            for got, want in zip(results.values(), wanted, strict=True):
                assert (got.shape, got.dtype) == (want.shape, want.dtype), drawn[0]
                off = np.abs(got.astype(np.float64) - want).max()
                assert off <= 2e-5 * max(1.0, float(np.abs(want).max())), f"{off}: {drawn[0]}"
