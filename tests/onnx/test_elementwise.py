"""Element-wise operations and reductions of ONNX, old opsets and new, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from node_models import NodeCase, check

from nnefc.errors import UnsupportedError
from nnefc.formats.onnx import load

SHAPES = [((), ()), ((7,), ()), ((2, 3, 5), (5,)), ((3, 1), (4, 3, 5)), ((4, 1, 9), (1, 8, 1))]
"""Pairs of shapes that broadcast as ONNX has it, aligned from the last dimension."""
UNIT = "Asin Acos Atanh".split()
POSITIVE = "Log Sqrt Reciprocal".split()
UNARY = """Abs Neg Sign Ceil Floor Round Exp Sin Cos Tan Atan Sinh Cosh Tanh Asinh Erf Sigmoid Relu Softplus Softsign
    HardSwish Mish Elu Celu Selu LeakyRelu HardSigmoid ThresholdedRelu Gelu""".split()
LOGICAL = "And Or Xor".split()
SINCE = {"Sign": 9, "Sinh": 9, "Cosh": 9, "Asinh": 9, "Atanh": 9, "Acosh": 9, "Erf": 9, "Celu": 12, "Round": 11,
         "HardSwish": 14, "Mish": 18, "Gelu": 20, "ThresholdedRelu": 10}  # fmt: skip


def floats(rng: np.random.Generator, shape: tuple[int, ...], low: float = -3, high: float = 3) -> np.ndarray:
    """Values of which some are halves."""
    x = rng.uniform(low, high, shape)
    return np.where(rng.random(shape) < 0.2, np.clip(np.round(x * 2) / 2, low, high), x).astype(np.float32)


def unary() -> Iterator[NodeCase]:
    rng = np.random.default_rng(1)
    for op in UNARY:
        for opset in sorted({max(SINCE.get(op, 7), 7), 21}):
            yield NodeCase(op, [floats(rng, (3, 7))], opset=opset)
    for op in UNIT:
        yield NodeCase(op, [floats(rng, (9,), -0.99, 0.99)], opset=13)
    for op in POSITIVE:
        yield NodeCase(op, [floats(rng, (9,), 0.1, 4)], opset=13)
    yield NodeCase("Acosh", [floats(rng, (9,), 1, 4)])
    for attrs in ({"alpha": 0.3}, {"alpha": 2.0}):
        for op in ("Elu", "Celu", "LeakyRelu", "ThresholdedRelu"):
            yield NodeCase(op, [floats(rng, (31,))], attrs)
    yield NodeCase("Selu", [floats(rng, (31,))], {"alpha": 1.5, "gamma": 2.0})
    yield NodeCase("HardSigmoid", [floats(rng, (31,))], {"alpha": 0.4, "beta": 0.1})
    yield NodeCase("Gelu", [floats(rng, (31,))], {"approximate": "tanh"})
    yield NodeCase("Shrink", [floats(rng, (31,))], {"lambd": 1.0, "bias": 0.25})
    yield NodeCase("Not", [rng.random((3, 5)) < 0.5])
    yield NodeCase("IsNaN", [np.array([1, np.nan, np.inf], np.float32)])
    yield NodeCase("IsInf", [np.array([1, np.nan, np.inf, -np.inf], np.float32)], {"detect_negative": 0})
    for dtype in (np.int32, np.int64, np.int8):
        yield NodeCase("Abs", [rng.integers(-9, 9, (3, 5)).astype(dtype)])
        yield NodeCase("Neg", [rng.integers(-9, 9, (3, 5)).astype(dtype)])
    yield NodeCase("Relu", [rng.integers(-9, 9, (3, 5)).astype(np.int32)])
    yield NodeCase("Exp", [rng.normal(size=(3, 5))])
    yield NodeCase("BitwiseNot", [rng.integers(0, 255, (3, 5)).astype(np.uint8)])


def binary() -> Iterator[NodeCase]:
    rng = np.random.default_rng(2)
    for a, b in SHAPES:
        for x, y in ((a, b), (b, a)):
            for op in ("Add", "Sub", "Mul", "Div", "Pow", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "PRelu"):
                if op == "PRelu" and np.broadcast_shapes(x, y) != x:
                    continue
                yield NodeCase(op, [floats(rng, x, 0.2), floats(rng, y, 0.2)], opset=16)
            for op in LOGICAL:
                yield NodeCase(op, [rng.random(x) < 0.5, rng.random(y) < 0.5], opset=7)
            yield NodeCase("Equal", [rng.integers(0, 3, x), rng.integers(0, 3, y)], opset=11)
            for op in ("Max", "Min", "Sum", "Mean"):
                yield NodeCase(op, [floats(rng, x), floats(rng, y), floats(rng, (1,))], opset=8)
            yield NodeCase("Where", [rng.random(a) < 0.5, floats(rng, x), floats(rng, y)], opset=9)
    x, y = rng.integers(-20, 20, (4, 9)), rng.integers(1, 7, (9,)) * np.where(rng.random(9) < 0.5, -1, 1)
    for dtype in (np.int32, np.int64):
        for op in ("Add", "Div", "Max", "Min", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Mod"):
            yield NodeCase(op, [x.astype(dtype), y.astype(dtype)], opset=18)
    yield NodeCase("Mod", [x.astype(np.int64), y.astype(np.int64)], {"fmod": 1})
    yield NodeCase("Mod", [floats(rng, (4, 9)), y.astype(np.float32)], {"fmod": 1})
    yield NodeCase("Pow", [x.astype(np.float32), np.abs(y).astype(np.int64)])
    yield NodeCase("Pow", [np.abs(x).astype(np.int32), np.array([2.0], np.float32)])
    for exponent in (2.0, 0.5, -1.0, 3.0, 0.0):
        yield NodeCase("Pow", [floats(rng, (3, 7), 0.3), np.array(exponent, np.float32)], known=[1])
    shifts = [rng.integers(0, 9, (9,)).astype(np.uint8) for _ in range(2)]
    yield NodeCase("BitShift", shifts, {"direction": "LEFT"})
    yield NodeCase("BitShift", shifts, {"direction": "RIGHT"})
    nan = np.array([[np.nan, 1, -1]], np.float32)
    yield NodeCase("Max", [nan, nan.T])
    yield NodeCase("Min", [nan, nan.T])


def others() -> Iterator[NodeCase]:
    rng = np.random.default_rng(3)
    x = floats(rng, (3, 8))
    low, high = np.array(-1, np.float32), np.array(1.5, np.float32)
    yield NodeCase("Clip", [x], {"min": -1.0, "max": 0.5}, opset=7)
    yield NodeCase("Clip", [x], {"max": 0.5}, opset=10)
    for known in ((), (1, 2), (1,)):
        yield NodeCase("Clip", [x, low, high], opset=13, known=known)
    yield NodeCase("Clip", [x, None, high])
    yield NodeCase("Clip", [x, low])
    yield NodeCase("Clip", [rng.integers(-9, 9, (3, 4)), np.array(-2), np.array(5)])
    for source in (np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_, np.float16):
        for target in (np.float32, np.float64, np.int32, np.int64, np.bool_, np.float16):
            values = (floats(rng, (3, 7)) if source != np.uint8 else rng.integers(0, 255, (3, 7))).astype(source)
            to = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(target))
            yield NodeCase("Cast", [values], {"to": to}, opset=13)
    yield NodeCase("CastLike", [x, np.array([1])], opset=15)
    yield NodeCase("Identity", [x])
    yield NodeCase("Dropout", [x], {"ratio": 0.5}, opset=7)
    yield NodeCase("Dropout", [x, np.array(0.5, np.float32)], opset=13, known=[1], outputs=2)


def reductions() -> Iterator[NodeCase]:
    rng = np.random.default_rng(4)
    ops = [f"Reduce{k}" for k in "Sum Mean Max Min Prod L1 L2 LogSum LogSumExp SumSquare".split()]
    for op in ops:
        low = 0.1 if op == "ReduceLogSum" else -2
        x = floats(rng, (2, 3, 4, 5), low)
        for attrs in ({"axes": [1]}, {"axes": [-1, 0], "keepdims": 0}, {}):
            yield NodeCase(op, [x], attrs, opset=11 if op != "ReduceSum" else 7)
        yield NodeCase(op, [x, np.array([1, -1])], {"keepdims": 0}, opset=18, known=[1])
        yield NodeCase(op, [x], {"noop_with_empty_axes": 1}, opset=18) if op == "ReduceSum" else NodeCase(op, [x])
    yield NodeCase("ReduceSum", [rng.integers(-9, 9, (3, 4)), np.array([0])], known=[1])
    yield NodeCase("ReduceMax", [rng.integers(-9, 9, (3, 4)).astype(np.int8), np.array([0])], opset=18, known=[1])
    ties = rng.integers(0, 3, (3, 4, 5)).astype(np.float32)
    for op in ("ArgMax", "ArgMin"):
        for attrs in ({"axis": 1}, {"axis": -1, "keepdims": 0}, {"axis": 2, "select_last_index": 1}):
            yield NodeCase(op, [ties], attrs, opset=13)
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for axis in (0, 1, -1):
            yield NodeCase(op, [floats(rng, (3, 4, 5))], {"axis": axis}, opset=13)
            yield NodeCase(op, [floats(rng, (3, 4, 5))], {"axis": axis % 3}, opset=11)
        yield NodeCase(op, [floats(rng, (3, 4, 5))], opset=11)
    for flags in ({}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}):
        yield NodeCase("CumSum", [floats(rng, (3, 9)), np.array(1)], flags, opset=14, known=[1])


@pytest.mark.parametrize("draw", [unary, binary, others, reductions])
def test_against_onnx_runtime(draw) -> None:
    check(list(draw()))


def test_chance_is_refused() -> None:
    for case in (
        NodeCase("RandomNormal", [], {"shape": [3]}),
        NodeCase("Dropout", [np.ones(3, np.float32), np.array(0.5, np.float32), np.array(True)], known=[1, 2]),
    ):
        with pytest.raises(UnsupportedError, match="random"):
            load(case.model())
