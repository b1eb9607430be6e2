"""Many drawn cases as one Graph, so that they compile as one program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from op_cases import Case

from nnefc.ir.graph import Graph, Op, Value


def merge(cases: Sequence[Case]) -> tuple[Graph, dict[str, np.ndarray]]:
    """One Graph of all cases, side by side, and its inputs. Case ``i`` has the inputs and outputs ``c{i}_...``."""
    inputs: list[Value] = []
    outputs: list[Value] = []
    ops: list[Op] = []
    arrays: dict[str, np.ndarray] = {}
    for i, case in enumerate(cases):
        graph = case.graph()
        names = {v.name: replace(v, name=f"c{i}_{v.name}") for v in graph.values.values()}
        inputs += [names[v.name] for v in graph.inputs]
        outputs += [names[v.name] for v in graph.outputs]
        for op in graph.ops:
            operands = tuple(names[o.name] if isinstance(o, Value) else o for o in op.inputs)
            ops.append(op.replace(inputs=operands, outputs=tuple(names[v.name] for v in op.outputs)))
        arrays |= {f"c{i}_{name}": a for name, a in case.inputs().items()}
    return Graph("merged", tuple(inputs), tuple(ops), tuple(outputs)), arrays
