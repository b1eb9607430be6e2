"""The inputs of an ONNX model: their types, with every dimension bound to a number."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TypeVar

import numpy as np
import onnx

from nnefc.errors import InvalidModelError, UnboundError, UnsupportedError
from nnefc.formats.onnx.builder import identifier
from nnefc.formats.onnx.tensors import MAX_RANK, element_type, numpy_type, require_text
from nnefc.ir.types import DType, TensorType

_T = TypeVar("_T")
_Shape = list[int | str | None] | None


class Inputs:
    """What is known of a model's inputs: declarations, and what the user gives."""

    def __init__(
        self,
        infos: Sequence[onnx.ValueInfoProto],
        stored: Container[str],
        shapes: Mapping[str, Sequence[int]],
        constants: Mapping[str, np.ndarray],
    ):
        self.notes: list[str] = []
        self._empty: dict[str, np.ndarray] = {}
        self._infos = {info.name: info for info in infos}
        if len(self._infos) != len(infos):
            raise InvalidModelError("two inputs have the same name")
        shapes, constants = self._by_onnx_name(shapes), self._by_onnx_name(constants)
        self._constants = constants
        self._declared = {name: _declared(info) for name, info in self._infos.items()}
        symbols = {d for shape in self._declared.values() for d in shape or () if isinstance(d, str)}
        self._symbols: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        free = [name for name in self._infos if name not in constants and name not in stored]
        for name, extents in shapes.items():
            if name in free:
                self._shapes[name] = tuple(_extent(name, e) for e in extents)
            elif name in symbols and len(extents) == 1:
                self._symbols[name] = _extent(name, extents[0])
            else:
                known = ", ".join([*free, *sorted(symbols)]) or "none"
                raise InvalidModelError(f"there is no input {name!r} to give a shape; there are {known}")
        for name in constants:
            if name not in self._infos:
                known = ", ".join(self._infos) or "none"
                raise InvalidModelError(f"there is no input {name!r} to bind to a constant; the inputs are {known}")
        self._free = free

    def _by_onnx_name(self, given: Mapping[str, _T]) -> dict[str, _T]:
        """What is given by name, under the names of the file; the identifiers that stand for them will do too."""
        aliases = {identifier(name): name for name in reversed(self._infos)}
        return {name if name in self._infos else aliases.get(name, name): value for name, value in given.items()}

    def bound(self) -> dict[str, np.ndarray]:
        """The inputs that are given as constants, and after ``types`` those without elements. Raises InvalidModelError
        for values of another type or shape."""
        given = {name: self._bound(name, np.asarray(array)) for name, array in self._constants.items()}
        return given | self._empty

    def _bound(self, name: str, array: np.ndarray) -> np.ndarray:
        declared, dtype = self._declared[name], _element(self._infos[name])
        if array.dtype != numpy_type(dtype):
            raise InvalidModelError(
                f"the constant for {name!r} has elements of {array.dtype}; {numpy_type(dtype)} is wanted"
            )
        fits = declared is None or (
            len(declared) == array.ndim
            and all(not isinstance(d, int) or d == e for d, e in zip(declared, array.shape, strict=True))
        )
        if not fits:
            raise InvalidModelError(
                f"the constant for {name!r} has the shape {list(array.shape)}, not {_text(declared)}"
            )
        return array

    def types(self) -> dict[str, TensorType]:
        """The types of the inputs that stay inputs, in order.

        Raises UnboundError listing the dimensions that are free, and InvalidModelError for shapes that do not fit.
        """
        self._unify()
        found: dict[str, TensorType] = {}
        free: list[str] = []
        for name in self._free:
            dtype, shape = _element(self._infos[name]), self._shape(name, free)
            if 0 in shape:
                self._empty[name] = np.empty(shape, numpy_type(dtype))
                self.notes.append(f"{name!r} has the shape {list(shape)}: without elements, it is no input")
            else:
                found[name] = TensorType(dtype, shape)
        if free:
            raise UnboundError(
                f"these extents are free: {'; '.join(free)}; give them with --shape INPUT=N,... or, for all inputs, "
                "--shape SYMBOL=N (shapes= in Python)"
            )
        return found

    def _unify(self) -> None:
        """Take the symbols' extents from the given shapes. Raises InvalidModelError for two of one symbol."""
        for name, shape in self._shapes.items():
            declared = self._declared[name]
            if declared is not None and len(declared) != len(shape):
                raise InvalidModelError(f"the shape {list(shape)} for {name!r} does not fit {_text(declared)}")
            for dim, extent in zip(declared or (), shape, strict=declared is not None):
                if isinstance(dim, str) and self._symbols.setdefault(dim, extent) != extent:
                    both = f"{self._symbols[dim]} and {extent}"
                    raise InvalidModelError(f"the symbol {dim!r} would have the extents {both}")

    def _shape(self, name: str, free: list[str]) -> tuple[int, ...]:
        """The shape of an input; what stays free is added to ``free``."""
        if name in self._shapes:
            return self._shapes[name]
        declared = self._declared[name]
        if declared is None:
            free.append(f"the whole shape of {name!r}")
            return ()
        shape: list[int] = []
        for axis, dim in enumerate(declared):
            extent = self._symbols.get(dim) if isinstance(dim, str) else dim
            if extent is None and axis == 0:
                extent = 1
                called = f", {dim!r}," if isinstance(dim, str) else ""
                self.notes.append(f"the first extent{called} of {name!r} is free: taken as 1")
                if isinstance(dim, str):
                    self._symbols[dim] = 1
            if extent is None:
                free.append(f"dimension {axis} of {name!r}" + (f" ({dim!r})" if isinstance(dim, str) else ""))
            shape.append(1 if extent is None else extent)
        return tuple(shape)


_FREE = -1
"""The extent by which some exporters say that there is none."""
_UNNAMED = "?"
"""What some write for the symbol of an extent of its own."""


def _declared(info: onnx.ValueInfoProto) -> _Shape:
    """The declared shape: extents, symbols, None for what is not said; None for no shape at all."""
    if not info.type.tensor_type.HasField("shape"):
        return None
    dims = info.type.tensor_type.shape.dim
    if len(dims) > MAX_RANK:
        raise InvalidModelError(f"the input {info.name!r} has {len(dims)} dimensions; at most {MAX_RANK} are allowed")
    shape: list[int | str | None] = []
    for dim in dims:
        kind = dim.WhichOneof("value")
        free = kind != "dim_value" or dim.dim_value == _FREE
        if not free and dim.dim_value < 0:
            raise InvalidModelError(f"the input {info.name!r} has the extent {dim.dim_value}")
        require_text(dim.dim_param)
        named = dim.dim_param not in ("", _UNNAMED)
        shape.append(dim.dim_value if not free else dim.dim_param if named else None)
    return shape


def _element(info: onnx.ValueInfoProto) -> DType:
    kind = info.type.WhichOneof("value")
    if kind is None:
        raise InvalidModelError(f"the input {info.name!r} has no type")
    if kind != "tensor_type":
        raise UnsupportedError(f"the input {info.name!r} is a {kind.removesuffix('_type')}; only tensors can be inputs")
    return element_type(info.type.tensor_type.elem_type, f"the input {info.name!r}")


def _extent(name: str, extent: int) -> int:
    if not isinstance(extent, (int, np.integer)) or extent < 1:
        raise InvalidModelError(f"the shape of {name!r} has the extent {extent!r}; extents are positive whole numbers")
    return int(extent)


def _text(shape: _Shape) -> str:
    return "any" if shape is None else "[" + ",".join("?" if d is None else str(d) for d in shape) + "]"
