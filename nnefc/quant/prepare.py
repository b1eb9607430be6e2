"""A network made ready for quantization: constants computed, scales and shifts after convolutions in their weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nnefc.errors import UnsupportedError
from nnefc.formats.nnef.tensor import tensor_of
from nnefc.ir.graph import Attrs, Graph, Literal, Op, Operand, Tensor, Value
from nnefc.ir.types import DType, TensorType
from nnefc.ops.evaluate import variable_values
from nnefc.ops.primitive import primitives
from nnefc.passes.encode import encode
from nnefc.quant.equalize import equalize
from nnefc.quant.postpone import postponed

FLOATS = (DType.F32, DType.F64)
AFFINE = ("batch_normalization", "add", "sub", "mul", "div")
PRODUCTS = {"conv": 0, "linear": 0, "deconv": 1, "matmul": -1}
"""The operations that multiply by weights, and the dimension of the weights that is the outputs' channels."""


def prepare(graph: Graph) -> Graph:
    """The same function with weights that are what they will be when they are quantized.

    Encodings, and pairs of quantize_linear and dequantize_linear, are dropped, stored codes decoded; constants that are
    weights become variables. Operations on constants are computed where this takes no more memory, and batch
    normalizations, products and sums with one number per channel go into the weights and the bias of the convolution or
    linear layer before them, if nothing else reads its result: computed in float64 and rounded once. A result keeps the
    name of the last operation that went into it. Shared weights are copied where they change. In the end the channels
    of neighbouring layers are equalized, cautiously, and what scales operands of products of two computed matrices is
    done after these (see ``postpone``).
    """
    made = _Preparation(_bare(graph))
    made.fold_constants()
    made.fold_affine()
    return postponed(equalize(made.graph(), cautious=True))


def _bare(graph: Graph) -> Graph:
    """The graph without encodings; what was stored as codes is stored as real numbers."""
    graph = encode(graph, "ignore")
    tensors = dict(graph.tensors)
    for op in graph.ops:
        label = op.attrs["label"] if op.kind == "variable" else None
        if label in tensors and op.output.type.encoding is not None and tensors[label].item in ("quint", "qint"):
            tensors[label] = tensor_of(variable_values(graph, op))
    if all(v.type.encoding is None for v in graph.values.values()):
        return graph

    def bare(v: Operand) -> Operand:
        return v if isinstance(v, Literal) else Value(v.name, v.type.with_encoding(None))

    ops = tuple(
        op.replace(
            inputs=tuple(bare(v) for v in op.inputs),
            outputs=tuple(Value(v.name, v.type.with_encoding(None)) for v in op.outputs),
        )
        for op in graph.ops
    )
    inputs, outputs = (
        tuple(Value(v.name, v.type.with_encoding(None)) for v in vs) for vs in (graph.inputs, graph.outputs)
    )
    return graph.replace(inputs=inputs, ops=ops, outputs=outputs, tensors=tensors)


@dataclass(frozen=True)
class _Step:
    """factor * y + shift, each one number per channel (or one alone)."""

    factor: np.ndarray
    shift: np.ndarray


class _Preparation:
    """A graph while it changes: ``ops`` may be replaced; None stands for one that went away."""

    def __init__(self, graph: Graph):
        self.source = graph
        self.ops: list[Op | None] = list(graph.ops)
        self.tensors: dict[str, Tensor] = dict(graph.tensors)
        self.constants: dict[str, np.ndarray] = {}
        self.stored: dict[str, Op] = {}
        self.names = {name.lower() for name in graph.values}
        self.labels = {label.lower() for label in graph.tensors}
        self.new: dict[str, Op] = {}
        self.users: dict[str, int] = {}
        self.kept = {v.name for v in graph.outputs}
        self.place = {v.name: n for n, op in enumerate(graph.ops) for v in op.outputs}
        for op in graph.ops:
            for name in {v.name for v in op.inputs if isinstance(v, Value)}:
                self.users[name] = self.users.get(name, 0) + 1
        self._read_variables()

        self.own_labels = self._own_labels()

    def _own_labels(self) -> dict[str, str]:
        """The labels that one variable operation alone has, by its value's name."""
        named: dict[str, list[Op]] = {}
        for op in self.source.ops:
            if op.kind == "variable":
                named.setdefault(_label(op), []).append(op)
        return {ops[0].output.name: ops[0].attrs["label"] for ops in named.values() if len(ops) == 1}

    def _read_variables(self) -> None:
        updated = {
            op.inputs[0].name for op in self.source.ops if op.kind == "update" and isinstance(op.inputs[0], Value)
        }
        states = {_label(op) for op in self.source.ops if op.kind == "variable" and op.output.name in updated}
        for op in self.source.ops:
            if op.kind == "variable" and _label(op) not in states and _label(op) in self.labels:
                self.stored[op.output.name] = op

    def graph(self) -> Graph:
        """The result, without what nothing reads."""
        ops = [*self.new.values(), *(op for op in self.ops if op is not None)]
        needed = set(self.kept)
        live: list[Op] = []
        for op in reversed(ops):
            if op.kind in ("update", "external") or any(v.name in needed for v in op.outputs):
                needed |= {v.name for v in op.inputs if isinstance(v, Value)}
                live.append(op)
        live.reverse()
        if tuple(live) == self.source.ops and all(self.tensors.get(k) is t for k, t in self.source.tensors.items()):
            return self.source
        labels = {_label(op) for op in live if op.kind == "variable"}
        tensors = {label: t for label, t in self.tensors.items() if label.lower() in labels}
        return self.source.replace(ops=tuple(live), tensors=tensors)

    # ---- constants

    def fold_constants(self) -> None:
        """Compute operations on constants whose results take no more memory than their operands."""
        for n, op in enumerate(self.ops):
            if op is None or op.kind in ("variable", "external", "update") or op.kind not in primitives():
                continue
            if op.kind == "constant":
                self.constants[op.output.name] = self._computed(op, [])[0]
                if any(u.kind in PRODUCTS and u.inputs[1] == op.output for u in self.source.users[op.output.name]):
                    self.ops[n] = self._variable(op.output, self.constants[op.output.name], op)
                continue
            if not op.inputs or not all(map(self._is_constant, op.inputs)) or len(op.outputs) != 1:
                continue
            if op.output.type.volume <= sum(v.type.volume for v in op.inputs) and op.output.name not in self.kept:
                arrays = [a for v in op.inputs if (a := self._array(v)) is not None]
                self.ops[n] = self._variable(op.output, self._computed(op, arrays)[0], op)

    def _computed(self, op: Op, arrays: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        try:
            return primitives()[op.kind].reference(arrays, op.attrs)
        except MemoryError:
            raise UnsupportedError(f"not enough memory to compute {op.output.name!r}").at(op.origin.location) from None

    def _array(self, operand: Operand) -> np.ndarray | None:
        if isinstance(operand, Literal):
            return np.asarray(operand.value, operand.dtype.numpy)
        if operand.name in self.constants or operand.name not in self.stored:
            return self.constants.get(operand.name)
        return variable_values(self.source, self.stored[operand.name])

    def _is_constant(self, operand: Operand) -> bool:
        return isinstance(operand, Literal) or operand.name in self.constants or operand.name in self.stored

    def _variable(self, value: Value, array: np.ndarray, source: Op) -> Op:
        """A variable operation that makes ``value``, under a label of its own."""
        label = self.own_labels.get(value.name) or _fresh(value.name, self.labels)
        self.own_labels[value.name] = label
        data = np.ascontiguousarray(array, value.type.dtype.numpy).reshape(value.type.extents)
        self.tensors[label] = tensor_of(data)
        self.constants[value.name] = data
        attrs = Attrs(dtype=value.type.dtype, shape=value.type.extents, label=label)
        return Op("variable", (), attrs, (value,), source.origin)

    # ---- scales and shifts

    def fold_affine(self) -> None:
        """Take scales and shifts by constants into the products before them."""
        for n, op in enumerate(self.ops):
            if op is None or op.kind not in AFFINE:
                continue
            found = next(self._products_before(op), None)
            if found is None:
                continue
            at, product = found
            step = self._step(op, product.output.name, _channels(product))
            if step is not None and self._take_in(at, product, step, op):
                self.ops[n] = None

    def _products_before(self, op: Op) -> Iterator[tuple[int, Op]]:
        """The product whose result the operation alone reads, of constant weights and bias."""
        for v in op.inputs[: 1 if op.kind in ("batch_normalization", "div") else 2]:
            product = self.ops[self.place[v.name]] if isinstance(v, Value) and v.name in self.place else None
            if product is None or product.kind not in PRODUCTS or product.output.type.dtype not in FLOATS:
                continue
            alone = self.users.get(product.output.name, 0) == 1 and product.output.name not in self.kept
            plain = (
                product.kind not in ("matmul", "deconv")
                or product.output.type.rank == 2
                or product.attrs.get("groups") == 1
            )
            same = op.output.type.extents == product.output.type.extents
            if alone and plain and same and all(self._is_constant(w) for w in product.inputs[1:]):
                yield self.place[product.output.name], product

    def _step(self, op: Op, name: str, axis: int) -> _Step | None:
        """What an operation does to the tensor ``name``, whose channels are along ``axis``."""
        rank, count = op.output.type.rank, op.output.type.extents[axis]
        vectors: list[np.ndarray | None] = []
        for v in op.inputs:
            if isinstance(v, Value) and v.name == name:
                vectors.append(None)
                continue
            array = self._array(v)
            vector = None if array is None else _vector(array, rank, axis, count)
            if vector is None:
                return None
            vectors.append(vector)
        if sum(v is None for v in vectors) != 1:
            return None
        with np.errstate(all="ignore"):
            step = _affine(op, vectors)
        finite = np.isfinite(step.factor).all() and np.isfinite(step.shift).all()
        return step if finite else None

    def _take_in(self, at: int, product: Op, step: _Step, op: Op) -> bool:
        """Put a step into the product at ``at``, which then makes the operation's result; False where it cannot be."""
        w, bias = self._array(product.inputs[1]), self._array(product.inputs[2]) if len(product.inputs) > 2 else None
        assert w is not None
        shifted = bool(np.any(step.shift))
        if product.kind == "matmul" and (shifted or product.attrs["transposeB"]):
            return False
        count = product.output.type.extents[_channels(product)]
        axis = PRODUCTS[product.kind] % w.ndim
        factor = step.factor.reshape([-1 if d == axis else 1 for d in range(w.ndim)])
        weights = (w.astype(np.float64) * factor).astype(w.dtype)
        operands: list[Operand] = [product.inputs[0], self._changed(product.inputs[1], weights, product)]
        if bias is not None:
            old = _vector(bias, 2, 1, count)
            if old is None:
                return False
            new = np.broadcast_to(old * step.factor + step.shift, (count,)).astype(w.dtype).reshape(1, count)
            if not np.isfinite(new).all():
                return False
            operands.append(self._changed(product.inputs[2], new, product))
        if not np.isfinite(weights).all():
            return False
        self.ops[at] = product.replace(
            inputs=tuple(operands), outputs=op.outputs, origin=product.origin.merged(op.origin)
        )
        self.place[op.output.name] = at
        return True

    def _changed(self, old: Operand, array: np.ndarray, reader: Op) -> Operand:
        """A constant with other values: the variable itself where it has one reader, else a new one before it."""
        now = self._array(old)
        if now is not None and (isinstance(old, Literal) or now.shape == array.shape) and np.all(now == array):
            return old
        type_ = TensorType(DType.of(array.dtype), array.shape)
        if isinstance(old, Value) and self.users[old.name] == 1 and old.name not in self.kept:
            value = Value(old.name, type_)
        else:
            what = "weights" if old is reader.inputs[1] else "bias"
            value = Value(_fresh(f"{reader.output.name}_{what}", self.names), type_)
            self.users[value.name] = 1
        made = self._variable(value, array, reader)
        if value.name in self.place:
            self.ops[self.place[value.name]] = made
        else:
            self.new[value.name] = made
        return value


def _affine(op: Op, vectors: list[np.ndarray | None]) -> _Step:
    """The step of an operation whose operand None is the tensor."""
    one, zero = np.ones(1), np.zeros(1)
    if op.kind == "batch_normalization":
        _, mean, variance, offset, scale = vectors
        assert mean is not None and variance is not None and offset is not None and scale is not None
        factor = scale / np.sqrt(variance + op.attrs["epsilon"])
        return _Step(factor, offset - mean * factor)
    first = vectors[0] is None
    other = vectors[1] if first else vectors[0]
    assert other is not None
    if op.kind in ("mul", "div"):
        return _Step(other if op.kind == "mul" else 1 / other, zero)
    if op.kind == "add":
        return _Step(one, other)
    return _Step(one, -other) if first else _Step(-one, other)


def _channels(product: Op) -> int:
    """The dimension of a product's result along which its channels lie."""
    return product.output.type.rank - 1 if product.kind in ("linear", "matmul") else 1


def _vector(array: np.ndarray, rank: int, axis: int, count: int) -> np.ndarray | None:
    """A constant operand (its leading dimensions aligned) as one number per channel, in float64; None if it differs in
    other dimensions."""
    if array.ndim > rank:
        return None
    shape = array.shape + (1,) * (rank - array.ndim)
    if array.dtype.kind != "f" or any(n > 1 for d, n in enumerate(shape) if d != axis) or shape[axis] not in (1, count):
        return None
    return np.broadcast_to(array.astype(np.float64).reshape(-1), (count,))


def _label(op: Op) -> str:
    return str(op.attrs["label"]).lower()


def _fresh(stem: str, taken: set[str]) -> str:
    """A name that is not taken yet, whatever the case of its letters, and now is."""
    name, number = stem, 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name.lower())
    return name
