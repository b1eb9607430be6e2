"""The NumPy meaning of a Graph: each operation's ``reference``, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import numpy as np

from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.ir.graph import Graph, Literal, Op, Operand, Tensor, Value
from nnefc.ops.primitive import primitives
from nnefc.ops.stored import tensor_values


def evaluate(
    graph: Graph, inputs: Mapping[str, np.ndarray], state: MutableMapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """The outputs of a graph, by name, for ``inputs`` of exactly its types.

    Variables hold the values that ``graph.tensors`` stores for their labels, or those in ``state`` (by label, in lower
    case), which takes the new values of ``update`` operations once all operations have run: within the call each
    variable keeps its old value (NNEF 1.0.5, 4.8). Encodings of quantized variables are decoded; those of computed
    tensors are hints and change nothing. Raises TypeError or ValueError for wrong inputs and for indices out of range,
    InvalidModelError for a variable without values and UnsupportedError where memory does not suffice.
    """
    memory = check_inputs(graph, inputs)
    last_use = {v.name: i for i, op in enumerate(graph.ops) for v in op.inputs if isinstance(v, Value)}
    kept = {v.name for v in graph.outputs}
    updates: dict[str, np.ndarray] = {}
    for i, op in enumerate(graph.ops):
        memory.update(_run(graph, op, memory, state))
        if op.kind == "update":
            updates[_label(graph, op)] = memory[op.output.name].copy()
        for name in [v.name for v in op.inputs if isinstance(v, Value)]:
            if last_use[name] == i and name not in kept:
                memory.pop(name, None)
    if state is not None:
        state.update(updates)
    return {v.name: memory[v.name].copy() for v in graph.outputs}


def variable_values(graph: Graph, op: Op) -> np.ndarray:
    """The stored values of a ``variable`` operation, ready to compute with. Raises as ``stored_tensor``."""
    return tensor_values(stored_tensor(graph, op), op.output.type.dtype, op.output.type.encoding)


def stored_tensor(graph: Graph, op: Op) -> Tensor:
    """What is stored for a ``variable`` operation. Raises InvalidModelError if there are no values, or not of its
    shape. Labels are the same whatever the case of their letters (NNEF 1.0.5, 4.1.3)."""
    label, value = op.attrs["label"], op.output
    stored = graph.tensors.get(label)
    if stored is None:
        stored = next((t for name, t in graph.tensors.items() if name.lower() == label.lower()), None)
    if stored is None:
        raise InvalidModelError(f"the variable {value.name!r} with label {label!r} has no stored values").at(
            op.origin.location
        )
    if stored.data.shape != value.type.extents:
        raise InvalidModelError(
            f"the stored values of {label!r} have shape {list(stored.data.shape)}; the variable {value.name!r} has "
            f"shape {list(value.type.extents)}"
        ).at(op.origin.location)
    return stored


def check_inputs(graph: Graph, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs by name. Raises TypeError or ValueError unless they are what the graph takes."""
    wanted = ", ".join(f"{v.name}: {v.type}" for v in graph.inputs) or "none"
    for name in inputs:
        if all(name != v.name for v in graph.inputs):
            raise ValueError(f"there is no input {name!r}; the inputs are {wanted}")
    for value in graph.inputs:
        if value.name not in inputs:
            raise ValueError(f"the input {value.name!r} is missing; the inputs are {wanted}")
        given, type_ = inputs[value.name], value.type
        if not isinstance(given, (np.ndarray, np.generic)):
            raise TypeError(f"input {value.name!r} is a {type(given).__name__}; it must be a NumPy array")
        if given.dtype != type_.dtype.numpy:
            raise TypeError(f"input {value.name!r} has elements of {given.dtype}; they must be {type_.dtype.numpy}")
        if given.shape != type_.extents:
            raise ValueError(f"input {value.name!r} has shape {given.shape}; it must be {type_.extents}")
    return {v.name: np.asarray(inputs[v.name]) for v in graph.inputs}


def _run(
    graph: Graph, op: Op, memory: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray] | None
) -> dict[str, np.ndarray]:
    """The outputs of one operation, by name."""
    if op.kind == "external":
        return {op.output.name: memory[op.output.name]}
    if op.kind == "variable":
        current = None if state is None else state.get(op.attrs["label"].lower())
        return {op.output.name: variable_values(graph, op) if current is None else current}
    primitive = primitives().get(op.kind)
    if primitive is None:
        raise UnsupportedError(f"there is no operation {op.kind!r}").at(op.origin.location)
    arrays = [_array(operand, memory) for operand in op.inputs]
    try:
        results = primitive.reference(arrays, op.attrs)
    except MemoryError:
        sizes = ", ".join(str(v.type) for v in op.outputs)
        raise UnsupportedError(f"not enough memory for the result of {op.kind}: {sizes}").at(
            op.origin.location
        ) from None
    return {v.name: r for v, r in zip(op.outputs, results, strict=True)}


def _array(operand: Operand, memory: Mapping[str, np.ndarray]) -> np.ndarray:
    if isinstance(operand, Literal):
        return np.asarray(operand.value, operand.dtype.numpy)
    return memory[operand.name]


def _label(graph: Graph, op: Op) -> str:
    """The label, in lower case, of the variable that an ``update`` changes."""
    variable = op.inputs[0]
    producer = graph.producers.get(variable.name) if isinstance(variable, Value) else None
    if producer is None or producer.kind != "variable":
        raise InvalidModelError("the first argument of update must be the result of a variable operation").at(
            op.origin.location
        )
    return str(producer.attrs["label"]).lower()
