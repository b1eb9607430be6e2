"""The registry of operations: for each, what Python adds to its declaration (``stdlib.nnef``, ``extension.nnef``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from nnefc.errors import InvalidModelError
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType, TensorType

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
    _REGISTRY[name] = Primitive(name, infer, _on_bfloat16(infer, reference), lower)


def _on_bfloat16(infer: Infer, reference: Reference) -> Reference:
    """The reference, which computes bfloat16, of which NumPy knows little, in float32 and rounds the results."""

    def run(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
        if all(a.dtype.kind != "V" for a in arrays):
            return reference(arrays, attrs)
        results = infer([TensorType(DType.of(a.dtype), a.shape) for a in arrays], attrs)
        wide = [a.astype(np.float32) if a.dtype.kind == "V" else a for a in arrays]
        return tuple(
            a.astype(t.dtype.numpy) if t.dtype is DType.BF16 else a
            for a, t in zip(reference(wide, attrs), results, strict=True)
        )

    return run


def primitives() -> Mapping[str, Primitive]:
    """All operations by name, in order of registration."""
    return MappingProxyType(_REGISTRY)


def require(condition: object, message: str) -> None:
    """Raise InvalidModelError(message) unless the condition holds. The caller of ``infer`` adds the place."""
    if not condition:
        raise InvalidModelError(message)
