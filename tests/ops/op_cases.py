"""One operation with its operands: as NNEF text for other interpreters, as a Graph, and lowered to a Program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import nnefc.ops  # noqa: F401
from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.graph import Attrs, Graph, Literal, Op, Operand, Value
from nnefc.ir.interpret import interpret
from nnefc.ir.types import DType, TensorType
from nnefc.ops.evaluate import evaluate
from nnefc.ops.primitive import primitives
from nnefc.ops.signatures import signature

Given = np.ndarray | float | int | bool
_TYPE_NAMES = {"f": "scalar", "i": "integer", "b": "logical"}


@dataclass
class Case:
    """``kind(*operands, **attrs)``: an array is an input of the graph, a Python number a literal."""

    kind: str
    operands: Sequence[Given]
    attrs: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = [str(list(o.shape)) if isinstance(o, np.ndarray) else repr(o) for o in self.operands]
        return f"{self.kind}({', '.join(shown + [f'{k}={v}' for k, v in self.attrs.items()])})"

    def inputs(self) -> dict[str, np.ndarray]:
        """The arrays by the names of the graph's inputs."""
        return {f"x{i}": o for i, o in enumerate(self.operands) if isinstance(o, np.ndarray)}

    def graph(self) -> Graph:
        """The Graph of this one operation, its defaults filled in and its types inferred."""
        declared = {p.name: p.default for p in signature(self.kind).attributes}
        attrs = Attrs({**{k: v for k, v in declared.items() if k not in self.attrs}, **self.attrs})
        operands = tuple(_operand(i, o) for i, o in enumerate(self.operands))
        types = primitives()[self.kind].infer([o.type for o in operands], attrs)
        outputs = tuple(Value(f"y{i}", t) for i, t in enumerate(types))
        inputs = tuple(o for o in operands if isinstance(o, Value))
        return Graph("case", inputs, (Op(self.kind, operands, attrs, outputs),), outputs)

    def reference(self) -> list[np.ndarray]:
        """The outputs by the NumPy meaning, whose types must be the inferred ones."""
        graph = self.graph()
        result = evaluate(graph, self.inputs())
        for value in graph.outputs:
            got = TensorType(DType.of(result[value.name].dtype), result[value.name].shape)
            assert got == value.type, f"{self}: {got} where {value.type} was inferred"
        return list(result.values())

    def lowered(self, last: bool = False) -> list[np.ndarray]:
        """The outputs of the lowered operation, its kernel calls interpreted. With ``last``, the inputs lie in memory
        with their channels innermost."""
        graph = self.graph()
        builder = ProgramBuilder("case")
        for value in graph.inputs:
            view = builder.input(value.name, value.type.dtype, value.type.extents)
            builder.put(value, builder.dense(view, channels_last(view.rank)) if last else view)
        (op,) = graph.ops
        lower = primitives()[op.kind].lower
        assert lower is not None, f"{op.kind} has no lowering"
        lower(builder, op)
        for value in graph.outputs:
            builder.output(value.name, value)
        return list(interpret(builder.finish(), self.inputs()).values())

    def wide(self) -> Case:
        """The same with float64 for float32 in every array."""
        arrays = [o.astype(np.float64) if _is_f32(o) else o for o in self.operands]
        return Case(self.kind, arrays, self.attrs)

    def text(self) -> str:
        """The graph as flat NNEF."""
        graph = self.graph()
        (op,) = graph.ops
        declaration = signature(self.kind)
        lines = [
            f"    {v.name} = external<{_type_name(v.type.dtype)}>(shape = {list(v.type.shape)});" for v in graph.inputs
        ]
        shown = [o.name if isinstance(o, Value) else _literal(o.value) for o in op.inputs]
        arguments = [f"[{', '.join(shown)}]"] if declaration.array_input else shown
        written = {k: v for k, v in self.attrs.items() if k != "dtype"}
        arguments += [f"{k} = {_attribute(v, k)}" for k, v in written.items()]
        generic = f"<{_type_name(self.attrs['dtype'])}>" if "dtype" in self.attrs else ""
        results = ", ".join(v.name for v in op.outputs)
        target = f"[{results}]" if declaration.array_result else results
        names = ", ".join(v.name for v in graph.inputs)
        call = f"    {target} = {self.kind}{generic}({', '.join(arguments)});"
        return "\n".join(["version 1.0;", f"graph case({names}) -> ({results})", "{", *lines, call, "}"])


def _is_f32(given: Given) -> bool:
    return isinstance(given, np.ndarray) and given.dtype == np.float32


def _operand(index: int, given: Given) -> Operand:
    if isinstance(given, np.ndarray):
        return Value(f"x{index}", TensorType(DType.of(given.dtype), given.shape))
    dtype = DType.BOOL if isinstance(given, bool) else DType.I64 if isinstance(given, int) else DType.F32
    return Literal(given, dtype)


def _type_name(dtype: DType) -> str:
    return _TYPE_NAMES[dtype.kind]


def _literal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _attribute(value: Any, name: str) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    if not isinstance(value, (tuple, list)):
        return _literal(value)
    if name == "padding":
        return "[" + ", ".join(f"({p}, {q})" for p, q in value) + "]"
    return "[" + ", ".join(map(_literal, value)) + "]"
