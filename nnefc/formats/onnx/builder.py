"""The Graph under construction: operations, stored tensors, and the names that everything has in the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nnefc.errors import UnsupportedError
from nnefc.formats.onnx import narrow
from nnefc.formats.onnx.registry import Anything, Imported
from nnefc.ir.graph import Attrs, Graph, Literal, Op, Operand, Origin, Tensor, Value
from nnefc.ir.signature import Signature
from nnefc.ir.types import DType, TensorType
from nnefc.ir.verify import is_identifier

MAX_OPS = 30_000
"""Operations that a Graph may come to, by unrolling loops for instance."""
_LONGEST = 200


def dtype_of(array: np.ndarray) -> DType:
    """The element type that an array has in a Graph. Raises UnsupportedError for one that has none (strings)."""
    try:
        return narrow.wide_type(array.dtype) if narrow.is_narrow(array) else DType.of(array.dtype)
    except TypeError:
        raise UnsupportedError(f"elements of NumPy's {array.dtype} are not supported") from None


class Builder:
    """Collects operations and stored values; values have temporary names until ``finish``."""

    def __init__(self, call: Callable[..., list[Any]]):
        self.call = call
        self.ops: list[Op] = []
        self.inputs: list[Value] = []
        self.notes: list[str] = []
        self._count = 0
        self._names: dict[str, str] = {}
        self._array_names: dict[int, str] = {}
        self._stored: dict[int, Value] = {}
        self._alive: list[np.ndarray] = []
        self._tensors: dict[str, Tensor] = {}

    def value(self, type_: TensorType) -> Value:
        """A new value under a temporary name."""
        self._count += 1
        return Value(f"%{self._count}", type_)

    def add(self, op: Op) -> None:
        """Append an operation. Raises UnsupportedError if there are too many."""
        if len(self.ops) >= MAX_OPS:
            raise UnsupportedError(f"the model comes to more than {MAX_OPS} operations")
        self.ops.append(op)

    def remember(self, name: str, value: Anything) -> None:
        """Note the ONNX name of a tensor; the first one counts."""
        if isinstance(value, Value):
            self._names.setdefault(value.name, name)
        elif isinstance(value, np.ndarray) and id(value) not in self._array_names:
            self._array_names[id(value)] = name
            self._alive.append(value)

    def same_name(self, named: np.ndarray, array: np.ndarray) -> np.ndarray:
        """``array``, under the ONNX name of ``named`` too, if it has one and the elements are many."""
        if id(named) in self._array_names and array.size > 1:
            self.remember(self._array_names[id(named)], array)
        return array

    def name_of(self, value: Imported) -> str:
        """The name that a tensor has in its file, or a description."""
        if isinstance(value, Value):
            return self._names.get(value.name, "an intermediate result")
        return self._array_names.get(id(value), "a constant")

    def sources(self, value: Value) -> list[str]:
        """The ONNX names of the inputs that a value is computed from, in their order."""
        wanted = {value.name}
        for op in reversed(self.ops):
            if any(v.name in wanted for v in op.outputs):
                wanted |= {v.name for v in op.inputs if isinstance(v, Value)}
        return [self._names[v.name] for v in self.inputs if v.name in wanted]

    def attributes(self, sig: Signature, given: Mapping[str, Any]) -> Attrs:
        """All attributes of an operation. Raises TypeError for one that is not declared, or is missing."""
        values = {p.name: p.default for p in sig.attributes if p.default is not None}
        declared = {p.name for p in sig.attributes} | ({"dtype"} if sig.has_dtype else set())
        unknown, missing = given.keys() - declared, declared - values.keys() - given.keys()
        if unknown or missing:
            raise TypeError(
                f"{sig.name} takes {sorted(declared)}; unknown: {sorted(unknown)}, missing: {sorted(missing)}"
            )
        return Attrs({**values, **{k: _plain(v) for k, v in given.items()}})

    def operand(self, value: Imported | Literal) -> Operand:
        """A tensor as an operand: an array becomes a literal (rank 0), else a constant or a variable, made once."""
        return self.stored(value) if isinstance(value, np.ndarray) and value.ndim else self._scalar(value)

    def _scalar(self, value: Imported | Literal) -> Operand:
        if not isinstance(value, np.ndarray):
            return value
        number = narrow.widened(value).item()
        dtype = dtype_of(value)
        return self.stored(value) if dtype.kind == "f" and not np.isfinite(number) else Literal(_number(number), dtype)

    def stored(self, array: np.ndarray) -> Value:
        """A known tensor as a value of the Graph: a constant where all elements are equal and none has named it, else
        a variable. The same array gives the same value."""
        if id(array) in self._stored:
            return self._stored[id(array)]
        self._alive.append(array)
        dtype = dtype_of(array)
        if any(d == 0 for d in array.shape):
            raise UnsupportedError(f"a tensor of shape {list(array.shape)} has no elements")
        value = self.value(TensorType(dtype, array.shape))
        name = self._array_names.get(id(array))
        if name is not None:
            self._names[value.name] = name
        origin = Origin((name,) if name else ())
        number = _number(narrow.widened(array.reshape(-1)[:1])[0].item()) if array.size else 0
        uniform = array.size == 1 or (name is None and array.size <= 1 << 22 and bool((array == array.flat[0]).all()))
        if uniform and (dtype.kind != "f" or np.isfinite(number)):
            attrs = Attrs(shape=array.shape, value=(number,), dtype=dtype)
            self.add(Op("constant", (), attrs, (value,), origin))
        else:
            self._tensors[value.name] = _tensor(array, dtype)
            self.add(Op("variable", (), Attrs(shape=array.shape, label=value.name, dtype=dtype), (value,), origin))
        self._stored[id(array)] = value
        return value

    def finish(self, name: str, outputs: Sequence[tuple[str, Imported]]) -> Graph:
        """The Graph, each value under a valid NNEF name like its ONNX name; outputs and inputs have first choice.

        An output that is an input, known at import, or given already under another name, is a ``copy``."""
        finals: list[Value] = []
        wanted: dict[str, str] = {}
        taken = {v.name for v in self.inputs}
        for onnx_name, result in outputs:
            value = result if isinstance(result, Value) else self.stored(result)
            if value.name in taken or value.name in self._stored_names():
                copied = self.value(value.type)
                self.add(Op("copy", (value,), Attrs(), (copied,), Origin((onnx_name,))))
                value = copied
            taken.add(value.name)
            wanted[value.name] = onnx_name
            finals.append(value)
        return self._named(name, finals, {**self._names, **wanted}, wanted)

    def _stored_names(self) -> set[str]:
        return {v.name for v in self._stored.values()}

    def _named(self, name: str, outputs: Sequence[Value], names: Mapping[str, str], first: Mapping[str, str]) -> Graph:
        fresh = _Names()
        renamed: dict[str, str] = {}
        for value in (*self.inputs, *outputs):
            renamed[value.name] = fresh.of(names[value.name])
        live = _live(self.ops, outputs)
        for op in live:
            for value in op.outputs:
                if value.name not in renamed:
                    stem = names.get(value.name) or "_".join([*op.origin.names[:1], op.kind])
                    renamed[value.name] = fresh.of(stem)
        final = renamed
        ops = tuple(_rename(op, final, names) for op in live)
        tensors = {final[label]: tensor for label, tensor in self._tensors.items() if label in final}
        graph_name = identifier(name)
        rename = [tuple(replace(v, name=final[v.name]) for v in side) for side in (self.inputs, outputs)]
        return Graph(graph_name, rename[0], ops, rename[1], tensors)


def _live(ops: Sequence[Op], outputs: Sequence[Value]) -> list[Op]:
    """The operations that the outputs depend on."""
    wanted = {v.name for v in outputs}
    live: list[Op] = []
    for op in reversed(ops):
        if any(v.name in wanted for v in op.outputs):
            wanted |= {v.name for v in op.inputs if isinstance(v, Value)}
            live.append(op)
    return live[::-1]


def _rename(op: Op, final: Mapping[str, str], names: Mapping[str, str]) -> Op:
    inputs = tuple(replace(x, name=final[x.name]) if isinstance(x, Value) else x for x in op.inputs)
    outputs = tuple(replace(v, name=final[v.name]) for v in op.outputs)
    own = tuple(names[v.name] for v in op.outputs if v.name in names)
    attrs = op.attrs.updated(label=final[op.attrs["label"]]) if op.kind == "variable" else op.attrs
    origin = Origin(own).merged(op.origin)
    return Op(op.kind, inputs, attrs, outputs, origin)


class _Names:
    """Identifiers like given names, each once, whatever the case of its letters (labels of variables ignore it)."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def of(self, name: str) -> str:
        stem = identifier(name)
        candidate = stem
        while candidate.lower() in self._next:
            candidate = f"{stem}_{self._next[stem.lower()]}"
            self._next[stem.lower()] += 1
        self._next[candidate.lower()] = 1
        return candidate


def identifier(name: str) -> str:
    """An NNEF identifier like ``name``: other characters become ``_``; a digit in front, or a keyword, gets one."""
    text = re.sub(r"[^A-Za-z0-9_]", "_", name)[:_LONGEST] or "t"
    return text if is_identifier(text) else f"_{text}"


def _number(value: Any) -> Any:
    return value if isinstance(value, (bool, int)) else float(value)


def _plain(value: Any) -> Any:
    """Attribute values without NumPy's types."""
    if isinstance(value, np.ndarray):
        return tuple(_plain(v) for v in value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    return tuple(_plain(v) for v in value) if isinstance(value, (list, tuple)) else value


def _tensor(array: np.ndarray, dtype: DType) -> Tensor:
    """The array as stored values; bfloat16, which NNEF's files do not have, as the same values in 32-bit floats.
    Integers keep the bits that they have in the file."""
    if dtype is DType.BF16:
        return Tensor(array.astype(np.float32), "float", 32)
    if dtype is DType.BOOL:
        return Tensor(array, "bool", 1)
    item = {"f": "float", "i": "int", "u": "uint"}[dtype.kind]
    held = narrow.widened(array)
    return Tensor(held, item, narrow.bits(array.dtype) if held is not array and item != "float" else dtype.bits)
