"""The registry of ONNX importers: for each operation of a domain, what it becomes in a Graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from nnefc.errors import InvalidModelError, Location
from nnefc.ir.graph import Value

if TYPE_CHECKING:
    from nnefc.formats.onnx.scope import Scope

Imported = np.ndarray | Value
"""An ONNX tensor: an array where its values are known at import, else a tensor of the Graph."""


@dataclass(frozen=True, eq=False)
class TensorList:
    """An ONNX sequence, of which length and items are known at import."""

    items: tuple[Imported, ...]


@dataclass(frozen=True, eq=False)
class Maybe:
    """An ONNX optional, of which is known at import whether it holds something."""

    item: Imported | TensorList | None


Anything = Imported | TensorList | Maybe


@dataclass(frozen=True, eq=False)
class Node:
    """One use of an ONNX operation, its inputs imported already.

    ``inputs`` has None where an optional input is left out, up to the number that the operation declares. ``attrs``
    holds the written attributes: ints, floats, strings, lists of these, arrays, GraphProtos. ``version`` is the opset
    that the model imports for ``domain`` (``""`` for ONNX's own). ``outputs`` are the names, ``""`` for one left out.
    """

    op_type: str
    domain: str
    version: int
    inputs: Sequence[Any]
    attrs: Mapping[str, Any]
    outputs: tuple[str, ...]
    name: str = ""
    location: Location | None = field(default=None)

    @property
    def output_count(self) -> int:
        """How many outputs are written, those left out in the middle counted."""
        return len(self.outputs)

    def wants(self, index: int) -> bool:
        """Whether an optional output is asked for."""
        return index < len(self.outputs) and bool(self.outputs[index])

    def input(self, index: int) -> Any:
        """An input, or None if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def need(self, index: int) -> Any:
        """An input that must be there. Raises InvalidModelError."""
        value = self.input(index)
        if value is None:
            raise InvalidModelError(f"input {index} is missing")
        return value

    def attr(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, or ``default`` if it is not written."""
        return self.attrs.get(name, default)

    def need_attr(self, name: str) -> Any:
        """The value of an attribute that must be written. Raises InvalidModelError."""
        if name not in self.attrs:
            raise InvalidModelError(f"the attribute {name!r} is missing")
        return self.attrs[name]


Importer = Callable[["Scope", Node], Sequence[Any]]


@dataclass(frozen=True)
class Entry:
    """An importer; ``lists`` says whether it takes sequences and optionals, not tensors only."""

    run: Importer
    lists: bool = False


_REGISTRY: dict[tuple[str, str], Entry] = {}


def importer(*op_types: str, domain: str = "", lists: bool = False) -> Callable[[Importer], Importer]:
    """A decorator that registers an importer for operations of a domain. Raises ValueError if one has one already."""

    def add(function: Importer) -> Importer:
        for op_type in op_types:
            if (domain, op_type) in _REGISTRY:
                raise ValueError(f"the importer of {op_type!r} is registered twice")
            _REGISTRY[domain, op_type] = Entry(function, lists)
        return function

    return add


def importers() -> Mapping[tuple[str, str], Entry]:
    """All importers by domain and operation."""
    return MappingProxyType(_REGISTRY)
