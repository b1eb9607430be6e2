"""The final expressions of rows, as they are selected: softmax divides once for each row, and stays exact."""

from __future__ import annotations

import numpy as np
import pytest

import nnefc
from nnefc.codegen.kernels.rows import RowsKernel
from nnefc.codegen.select import select
from nnefc.codegen.target import Target
from nnefc.formats.nnef import parse_graph
from nnefc.ir.expr import Expr, arg, call, const
from nnefc.ir.program import Row
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides

HOST = Target.host()


def row(shape: tuple[int, int], stages: tuple[tuple[str, Expr], ...], final: Expr, dtype: DType = DType.F32) -> Row:
    views = [View(Buffer(n, dtype, shape[0] * shape[1], Role.TEMP), 0, shape, dense_strides(shape)) for n in "xy"]
    return Row(stages, final, (views[0],), views[1], 1)


def softmax(dtype: DType = DType.F32) -> tuple[tuple[tuple[str, Expr], ...], Expr]:
    x, most, total = (arg(k, dtype) for k in range(3))
    power = call("exp", call("sub", x, most))
    return (("max", x), ("sum", power)), call("div", power, total)


def final_of(one: Row) -> str:
    spec = select(one, HOST).spec
    assert isinstance(spec, RowsKernel)
    return str(spec.final)


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
@pytest.mark.parametrize("shape", [(9, 70), (70, 9)])
def test_softmax_multiplies_by_a_reciprocal(shape: tuple[int, int], dtype: DType) -> None:
    assert final_of(row(shape, *softmax(dtype), dtype)) == "mul($3, div(1.0, $2))"


def test_sums_that_may_be_tiny_are_divided_by() -> None:
    x, first = (arg(k, DType.F32) for k in range(2))
    plain = (("sum", call("abs", x)),), call("div", x, first)
    assert "div($0, $1)" in final_of(row((9, 70), *plain))
    (_, summed), final = softmax()
    least = (("min", x), summed)
    assert "div($3, $2)" in final_of(row((9, 70), least, final))
    other = (("max", call("mul", x, const(2.0, DType.F32))), summed)
    assert "div($3, $2)" in final_of(row((9, 70), other, final))


def test_softmax_is_good_to_a_few_ulp() -> None:
    graph = parse_graph(
        "version 1.0; graph net(x) -> (y) { x = external(shape = [40, 197]); y = softmax(x, axes = [1]); }"
    )
    x = np.random.default_rng(0).uniform(-30, 30, (40, 197)).astype(np.float32)
    x[0], x[1, 1:] = 0, -1000
    exact = np.exp((x - x.max(1, keepdims=True)).astype(np.float64))
    exact /= exact.sum(1, keepdims=True)
    answer = nnefc.compile(graph, threads=1)(x)
    normal = exact > np.finfo(np.float32).tiny
    distance = np.abs(answer - exact)[normal] / np.spacing(exact[normal].astype(np.float32))
    assert distance.max() < 5
    assert answer[1].tolist() == [1.0] + [0.0] * 196
