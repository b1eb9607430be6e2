"""Weights of 2, 4 and 8 bits that are dequantized or cast: what they are to ONNX's own reference, and kept as short."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxruntime.capi.onnxruntime_pybind11_state as state
import pytest
from models import F32, model, node
from onnx.reference import ReferenceEvaluator

from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.formats import nnef
from nnefc.formats.onnx import load, to_model
from nnefc.ir.graph import Graph
from nnefc.ops.evaluate import evaluate

T = onnx.TensorProto
BITS = {"INT4": 4, "UINT4": 4, "INT2": 2, "UINT2": 2, "FLOAT4E2M1": 4}
INTEGERS = ("INT4", "UINT4", "INT2", "UINT2")
FLOATS = ("FLOAT4E2M1", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ")
NOT_THERE = ("INT2", "UINT2", "FLOAT4E2M1", "FLOAT8E4M3FNUZ", "FLOAT8E5M2FNUZ")
"""What ONNX Runtime may lack."""


def stored(name: str, kind: str, shape: tuple[int, ...], raw: bool = True) -> onnx.TensorProto:
    """A tensor of drawn bits; no NaN and no infinity."""
    bits = BITS.get(kind, 8)
    rng = np.random.default_rng(len(kind) + len(shape))
    data = rng.integers(0, 256, -(-math.prod(shape) * bits // 8)).astype(np.uint8)
    if bits == 8:
        data &= 0x77
    tensor = onnx.TensorProto(name=name, dims=shape, data_type=getattr(T, kind))
    if raw:
        tensor.raw_data = data.tobytes()
    else:
        tensor.int32_data.extend(data.tolist())
    return tensor


def dequantizing(kind: str, shape: tuple[int, ...], raw: bool = True, **attrs: int) -> onnx.ModelProto:
    """x plus dequantized weights; a scale for each item of ``axis``, or for each block of it."""
    scales = ()
    if "axis" in attrs:
        axis, block = attrs["axis"], attrs.get("block_size", 0)
        scales = (shape[axis],)
        if block:
            scales = tuple(-(-n // block) if d == axis else n for d, n in enumerate(shape))
    scale = (0.01 + np.random.default_rng(3).random(scales)).astype(np.float32)
    zero = stored("zero", kind, scales, raw)
    if kind in FLOATS:
        zero.ClearField("raw_data")
        zero.ClearField("int32_data")
        zero.raw_data = bytes(-(-math.prod(scales) * BITS.get(kind, 8) // 8))
    made = [node("DequantizeLinear", ["w", "scale", "zero"], ["d"], **attrs), node("Add", ["x", "d"], ["y"])]
    ports = [onnx.helper.make_tensor_value_info(n, F32, shape) for n in "xy"]
    proto = model(made, ports[:1], ports[1:], {"scale": scale}, opset=25)
    proto.graph.initializer.extend([stored("w", kind, shape, raw), zero])
    return proto


def result(graph: Graph, x: np.ndarray) -> np.ndarray:
    return evaluate(graph, {graph.inputs[0].name: x})[graph.outputs[0].name]


def runtime(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    return y


CASES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((3, 5), {}),
    ((4, 6, 3), {"axis": 1}),
    ((4, 6), {"axis": 0, "block_size": 2}),
    ((5,), {"axis": 0}),
]


@pytest.mark.parametrize("raw", (True, False))
@pytest.mark.parametrize("kind", (*INTEGERS, *FLOATS))
def test_dequantized_weights(kind: str, raw: bool) -> None:
    for shape, attrs in CASES:
        proto = dequantizing(kind, shape, raw, **attrs)
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        got = result(load(proto), x)
        np.testing.assert_allclose(got, ReferenceEvaluator(proto).run(None, {"x": x})[0], rtol=1e-6, atol=1e-6)
        try:
            wanted = runtime(proto, x)
        except (state.NotImplemented, state.InvalidGraph, state.Fail):
            assert kind in NOT_THERE
            continue
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", (*INTEGERS, *FLOATS, "FLOAT8E8M0"))
def test_cast_weights_have_the_values_of_their_type(kind: str) -> None:
    every = np.arange(2 ** BITS.get(kind, 8)).astype(np.uint8)
    packed = np.packbits(np.unpackbits(every[:, None], axis=1)[:, -BITS.get(kind, 8) :][:, ::-1], bitorder="little")
    tensor = onnx.TensorProto(name="w", dims=every.shape, data_type=getattr(T, kind), raw_data=packed.tobytes())
    made = [node("Cast", ["w"], ["c"], to=F32), node("Add", ["c", "x"], ["y"])]
    ports = [onnx.helper.make_tensor_value_info(n, F32, every.shape) for n in "xy"]
    proto = model(made, ports[:1], ports[1:], {}, opset=25)
    proto.graph.initializer.append(tensor)
    wanted = onnx.numpy_helper.to_array(tensor).astype(np.float32)
    np.testing.assert_array_equal(result(load(proto), np.zeros_like(wanted)), wanted)


@pytest.mark.parametrize("kind", INTEGERS)
def test_large_weights_stay_short(kind: str, tmp_path: Path) -> None:
    shape = (2049, 2048)
    proto = dequantizing(kind, shape, axis=0)
    graph = load(proto)
    (weights,) = (t for t in graph.tensors.values() if t.data.size == math.prod(shape))
    assert weights.bits == BITS[kind] and weights.data.itemsize == 1
    nnef.save(graph, tmp_path / "m")
    assert max(p.stat().st_size for p in (tmp_path / "m").iterdir()) < math.prod(shape) * BITS[kind] / 8 + 1000
    again = nnef.load(tmp_path / "m")
    assert again.ops == graph.ops and again.tensors == graph.tensors
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(result(again, x), runtime(to_model(again), x), rtol=1e-6, atol=1e-6)


def test_what_is_refused() -> None:
    proto = dequantizing("INT4", (3, 5))
    proto.graph.node[0].CopyFrom(node("Add", ["w", "zero"], ["d"]))
    with pytest.raises(UnsupportedError, match="elements of int4 are not computed with"):
        load(proto)
    proto = dequantizing("INT4", (3, 5))
    proto.graph.output[0].type.tensor_type.elem_type = T.INT4
    with pytest.raises(UnsupportedError, match="the output 'y' has elements of type INT4"):
        load(proto)
    proto = dequantizing("UINT4", (3, 5))
    proto.graph.initializer[1].raw_data += b"\0"
    with pytest.raises(InvalidModelError, match=r"'w' of uint4 and shape \[3, 5\] needs 8 bytes, but has 9"):
        load(proto)
