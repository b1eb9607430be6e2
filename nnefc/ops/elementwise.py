"""Element-wise operations: rows of a table (NNEF 1.0.5, 4.2 and 4.9.1), and copy_n and add_n (4.9.6).

A row says which element types the operands take, what the operation means in NumPy, and how it is written as an
expression for the code generator. The two are independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call, cast, const, select
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import SCALAR, DType, TensorType
from nnefc.ops.common import (
    MAX_OUTPUTS,
    aligned,
    broadcast_shape,
    common_dtype,
    integer,
    require_kind,
    tensor,
)
from nnefc.ops.primitive import register, require


@dataclass(frozen=True)
class Row:
    """An element-wise operation.

    ``kinds`` gives for each of the ``operands`` the letters of ``DType.kind`` that it accepts; operands that accept the
    same as the last one share its element type. ``reference`` takes arrays that broadcast as NumPy does, and ``expr``
    expressions; both then take the values of ``attributes``. ``check`` may reject attribute values.
    """

    name: str
    operands: tuple[str, ...]
    kinds: tuple[str, ...]
    reference: Callable[..., np.ndarray]
    expr: Callable[..., Expr]
    attributes: tuple[str, ...] = ()
    check: Callable[[Attrs], None] | None = None

    def infer(self, types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
        """Operands broadcast; the element type is that of the expression."""
        same = [i for i, kinds in enumerate(self.kinds) if kinds == self.kinds[-1]]
        common_dtype([types[i] for i in same], [self.operands[i] for i in same], self.kinds[-1])
        for type_, name, kinds in zip(types, self.operands, self.kinds, strict=True):
            require_kind(type_, kinds, name)
        if self.check is not None:
            self.check(attrs)
        shape = broadcast_shape([t.extents for t in types], self.operands)
        return (tensor(self._result(types, attrs), shape),)

    def _result(self, types: Sequence[TensorType], attrs: Attrs) -> DType:
        return self.expr(*(arg(i, t.dtype) for i, t in enumerate(types)), *self._values(attrs)).dtype

    def _values(self, attrs: Attrs) -> list[float | int | bool]:
        return [attrs[name] for name in self.attributes]

    def evaluate(self, arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
        """The meaning, on arrays whose leading dimensions are aligned."""
        types = [TensorType(DType.of(a.dtype), a.shape) for a in arrays]
        with np.errstate(all="ignore"):
            result = np.asarray(self.reference(*aligned(arrays), *self._values(attrs)))
        return (result.astype(self._result(types, attrs).numpy, copy=False),)

    def lower(self, builder: ProgramBuilder, op: Op) -> None:
        """One Map."""
        values = self._values(op.attrs)
        out = builder.elementwise(lambda *exprs: self.expr(*exprs, *values), op.inputs, shape=op.output.type.extents)
        builder.put(op.output, out)

    def register(self) -> None:
        """Add the row to the registry."""
        register(self.name, infer=self.infer, reference=self.evaluate, lower=self.lower)


# ---- pieces of the NumPy meanings


def wide(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A function computed in float64; the row rounds the result to its element type once."""
    return lambda x: function(x.astype(np.float64))


def integer_quotient(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Division that truncates toward zero; 0 for a zero divisor."""
    divisor = np.where(y == 0, 1, y).astype(y.dtype)
    remainder = np.fmod(x, divisor)
    return np.where(y == 0, 0, (x - remainder) // divisor)


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x / y if x.dtype.kind == "f" else integer_quotient(x, y)


def _power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of integers by a negative exponent: the quotient 1 / x^|y| truncated toward zero, and 0 for x = 0."""
    if x.dtype.kind == "f":
        return np.power(x, y)
    power = np.power(x, np.maximum(y, 0), dtype=x.dtype)
    return np.where(y < 0, np.where(y % 2 == 0, 1, x) * (np.abs(x) == 1), power)


def _sign(x: np.ndarray) -> np.ndarray:
    return (x > 0).astype(np.int8) - (x < 0).astype(np.int8)


def round_array(x: np.ndarray) -> np.ndarray:
    """floor(x + 0.5) as in exact arithmetic (section 4.2.1): -2.5 gives -2, and 2.5 gives 3."""
    whole = np.floor(x)
    return np.where(x - whole < 0.5, whole, whole + 1)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x < 0, alpha * np.expm1(x.astype(np.float64)), x)


def _selu(x: np.ndarray, alpha: float, scale: float) -> np.ndarray:
    return scale * _elu(x.astype(np.float64), alpha)


def _leaky(x: np.ndarray, alpha: np.ndarray | float) -> np.ndarray:
    return np.where(x < 0, x * x.dtype.type(alpha) if np.isscalar(alpha) else x * alpha, x)


def _min(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where(x < y, x, y)


def _max(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where(x > y, x, y)


def clamp_array(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """max(min(x, b), a), as min and max are defined in section 4.2.4."""
    return _max(_min(x, b), a)


# ---- pieces of the expressions


def named(name: str) -> Callable[..., Expr]:
    """The operation of expressions that has this name."""
    return lambda *exprs: call(name, *exprs)


def like(x: Expr, value: float | int) -> Expr:
    """A number of the type of ``x``."""
    return const(value, x.dtype)


def _reciprocal(x: Expr) -> Expr:
    return call("div", like(x, 1), x)


def _sign_expr(x: Expr) -> Expr:
    zero = like(x, 0)
    negative = select(call("lt", x, zero), like(x, -1), zero) if x.dtype.kind != "u" else zero
    return select(call("gt", x, zero), like(x, 1), negative)


def _square(x: Expr) -> Expr:
    return call("mul", x, x)


def _elu_expr(x: Expr, alpha: float) -> Expr:
    return select(call("lt", x, like(x, 0)), call("mul", like(x, alpha), call("expm1", x)), x)


def _scaled_sigmoid(x: Expr, factor: float) -> Expr:
    inner = x if factor == 1.0 else call("mul", x, like(x, factor))
    return call("mul", x, call("sigmoid", inner))


def _softplus_expr(x: Expr) -> Expr:
    """log(1 + e^x) without overflow: max(x, 0) + log1p(e^-|x|)."""
    tail = call("log1p", call("exp", call("neg", call("abs", x))))
    return call("add", call("max", x, like(x, 0)), tail)


def _negative_slope(x: Expr, alpha: Expr | float) -> Expr:
    slope = alpha if isinstance(alpha, Expr) else like(x, alpha)
    return select(call("lt", x, like(x, 0)), call("mul", slope, x), x)


# ---- the table


def unary_row(
    name: str, kinds: str, reference: Callable[..., np.ndarray], expr: Callable[..., Expr], *attributes: str
) -> Row:
    """A row with the operand ``x``."""
    return Row(name, ("x",), (kinds,), reference, expr, attributes)


def binary_row(name: str, kinds: str, reference: Callable[..., np.ndarray], expr: Callable[..., Expr]) -> Row:
    """A row with the operands ``x`` and ``y`` of one type."""
    return Row(name, ("x", "y"), (kinds, kinds), reference, expr)


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "sqrt": np.sqrt,
    "log2": np.log2,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": _sigmoid,
}

_COMPARISONS: dict[str, Callable[..., np.ndarray]] = {
    "lt": np.less,
    "gt": np.greater,
    "le": np.less_equal,
    "ge": np.greater_equal,
}

ROWS: tuple[Row, ...] = (
    *(unary_row(name, "f", wide(function), named(name)) for name, function in _FUNCTIONS.items()),
    unary_row("neg", "fiu", np.negative, named("neg")),
    unary_row("rcp", "f", lambda x: 1 / x, _reciprocal),
    unary_row("abs", "fiu", np.abs, named("abs")),
    unary_row("sign", "fiu", _sign, _sign_expr),
    unary_row("not", "b", np.logical_not, named("not")),
    unary_row("floor", "f", np.floor, named("floor")),
    unary_row("ceil", "f", np.ceil, named("ceil")),
    unary_row("round", "f", round_array, named("round")),
    binary_row("add", "fiu", np.add, named("add")),
    binary_row("sub", "fiu", np.subtract, named("sub")),
    binary_row("mul", "fiu", np.multiply, named("mul")),
    binary_row("div", "fiu", _divide, named("div")),
    binary_row("pow", "fiu", _power, named("pow")),
    *(binary_row(name, "fiu", function, named(name)) for name, function in _COMPARISONS.items()),
    binary_row("eq", "fiub", np.equal, named("eq")),
    binary_row("ne", "fiub", np.not_equal, named("ne")),
    binary_row("and", "b", np.logical_and, named("and")),
    binary_row("or", "b", np.logical_or, named("or")),
    Row("select", ("condition", "true_value", "false_value"), ("b", "fiub", "fiub"), np.where, select),
    unary_row("sqr", "fiu", lambda x: x * x, _square),
    unary_row("rsqr", "f", lambda x: 1 / (x * x), lambda x: _reciprocal(_square(x))),
    binary_row("min", "fiu", _min, named("min")),
    binary_row("max", "fiu", _max, named("max")),
    Row(
        "clamp",
        ("x", "a", "b"),
        ("fiu", "fiu", "fiu"),
        clamp_array,
        lambda x, a, b: call("max", call("min", x, b), a),
    ),
    unary_row("relu", "fiu", _relu, lambda x: call("max", x, like(x, 0))),
    Row("prelu", ("x", "alpha"), ("fiu", "fiu"), _leaky, _negative_slope),
    unary_row("leaky_relu", "f", _leaky, _negative_slope, "alpha"),
    unary_row("elu", "f", _elu, _elu_expr, "alpha"),
    unary_row(
        "selu", "f", _selu, lambda x, alpha, scale: call("mul", like(x, scale), _elu_expr(x, alpha)), "alpha", "lambda"
    ),
    unary_row("gelu", "f", wide(lambda x: x * _sigmoid(1.702 * x)), lambda x: _scaled_sigmoid(x, 1.702)),
    unary_row("silu", "f", wide(lambda x: x * _sigmoid(x)), lambda x: _scaled_sigmoid(x, 1.0)),
    unary_row("softplus", "f", wide(lambda x: np.logaddexp(x, 0.0)), _softplus_expr),
    unary_row(
        "softabs",
        "f",
        lambda x, epsilon: np.sqrt(x * x + x.dtype.type(epsilon)),
        lambda x, epsilon: call("sqrt", call("add", _square(x), like(x, epsilon))),
        "epsilon",
    ),
)

for _row in ROWS:
    _row.register()


# ---- copy, copy_n, add_n


def _infer_copy(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    return (tensor(types[0].dtype, types[0].extents),)


def _lower_copies(builder: ProgramBuilder, op: Op) -> None:
    """Every output is the input's own view."""
    view = builder.view(op.inputs[0])
    for output in op.outputs:
        builder.put(output, view)


def _infer_copy_n(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    times = integer(attrs, "times")
    require(1 <= times <= MAX_OUTPUTS, f"times = {times} is out of range; it must be 1 to {MAX_OUTPUTS}")
    return _infer_copy(types, attrs) * times


def _infer_add_n(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    names = [f"x[{i}]" for i in range(len(types))]
    dtype = common_dtype(types, names, "fiu") if types else SCALAR
    return (tensor(dtype, broadcast_shape([t.extents for t in types], names)),)


def _add_n(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    if not arrays:
        return (np.zeros((), SCALAR.numpy),)
    dtype = arrays[0].dtype
    total = sum(a.astype(np.float64 if dtype.kind == "f" else dtype) for a in aligned(arrays))
    return (np.asarray(total).astype(dtype),)


_TERMS = 6
"""How many tensors one Map adds up."""


def _lower_add_n(builder: ProgramBuilder, op: Op) -> None:
    def total(*exprs: Expr) -> Expr:
        result = exprs[0]
        for term in exprs[1:]:
            result = call("add", result, term)
        return result

    shape = op.output.type.extents
    if not op.inputs:
        builder.put(op.output, builder.const(np.zeros(shape, op.output.type.dtype.numpy)))
        return
    out = builder.elementwise(total, op.inputs[:_TERMS], shape=shape)
    for start in range(_TERMS, len(op.inputs), _TERMS - 1):
        out = builder.elementwise(total, (out, *op.inputs[start : start + _TERMS - 1]), shape=shape)
    builder.put(op.output, out)


def _infer_cast(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """The input's shape with the element type that the attribute ``dtype`` names."""
    dtype = attrs["dtype"]
    require(isinstance(dtype, DType), f"dtype = {dtype!r} must be an element type")
    return (tensor(dtype, types[0].extents),)


def _cast(x: np.ndarray, dtype: DType) -> np.ndarray:
    """``x`` converted: to a logical, whether it is not zero; from a float to an integer, truncated toward zero,
    saturated, and 0 for NaN (NNEF 1.0.5, 3.3.3 and 4.5.8)."""
    if dtype is DType.BOOL:
        return x != 0
    if x.dtype.kind != "f" or dtype.kind == "f":
        return x.astype(dtype.numpy)
    info = np.iinfo(dtype.numpy)
    whole = np.trunc(x.astype(np.float64))
    low, high = whole <= float(info.min), whole >= float(info.max)
    inside = np.where(low | high | np.isnan(whole), 0.0, whole).astype(dtype.numpy)
    return np.where(low, info.min, np.where(high, info.max, inside)).astype(dtype.numpy)


def _lower_cast(builder: ProgramBuilder, op: Op) -> None:
    dtype = op.output.type.dtype
    source = builder.view(op.inputs[0])
    if source.dtype is dtype:
        builder.put(op.output, source)
    else:
        builder.put(op.output, builder.elementwise(lambda x: cast(x, dtype), op.inputs, shape=op.output.type.extents))


register("copy", infer=_infer_copy, reference=lambda arrays, attrs: (arrays[0].copy(),), lower=_lower_copies)
register(
    "copy_n",
    infer=_infer_copy_n,
    reference=lambda arrays, attrs: tuple(arrays[0].copy() for _ in range(attrs["times"])),
    lower=_lower_copies,
)
register("add_n", infer=_infer_add_n, reference=_add_n, lower=_lower_add_n)
register(
    "cast",
    infer=_infer_cast,
    reference=lambda arrays, attrs: (_cast(arrays[0], attrs["dtype"]),),
    lower=_lower_cast,
)
