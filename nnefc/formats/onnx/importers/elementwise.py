"""Element-wise operations of ONNX: arithmetic, logic, comparisons, activations, casts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnefc.formats.onnx.importers.patterns import recognised
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope
from nnefc.formats.onnx.tensors import element_type
from nnefc.ir.types import DType

UNARY = {
    "Abs": "abs",
    "Neg": "neg",
    "Sign": "sign",
    "Ceil": "ceil",
    "Floor": "floor",
    "Round": "round_even",
    "Reciprocal": "rcp",
    "Sqrt": "sqrt",
    "Exp": "exp",
    "Log": "log",
    "Sin": "sin",
    "Cos": "cos",
    "Tan": "tan",
    "Asin": "asin",
    "Acos": "acos",
    "Atan": "atan",
    "Sinh": "sinh",
    "Cosh": "cosh",
    "Tanh": "tanh",
    "Asinh": "asinh",
    "Acosh": "acosh",
    "Atanh": "atanh",
    "Erf": "erf",
    "Sigmoid": "sigmoid",
    "Relu": "relu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "HardSwish": "hard_swish",
    "Mish": "mish",
    "Not": "not",
    "BitwiseNot": "bitwise_not",
    "IsNaN": "is_nan",
}
BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "And": "and",
    "Or": "or",
    "Xor": "xor",
    "Equal": "eq",
    "Less": "lt",
    "LessOrEqual": "le",
    "Greater": "gt",
    "GreaterOrEqual": "ge",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
    "PRelu": "prelu",
}
VARIADIC = {"Max": "maximum", "Min": "minimum", "Sum": "add"}
WITH_NUMBERS: dict[str, tuple[str, dict[str, tuple[str, float]]]] = {
    "LeakyRelu": ("leaky_relu", {"alpha": ("alpha", 0.01)}),
    "Elu": ("elu", {"alpha": ("alpha", 1.0)}),
    "Celu": ("celu", {"alpha": ("alpha", 1.0)}),
    "Selu": ("selu", {"alpha": ("alpha", 1.6732632423543772), "gamma": ("lambda", 1.0507009873554805)}),
    "HardSigmoid": ("hard_sigmoid", {"alpha": ("alpha", 0.2), "beta": ("beta", 0.5)}),
}
"""Operations with numbers: for each attribute of ONNX, that of ours and its default."""


def _unary(s: Scope, n: Node) -> Sequence[Imported]:
    return [s.op(UNARY[n.op_type], [n.need(0)])]


def _binary(s: Scope, n: Node) -> Sequence[Imported]:
    kind, given = BINARY[n.op_type], operands(s, [n.need(0), n.need(1)])
    found = recognised(s, kind, given)
    return [s.op(kind, given) if found is None else found]


def _variadic(s: Scope, n: Node) -> Sequence[Imported]:
    return [chained(s, VARIADIC[n.op_type], n.inputs)]


def _with_numbers(s: Scope, n: Node) -> Sequence[Imported]:
    kind, attributes = WITH_NUMBERS[n.op_type]
    return [s.op(kind, [n.need(0)], **{ours: n.attr(name, value) for name, (ours, value) in attributes.items()})]


for _names, _run in ((UNARY, _unary), (BINARY, _binary), (VARIADIC, _variadic), (WITH_NUMBERS, _with_numbers)):
    importer(*_names)(_run)  # type: ignore[misc]


def operands(s: Scope, values: Sequence[Any]) -> list[Any]:
    """The tensors, broadcast together; one that is a known number, beside others of its rank or more, has rank 0."""
    ranks = [s.rank(v) for v in values]
    single = [isinstance(v, np.ndarray) and v.size == 1 for v in values]
    wide = max((r for r, one in zip(ranks, single, strict=True) if not one), default=-1)
    return s.broadcast(
        [v.reshape(()) if one and r <= wide else v for v, r, one in zip(values, ranks, single, strict=True)]
    )


def chained(s: Scope, kind: str, inputs: Sequence[Any]) -> Imported:
    """A binary operation over any number of tensors, from the left."""
    first, *rest = operands(s, [x for x in inputs if x is not None])
    for other in rest:
        first = s.op(kind, [first, other])
    return first


@importer("Mean")
def _mean(s: Scope, n: Node) -> Sequence[Imported]:
    total = chained(s, "add", n.inputs)
    return [s.op("div", [total, len(n.inputs)]) if len(n.inputs) > 1 else total]


# ---- arithmetic


@importer("Pow")
def _pow(s: Scope, n: Node) -> Sequence[Imported]:
    """The result has the type of the base; of other types, the exponent is converted."""
    x, y = n.need(0), n.need(1)
    dtype = s.dtype(x)
    if isinstance(y, np.ndarray) and y.size == 1 and dtype.kind == "f" and s.rank(y) <= s.rank(x):
        exponent = float(y.reshape(()))
        simple = {2.0: "sqr", 0.5: "sqrt", -1.0: "rcp", -0.5: "rsqrt"}
        if exponent in simple:
            return [s.op(simple[exponent], [x])]
    if dtype.kind in "iu" and s.dtype(y).kind == "f":
        power = s.op("pow", s.broadcast([s.cast(x, DType.F64), s.cast(y, DType.F64)]))
        return [s.cast(power, dtype)]
    return [s.op("pow", operands(s, [x, s.cast(y, dtype)]))]


@importer("Mod")
def _mod(s: Scope, n: Node) -> Sequence[Imported]:
    return [s.op("fmod" if n.attr("fmod", 0) else "mod", operands(s, [n.need(0), n.need(1)]))]


@importer("BitShift")
def _bit_shift(s: Scope, n: Node) -> Sequence[Imported]:
    direction = n.need_attr("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise s.invalid(f"direction is {direction!r}; it must be LEFT or RIGHT")
    return [s.op(f"shift_{direction.lower()}", s.broadcast([n.need(0), n.need(1)]))]


@importer("IsInf")
def _is_inf(s: Scope, n: Node) -> Sequence[Imported]:
    signs = {name: bool(n.attr(name, 1)) for name in ("detect_negative", "detect_positive")}
    return [s.op("is_inf", [n.need(0)], **signs)]


@importer("Where")
def _where(s: Scope, n: Node) -> Sequence[Imported]:
    return [s.op("select", operands(s, [n.need(0), n.need(1), n.need(2)]))]


# ---- activations


@importer("Clip")
def _clip(s: Scope, n: Node) -> Sequence[Imported]:
    """``clamp`` where both limits are known and in order, else the limits one after the other."""
    x, low, high = n.need(0), n.input(1), n.input(2)
    if n.version < 11:
        low, high = (np.asarray(n.attrs[a], np.float32) if a in n.attrs else None for a in ("min", "max"))
        low, high = (v if v is None else s.cast(v, s.dtype(x)) for v in (low, high))
    limits = [v if v is None or s.rank(v) == 0 else s.reshape(v, ()) for v in (low, high)]
    if all(isinstance(v, np.ndarray) for v in limits) and bool(limits[0] <= limits[1]):
        return [s.op("clamp", [x, *limits])]
    for limit, kind in zip(limits, ("max", "min"), strict=True):
        if limit is not None:
            # The first operand of max and min is the one that a NaN in the second replaces.
            x = s.op(kind, [limit, x])
    return [x]


@importer("Gelu")
def _gelu(s: Scope, n: Node) -> Sequence[Imported]:
    kinds = {"none": "gelu_erf", "tanh": "gelu_tanh"}
    approximate = n.attr("approximate", "none")
    if approximate not in kinds:
        raise s.invalid(f"approximate is {approximate!r}; it must be 'none' or 'tanh'")
    return [s.op(kinds[approximate], [n.need(0)])]


@importer("Swish")
def _swish(s: Scope, n: Node) -> Sequence[Imported]:
    x, alpha = n.need(0), n.attr("alpha", 1.0)
    if alpha == 1.0:
        return [s.op("silu", [x])]
    return [s.op("mul", [x, s.op("sigmoid", [s.op("mul", [x, alpha])])])]


@importer("ThresholdedRelu")
def _thresholded_relu(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    return [s.op("select", [s.op("gt", [x, n.attr("alpha", 1.0)]), x, 0.0])]


@importer("Shrink")
def _shrink(s: Scope, n: Node) -> Sequence[Imported]:
    x, dtype = n.need(0), s.dtype(n.need(0))
    bias, limit = n.attr("bias", 0.0), n.attr("lambd", 0.5)
    wide = x if dtype.kind == "f" else s.cast(x, DType.F64)
    above = s.op("select", [s.op("gt", [wide, limit]), s.op("sub", [wide, bias]), 0.0])
    return [s.cast(s.op("select", [s.op("lt", [wide, -limit]), s.op("add", [wide, bias]), above]), dtype)]


# ---- types


@importer("Cast")
def _cast(s: Scope, n: Node) -> Sequence[Imported]:
    return [converted(s, n.need(0), element_type(n.need_attr("to"), "the result"))]


@importer("CastLike")
def _cast_like(s: Scope, n: Node) -> Sequence[Imported]:
    return [converted(s, n.need(0), s.dtype(n.need(1)))]


def converted(s: Scope, x: Imported, dtype: DType) -> Imported:
    """The tensor as another type. An array without elements stays an array."""
    if isinstance(x, np.ndarray) and x.size == 0:
        return x.astype(dtype.numpy)
    return s.cast(x, dtype)


@importer("BitCast")
def _bit_cast(s: Scope, n: Node) -> Sequence[Imported]:
    x = s.known(n.need(0), "the input of a BitCast")
    dtype = element_type(n.need_attr("to"), "the result")
    if dtype.size != x.dtype.itemsize:
        raise s.invalid(f"elements of {x.dtype} cannot be taken as {dtype}, of another size")
    return [x.view(dtype.numpy)]


# ---- nothing, and chance


@importer("Dropout")
def _dropout(s: Scope, n: Node) -> Sequence[Imported]:
    """Inference: the input. While training, only with a ratio of 0."""
    x = n.need(0)
    training = n.input(2)
    if training is not None and s.known_number(training, "training_mode"):
        ratio = n.input(1)
        if ratio is None or s.known_number(ratio, "ratio") != 0.0:
            raise s.unsupported("Dropout while training draws random numbers")
    if not n.wants(1):
        return [x]
    dtype = DType.BOOL if n.version >= 10 else s.dtype(x)
    return [x, np.ones(s.shape(x), dtype.numpy)]


def _random(s: Scope, n: Node) -> Sequence[Imported]:
    raise s.unsupported("results that are drawn at random are not supported")


for _name in ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"):
    importer(_name)(_random)
