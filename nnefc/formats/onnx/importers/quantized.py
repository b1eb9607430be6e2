"""Quantized operations: QuantizeLinear and its like (operators of ai.onnx).

Products of codes are those of the numbers that they stand for, so that all of them run on integers alike, and what is
stored as codes is quantized. Sums of integers are exact: they are products in F64, which holds every sum of fewer than
2**21 products of two 16-bit numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnefc.formats.onnx import narrow
from nnefc.formats.onnx.importers.conv import convolved
from nnefc.formats.onnx.importers.tables import check_table
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope
from nnefc.formats.onnx.tensors import DTYPES
from nnefc.ir.graph import Literal
from nnefc.ir.types import DType
from nnefc.ops.primitive import require

_CODES = (DType.U8, DType.I8, DType.U16, DType.I16)


def _axis(s: Scope, n: Node, x: Imported) -> int:
    rank, axis = s.rank(x), int(n.attr("axis", 1))
    require(rank == 0 or -rank <= axis < rank or not s.rank(n.need(1)), f"axis = {axis} is out of range for {rank}")
    return axis % rank if rank else 0


def _parameter(s: Scope, n: Node, value: Imported, x: Imported) -> Imported:
    """A scale or zero point in a shape that broadcasts from the first dimension: one for all, per axis or per block."""
    shape, rank, block = s.shape(value), s.rank(x), int(n.attr("block_size", 0))
    if math.prod(shape) == 1 and len(shape) <= 1:
        return s.reshape(value, ())
    require(rank > 0, f"the parameters have the shape {list(shape)}; one number is quantized by one")
    axis = _axis(s, n, x)
    if len(shape) == 1 and not block:
        require(
            shape[0] == s.shape(x)[axis], f"{shape[0]} parameters are given for {s.shape(x)[axis]} items of axis {axis}"
        )
        return s.reshape(value, (1,) * axis + shape)
    require(block > 0 and len(shape) == rank, f"the parameters have the shape {list(shape)}")
    extent = s.shape(x)[axis]
    require(-(-extent // block) == shape[axis], f"block_size = {block} does not give {shape[axis]} blocks of {extent}")
    check_table(s, extent)
    places = np.minimum(np.arange(extent) // block, shape[axis] - 1)
    return s.op("gather", [value, places], axis=axis)


def _limits(dtype: DType) -> tuple[int, int]:
    require(dtype in _CODES, f"codes are of type {dtype}; they must be 8 or 16-bit integers")
    info = np.iinfo(dtype.numpy)
    return int(info.min), int(info.max)


def _codes(s: Scope, scaled: Imported, zero: Imported | None, dtype: DType) -> Imported:
    """Rounded half to even, moved by the zero point and saturated."""
    y = s.op("round_even", [scaled])
    if zero is not None:
        y = s.op("add", [y, s.cast(zero, s.dtype(scaled))])
    low, high = _limits(dtype)
    return s.cast(s.op("clamp", [y, float(low), float(high)]), dtype)


def _code_type(s: Scope, n: Node, zero: Imported | None) -> DType:
    wanted = int(n.attr("output_dtype", 0))
    dtype = s.dtype(zero) if zero is not None else DTYPES.get(wanted) if wanted else DType.U8
    if dtype not in _CODES:
        raise s.unsupported("codes of this type are not supported; they must be 8 or 16-bit integers")
    return dtype


@importer("QuantizeLinear")
def _quantize(s: Scope, n: Node) -> Sequence[Imported]:
    x, scale, zero = n.need(0), n.need(1), n.input(2)
    dtype = _code_type(s, n, zero)
    wide = s.dtype(x) if s.dtype(x) is s.dtype(scale) else DType.F32
    zeros = np.zeros((), np.int64) if zero is None else _parameter(s, n, zero, x)
    if isinstance(zeros, np.ndarray) and zeros.ndim == 0:
        zeros = zeros.astype(np.int64)
    factor = s.cast(_parameter(s, n, scale, x), wide)
    coded = {"bits": dtype.bits, "signed": dtype.kind == "i"}
    return (s.op("quantize_linear", [s.cast(x, wide), factor, zeros], **coded),)


@importer("DequantizeLinear")
def _dequantize(s: Scope, n: Node) -> Sequence[Imported]:
    x, scale, zero = n.need(0), n.need(1), n.input(2)
    if s.dtype(x).kind not in "iu" and not narrow.is_narrow(x):
        raise s.unsupported("only integers, and known floats of 4 and 8 bits, are dequantized")
    wanted = int(n.attr("output_dtype", 0))
    dtype = DTYPES.get(wanted, DType.F32) if wanted else s.dtype(scale)
    factor = _parameter(s, n, scale, x)
    zeros = np.zeros((), s.dtype(x).numpy) if zero is None else _parameter(s, n, zero, x)
    if isinstance(x, np.ndarray) and x.ndim > 1 and s.dtype(x).kind != "f":
        # Weights stay the codes that they are; numbers and vectors are computed at once.
        x = s.builder.stored(x)
    if dtype is s.dtype(scale) and s.dtype(x).kind != "f":
        return (s.op("dequantize_linear", [x, factor, zeros]),)
    wide = DType.F64 if dtype is DType.F64 else DType.F32
    factor = s.cast(factor, wide)
    if s.dtype(x).kind != "f":
        return (s.cast(s.op("dequantize_linear", [x, factor, zeros]), dtype),)
    codes = s.op("sub", [s.cast(x, wide), s.cast(zeros, wide)])
    return (s.cast(s.op("mul", [codes, factor]), dtype),)


@importer("DynamicQuantizeLinear")
def _dynamic(s: Scope, n: Node) -> Sequence[Imported]:
    """Unsigned 8-bit codes over the range of the data, which is made to hold 0."""
    x = n.need(0)
    axes = list(range(s.rank(x)))
    high = s.op("max", [s.reshape(s.op("max_reduce", [x], axes=axes), ()), 0.0])
    low = s.op("min", [s.reshape(s.op("min_reduce", [x], axes=axes), ()), 0.0])
    scale = s.op("div", [s.op("sub", [high, low]), 255.0])
    scale = s.op("select", [s.op("eq", [scale, 0.0]), 1.0, scale])
    zero = s.op("round_even", [s.op("clamp", [s.op("div", [s.op("neg", [low]), scale]), 0.0, 255.0])])
    codes = _codes(s, s.op("div", [x, scale]), zero, DType.U8)
    return codes, scale, s.cast(zero, DType.U8)


# ---- products of codes


def _rows(s: Scope, value: Imported | None, rank: int) -> Imported | None:
    """A parameter per row of the left matrix: one number, (M), or a batch of columns (..., M, 1)."""
    if value is None or s.rank(value) == 0:
        return value
    shape = s.shape(value)
    if math.prod(shape) == 1:
        return s.reshape(value, ())
    return s.reshape(value, (1,) * (rank - 2) + (shape[0], 1)) if len(shape) == 1 else s.lead(value, rank)


def _columns(s: Scope, value: Imported | None, rank: int) -> Imported | None:
    """A parameter per column of the right matrix: one number, (N), or a batch of rows (..., 1, N)."""
    if value is None or s.rank(value) == 0:
        return value
    return s.reshape(value, ()) if math.prod(s.shape(value)) == 1 else s.lead(value, rank)


def _per_channel(s: Scope, value: Imported | None) -> Imported | None:
    """A parameter of a filter: one number, or one per output channel."""
    if value is None or math.prod(s.shape(value)) != 1:
        return value
    return s.reshape(value, ())


def decoded(s: Scope, x: Imported, scale: Imported | float, zero: Imported | None) -> Imported:
    """The numbers that codes stand for. Weights stay the codes that they are."""
    if isinstance(x, np.ndarray) and x.ndim > 1:
        x = s.builder.stored(x)
    factor = Literal(scale, DType.F64) if isinstance(scale, float) else scale
    zeros = np.zeros((), s.dtype(x).numpy) if zero is None else s.cast(zero, s.dtype(x))
    return s.op("dequantize_linear", [x, factor, zeros])  # type: ignore[no-any-return]


def coded(s: Scope, y: Imported, scale: Imported, zero: Imported | None) -> Imported:
    """The codes of numbers, of the type of their zero point."""
    dtype = DType.U8 if zero is None else s.dtype(zero)
    _limits(dtype)
    zeros = np.zeros((), np.int64) if zero is None else zero
    return s.op("quantize_linear", [y, scale, zeros], bits=dtype.bits, signed=dtype.kind == "i")  # type: ignore[no-any-return]


def number(s: Scope, value: Imported | None) -> Imported | None:
    """A parameter that is one number."""
    return None if value is None else s.reshape(value, ())


def _product(s: Scope, a: Imported, b: Imported) -> Imported:
    """The matrix product as ONNX defines it, by its own importer."""
    return s.call("MatMul", [a, b])[0]


@importer("MatMulInteger")
def _mat_mul_integer(s: Scope, n: Node) -> Sequence[Imported]:
    a, b = n.need(0), n.need(1)
    left = decoded(s, a, 1.0, _rows(s, n.input(2), s.rank(a)))
    right = decoded(s, b, 1.0, _columns(s, n.input(3), s.rank(b)))
    return (s.cast(_product(s, left, right), DType.I32),)


@importer("QLinearMatMul")
def _qlinear_mat_mul(s: Scope, n: Node) -> Sequence[Imported]:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (n.need(i) for i in range(8))
    rank = max(s.rank(a), s.rank(b))
    left, right = _rows(s, a_scale, s.rank(a)), _columns(s, b_scale, s.rank(b))
    assert left is not None and right is not None
    x = decoded(s, a, left, _rows(s, a_zero, s.rank(a)))
    w = decoded(s, b, right, _columns(s, b_zero, s.rank(b)))
    scale = _rows(s, y_scale, rank)
    assert scale is not None
    return (coded(s, _product(s, x, w), scale, _rows(s, y_zero, rank)),)


@importer("ConvInteger")
def _conv_integer(s: Scope, n: Node) -> Sequence[Imported]:
    x, w = n.need(0), n.need(1)
    left = decoded(s, x, 1.0, _per_channel(s, n.input(2)))
    right = decoded(s, w, 1.0, _per_channel(s, n.input(3)))
    return (s.cast(convolved(s, n, left, right, 0.0), DType.I32),)


@importer("QLinearConv")
def _qlinear_conv(s: Scope, n: Node) -> Sequence[Imported]:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (n.need(i) for i in range(8))
    bias, steps = n.input(8), _per_channel(s, w_scale)
    assert steps is not None
    image = decoded(s, x, s.reshape(x_scale, ()), s.reshape(x_zero, ()))
    filters = decoded(s, w, steps, _per_channel(s, w_zero))
    offset: Imported | float = 0.0
    if bias is not None:
        step = s.op("mul", [s.reshape(x_scale, ()), steps])
        step = step if s.rank(step) == 0 else s.reshape(step, (1, s.shape(step)[0]))
        offset = decoded(s, s.reshape(bias, (1, math.prod(s.shape(bias)))), step, None)
    total = convolved(s, n, image, filters, offset)
    return (coded(s, total, s.reshape(y_scale, ()), s.reshape(y_zero, ())),)
