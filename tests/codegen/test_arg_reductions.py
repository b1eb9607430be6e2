"""Arg-reductions of every element type, also those whose values are as wide as the indices, compiled."""

from __future__ import annotations

import numpy as np

import nnefc
from nnefc.ir.graph import Attrs, Graph, Op, Value
from nnefc.ir.types import DType, TensorType

DTYPES = [d for d in DType if d not in (DType.BOOL, DType.BF16)]


def test_every_element_type() -> None:
    inputs = [Value(f"x_{d}", TensorType(d, (5, 19))) for d in DTYPES]
    ops, outputs = [], []
    for kind in ("argmax_reduce", "argmin_reduce"):
        for x in inputs:
            outputs.append(Value(f"{kind}_{x.name}", TensorType(DType.I64, (5, 1))))
            ops.append(Op(kind, (x,), Attrs(axes=(1,)), (outputs[-1],)))
    graph = Graph("arg", tuple(inputs), tuple(ops), tuple(outputs))
    rng = np.random.default_rng(0)
    arrays = {x.name: rng.integers(0, 100, (5, 19)).astype(x.type.dtype.numpy) for x in inputs}
    arrays["x_u64"] += np.uint64(2**63)
    wanted = nnefc.evaluate(graph, arrays)
    for name, got in nnefc.compile(graph)(**arrays)._asdict().items():
        np.testing.assert_array_equal(got, wanted[name], err_msg=name)
