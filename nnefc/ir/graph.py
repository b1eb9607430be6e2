"""The Graph: a network as typed operations in static single assignment form. Everything here is frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from nnefc.errors import Location
from nnefc.ir.types import DType, TensorType


class Attrs(Mapping[str, Any]):
    """An immutable, hashable mapping of attribute names to values.

    Values are int, float, bool, str, DType, None, nested tuples of these, or Graphs. Lists become tuples.
    """

    __slots__ = ("_hash", "_items")

    def __init__(self, items: Mapping[str, Any] | None = None, /, **named: Any):
        self._items = {k: _freeze(v) for k, v in {**(items or {}), **named}.items()}
        self._hash: int | None = None

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._items.items()))
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attrs) and self._items == other._items

    def __repr__(self) -> str:
        return "Attrs(" + ", ".join(f"{k}={v!r}" for k, v in self._items.items()) + ")"

    def updated(self, **named: Any) -> Attrs:
        """A copy with some attributes replaced or added."""
        return Attrs(self._items, **named)


def _freeze(value: Any) -> Any:
    return tuple(_freeze(v) for v in value) if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class Origin:
    """Where an operation came from: the names it had and the places it was written at. Rewrites merge origins."""

    names: tuple[str, ...] = ()
    locations: tuple[Location, ...] = ()

    @property
    def location(self) -> Location | None:
        """The first place, or None."""
        return self.locations[0] if self.locations else None

    def merged(self, other: Origin) -> Origin:
        """Both origins, each name and place once, in order."""
        return Origin(
            tuple(dict.fromkeys(self.names + other.names)), tuple(dict.fromkeys(self.locations + other.locations))
        )


@dataclass(frozen=True)
class Value:
    """A tensor of a graph. The name is unique in its graph."""

    name: str
    type: TensorType


@dataclass(frozen=True)
class Literal:
    """A number written where a tensor is expected: a constant of rank 0."""

    value: float | int | bool
    dtype: DType

    @property
    def type(self) -> TensorType:
        """Rank 0 of the literal's element type."""
        return TensorType(self.dtype, ())


Operand = Value | Literal


@dataclass(frozen=True)
class Op:
    """One operation. ``inputs`` are the tensor parameters in the order of the declaration (an array of tensors is laid
    out flat: only operations with a single, array-like tensor parameter have one); ``attrs`` holds every other
    parameter, defaults filled in, and ``dtype`` for external, constant, variable and cast. ``origin`` does not count
    for equality."""

    kind: str
    inputs: tuple[Operand, ...]
    attrs: Attrs
    outputs: tuple[Value, ...]
    origin: Origin = field(default=Origin(), compare=False)

    @property
    def output(self) -> Value:
        """The only output. Raises ValueError if there are several."""
        (value,) = self.outputs
        return value

    def replace(self, **changes: Any) -> Op:
        """A copy with some fields replaced."""
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class Tensor:
    """The stored values of a variable, in the item format of their file.

    ``data`` has the shape of the variable and a NumPy type able to hold ``bits`` (1-bit items are bool, 4-bit unsigned
    ones uint8, and so on); ``item`` names the item type of NNEF section 5.2: float, uint, quint, qint, int or bool.
    ``header`` keeps the deprecated parameter bytes of the file's header, if any were set.
    """

    data: np.ndarray
    item: str
    bits: int
    header: bytes = b""

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Tensor)
            and (self.item, self.bits, self.header) == (other.item, other.bits, other.header)
            and self.data.dtype == other.data.dtype
            and self.data.shape == other.data.shape
            and self.data.tobytes() == other.data.tobytes()
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Graph:
    """A network. ``inputs`` are given by the caller, ``outputs`` returned; ``ops`` are in topological order.

    ``tensors`` maps the labels of ``variable`` operations to their stored values; a label that is missing has no
    values yet (a bare ``graph.nnef``). ``extensions`` are the declared extensions, as written.
    """

    name: str
    inputs: tuple[Value, ...]
    ops: tuple[Op, ...]
    outputs: tuple[Value, ...]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    extensions: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and all(
            getattr(self, f) == getattr(other, f) for f in ("name", "inputs", "ops", "outputs", "tensors", "extensions")
        )

    def __hash__(self) -> int:
        return hash((self.name, self.inputs, self.ops, self.outputs))

    def replace(self, **changes: Any) -> Graph:
        """A copy with some fields replaced."""
        return replace(self, **changes)

    @cached_property
    def values(self) -> dict[str, Value]:
        """Every value by name, in order of definition."""
        return {v.name: v for v in self.inputs} | {v.name: v for op in self.ops for v in op.outputs}

    @cached_property
    def producers(self) -> dict[str, Op]:
        """The operation that makes each value, by the value's name. Inputs have none."""
        return {v.name: op for op in self.ops for v in op.outputs}

    @cached_property
    def users(self) -> dict[str, tuple[Op, ...]]:
        """The operations that read each value, by the value's name, in order."""
        users: dict[str, list[Op]] = {name: [] for name in self.values}
        for op in self.ops:
            for name in dict.fromkeys(v.name for v in op.inputs if isinstance(v, Value)):
                users[name].append(op)
        return {name: tuple(ops) for name, ops in users.items()}
