"""Matrix products (NNEF 1.0.5, sections 4.7 and 4.9.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call, const
from nnefc.ir.graph import Attrs, Literal, Op, Operand
from nnefc.ir.types import DType, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import align, broadcast_shape, common_dtype, require_broadcastable, shape_text, tensor
from nnefc.ops.primitive import register, require

Shape = Sequence[int]


def product_shape(a: Shape, b: Shape, transpose_a: bool, transpose_b: bool, names: tuple[str, str]) -> tuple[int, ...]:
    """The shape of a matrix product, batch dimensions broadcast. Raises InvalidModelError where shapes do not fit."""
    first, second = names
    require(
        len(a) == len(b) and len(a) >= 2,
        f"{first} has shape {shape_text(a)}, {second} has shape {shape_text(b)}; they must have one rank, of 2 or more",
    )
    rows, inner = (a[-1], a[-2]) if transpose_a else (a[-2], a[-1])
    columns, other = (b[-2], b[-1]) if transpose_b else (b[-1], b[-2])
    require(
        inner == other,
        f"{first} has shape {shape_text(a)}{' (transposed)' if transpose_a else ''} and {second} has shape "
        f"{shape_text(b)}{' (transposed)' if transpose_b else ''}: the inner extents {inner} and {other} must be equal",
    )
    return (*broadcast_shape((a[:-2], b[:-2]), names), rows, columns)


def _product(a: np.ndarray, b: np.ndarray, transpose_a: bool, transpose_b: bool) -> np.ndarray:
    """The product, in float64 for floats; integers wrap."""
    left = a.swapaxes(-1, -2) if transpose_a else a
    right = b.swapaxes(-1, -2) if transpose_b else b
    return left @ right if a.dtype.kind in "iu" else left.astype(np.float64) @ right.astype(np.float64)


def _infer_matmul(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, "AB", "fiu")
    a, b = (t.extents for t in types)
    return (tensor(dtype, product_shape(a, b, attrs["transposeA"], attrs["transposeB"], ("A", "B"))),)


def _reference_matmul(inputs: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    a, b = inputs
    return (_product(a, b, attrs["transposeA"], attrs["transposeB"]).astype(a.dtype),)


def _infer_linear(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    dtype = common_dtype(types, ("input", "filter", "bias"), "f")
    x, w, bias = (t.extents for t in types)
    output = product_shape(x, w, False, True, ("input", "filter"))
    require_broadcastable(bias, "bias", output, "the output")
    return (tensor(dtype, output),)


def _reference_linear(inputs: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, w, bias = inputs
    return ((_product(x, w, False, True) + align(bias, x.ndim)).astype(x.dtype),)


# ---- lowering

NO_BIAS = Literal(0.0, DType.F32)
"""The bias of an operation that has none."""


def added_bias(b: ProgramBuilder, bias: Operand, result: View) -> tuple[Expr | None, View | None]:
    """What adds ``bias`` to a result: the expression, and the tensor that is its ``$1``, if it is one."""
    value = arg(0, result.dtype)
    if isinstance(bias, Literal):
        return (call("add", value, const(bias.value, result.dtype)) if bias.value else None), None
    return call("add", value, arg(1, result.dtype)), b.view(bias)


def _lowered_product(b: ProgramBuilder, x: View, w: View, bias: Operand, output: View) -> None:
    """``output = x w + bias`` for matrices in the last two dimensions; the others broadcast."""
    post, addend = added_bias(b, bias, output)
    lead = x.rank - 2
    groups = lead
    if all(n == 1 for n in w.shape[:lead]):
        for _ in range(lead):
            w = w.squeeze(0)
        groups = 0
    extras = [] if addend is None else [addend.broadcast_to(output.shape)]
    b.contract(x, w, groups=groups, reduced=1, post=post, extras=extras, out=output)


def _transposed(view: View, swap: bool) -> View:
    return view.transpose((*range(view.rank - 2), view.rank - 1, view.rank - 2)) if swap else view


def _lower_matmul(b: ProgramBuilder, op: Op) -> None:
    a, other = (b.view(i) for i in op.inputs)
    output = b.new(op.output.type.extents, a.dtype)
    left, right = _transposed(a, op.attrs["transposeA"]), _transposed(other, op.attrs["transposeB"])
    _lowered_product(b, left, right, NO_BIAS, output)
    b.put(op.output, output)


def _lower_linear(b: ProgramBuilder, op: Op) -> None:
    x, w, bias = op.inputs
    output = b.new(op.output.type.extents, op.output.type.dtype)
    _lowered_product(b, b.view(x), _transposed(b.view(w), True), bias, output)
    b.put(op.output, output)


register("matmul", infer=_infer_matmul, reference=_reference_matmul, lower=_lower_matmul)
register("linear", infer=_infer_linear, reference=_reference_linear, lower=_lower_linear)
