"""Element-wise operations of NNEF as ONNX nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nnefc.formats.onnx.emit import Emitter, Ref, exporter
from nnefc.ir.graph import Op
from nnefc.ir.types import DType

Refs = list[Ref]

SAME = {
    "rcp": "Reciprocal",
    "exp": "Exp",
    "log": "Log",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "tanh": "Tanh",
    "asin": "Asin",
    "acos": "Acos",
    "atan": "Atan",
    "asinh": "Asinh",
    "acosh": "Acosh",
    "atanh": "Atanh",
    "abs": "Abs",
    "sign": "Sign",
    "not": "Not",
    "floor": "Floor",
    "ceil": "Ceil",
    "sqrt": "Sqrt",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "and": "And",
    "or": "Or",
    "min": "Min",
    "max": "Max",
}
"""Operations that are one ONNX operator on the same operands."""

COMPARISONS = {"lt": "Less", "gt": "Greater", "le": "LessOrEqual", "ge": "GreaterOrEqual", "eq": "Equal"}


@exporter(*SAME)
def _same(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map(SAME[op.kind], *e.aligned(x))]


@exporter(*COMPARISONS)
def _comparison(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map(COMPARISONS[op.kind], *e.aligned(x), dtype=DType.BOOL)]


@exporter("ne")
def _ne(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("Not", e.map("Equal", *e.aligned(x), dtype=DType.BOOL))]


@exporter("div")
def _div(e: Emitter, op: Op, x: Refs) -> Refs:
    a, b = e.aligned(x)
    return [quotient(e, a, b)]


def quotient(e: Emitter, a: Ref, b: Ref) -> Ref:
    """Integers are divided by what is not zero only, for ONNX does not define that; the quotient by zero is 0."""
    if a.dtype.kind == "f" or (b.array is not None and b.array.all()):
        return e.map("Div", a, b)
    zero = e.map("Equal", b, e.like(b, 0), dtype=DType.BOOL)
    return e.where(zero, e.like(a, 0), e.map("Div", a, e.where(zero, e.like(b, 1), b)))


@exporter("pow")
def _pow(e: Emitter, op: Op, x: Refs) -> Refs:
    """Of integers as 64-bit ones."""
    a, b = e.aligned(x)
    if a.dtype.kind == "f":
        return [e.map("Pow", a, b)]
    return [e.cast(e.map("Pow", e.cast(a, DType.I64), e.cast(b, DType.I64)), a.dtype)]


@exporter("neg")
def _neg(e: Emitter, op: Op, x: Refs) -> Refs:
    if x[0].dtype.kind == "u":
        return [e.map("Sub", e.like(x[0], 0), x[0])]
    return [e.map("Neg", x[0])]


@exporter("select")
def _select(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.where(*e.aligned(x))]


def rounded(e: Emitter, x: Ref) -> Ref:
    """floor(x + 0.5) as in exact arithmetic."""
    whole = e.map("Floor", x)
    below = e.map("Less", e.map("Sub", x, whole), e.like(x, 0.5), dtype=DType.BOOL)
    return e.where(below, whole, e.map("Add", whole, e.like(x, 1)))


@exporter("round")
def _round(e: Emitter, op: Op, x: Refs) -> Refs:
    return [rounded(e, x[0])]


def squared(e: Emitter, x: Ref) -> Ref:
    """``x * x``."""
    return e.map("Mul", x, x)


@exporter("sqr")
def _sqr(e: Emitter, op: Op, x: Refs) -> Refs:
    return [squared(e, x[0])]


@exporter("rsqr")
def _rsqr(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("Reciprocal", squared(e, x[0]))]


@exporter("rsqrt")
def _rsqrt(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("Reciprocal", e.map("Sqrt", x[0]))]


def log2(e: Emitter, x: Ref) -> Ref:
    """The logarithm to base 2."""
    return e.map("Div", e.map("Log", x), e.like(x, math.log(2)))


@exporter("log2")
def _log2(e: Emitter, op: Op, x: Refs) -> Refs:
    return [log2(e, x[0])]


def clamped(e: Emitter, x: Ref, low: Ref, high: Ref) -> Ref:
    """max(min(x, high), low), of aligned operands."""
    if low.array is not None and high.array is not None and low.shape == high.shape == () and low.array <= high.array:
        return e.node("Clip", [x, low, high], x.dtype, x.shape)
    return e.map("Max", e.map("Min", x, high), low)


@exporter("clamp")
def _clamp(e: Emitter, op: Op, x: Refs) -> Refs:
    return [clamped(e, *e.aligned(x))]


@exporter("relu")
def _relu(e: Emitter, op: Op, x: Refs) -> Refs:
    if x[0].dtype.kind == "f":
        return [e.map("Relu", x[0])]
    return [e.map("Max", x[0], e.like(x[0], 0))]


@exporter("prelu")
def _prelu(e: Emitter, op: Op, x: Refs) -> Refs:
    value, slope = e.aligned(x)
    if (
        value.dtype.kind == "f"
        and slope.shape
        and all(n in (1, m) for n, m in zip(slope.shape, value.shape, strict=False))
    ):
        return [e.map("PRelu", value, slope)]
    negative = e.map("Less", value, e.like(value, 0), dtype=DType.BOOL)
    return [e.where(negative, e.map("Mul", value, slope), value)]


@exporter("leaky_relu")
def _leaky_relu(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("LeakyRelu", x[0], alpha=op.attrs["alpha"])]


@exporter("elu")
def _elu(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("Elu", x[0], alpha=op.attrs["alpha"])]


@exporter("selu")
def _selu(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("Selu", x[0], alpha=op.attrs["alpha"], gamma=op.attrs["lambda"])]


@exporter("gelu")
def _gelu(e: Emitter, op: Op, x: Refs) -> Refs:
    """The standard's: x * sigmoid(1.702 x)."""
    return [e.map("Mul", x[0], e.map("Sigmoid", e.map("Mul", x[0], e.like(x[0], 1.702))))]


@exporter("silu")
def _silu(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("Mul", x[0], e.map("Sigmoid", x[0]))]


@exporter("softabs")
def _softabs(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("Sqrt", e.map("Add", squared(e, x[0]), e.like(x[0], op.attrs["epsilon"])))]


@exporter("copy", "copy_n")
def _copy(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("Identity", x[0]) for _ in op.outputs]


@exporter("add_n")
def _add_n(e: Emitter, op: Op, x: Refs) -> Refs:
    if not x:
        return [e.constant(0.0, DType.F32)]
    return [e.map("Sum", *e.aligned(x))]


@exporter("cast")
def _cast(e: Emitter, op: Op, x: Refs) -> Sequence[Ref]:
    return [e.cast(x[0], op.attrs["dtype"])]
