"""Element-wise operations of the extension NNEFC_operations, and its reductions, as ONNX nodes."""

from __future__ import annotations

import math

from nnefc.formats.onnx.emit import Emitter, Ref, exporter
from nnefc.formats.onnx.exporters.elementwise import quotient, squared
from nnefc.ir.graph import Op
from nnefc.ir.types import DType

Refs = list[Ref]

SAME = {
    "erf": "Erf",
    "round_even": "Round",
    "maximum": "Max",
    "minimum": "Min",
    "xor": "Xor",
    "bitwise_not": "BitwiseNot",
    "bitwise_and": "BitwiseAnd",
    "bitwise_or": "BitwiseOr",
    "bitwise_xor": "BitwiseXor",
    "hard_swish": "HardSwish",
    "mish": "Mish",
    "softsign": "Softsign",
}
"""Operations that are one ONNX operator on the same operands."""


@exporter(*SAME)
def _same(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map(SAME[op.kind], *e.aligned(x))]


@exporter("trunc")
def _trunc(e: Emitter, op: Op, x: Refs) -> Refs:
    negative = e.map("Less", x[0], e.like(x[0], 0), dtype=DType.BOOL)
    return [e.where(negative, e.map("Ceil", x[0]), e.map("Floor", x[0]))]


@exporter("is_nan")
def _is_nan(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("IsNaN", x[0], dtype=DType.BOOL)]


@exporter("is_inf")
def _is_inf(e: Emitter, op: Op, x: Refs) -> Refs:
    signs = {name: int(op.attrs[name]) for name in ("detect_negative", "detect_positive")}
    return [e.map("IsInf", x[0], dtype=DType.BOOL, **signs)]


@exporter("fmod")
def _fmod(e: Emitter, op: Op, x: Refs) -> Refs:
    """Of integers it is written with their quotient, which run-times compute exactly; by 0 it is the dividend."""
    a, b = e.aligned(x)
    if a.dtype.kind == "f":
        return [e.map("Mod", a, b, fmod=1)]
    return [e.map("Sub", a, e.map("Mul", quotient(e, a, b), b))]


@exporter("mod")
def _mod(e: Emitter, op: Op, x: Refs) -> Refs:
    """The sign is the divisor's; ONNX has that for integers only, and no remainder by 0, which is the dividend."""
    a, b = e.aligned(x)
    if a.dtype.kind != "f":
        if b.array is not None and b.array.all():
            return [e.map("Mod", a, b)]
        by_zero = e.map("Equal", b, e.like(b, 0), dtype=DType.BOOL)
        return [e.where(by_zero, a, e.map("Mod", a, e.where(by_zero, e.like(b, 1), b)))]
    rest, zero = e.map("Mod", a, b, fmod=1), e.like(b, 0)
    signs = [e.map("Less", v, zero, dtype=DType.BOOL) for v in (rest, b)]
    some = e.map("Not", e.map("Equal", rest, zero, dtype=DType.BOOL))
    return [e.where(e.map("And", some, e.map("Xor", *signs)), e.map("Add", rest, b), rest)]


@exporter("shift_left", "shift_right")
def _shift(e: Emitter, op: Op, x: Refs) -> Refs:
    """BitShift of 64 bits without a sign. Places below 0 or beyond the width shift everything out, and a negative
    number is shifted to the right as the complement of its complement."""
    a, b = e.aligned(x)
    left, zero = op.kind == "shift_left", e.constant(0)
    wide, places = e.cast(a, DType.I64), e.cast(b, DType.I64)
    early = e.map("Less", places, zero, dtype=DType.BOOL)
    late = e.map("GreaterOrEqual", places, e.constant(a.dtype.bits), dtype=DType.BOOL)
    beyond = e.map("Or", early, late)
    places = e.cast(e.where(beyond, zero, places), DType.U64)
    negative = e.map("Less", wide, zero, dtype=DType.BOOL) if a.dtype.kind == "i" and not left else None
    if negative is not None:
        wide = e.where(negative, e.map("BitwiseNot", wide), wide)
    shifted = e.map("BitShift", e.cast(wide, DType.U64), places, direction="LEFT" if left else "RIGHT")
    shifted = e.where(beyond, zero, e.cast(shifted, DType.I64))
    if negative is not None:
        shifted = e.where(negative, e.map("BitwiseNot", shifted), shifted)
    return [e.cast(shifted, a.dtype)]


@exporter("hard_sigmoid")
def _hard_sigmoid(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("HardSigmoid", x[0], alpha=op.attrs["alpha"], beta=op.attrs["beta"])]


@exporter("gelu_erf", "gelu_tanh")
def _gelu(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.map("Gelu", x[0], approximate="tanh" if op.kind == "gelu_tanh" else "none")]


@exporter("celu")
def _celu(e: Emitter, op: Op, x: Refs) -> Refs:
    """alpha elu(x / alpha)."""
    alpha = e.like(x[0], op.attrs["alpha"])
    return [e.map("Mul", e.map("Elu", e.map("Div", x[0], alpha)), alpha)]


@exporter("prod_reduce")
def _prod(e: Emitter, op: Op, x: Refs) -> Refs:
    return [e.reduce("ReduceProd", x[0], op.attrs["axes"])]


# ---- normalization of rows


@exporter("layer_normalization")
def _layer_normalization(e: Emitter, op: Op, x: Refs) -> Refs:
    value, scale, offset = x
    axes, shape, epsilon = sorted(op.attrs["axes"]), value.shape, op.attrs["epsilon"]
    first = axes[0]
    rows = [_row(e, p, shape, range(first, value.rank)) for p in (scale, offset)]
    if axes == list(range(first, value.rank)) and rows[0] is not None and rows[1] is not None:
        return [e.node("LayerNormalization", [value, *rows], value.dtype, shape, axis=first, epsilon=epsilon)]
    rows = [_row(e, p, shape, [1]) for p in (scale, offset)]
    if value.rank > 2 and axes == list(range(2, value.rank)) and rows[0] is not None and rows[1] is not None:
        return [e.node("InstanceNormalization", [value, *rows], value.dtype, shape, epsilon=epsilon)]
    centred = e.map("Sub", value, e.reduce("ReduceMean", value, axes))
    scaled = e.map("Mul", _by_root_mean_square(e, centred, axes, epsilon), e.trail(scale, value.rank))
    return [e.map("Add", scaled, e.trail(offset, value.rank))]


def _row(e: Emitter, parameter: Ref, shape: tuple[int, ...], axes: range | list[int]) -> Ref | None:
    """A parameter with an item for each place of the dimensions ``axes``, in their shape; None if it is another."""
    wide = parameter.shape + (1,) * (len(shape) - parameter.rank)
    wanted = tuple(n if d in axes else 1 for d, n in enumerate(shape))
    row = [shape[d] for d in axes]
    if wide == wanted and parameter.rank:
        return e.reshape(parameter, row)
    if math.prod(parameter.shape) == 1:
        return e.expand(e.reshape(parameter, (1,) * len(row)), row)
    return None


def _by_root_mean_square(e: Emitter, x: Ref, axes: list[int], epsilon: float) -> Ref:
    mean = e.reduce("ReduceMean", squared(e, x), axes)
    return e.map("Div", x, e.map("Sqrt", e.map("Add", mean, e.like(mean, epsilon))))


@exporter("rms_normalization")
def _rms_normalization(e: Emitter, op: Op, x: Refs) -> Refs:
    value, scale = x
    scaled = _by_root_mean_square(e, value, sorted(op.attrs["axes"]), op.attrs["epsilon"])
    return [e.map("Mul", scaled, e.trail(scale, value.rank))]
