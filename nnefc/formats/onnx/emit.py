"""What the exporters write ONNX nodes with: references to tensors of known type, and the model as it grows."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import helper, numpy_helper

from nnefc.ir.graph import Graph, Op
from nnefc.ir.types import DType, TensorType

SHARED_ELEMENTS = 64
"""Constants of at most so many elements are stored once, however often they are used."""

ONNX_TYPES = {
    DType.F16: onnx.TensorProto.FLOAT16,
    DType.BF16: onnx.TensorProto.BFLOAT16,
    DType.F32: onnx.TensorProto.FLOAT,
    DType.F64: onnx.TensorProto.DOUBLE,
    DType.I8: onnx.TensorProto.INT8,
    DType.I16: onnx.TensorProto.INT16,
    DType.I32: onnx.TensorProto.INT32,
    DType.I64: onnx.TensorProto.INT64,
    DType.U8: onnx.TensorProto.UINT8,
    DType.U16: onnx.TensorProto.UINT16,
    DType.U32: onnx.TensorProto.UINT32,
    DType.U64: onnx.TensorProto.UINT64,
    DType.BOOL: onnx.TensorProto.BOOL,
}


def numpy_type(dtype: DType) -> np.dtype:
    """The NumPy element type in which values of ``dtype`` are stored; that of ml_dtypes for BF16."""
    return np.dtype(ml_dtypes.bfloat16) if dtype is DType.BF16 else dtype.numpy


_I, _F = DType.I32, DType.F32
RUNTIME_TYPES = {
    "Where": {_F, DType.F64, DType.F16, _I, DType.I64, DType.U8, DType.BOOL},
    "Max": {_F, DType.F64, DType.F16, _I, DType.I64, DType.U32, DType.U64},
    "Min": {_F, DType.F64, DType.F16, _I, DType.I64, DType.U32, DType.U64},
    "ReduceSum": {_F, DType.F64, DType.F16, _I, DType.I64},
    "ReduceMean": {_F, DType.F64, DType.F16, _I},
    "ReduceProd": {_F, _I, DType.I64},
    "ReduceMax": {_F, DType.F64, DType.F16, _I, DType.I64, DType.I8, DType.U8},
    "ReduceMin": {_F, DType.F64, DType.F16, _I, DType.I64, DType.I8, DType.U8},
    "ArgMax": {_F, DType.F64, _I, DType.I8, DType.U8},
    "ArgMin": {_F, DType.F64, _I, DType.I8, DType.U8},
    "Pad": {_F, DType.F64, DType.F16, _I, DType.I64, DType.I8, DType.U8, DType.U32, DType.U64, DType.BOOL},
    "PRelu": {_F, DType.F64, DType.F16},
}
"""Element types of operators that run-times compute fewer of than ONNX has."""
MOVING = frozenset(
    "Cast Concat DequantizeLinear Expand Flatten Gather GatherElements GatherND Identity QuantizeLinear Reshape "
    "ScatterElements ScatterND Shape Slice Split Squeeze Tile Transpose Unsqueeze".split()
)
"""Operators that move elements or convert them: of BF16, run-times compute these."""
WIDER = {
    DType.I8: (_I, DType.I64),
    DType.I16: (_I, DType.I64),
    DType.U8: (_I, DType.I64, DType.F16),
    DType.U16: (_I, DType.I64),
    DType.U32: (DType.I64, DType.U64),
    DType.I32: (DType.I64, DType.F64),
    DType.F16: (_F,),
    DType.BF16: (_F,),
    DType.BOOL: (DType.U8,),
    DType.U64: (DType.I64,),
}
"""Types that hold every element of another, in the order in which they are tried. An element of U64 as one of I64 keeps
its bits, which is enough for Where."""


@functools.cache
def _type_variables(op_type: str, opset: int) -> tuple[list[str], list[str], dict[str, frozenset[DType]]]:
    """The type variables of an operator's inputs and outputs, and the element types that each may be."""
    schema = onnx.defs.get_schema(op_type, opset)
    names = {f"tensor({onnx.TensorProto.DataType.Name(code).lower()})": dtype for dtype, code in ONNX_TYPES.items()}
    allowed = {}
    for constraint in schema.type_constraints:
        found = {names[t] for t in constraint.allowed_type_strs if t in names}
        allowed[constraint.type_param_str] = frozenset(found - ({DType.BF16} if op_type not in MOVING else set()))
    first = schema.inputs[1 if op_type == "Where" else 0].type_str if schema.inputs else ""
    if op_type in RUNTIME_TYPES and first in allowed:
        allowed[first] &= RUNTIME_TYPES[op_type]
    return [i.type_str for i in schema.inputs], [o.type_str for o in schema.outputs], allowed


@dataclass(frozen=True, eq=False)
class Ref:
    """A tensor of the ONNX model. With ``array`` it is a constant, stored under ``name`` once a node reads it."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    array: np.ndarray | None = None

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.shape)


Exporter = Callable[["Emitter", Op, "list[Ref]"], "Sequence[Ref]"]
_EXPORTERS: dict[str, Exporter] = {}


def exporter(*kinds: str) -> Callable[[Exporter], Exporter]:
    """Register the function that writes operations of these kinds. It takes the operands and returns the results.
    Raises ValueError if a kind has one already."""

    def register(function: Exporter) -> Exporter:
        for kind in kinds:
            if kind in _EXPORTERS:
                raise ValueError(f"the operation {kind!r} has two exporters")
            _EXPORTERS[kind] = function
        return function

    return register


def exporter_of(kind: str) -> Exporter | None:
    """The function that writes operations of a kind, or None."""
    return _EXPORTERS.get(kind)


def exported_kinds() -> frozenset[str]:
    """Every kind of operation that has an exporter."""
    return frozenset(_EXPORTERS)


class Emitter:
    """A model under construction. Methods that write nodes return references to what they compute.

    ``final`` maps provisional names to the names that tensors end up with; ``finish`` applies it.
    """

    def __init__(self, graph: Graph, opset: int):
        self.graph = graph
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.types: dict[str, TensorType] = {}
        self.final: dict[str, str] = {}
        self.derived: dict[str, str] = {}
        self._taken = set(graph.values)
        self._shared: dict[tuple[Any, ...], str] = {}
        self._prefix = graph.name
        self._origin = ""

    # ---- names and constants

    def begin(self, op: Op) -> None:
        """What follows stands for this operation: nodes are named after its first result."""
        self._prefix = op.outputs[0].name if op.outputs else op.kind
        self._origin = op.kind

    def fresh(self, hint: str) -> str:
        """A name that nothing else has."""
        name, n = hint, 1
        while name in self._taken:
            n += 1
            name = f"{hint}_{n}"
        self._taken.add(name)
        return name

    def constant(self, value: Any, dtype: DType = DType.I64, hint: str = "constant") -> Ref:
        """A constant of the model; small equal ones are one."""
        array = np.asarray(value, numpy_type(dtype))
        if array.size > SHARED_ELEMENTS:
            return Ref(self.fresh(f"{self._prefix}_{hint}"), dtype, array.shape, array)
        key = (dtype, array.shape, array.tobytes())
        if key not in self._shared:
            self._shared[key] = self.fresh(hint)
        return Ref(self._shared[key], dtype, array.shape, array)

    def like(self, x: Ref, value: float | int | bool) -> Ref:
        """A number of the type of ``x``."""
        return self.constant(value, x.dtype)

    def _read(self, ref: Ref) -> str:
        """The name under which a node reads a tensor; a constant is stored now."""
        if ref.array is not None and ref.name not in self.arrays:
            self.arrays[ref.name] = ref.array
            self.types[ref.name] = TensorType(ref.dtype, ref.shape)
        return ref.name

    # ---- nodes

    def nodes_of(
        self, op_type: str, inputs: Sequence[Ref | None], results: Sequence[tuple[DType, Sequence[int]]], **attrs: Any
    ) -> list[Ref]:
        """A node with results of these types; None leaves an optional input out.

        Where the operator does not take elements of the type, it computes with a wider one."""
        wider = self._wider(op_type, inputs)
        if not wider:
            return self._nodes(op_type, inputs, results, attrs)
        ins, outs, _ = _type_variables(op_type, self.opset)
        cast = [
            x if x is None else self.cast(x, wider.get(ins[min(i, len(ins) - 1)], x.dtype))
            for i, x in enumerate(inputs)
        ]
        wanted = [wider.get(outs[min(i, len(outs) - 1)], dtype) for i, (dtype, _) in enumerate(results)]
        made = self._nodes(op_type, cast, [(w, r[1]) for w, r in zip(wanted, results, strict=True)], attrs)
        return [self.cast(ref, dtype) for ref, (dtype, _) in zip(made, results, strict=True)]

    def _wider(self, op_type: str, inputs: Sequence[Ref | None]) -> dict[str, DType]:
        """For each type variable of the operator whose elements it does not take, what it takes instead."""
        names, _, allowed = _type_variables(op_type, self.opset)
        found: dict[str, DType] = {}
        for i, ref in enumerate(inputs):
            variable = names[min(i, len(names) - 1)] if names else ""
            if ref is not None and variable in allowed and ref.dtype not in allowed[variable]:
                if ref.dtype is DType.U64 and op_type != "Where":
                    continue
                better = next((t for t in WIDER.get(ref.dtype, ()) if t in allowed[variable]), None)
                if better is not None:
                    found[variable] = better
        return found

    def _nodes(
        self,
        op_type: str,
        inputs: Sequence[Ref | None],
        results: Sequence[tuple[DType, Sequence[int]]],
        attrs: dict[str, Any],
    ) -> list[Ref]:
        names = ["" if i is None else self._read(i) for i in inputs]
        refs = []
        for dtype, shape in results:
            refs.append(Ref(self.fresh(f"{self._prefix}__{op_type.lower()}"), dtype, tuple(int(n) for n in shape)))
            self.types[refs[-1].name] = TensorType(dtype, refs[-1].shape)
        node = helper.make_node(op_type, names, [r.name for r in refs], **attrs)
        if self._origin:
            node.doc_string = self._origin
        self.nodes.append(node)
        return refs

    def node(self, op_type: str, inputs: Sequence[Ref | None], dtype: DType, shape: Sequence[int], **attrs: Any) -> Ref:
        """A node with one result."""
        return self.nodes_of(op_type, inputs, [(dtype, shape)], **attrs)[0]

    def open_node(self, op_type: str, inputs: Sequence[Ref | None], dtype: DType, rank: int, **attrs: Any) -> Ref:
        """A node whose result has extents that only the data tell; the reference has the shape 0, 0, ..."""
        ref = self.node(op_type, inputs, dtype, (0,) * rank, **attrs)
        del self.types[ref.name]
        return ref

    def map(self, op_type: str, *inputs: Ref, dtype: DType | None = None, **attrs: Any) -> Ref:
        """An element-wise node; its operands are aligned from the last dimension, as ONNX does."""
        shape = np.broadcast_shapes(*(i.shape for i in inputs))
        return self.node(op_type, inputs, dtype or inputs[0].dtype, shape, **attrs)

    def cast(self, x: Ref, dtype: DType) -> Ref:
        """``x`` as another element type."""
        return x if x.dtype is dtype else self.node("Cast", [x], dtype, x.shape, to=ONNX_TYPES[dtype])

    # ---- shapes

    def reshape(self, x: Ref, shape: Sequence[int]) -> Ref:
        """``x`` in another shape of as many elements; a constant is stored so."""
        shape = tuple(int(n) for n in shape)
        if shape == x.shape:
            return x
        if x.array is not None:
            if x.array.size <= SHARED_ELEMENTS and x.name not in self.graph.values:
                return self.constant(x.array.reshape(shape), x.dtype)
            name = self.fresh(f"{x.name}_as_{'x'.join(map(str, shape)) or 'scalar'}")
            self.derived[name] = self.derived.get(x.name, x.name)
            return Ref(name, x.dtype, shape, x.array.reshape(shape))
        return self.node("Reshape", [x, self.constant(shape)], x.dtype, shape)

    def trail(self, x: Ref, rank: int) -> Ref:
        """``x`` with trailing dimensions of extent 1 up to ``rank``: NNEF aligns leading dimensions, ONNX trailing
        ones. A number stays as it is, and trailing dimensions beyond ``rank`` must be of extent 1."""
        if not x.shape or x.rank == rank:
            return x
        return self.reshape(x, x.shape[:rank] + (1,) * (rank - x.rank))

    def aligned(self, refs: Sequence[Ref]) -> list[Ref]:
        """The operands of an element-wise operation, aligned as NNEF aligns them."""
        rank = max((r.rank for r in refs), default=0)
        return [self.trail(r, rank) for r in refs]

    def transpose(self, x: Ref, order: Sequence[int]) -> Ref:
        """Dimensions in another order."""
        order = [int(d) for d in order]
        if order == list(range(x.rank)):
            return x
        return self.node("Transpose", [x], x.dtype, [x.shape[d] for d in order], perm=order)

    def expand(self, x: Ref, shape: Sequence[int]) -> Ref:
        """``x`` repeated to ``shape``."""
        shape = tuple(int(n) for n in shape)
        return x if x.shape == shape else self.node("Expand", [x, self.constant(shape)], x.dtype, shape)

    def slice(self, x: Ref, axis: int, first: int, count: int, step: int = 1) -> Ref:
        """``count`` elements of a dimension, the first at ``first``."""
        return self.slices(x, [(axis, first, count, step)])

    def slices(self, x: Ref, parts: Sequence[tuple[int, int, int, int]]) -> Ref:
        """(axis, first, count, step) of some dimensions."""
        parts = [p for p in parts if p[1:] != (0, x.shape[p[0]], 1)]
        if not parts:
            return x
        shape, ends = list(x.shape), []
        for axis, first, count, step in parts:
            shape[axis] = count
            end = first + count * step
            ends.append(end if end >= 0 else -(2**31))
        columns = [[p[i] for p in parts] for i in (1, 0, 3)]
        starts, axes, steps = columns
        inputs = [x, *(self.constant(c) for c in (starts, ends, axes, steps))]
        return self.node("Slice", inputs, x.dtype, shape)

    def pad(self, x: Ref, padding: Sequence[tuple[int, int]], fill: float | int = 0, mode: str = "constant") -> Ref:
        """``x`` grown by ``padding``, none of it negative."""
        if all(p == (0, 0) for p in padding):
            return x
        amounts = self.constant([p[0] for p in padding] + [p[1] for p in padding])
        shape = [n + p + q for n, (p, q) in zip(x.shape, padding, strict=True)]
        value = [self.like(x, fill)] if mode == "constant" else []
        return self.node("Pad", [x, amounts, *value], x.dtype, shape, mode=mode)

    def gather(self, x: Ref, index: Ref, axis: int) -> Ref:
        """The elements at ``index`` of a dimension; the index's dimensions take its place."""
        shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
        return self.node("Gather", [x, index], x.dtype, shape, axis=axis)

    # ---- reductions and choices

    def reduce(
        self, op_type: str, x: Ref, axes: Sequence[int], *, keep: bool = True, dtype: DType | None = None
    ) -> Ref:
        """A Reduce node over some dimensions; over none it is ``x``."""
        if not axes:
            return x
        shape = [1 if d in axes else n for d, n in enumerate(x.shape)]
        if not keep:
            shape = [n for d, n in enumerate(x.shape) if d not in axes]
        inputs = [x, self.constant(sorted(axes))]
        return self.node(op_type, inputs, dtype or x.dtype, shape, keepdims=int(keep))

    def where(self, condition: Ref, x: Ref, y: Ref) -> Ref:
        """``x`` where the condition holds, else ``y``; operands are aligned from the last dimension."""
        shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
        return self.node("Where", [condition, x, y], x.dtype, shape)

    # ---- results

    def bind(self, ref: Ref, name: str, *, keep: bool = False) -> Ref:
        """The tensor under the name of a value of the graph. What has a name of its own (an input, a constant, another
        result; with ``keep`` anything) is copied."""
        if keep or ref.array is not None or ref.name in self.final or ref.name in self.graph.values:
            ref = self.node("Identity", [ref], ref.dtype, ref.shape)
        self.final[ref.name] = name
        return replace(ref, name=ref.name)

    def finish(self) -> None:
        """Give every tensor its final name."""
        names = dict(self.final)
        taken = set(names.values()) | set(self.arrays)
        uses = Counter(self.derived.get(name) for name in self.arrays)
        for name in self.arrays:
            origin = self.derived.get(name)
            if origin is not None and origin not in taken and uses[origin] == 1:
                names[name] = origin
        for node in self.nodes:
            for side in (node.input, node.output):
                for i, name in enumerate(side):
                    side[i] = names.get(name, name)
            node.name = f"{node.op_type}_{node.output[0]}"
        self.arrays = {names.get(n, n): a for n, a in self.arrays.items()}
        self.types = {names.get(n, n): t for n, t in self.types.items()}

    def initializers(self) -> list[onnx.TensorProto]:
        """The constants, as they are stored."""
        return [numpy_helper.from_array(np.asarray(a, order="C"), name) for name, a in self.arrays.items()]
