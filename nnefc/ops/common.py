"""Shape rules that several families share: broadcasting from the first dimension, axes, arrays of integers, limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnefc.ir.graph import Attrs
from nnefc.ir.types import DType, TensorType
from nnefc.ops.primitive import require

MAX_RANK = 32
"""The most dimensions that a tensor may have."""
MAX_VOLUME = 2**40
"""The most elements that a tensor may have."""
MAX_OUTPUTS = 2**16
"""The most tensors that one operation may return."""
_SHOWN = 16


def shape_text(shape: Sequence[Any]) -> str:
    """A shape, or another array of an operation, as NNEF writes it: ``[1,3,8]``. A long one is cut short."""
    items = [shape_text(i) if isinstance(i, (tuple, list)) else str(i) for i in shape[:_SHOWN]]
    return "[" + ",".join(items) + (",...]" if len(shape) > _SHOWN else "]")


def tensor(dtype: DType, shape: Sequence[int], what: str = "the result") -> TensorType:
    """The type of an output. Raises InvalidModelError unless its extents are positive and its size is within bounds."""
    require(len(shape) <= MAX_RANK, f"{what} would have {len(shape)} dimensions; at most {MAX_RANK} are allowed")
    require(
        all(d > 0 for d in shape),
        f"{what} would have the shape {shape_text(shape)}; every extent must be positive",
    )
    require(
        math.prod(shape) <= MAX_VOLUME,
        f"{what} would have the shape {shape_text(shape)}; at most {MAX_VOLUME} elements are allowed",
    )
    return TensorType(dtype, tuple(shape))


def broadcast_shape(shapes: Sequence[Sequence[int]], names: Sequence[str]) -> tuple[int, ...]:
    """The shape that operands take together: dimensions are aligned from the first one, missing trailing ones are 1,
    and an extent of 1 is repeated (NNEF 1.0.5, 4.2.2). Raises InvalidModelError naming the operands that differ."""
    rank = max((len(s) for s in shapes), default=0)
    result = []
    for axis in range(rank):
        extents = [s[axis] if axis < len(s) else 1 for s in shapes]
        widest = max(range(len(extents)), key=lambda i: extents[i] if extents[i] != 1 else 0)
        for i, extent in enumerate(extents):
            require(
                extent in (1, extents[widest]),
                f"{names[i]} has shape {shape_text(shapes[i])} and {names[widest]} has shape "
                f"{shape_text(shapes[widest])}: the extents {extent} and {extents[widest]} of dimension {axis} differ; "
                "they must be equal or one of them 1 (dimensions are aligned from the first)",
            )
        result.append(extents[widest])
    return tuple(result)


def require_broadcastable(shape: Sequence[int], name: str, target: Sequence[int], target_name: str) -> None:
    """Raise InvalidModelError unless ``shape`` broadcasts to ``target`` without growing it."""
    fits = all(d == 1 or (i < len(target) and d == target[i]) for i, d in enumerate(shape))
    require(
        fits,
        f"{name} has shape {shape_text(shape)}, which does not broadcast to the shape {shape_text(target)} of "
        f"{target_name}; each extent must be 1 or equal (dimensions are aligned from the first)",
    )


def align(x: np.ndarray, rank: int) -> np.ndarray:
    """``x`` with trailing dimensions of extent 1 up to ``rank``; more dimensions than that must be of extent 1."""
    if x.ndim > rank:
        return x.reshape(x.shape[:rank])
    return x.reshape(x.shape + (1,) * (rank - x.ndim))


def aligned(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The arrays with trailing dimensions added up to the largest rank, so that NumPy broadcasts them as NNEF does."""
    rank = max((a.ndim for a in arrays), default=0)
    return [align(a, rank) for a in arrays]


def require_axis(axis: int, rank: int, name: str = "axis", of: str = "the input") -> None:
    """Raise InvalidModelError unless ``0 <= axis < rank``."""
    require(rank > 0, f"{name} = {axis}, but {of} has rank 0 and no dimension to choose")
    require(0 <= axis < rank, f"{name} = {axis} is out of range: {of} has rank {rank}, so it must be 0 to {rank - 1}")


def require_axes(axes: Sequence[int], rank: int, name: str = "axes", of: str = "the input") -> None:
    """Raise InvalidModelError unless the axes are unique and each is in ``[0, rank)``."""
    for axis in axes:
        require(
            0 <= axis < rank,
            f"{name} = {shape_text(axes)} contains {axis}; {of} has rank {rank}, "
            + (f"so each must be 0 to {rank - 1}" if rank else "so there is none to choose"),
        )
    require(len(set(axes)) == len(axes), f"{name} = {shape_text(axes)} repeats an item; each may occur once")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _fits(value: int) -> bool:
    return -(2**63) <= value < 2**63


def integer(attrs: Attrs, name: str) -> int:
    """An integer attribute. Raises InvalidModelError if it is something else."""
    value = attrs[name]
    require(_is_integer(value), f"{name} = {value!r} must be an integer")
    require(_fits(value), f"{name} is too large; it must fit 64 bits")
    return int(value)


def integers(attrs: Attrs, name: str, lengths: Sequence[int] | None = None, why: str = "") -> tuple[int, ...]:
    """An attribute that is an array of integers. Raises InvalidModelError unless it is, of one of ``lengths``."""
    value = attrs[name]
    require(isinstance(value, tuple), f"{name} = {value!r} must be an array of integers")
    for item in value:
        require(_is_integer(item), f"{name} contains {item!r}; it must be integers")
        require(_fits(item), f"{name} contains a number that is too large; it must fit 64 bits")
    if lengths is not None:
        wanted = " or ".join(map(str, dict.fromkeys(lengths)))
        require(
            len(value) in lengths, f"{name} = {shape_text(value)} has {len(value)} items; it must have {wanted}{why}"
        )
    return tuple(value)


def pairs(attrs: Attrs, name: str, lengths: Sequence[int] | None = None, why: str = "") -> tuple[tuple[int, int], ...]:
    """An attribute that is an array of pairs of integers. Raises InvalidModelError like ``integers``."""
    value = attrs[name]
    require(isinstance(value, tuple), f"{name} = {value!r} must be an array of pairs of integers")
    for item in value:
        good = isinstance(item, tuple) and len(item) == 2 and all(map(_is_integer, item))
        require(good, f"{name} contains {item!r}; each item must be a pair of integers")
        require(all(map(_fits, item)), f"{name} contains a number that is too large; it must fit 64 bits")
    if lengths is not None:
        wanted = " or ".join(map(str, dict.fromkeys(lengths)))
        require(
            len(value) in lengths, f"{name} = {shape_text(value)} has {len(value)} items; it must have {wanted}{why}"
        )
    return tuple(value)


def one_of(attrs: Attrs, name: str, accepted: Sequence[str]) -> str:
    """A string attribute. Raises InvalidModelError unless it is one of ``accepted``."""
    value = attrs[name]
    require(value in accepted, f"{name} = {value!r} is unknown; it must be one of {', '.join(map(repr, accepted))}")
    return str(value)


def require_positive(values: Sequence[int], name: str) -> None:
    """Raise InvalidModelError unless every item is above zero."""
    for value in values:
        require(value > 0, f"{name} = {shape_text(values)} contains {value}; every item must be positive")


_KINDS = {"f": "scalar", "i": "integer", "u": "integer", "b": "logical"}


def require_kind(type_: TensorType, kinds: str, name: str) -> None:
    """Raise InvalidModelError unless the element type is of one of ``kinds`` (the letters of ``DType.kind``)."""
    wanted = " or ".join(dict.fromkeys(_KINDS[k] for k in kinds))
    require(
        type_.dtype.kind in kinds,
        f"{name} has {_KINDS[type_.dtype.kind]} elements ({type_.dtype}); they must be {wanted}",
    )


def common_dtype(types: Sequence[TensorType], names: Sequence[str], kinds: str = "fiub") -> DType:
    """The one element type of all operands. Raises InvalidModelError where they differ or are of no such kind."""
    for type_, name in zip(types, names, strict=True):
        require_kind(type_, kinds, name)
        require(
            type_.dtype is types[0].dtype,
            f"{names[0]} has elements of type {types[0].dtype} and {name} of type {type_.dtype}; they must be equal",
        )
    return types[0].dtype


def accumulator(dtype: np.dtype) -> np.dtype:
    """The type in which references add up elements: float64 for floats, int64 for integers and logicals."""
    kind = np.dtype(dtype).kind
    return np.dtype(np.float64 if kind == "f" else np.uint64 if kind == "u" else np.int64)


def border_index(border: str, index: np.ndarray, extent: int) -> np.ndarray:
    """Where the extended input is read (NNEF 1.0.5, 4.3, border modes): indices in ``[0, extent)``, or -1 where there
    is nothing ('constant' and 'ignore'). Reflections further out than the input reaches bounce to and fro."""
    inside = (index >= 0) & (index < extent)
    if border in ("constant", "ignore"):
        return np.where(inside, index, -1)
    if border == "replicate":
        return np.clip(index, 0, extent - 1)
    if border == "reflect":
        period = max(2 * (extent - 1), 1)
        folded = index % period
        return np.where(folded < extent, folded, period - folded)
    folded = index % (2 * extent)
    return np.where(folded < extent, folded, 2 * extent - 1 - folded)
