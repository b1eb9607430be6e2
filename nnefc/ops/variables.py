"""Tensors from outside the computation and variable updates (NNEF 1.0.5, 4.1 and 4.8)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType, TensorType
from nnefc.ops.common import common_dtype, integers, require_positive, shape_text, tensor
from nnefc.ops.primitive import register, require

_LABEL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./\\")


def _infer_source(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """The shape that the attributes give, and their element type."""
    shape = integers(attrs, "shape")
    require_positive(shape, "shape")
    dtype = attrs["dtype"]
    require(isinstance(dtype, DType), f"dtype = {dtype!r} must be an element type")
    return (tensor(dtype, shape, "the tensor"),)


def _infer_constant(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    result = _infer_source(types, attrs)
    volume, value = result[0].volume, attrs["value"]
    require(isinstance(value, tuple), f"value = {value!r} must be an array")
    require(
        len(value) in (1, volume),
        f"value has {len(value)} items; the shape {shape_text(attrs['shape'])} needs {volume}, or 1 that is repeated",
    )
    for item in value:
        require(_is_value(item, result[0].dtype), f"value contains {item!r}, which is no {result[0].dtype}")
    return result


def _is_value(item: object, dtype: DType) -> bool:
    """Whether a number can be an element of that type."""
    if isinstance(item, bool) or dtype.kind == "b":
        return isinstance(item, bool) and dtype.kind == "b"
    if dtype.kind == "f":
        return isinstance(item, float) or (isinstance(item, int) and abs(item) < 2**128)
    info = np.iinfo(dtype.numpy)
    return isinstance(item, int) and info.min <= item <= info.max


def _infer_variable(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    label = attrs["label"]
    require(isinstance(label, str) and label, f"label = {label!r} must not be empty")
    wrong = sorted(set(label) - _LABEL)
    require(
        not wrong,
        f"label = {label!r} contains {' '.join(map(repr, wrong))}; it may contain letters, digits and _ - . / \\",
    )
    return _infer_source(types, attrs)


def _infer_update(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    variable, value = types
    common_dtype(types, ["variable", "value"])
    require(
        variable.extents == value.extents,
        f"value has shape {shape_text(value.extents)} and variable has shape {shape_text(variable.extents)}; "
        "they must be equal",
    )
    return (tensor(variable.dtype, variable.extents),)


def constant_array(shape: Sequence[int], value: Sequence[float | int | bool], dtype: DType) -> np.ndarray:
    """The values of a constant; a single value is repeated without taking memory (the array is then read-only)."""
    with np.errstate(over="ignore"):
        array = np.asarray(value, dtype.numpy)
    return np.broadcast_to(array.reshape(()), tuple(shape)) if len(value) == 1 else array.reshape(shape)


def _given(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """External and variable tensors have no meaning of their own: evaluation reads them from outside."""
    raise ValueError("the values of external and variable tensors are given, not computed")


_SMALL = 1 << 10
"""Elements up to which a constant of one repeated value is stored in full."""


def _lower_constant(builder: ProgramBuilder, op: Op) -> None:
    type_, value = op.output.type, op.attrs["value"]
    array = constant_array(type_.extents, value, type_.dtype)
    if len(value) == 1 and math.prod(type_.extents) > _SMALL:
        builder.put(op.output, builder.const(array[(0,) * array.ndim]).broadcast_to(type_.extents))
    else:
        builder.put(op.output, builder.const(array))


def _lower_update(builder: ProgramBuilder, op: Op) -> None:
    """The result is the new value itself; the variable takes it when the run ends."""
    variable, value = (builder.view(v) for v in op.inputs)
    builder.update(variable, value)
    builder.put(op.output, value)


register("external", infer=_infer_source, reference=_given)
register("variable", infer=_infer_variable, reference=_given)
register(
    "constant",
    infer=_infer_constant,
    reference=lambda arrays, attrs: (constant_array(attrs["shape"], attrs["value"], attrs["dtype"]),),
    lower=_lower_constant,
)
register("update", infer=_infer_update, reference=lambda arrays, attrs: (arrays[1],), lower=_lower_update)
