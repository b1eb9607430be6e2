"""The layers of a network: operations that sum products of their input with stored weights, and their biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from nnefc.ir.graph import Graph, Literal, Op, Operand, Tensor, Value
from nnefc.ops.evaluate import variable_values

KINDS = ("conv", "deconv", "linear", "matmul")
"""The operations that layers are."""
_RESHAPING = ("reshape", "squeeze", "unsqueeze", "copy")


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product by the values of a variable.

    ``outer`` and ``inner`` are the dimensions of the weights along which output channels and, within a group, input
    channels lie; of ``deconv`` it is ``inner`` that holds the channels of all groups. ``bias`` is the variable that is
    added, by the operation or by an ``add`` that follows it, and ``plain`` says that nothing is: that the layer's bias
    is 0. ``output`` is the result, bias included.
    """

    op: Op
    weights: Op
    outer: int
    inner: int
    groups: int
    bias: Op | None
    plain: bool
    output: Value

    @property
    def name(self) -> str:
        """The name of the operation's own result."""
        return self.op.output.name

    @property
    def input(self) -> Value:
        """What is multiplied by the weights."""
        value = self.op.inputs[0]
        assert isinstance(value, Value)
        return value

    @property
    def channels(self) -> int:
        """The number of output channels."""
        shape = self.weights.output.type.extents
        return shape[self.outer] * (self.groups if self.op.kind == "deconv" else 1)

    @property
    def axis(self) -> int:
        """The dimension of the output that holds the channels."""
        return 1 if self.op.kind in ("conv", "deconv", "linear") else self.op.output.type.rank - 1

    def by_output(self, weights: np.ndarray) -> np.ndarray:
        """Weights as (groups, output channels of a group, input channels of a group, taps)."""
        if self.op.kind == "deconv":
            inner, outer = weights.shape[0] // self.groups, weights.shape[1]
            return weights.reshape(self.groups, inner, outer, -1).swapaxes(1, 2)
        matrix = np.moveaxis(weights, (self.outer, self.inner), (0, 1))
        return matrix.reshape(self.groups, matrix.shape[0] // self.groups, matrix.shape[1], -1)

    def from_output(self, parts: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`by_output`."""
        shape = self.weights.output.type.extents
        if self.op.kind == "deconv":
            return np.ascontiguousarray(parts.swapaxes(1, 2)).reshape(shape)
        moved = (shape[self.outer], shape[self.inner], *shape[2:])
        return np.ascontiguousarray(np.moveaxis(parts.reshape(moved), (0, 1), (self.outer, self.inner)))


def layers(graph: Graph) -> tuple[Layer, ...]:
    """The layers of a graph in order: those whose weights are a variable with values that nothing updates."""
    updated = {op.inputs[0].name for op in graph.ops if op.kind == "update" and isinstance(op.inputs[0], Value)}
    found = (_layer(graph, op) for op in graph.ops if op.kind in KINDS)
    return tuple(x for x in found if x is not None and x.weights.output.name not in updated)


def layer_named(graph: Graph, name: str) -> Layer:
    """The layer of that name. Raises ValueError, listing the layers, if there is none."""
    known = layers(graph)
    for layer in known:
        if name == layer.name:
            return layer
    raise ValueError(f"there is no layer {name!r}; the layers are {', '.join(x.name for x in known) or 'none'}")


def _layer(graph: Graph, op: Op) -> Layer | None:
    weights = _variable(graph, op.inputs[1], through=())
    if weights is None or not isinstance(op.inputs[0], Value) or weights.output.type.dtype.kind != "f":
        return None
    if op.kind == "matmul" and (weights.output.type.rank != 2 or op.attrs["transposeA"]):
        return None
    transposed = op.kind == "matmul" and not op.attrs["transposeB"]
    outer, inner = (1, 0) if op.kind == "deconv" or transposed else (0, 1)
    groups = int(op.attrs["groups"]) if op.kind in ("conv", "deconv") else 1
    channels = op.output.type.extents[1] if op.kind == "deconv" else op.inputs[0].type.extents[1]
    layer = Layer(op, weights, outer, inner, groups or channels, None, False, op.output)
    if op.kind != "matmul":
        operand = op.inputs[2]
        if not (isinstance(operand, Literal) and operand.value == 0):
            return replace(layer, bias=_bias(graph, operand, layer))
    return _with_following_add(graph, layer)


def _with_following_add(graph: Graph, layer: Layer) -> Layer:
    """The layer with the bias that its only user adds, if it does."""
    users = graph.users[layer.op.output.name]
    if len(users) == 1 and users[0].kind == "add" and layer.op.output not in graph.outputs:
        add = users[0]
        for operand in add.inputs:
            bias = _bias(graph, operand, layer)
            if bias is not None and add.output.type.shape == layer.op.output.type.shape:
                return replace(layer, bias=bias, output=add.output)
    return replace(layer, plain=True)


def _bias(graph: Graph, operand: Operand, layer: Layer) -> Op | None:
    """The variable behind a bias: one value for each output channel, along the right dimension."""
    variable = _variable(graph, operand, _RESHAPING)
    shape, rank = operand.type.extents, layer.op.output.type.rank
    along = shape[layer.axis] if len(shape) > layer.axis else 1
    fits = along == layer.channels == operand.type.volume and len(shape) <= rank
    return variable if fits else None


def _variable(graph: Graph, operand: Operand, through: tuple[str, ...]) -> Op | None:
    """The variable with values that an operand is, unless it is something else."""
    op = graph.producers.get(operand.name) if isinstance(operand, Value) else None
    while op is not None and op.kind in through and isinstance(op.inputs[0], Value):
        op = graph.producers.get(op.inputs[0].name)
    known = {label.lower() for label in graph.tensors}
    return op if op is not None and op.kind == "variable" and op.attrs["label"].lower() in known else None


def values_of(graph: Graph, variable: Op) -> np.ndarray:
    """The values of a variable, decoded where they are stored as codes."""
    return variable_values(graph, variable)


def used_once(graph: Graph, variable: Op) -> bool:
    """Whether one operation alone reads the values of a variable."""
    label = variable.attrs["label"].lower()
    same = [op for op in graph.ops if op.kind == "variable" and op.attrs["label"].lower() == label]
    return len(same) == 1 and len(graph.users[variable.output.name]) == 1 and variable.output not in graph.outputs


def with_values(graph: Graph, values: Mapping[str, np.ndarray]) -> Graph:
    """The graph with other values of variables, by the name of the tensor; they are stored as floats of their type and
    lose an encoding. Raises ValueError for a name that is no variable and for another shape."""
    tensors, ops = dict(graph.tensors), []
    by_label = {label.lower(): label for label in tensors}
    missing = dict(values)
    for op in graph.ops:
        if op.kind == "variable" and op.output.name in values:
            array = missing.pop(op.output.name)
            if array.shape != op.output.type.extents:
                raise ValueError(f"{op.output.name!r} is {op.output.type}, not of shape {list(array.shape)}")
            label, dtype = op.attrs["label"], op.output.type.dtype
            data = np.ascontiguousarray(array, dtype.numpy)
            tensors[by_label.get(label.lower(), label)] = Tensor(data, "float", dtype.bits)
            if op.output.type.encoding is not None:
                op = op.replace(outputs=(Value(op.output.name, op.output.type.with_encoding(None)),))
        ops.append(op)
    if missing:
        raise ValueError(f"{', '.join(map(repr, missing))} is no variable of the graph {graph.name!r}")
    return retyped(graph.replace(tensors=tensors, ops=tuple(ops)))


def retyped(graph: Graph) -> Graph:
    """The graph with every operand and output as the operation that makes it says it is."""
    known = graph.values
    ops = tuple(
        op.replace(inputs=tuple(known[v.name] if isinstance(v, Value) else v for v in op.inputs)) for op in graph.ops
    )
    return graph.replace(ops=ops, outputs=tuple(known[v.name] for v in graph.outputs))


def fresh_name(graph: Graph, stem: str) -> str:
    """A name for a new tensor, and a new label."""
    taken = graph.values.keys() | graph.tensors.keys()
    name, k = stem, 1
    while name in taken:
        k += 1
        name = f"{stem}_{k}"
    return name
