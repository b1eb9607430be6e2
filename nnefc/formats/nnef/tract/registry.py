"""The registry of tract's operations: for each, its parameters and what it becomes in a Graph."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.formats.onnx.attributes import padding, schema_of
from nnefc.formats.onnx.builder import Builder
from nnefc.formats.onnx.registry import Imported, Node, importers
from nnefc.formats.onnx.scope import Scope
from nnefc.ir.encoding import Encoding
from nnefc.ir.graph import Literal, Value
from nnefc.ir.types import DType, TensorType

MAX_KNOWN = 1 << 26
"""Elements of all tensors that are computed while reading, but for those of at most SMALL."""
SMALL = 1 << 12


class TractScope(Scope):
    """A Scope that knows the encodings of ``graph.quant``, by the names of tensors, and bounds what it computes."""

    def __init__(self, builder: Builder, opset: int, encodings: Mapping[str, Encoding]):
        super().__init__(builder, _no_graph, {"": opset})
        self.encodings = encodings
        self.known_elements = 0
        self._causal: dict[tuple[int, int], np.ndarray] = {}

    def spend(self, elements: int) -> None:
        """Count the elements of a tensor about to be made. Raises UnsupportedError if they are too many in all."""
        if elements > SMALL:
            self.known_elements += elements
        if self.known_elements > MAX_KNOWN:
            raise UnsupportedError(f"tensors known while reading have more than {MAX_KNOWN} elements in all")

    def _folded(
        self, kind: str, operands: Sequence[Imported | Literal], attrs: Any, results: Sequence[TensorType]
    ) -> tuple[np.ndarray, ...] | None:
        """What is computed at once; nothing large where there was much of it already."""
        elements = sum(t.volume for t in results)
        if elements > SMALL and self.known_elements + elements > MAX_KNOWN:
            return None
        made = super()._folded(kind, operands, attrs, results)
        if made is not None:
            self.spend(elements)
        return made

    def causal(self, rows: int, columns: int) -> np.ndarray:
        """Where a row may look: at columns up to its own, truth values of that shape."""
        if (rows, columns) not in self._causal:
            self.spend(rows * columns)
            self._causal[rows, columns] = np.tril(np.ones((rows, columns), bool))
        return self._causal[rows, columns]

    def step(self, value: Imported) -> float | None:
        """The real difference of two neighbouring codes of a quantized tensor; None for others."""
        encoding = self.encodings.get(self.builder.name_of(value))
        scale = dict(encoding.parameters).get("scale") if encoding is not None else None
        return scale if isinstance(scale, float) else None


def _no_graph(*_: object) -> NoReturn:
    raise AssertionError("nothing in this dialect is an ONNX graph")


Given = Sequence[tuple[str | None, Any]]
"""The arguments of an invocation with their names, as written."""
REQUIRED = object()
"""Stands for the default of a parameter that needs a value."""


class Arguments:
    """The arguments of one invocation by parameter, converted to what the operation takes.

    An argument is a number, a string, a list, a tuple, an array (a tensor known while reading) or a Value.
    """

    def __init__(self, scope: TractScope, operation: str, values: Mapping[str, Any]):
        self.scope = scope
        self.operation = operation
        self.values = values

    def __contains__(self, name: str) -> bool:
        """Whether the parameter has a value; ``false`` stands for none where a tensor is wanted."""
        return name in self.values and self.values[name] is not None and self.values[name] is not False

    def raw(self, name: str) -> Any:
        """The argument as it is. Raises InvalidModelError if it is missing."""
        if name not in self.values:
            raise InvalidModelError(f"{self.operation} needs a value for {name}")
        return self.values[name]

    def tensor(self, name: str) -> Any:
        """A tensor."""
        return tensor(self.scope, self.raw(name), self._what(name))

    def operand(self, name: str) -> Any:
        """A tensor, or a number as it is."""
        value = self.raw(name)
        return value if isinstance(value, (int, float)) else self.tensor(name)

    def tensors(self, name: str) -> list[Any]:
        """The items of an array of tensors."""
        value = self.raw(name)
        items = value if isinstance(value, (list, tuple)) else [value]
        return [tensor(self.scope, item, self._what(name)) for item in items]

    def known(self, name: str) -> np.ndarray:
        """A tensor whose values are known while reading. Raises UnsupportedError if they are not."""
        return known(self.scope, self.tensor(name), self._what(name))

    def ints(self, name: str) -> list[int]:
        """Integers known while reading: an array of them, or one."""
        value = self.raw(name)
        items = value if isinstance(value, (list, tuple)) else [value]
        return [i for item in items for i in self._ints(item, name)]

    def _ints(self, value: Any, name: str) -> list[int]:
        array = known(self.scope, tensor(self.scope, value, self._what(name)), self._what(name))
        if array.ndim > 1 or (array.dtype.kind == "f" and not (array == np.floor(array)).all()):
            raise InvalidModelError(f"{self._what(name)} must be made of integers")
        return [int(i) for i in array.reshape(-1)]

    def integer(self, name: str) -> int:
        """An integer known while reading."""
        values = self.ints(name)
        if len(values) != 1:
            raise InvalidModelError(f"{self._what(name)} must be one integer, not {len(values)}")
        return values[0]

    def scalar(self, name: str) -> float:
        """A number known while reading."""
        array = self.known(name)
        if array.size != 1:
            raise InvalidModelError(f"{self._what(name)} must be one number, not {array.size}")
        return float(array.reshape(-1)[0])

    def logical(self, name: str) -> bool:
        """A truth value known while reading."""
        return bool(self.scalar(name))

    def text(self, name: str) -> str:
        """A string. Raises InvalidModelError for anything else."""
        value = self.raw(name)
        if not isinstance(value, str):
            raise InvalidModelError(f"{self._what(name)} must be a string")
        return value

    def pairs(self, name: str) -> list[tuple[int, int]]:
        """Pairs of integers known while reading."""
        items = self.raw(name)
        if not isinstance(items, list) or any(not isinstance(p, (list, tuple)) or len(p) != 2 for p in items):
            raise InvalidModelError(f"{self._what(name)} must be an array of pairs")
        return [(self._ints(p, name)[0], self._ints(q, name)[0]) for p, q in items]

    def _what(self, name: str) -> str:
        return f"{name} of {self.operation}"


def tensor(scope: TractScope, value: Any, what: str) -> Any:
    """Any value of the dialect as a tensor: numbers are f32, i64 or logical, arrays of tensors are stacked."""
    if isinstance(value, (np.ndarray, Value)):
        return value
    if isinstance(value, (int, float)):
        return numbers(value, {type(value)}, what)
    if isinstance(value, tuple) and len(value) == 1:
        return tensor(scope, value[0], what)
    if isinstance(value, list) and value:
        kinds = set(map(type, value))
        if kinds <= {int, float}:
            return numbers(value, kinds, what)
        items = [tensor(scope, item, what) for item in value]
        if len({scope.shape(i) for i in items}) > 1:
            raise InvalidModelError(f"{what}: the items of an array have different shapes")
        wanted = common_type([scope.dtype(i) for i in items])
        return scope.op("stack", [scope.cast(i, wanted) for i in items], axis=0)
    raise InvalidModelError(f"{what} must be a tensor")


def common_type(dtypes: Sequence[DType]) -> DType:
    """The element type for operands of several: floats win, then the wider."""
    floats = [d for d in dtypes if d.kind == "f"]
    return max(floats or dtypes, key=lambda d: (d is not DType.BOOL, d.bits))


def numbers(value: Any, kinds: AbstractSet[type], what: str) -> np.ndarray:
    """A number, or a list of them, as an array: of logicals, of i64, or of f32 if one has a fraction."""
    if kinds == {bool}:
        return np.array(value)
    try:
        return np.array(value, np.int64 if kinds == {int} else np.float32)
    except OverflowError:
        raise InvalidModelError(f"{what} has an integer that does not fit into 64 bits") from None


def known(scope: TractScope, value: Any, what: str) -> np.ndarray:
    """The values of a tensor that must be known while reading. Raises UnsupportedError."""
    if isinstance(value, np.ndarray):
        return value
    raise UnsupportedError(
        f"{what} must be known when the model is read, but {scope.builder.name_of(value)!r} is computed, or an input"
    )


def onnx(scope: TractScope, op_type: str, inputs: Sequence[Imported | None], **attrs: Any) -> list[Any]:
    """The outputs of the ONNX operation of that meaning."""
    node = scope.node
    outputs = node.outputs if node is not None else ("",)
    missing = padding(schema_of(op_type, "", scope.opsets[""]), len(inputs))
    made = Node(op_type, "", scope.opsets[""], [*inputs, *[None] * missing], attrs, outputs)
    return list(importers()["", op_type].run(scope, made))


Run = Callable[[TractScope, Arguments], Any]


@dataclass(frozen=True)
class Operation:
    """An operation of tract: its parameters in order, with their defaults, and the function that makes it."""

    params: Mapping[str, Any]
    run: Run


_REGISTRY: dict[str, Operation] = {}


def operation(*names: str, params: str) -> Callable[[Run], Run]:
    """A decorator that registers an operation under its names. ``params`` lists parameters, with ``name=default`` where
    there is one, a number or a word: ``"input axis modulo=0"``; a trailing ``?`` makes one optional. Raises ValueError
    if a name is taken."""
    parsed: dict[str, Any] = {}
    for item in params.split():
        name, _, default = item.partition("=")
        if name.endswith("?"):
            parsed[name[:-1]] = None
        else:
            parsed[name] = _default(default) if default else REQUIRED

    def add(function: Run) -> Run:
        for name in names:
            if name in _REGISTRY:
                raise ValueError(f"the operation {name!r} is registered twice")
            _REGISTRY[name] = Operation(parsed, function)
        return function

    return add


def _default(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if text == "[]":
        return []
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d[\d.e-]*", text) else text


def operations() -> Mapping[str, Operation]:
    """All operations by name."""
    return MappingProxyType(_REGISTRY)
