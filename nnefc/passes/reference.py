"""The NumPy meaning of a Graph as it is executed: operation by operation in float, or the Program on codes or in half
precision."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import numpy as np

from nnefc.ir.graph import Graph
from nnefc.ir.interpret import interpret
from nnefc.ops.evaluate import check_inputs
from nnefc.ops.evaluate import evaluate as evaluate_operations
from nnefc.passes import pipeline
from nnefc.passes.encode import encode, is_quantized
from nnefc.passes.halves import hold_f16
from nnefc.passes.narrow import keep_weights


def evaluate(
    graph: Graph,
    inputs: Mapping[str, np.ndarray],
    state: MutableMapping[str, np.ndarray] | None,
    execution: str,
    precision: str,
) -> dict[str, np.ndarray]:
    """The outputs by name; see ``nnefc.evaluate``. Networks that are not quantized, and all but ``"integer"``, are
    evaluated operation by operation in F32; in F16, the Program is, whose tensors are what is rounded."""
    half = precision == "f16"
    if not half and (execution != "integer" or not is_quantized(graph)):
        return evaluate_operations(encode(graph, execution), inputs, state)
    given = check_inputs(graph, inputs)
    program = pipeline.run(graph, execution=execution)
    if half:
        program = hold_f16(keep_weights(program, graph, "f16"))
    labels = {op.output.name: str(op.attrs["label"]).lower() for op in graph.ops if op.kind == "variable"}
    states = {name: np.array(values) for name, values in program.states.items()}
    for name in states:
        if state is not None and labels[name] in state:
            states[name][...] = state[labels[name]].reshape(-1)
    outputs = interpret(program, given, states)
    if state is not None:
        shapes = {op.output.name: op.output.type.extents for op in graph.ops}
        state.update({labels[name]: values.reshape(shapes[name]) for name, values in states.items()})
    return {name: np.array(value) for name, value in outputs.items()}
