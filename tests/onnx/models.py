"""Small ONNX models for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

F32, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def info(name: str, shape: Sequence[int | str | None] | None, kind: int = F32) -> onnx.ValueInfoProto:
    """A tensor's name, type and shape."""
    return helper.make_tensor_value_info(name, kind, shape)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto] = (),
    outputs: Sequence[str | onnx.ValueInfoProto] = ("y",),
    initial: dict[str, np.ndarray] | None = None,
    name: str = "g",
) -> onnx.GraphProto:
    """A graph; outputs given by name are floats of any shape."""
    outs = [o if isinstance(o, onnx.ValueInfoProto) else info(o, None) for o in outputs]
    tensors = [onnx.numpy_helper.from_array(a, n) for n, a in (initial or {}).items()]
    return helper.make_graph(list(nodes), name, list(inputs), outs, tensors)


def model(*args: Any, opset: int = 17, domains: dict[str, int] | None = None, functions: Any = (), **named: Any):
    """A model of a graph made of the other arguments."""
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in (domains or {}).items())]
    made = helper.make_model(graph(*args, **named), opset_imports=opsets, functions=list(functions))
    made.ir_version = 10
    return made


node = helper.make_node


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """Random floats."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def conv_net() -> onnx.ModelProto:
    """A convolution and an activation: what the bad files are made of."""
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["y"], name="act"),
    ]
    return model(nodes, [info("x", [1, 3, 8, 8])], initial={"w": weights(16, 3, 3, 3), "b": weights(16)})
