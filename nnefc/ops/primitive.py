"""The registry of operations: for each, what Python adds to its declaration (``stdlib.nnef``, ``extension.nnef``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from nnefc.errors import InvalidModelError
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import TensorType

if TYPE_CHECKING:
    from nnefc.ir.build import ProgramBuilder

Infer = Callable[[Sequence[TensorType], Attrs], tuple[TensorType, ...]]
Reference = Callable[[Sequence[np.ndarray], Attrs], tuple[np.ndarray, ...]]
Lower = Callable[["ProgramBuilder", Op], None]


@dataclass(frozen=True)
class Primitive:
    """What an operation means and how it is compiled.

    ``infer`` maps the types of the inputs (literals have rank 0) to those of the outputs; it raises InvalidModelError,
    without a location, saying which value is wrong and what would be accepted. ``reference`` is the naive NumPy meaning
    on arrays of those types. ``lower`` emits kernel-family calls; None means that the declared body is
    expanded instead.
    """

    name: str
    infer: Infer
    reference: Reference
    lower: Lower | None


_REGISTRY: dict[str, Primitive] = {}


def register(name: str, *, infer: Infer, reference: Reference, lower: Lower | None = None) -> None:
    """Add an operation. Raises ValueError if the name is taken."""
    if name in _REGISTRY:
        raise ValueError(f"operation {name!r} is registered twice")
    _REGISTRY[name] = Primitive(name, infer, reference, lower)


def primitives() -> Mapping[str, Primitive]:
    """All operations by name, in order of registration."""
    return MappingProxyType(_REGISTRY)


def require(condition: object, message: str) -> None:
    """Raise InvalidModelError(message) unless the condition holds. The caller of ``infer`` adds the place."""
    if not condition:
        raise InvalidModelError(message)
