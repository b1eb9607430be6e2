"""Graphs for other input shapes."""

from __future__ import annotations

import numpy as np
import pytest

from nnefc.errors import InvalidModelError, Location
from nnefc.ir.graph import Attrs, Graph, Literal, Op, Origin, Value
from nnefc.ir.types import DType, TensorType
from nnefc.ops.evaluate import evaluate
from nnefc.ops.inference import with_input_shapes


def value(name: str, *shape: int) -> Value:
    return Value(name, TensorType(DType.F32, shape))


def graph(kind: str, attrs: Attrs, y: Value, *more: Literal) -> Graph:
    x = value("x", 2, 3)
    op = Op(kind, (x, *more), attrs, (y,), Origin((), (Location("g.nnef", 4, 5),)))
    return Graph("g", (x,), (op,), (y,))


def test_types_follow_the_inputs() -> None:
    added = graph("add", Attrs(), value("y", 2, 3), Literal(1.0, DType.F32))
    other = with_input_shapes(added, {"x": (4, 5)})
    assert (str(other.inputs[0].type), str(other.outputs[0].type)) == ("f32[4,5]", "f32[4,5]")
    x = np.ones((4, 5), np.float32)
    np.testing.assert_array_equal(evaluate(other, {"x": x})["y"], x + 1)


def test_equal_shapes_change_nothing() -> None:
    added = graph("add", Attrs(), value("y", 2, 3), Literal(1.0, DType.F32))
    assert with_input_shapes(added, {"x": (2, 3)}) is added
    assert with_input_shapes(added, {}) is added


def test_an_operation_that_does_not_accept_the_shapes_is_named() -> None:
    attrs = Attrs(shape=[6], axis_start=0, axis_count=-1)
    with pytest.raises(InvalidModelError, match="g.nnef:4:5: error: ") as caught:
        with_input_shapes(graph("reshape", attrs, value("y", 6)), {"x": (4, 5)})
    assert "20" in caught.value.message


@pytest.mark.parametrize(("shapes", "message"), [({"q": (1,)}, "no input 'q'"), ({"x": (0, 3)}, "positive")])
def test_wrong_shapes(shapes: dict, message: str) -> None:
    added = graph("add", Attrs(), value("y", 2, 3), Literal(1.0, DType.F32))
    with pytest.raises(ValueError, match=message):
        with_input_shapes(added, shapes)
