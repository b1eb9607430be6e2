"""Shapes, parts, borders, indices and products of ONNX, old opsets and new, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from node_models import NodeCase, check

from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.formats.onnx import load

RNG = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return RNG.uniform(-3, 3, shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def bound(op: str, x: np.ndarray, *operands: np.ndarray | None, opset: int = 21, **attrs: Any) -> NodeCase:
    """A node whose operands after the first are initialisers."""
    known = [i for i, a in enumerate(operands, 1) if a is not None]
    return NodeCase(op, [x, *operands], attrs, opset, known)


def shapes() -> Iterator[NodeCase]:
    x = floats(2, 3, 4, 5)
    for shape in (ints(6, 20), ints(0, -1), ints(-1), ints(2, 0, 2, 10), ints(120, 1, 1)):
        yield bound("Reshape", x, shape, opset=13)
    for axis in (0, 1, 2, 4, -1):
        yield NodeCase("Flatten", [x], {"axis": axis}, 13)
    yield NodeCase("Squeeze", [floats(1, 3, 1, 2)], {"axes": [0, -2]}, 11)
    yield NodeCase("Squeeze", [floats(1, 3, 1, 2)], {}, 11)
    yield bound("Squeeze", floats(1, 3, 1, 2), ints(2), opset=13)
    yield NodeCase("Unsqueeze", [floats(3, 2)], {"axes": [0, 3]}, 11)
    yield bound("Unsqueeze", floats(3, 2), ints(-1, 0), opset=13)
    yield NodeCase("Transpose", [x], {"perm": [2, 0, 3, 1]}, 7)
    yield NodeCase("Transpose", [x], {}, 13)
    for shape in (ints(2, 3, 4, 5), ints(7, 1, 1, 1, 1), ints(1), ints(4, 1)):
        yield bound("Expand", floats(3, 1, 4, 1) if len(shape) > 2 else floats(4, 5), _fit(shape), opset=8)
    yield bound("Tile", floats(2, 3), ints(2, 3), opset=7)
    yield NodeCase("Shape", [x], {"start": 1, "end": -1}, 15)
    yield NodeCase("Size", [x])
    yield NodeCase("EyeLike", [x[0, 0]], {"k": 1}, 9)
    yield NodeCase("DepthToSpace", [floats(2, 8, 3, 2)], {"blocksize": 2}, 11)
    yield NodeCase("DepthToSpace", [floats(2, 8, 3, 2)], {"blocksize": 2, "mode": "CRD"}, 11)
    yield NodeCase("SpaceToDepth", [floats(2, 3, 4, 6)], {"blocksize": 2}, 13)
    for upper in (0, 1):
        for k in (-1, 0, 2):
            yield bound("Trilu", floats(2, 4, 5), np.array(k), opset=14, upper=upper)


def _fit(shape: np.ndarray) -> np.ndarray:
    return ints(3, 2, 4, 5) if len(shape) == 4 else shape if len(shape) != 5 else ints(7, 1, 1, 1, 1)


def parts() -> Iterator[NodeCase]:
    x = floats(4, 6, 5)
    yield NodeCase("Concat", [x, floats(4, 2, 5), x], {"axis": 1}, 7)
    yield NodeCase("Concat", [x, x], {"axis": -1}, 13)
    yield NodeCase("Split", [x], {"axis": 1}, 7, outputs=3)
    yield NodeCase("Split", [x], {"axis": 1, "split": [1, 5]}, 11, outputs=2)
    yield NodeCase("Split", [x, ints(2, 4)], {"axis": -2}, 13, [1], 2)
    yield NodeCase("Split", [x], {"axis": 2, "num_outputs": 3}, 18, outputs=3)
    yield NodeCase("Slice", [x], {"starts": [1, -3], "ends": [100, -1], "axes": [0, 2]}, 9)
    yield NodeCase("Slice", [x], {"starts": [1, 0], "ends": [3, 4]}, 7)
    big = np.iinfo(np.int64).max
    for starts, ends, axes, steps in (
        ((5,), (0,), (1,), (-2,)),
        ((-1,), (-big,), (0,), (-1,)),
        ((0, 1), (big, -1), (1, 2), (3, 2)),
        ((-100, 3), (2, 1), (0, 1), (1, -1)),
    ):
        yield bound("Slice", x, ints(*starts), ints(*ends), ints(*axes), ints(*steps), opset=13)
    yield bound("Slice", x, ints(1, 2), ints(3, 5), opset=13)
    lengths = ints(1, 4, 3)
    yield bound("ReverseSequence", floats(4, 3, 2), lengths, opset=10)
    yield bound("ReverseSequence", floats(3, 4, 2), lengths, opset=10, batch_axis=0, time_axis=1)


def pads() -> Iterator[NodeCase]:
    x = floats(2, 3, 5)
    pad = [0, 1, 2, 1, 0, 3]
    for mode in ("constant", "edge", "reflect"):
        yield NodeCase("Pad", [x], {"mode": mode, "pads": [0, 1, 2, 1 if mode != "reflect" else 0, 0, 3]}, 10)
        safe = ints(*pad) if mode != "reflect" else ints(0, 1, 2, 1, 0, 3)
        yield bound("Pad", x, safe, opset=13, mode=mode)
    yield bound("Pad", x, ints(*pad), np.array(2.5, np.float32), opset=13)
    yield bound("Pad", x, ints(-1, 2, 1, -2), None, ints(1, -1), opset=19)
    yield bound("Pad", x, ints(1, 2, 3, 1), None, ints(1, -1), opset=19, mode="wrap")
    yield bound("Pad", RNG.integers(0, 9, (3, 4)), ints(1, 1, 0, 2), np.array(-7), opset=13)


def indices() -> Iterator[NodeCase]:
    x = floats(4, 6, 5)
    for axis in (0, 1, -1):
        yield NodeCase("Gather", [x, np.array([[0, -1], [2, 3]])], {"axis": axis}, 13)
        yield bound("Gather", x, np.array(-2), axis=axis)
        yield bound("Gather", x, ints(1), axis=axis)
    yield NodeCase("Gather", [x, RNG.integers(0, 4, (3,), np.int32)])
    at = RNG.integers(-6, 6, (4, 3, 5))
    yield NodeCase("GatherElements", [x, at], {"axis": 1}, 13)
    yield NodeCase("GatherND", [x, np.array([[0, 1], [-1, -2]])], {}, 12)
    yield NodeCase("GatherND", [x, RNG.integers(-6, 6, (4, 2, 1))], {"batch_dims": 1}, 12)
    places = np.argsort(RNG.random((4, 3, 5)), 1)
    for opset, reduction in ((11, None), (18, "add"), (18, "mul"), (18, "max"), (18, "min")):
        attrs = {"axis": 1} | ({"reduction": reduction} if reduction else {})
        yield NodeCase("ScatterElements", [x, places, floats(4, 3, 5)], attrs, opset)
        attrs.pop("axis")
        yield NodeCase("ScatterND", [x, np.array([[1], [-1]]), floats(2, 6, 5)], attrs, opset)
    values = np.array([0.5, 2.0], np.float32)
    for axis in (-1, 0, 1):
        yield NodeCase("OneHot", [np.array([[0, 2], [-1, 9]]), np.array(4), values], {"axis": axis}, 11, [1])
    for attrs in ({}, {"largest": 0, "axis": 1}):
        yield NodeCase("TopK", [x, ints(3)], attrs, 11, [1], 2)
    yield NodeCase("TopK", [x], {"k": 2}, 9, outputs=2)
    yield NodeCase("Compress", [x, np.array([True, False, True])], {"axis": 1}, 11, [1])
    yield NodeCase("NonZero", [np.array([[0, 3], [1, 0]], np.float32)], {}, 13, [0])
    for sort in (0, 1):
        yield NodeCase("Unique", [np.array([2, 1, 1, 3, 4, 3], np.float32)], {"sorted": sort}, 11, [0], 4)


def made() -> Iterator[NodeCase]:
    for start, limit, delta in ((2, 11, 3), (10, 2, -2)):
        yield NodeCase("Range", [np.array(v) for v in (start, limit, delta)], {}, 11, [0, 1, 2])
        yield NodeCase("Range", [np.array(v, np.float32) for v in (start, limit, delta)], {}, 11, [0, 1, 2])
    yield NodeCase("ConstantOfShape", [ints(2, 3)], {}, 9, [0])


def products() -> Iterator[NodeCase]:
    for a, b in (
        ((3, 4), (4, 5)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (4,)),
        ((2, 3, 4), (4, 5)),
        ((4,), (2, 4, 5)),
        ((2, 1, 3, 4), (5, 4, 6)),
    ):
        yield NodeCase("MatMul", [floats(*a), floats(*b)], {}, 13)
    yield NodeCase("MatMul", [RNG.integers(-9, 9, (2, 3, 4)).astype(np.int32) for _ in range(1)] + [
        RNG.integers(-9, 9, (4, 5)).astype(np.int32)])  # fmt: skip
    a, b = floats(3, 4), floats(4, 5)
    yield NodeCase("Gemm", [a, b, floats(5)], {}, 7)
    yield NodeCase("Gemm", [a, b.T.copy(), floats(5)], {"transB": 1}, 13)
    yield NodeCase("Gemm", [a.T.copy(), b, floats(3, 1)], {"transA": 1, "alpha": 0.5, "beta": 2.0}, 13)
    yield NodeCase("Gemm", [a, b, np.array(2.0, np.float32)], {}, 13)
    yield NodeCase("Gemm", [a, b], {"alpha": 0.25}, 13)
    for equation, operands in (
        ("ij,jk->ik", [(3, 4), (4, 5)]),
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (1, 6, 4, 5)]),
        ("ij->ji", [(3, 4)]),
        ("ij->", [(3, 4)]),
        ("ii->i", [(4, 4)]),
        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("i,j->ij", [(3,), (4,)]),
        ("ij,kj,lk->il", [(3, 4), (5, 4), (2, 5)]),
        ("abc,cd", [(2, 3, 4), (4, 5)]),
        ("ij,ij->i", [(3, 4), (3, 4)]),
    ):
        yield NodeCase("Einsum", [floats(*s) for s in operands], {"equation": equation}, 12)
    yield NodeCase("Det", [floats(2, 3, 3)], {}, 11)
    yield NodeCase("Det", [np.array([[0, 2, 1], [1, 0, 3], [2, 1, 0]], np.float32)], {}, 11)


@pytest.mark.parametrize("draw", [shapes, parts, pads, indices, made, products])
def test_against_onnx_runtime(draw) -> None:
    check(list(draw()))


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (NodeCase("Reshape", [floats(2, 3), ints(4, 2)], known=[1]), r"\[2, 3\] cannot be reshaped to \[4, 2\]"),
        (NodeCase("Transpose", [floats(2, 3)], {"perm": [0, 0]}), r"perm = \[0, 0\] does not name the 2 dimensions"),
        (NodeCase("Concat", [floats(2, 3), floats(2, 3)], {"axis": 2}), "axis is 2; it must be -2 to 1"),
        (NodeCase("Split", [floats(4), ints(1, 2)], {}, 13, [1], 2), r"parts of \[1, 2\] do not make up the extent 4"),
        (NodeCase("Slice", [floats(4), ints(0), ints(2), ints(0, 0)], known=[1, 2, 3]), "do not fit each other"),
        (NodeCase("Pad", [floats(2, 3), ints(1, 1)], known=[1]), "there are 2 pads for 2 dimensions"),
        (NodeCase("Squeeze", [floats(2, 3), ints(0)], known=[1]), "cannot be removed: an extent is not 1"),
        (NodeCase("MatMul", [floats(2, 3), floats(2, 3)]), "the inner extents 3 and 2 must be equal"),
        (NodeCase("Einsum", [floats(2, 3)], {"equation": "ij,jk->ik"}), "has 2 operands; 1 are given"),
        (NodeCase("Det", [floats(2, 3)]), "must hold square matrices"),
        (NodeCase("Split", [floats(6)], {"num_outputs": 2**40}, outputs=3), "but there are 3 outputs"),
        (NodeCase("DepthToSpace", [floats(1, 4, 2, 2)], {"blocksize": 0}), "blocksize is 0"),
        (NodeCase("ReverseSequence", [floats(2, 3), ints(9, 9, 9)], known=[1]), "does not fit 3 sequences of 2 steps"),
        (NodeCase("ConstantOfShape", [ints(2**62, 2**62)], known=[0]), "no tensor has the shape"),
        (NodeCase("ScatterND", [floats(4), np.array([[1]]), floats(1)], {"reduction": "xor"}), "it must be one of"),
    ],
)
def test_faults(case: NodeCase, message: str) -> None:
    with pytest.raises(InvalidModelError, match=message):
        load(case.model())


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (NodeCase("Reshape", [floats(2, 3), ints(3, 2)]), "the shape must be known when the model is read"),
        (NodeCase("NonZero", [floats(2, 3)]), "on which the shape of the result depends"),
        (NodeCase("Det", [floats(17, 17)]), "at most 16 are"),
        (NodeCase("Pad", [floats(2, 3), ints(2**40, 0, 0, 0)], {"mode": "wrap"}, known=[1]), "wrapped around"),
        (NodeCase("OneHot", [ints(0), np.array(2**36), floats(2)], known=[1]), "a dimension of 68719476736 elements"),
        (NodeCase("Range", [np.array(v) for v in (0, 2**62, 1)], known=[0, 1, 2]), "at most 4194304 are"),
    ],
)
def test_refusals(case: NodeCase, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        load(case.model())
