"""Operations of the standard in tract's dialect: their arguments as tract converts them, and where it deviates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnefc.errors import InvalidModelError
from nnefc.formats.nnef.context import Context
from nnefc.formats.nnef.lift import DTYPES
from nnefc.formats.nnef.tract.registry import Arguments, Given, TractScope, common_type, known, operation, tensor
from nnefc.ir import syntax as ast
from nnefc.ir.graph import Value
from nnefc.ir.signature import Param, Signature
from nnefc.ir.types import DType
from nnefc.ops.signatures import signature

_LOGICAL = ("and", "or", "not", "xor", "any_reduce", "all_reduce")
_ALIKE = (
    *("add", "sub", "mul", "div", "pow", "min", "max", "lt", "gt", "le", "ge", "eq", "ne", "clamp", "prelu"),
    *("maximum", "minimum", "fmod", "mod", "bitwise_and", "bitwise_or", "bitwise_xor", "shift_left", "shift_right"),
)
"""Operations whose operands must have the same element type."""


def standard(s: TractScope, name: str, generic: str | None, given: Given, context: Context) -> Any:
    """The result of an operation of the standard, or of our extension, on arguments as written."""
    sig = signature(name)
    values = _matched(s, sig, given, context)
    operands: list[Any] = []
    for param in sig.tensors:
        value = values.get(param.name, param.default)
        what = f"{param.name} of {name}"
        if param.is_array:
            operands += [tensor(s, v, what) for v in (value if isinstance(value, (list, tuple)) else [value])]
        else:
            operands.append(value if isinstance(value, (int, float)) else tensor(s, value, what))
    attrs = {
        p.name: _attribute(s, sig, p, values[p.name], context) for p in sig.attributes if values.get(p.name) is not None
    }
    if sig.has_dtype:
        attrs["dtype"] = DTYPES[generic or sig.generic_default or "scalar"]
    return make(s, name, operands, **attrs)


def make(s: TractScope, name: str, operands: Sequence[Any], **attrs: Any) -> Any:
    """An operation whose operands get the element types that it wants of them."""
    if name in _ALIKE:
        operands = alike(s, operands)
    elif name in _LOGICAL:
        operands = [as_logical(s, x) for x in operands]
    elif name in ("floor", "ceil") and s.dtype(operands[0]).kind != "f":
        return operands[0]
    elif name == "select":
        operands = [as_logical(s, operands[0]), *alike(s, operands[1:])]
    elif name in ("concat", "stack"):
        operands = [s.cast(x, s.dtype(operands[0])) for x in operands]
    return s.op(name, operands, **attrs)


def _matched(s: TractScope, sig: Signature, given: Given, context: Context) -> dict[str, Any]:
    """The arguments by parameter. Raises InvalidModelError for those that do not fit."""
    values: dict[str, Any] = {}
    place = s.node.location if s.node is not None else None
    for position, (key, value) in enumerate(given):
        if key is None and position >= len(sig.params):
            raise InvalidModelError(f"at most {len(sig.params)} arguments are taken")
        param = sig.params[position] if key is None else sig.param(key)
        if param is None:
            context.note(f"{sig.name} has no parameter {key!r}; it is ignored, as tract does", place)
            continue
        if param.name in values:
            raise InvalidModelError(f"{param.name} is given twice")
        if key is None and not param.is_tensor:
            message = f"{param.name} of {sig.name} is an attribute given by position"
            context.tolerate("positional_attributes", message, place, once=True)
        values[param.name] = value
    missing = [p.name for p in sig.params if p.default is None and p.name not in values]
    if missing:
        raise InvalidModelError(f"a value is needed for {', '.join(missing)}")
    return values


def _attribute(s: TractScope, sig: Signature, param: Param, value: Any, context: Context) -> Any:
    """An argument as the attribute's type has it; tolerances are noted at their first use."""
    place = s.node.location if s.node is not None else None
    what = f"{param.name} of {sig.name}"

    def convert(value: Any, spec: ast.TypeSpec | None) -> Any:
        if isinstance(spec, ast.ArraySpec):
            if isinstance(value, np.ndarray) and value.ndim:
                return [convert(item, spec.item) for item in value]
            if not isinstance(value, (list, tuple)):
                context.tolerate("single_for_array", f"{what} is one item; {spec} is wanted", place, once=True)
                value = [value]
            return [convert(item, spec.item) for item in value]
        if isinstance(spec, ast.TupleSpec):
            if len(value) != len(spec.items):
                raise InvalidModelError(f"{what} must be made of {spec}")
            return tuple(convert(v, t) for v, t in zip(value, spec.items, strict=True))
        if isinstance(value, (np.ndarray, np.generic, Value)):
            context.tolerate("tensor_for_attribute", f"{what} is a tensor; {spec} is wanted", place, once=True)
            array = known(s, np.asarray(value) if isinstance(value, np.generic) else value, what)
            if array.size != 1:
                raise InvalidModelError(f"{what} must be one item, not {array.size}")
            value = array.reshape(-1)[0].item()
        return _primitive(value, spec, what)

    return convert(value, param.type)


def _primitive(value: Any, spec: ast.TypeSpec | None, what: str) -> Any:
    name = spec.name if isinstance(spec, ast.PrimitiveSpec) else "?"
    if name == "string" or isinstance(value, str):
        if name != "string" or not isinstance(value, str):
            raise InvalidModelError(f"{what} must be {spec}")
        return value
    if name == "scalar":
        return float(value)
    if name == "logical":
        return bool(value)
    if name == "integer" and int(value) != value:
        raise InvalidModelError(f"{what} must be an integer, not {value}")
    return int(value) if name == "integer" else value


# ---- element types


def alike(s: TractScope, operands: Sequence[Any]) -> list[Any]:
    """Operands of one element type: a single constant takes that of the others, else floats win, then the wider."""
    tensors = [x for x in operands if not isinstance(x, (int, float))]
    computed = [x for x in tensors if isinstance(x, Value) or x.size > 1]
    if not tensors:
        return [tensor(s, x, "an operand") for x in operands]
    wanted = common_type([s.dtype(x) for x in computed or tensors])
    if not computed and wanted.kind != "f" and any(isinstance(x, float) and x != int_or(x) for x in operands):
        wanted = DType.F32
    rank = max((s.rank(x) for x in computed), default=-1)
    return [_number(x, wanted) if isinstance(x, (int, float)) else _plain(s.cast(x, wanted), rank) for x in operands]


def _plain(x: Any, rank: int) -> Any:
    """A single constant without its extents of 1, where an operand beside it has the dimensions."""
    return x.reshape(()) if isinstance(x, np.ndarray) and x.size == 1 and x.ndim <= rank else x


def int_or(x: float) -> float:
    """The number without its fraction; itself if it is not finite."""
    return float(math.trunc(x)) if math.isfinite(x) else x


def _number(x: float, dtype: DType) -> Any:
    """A number as a literal of an element type: a fraction is dropped for integers."""
    if dtype.kind == "f":
        return np.array(x, dtype.numpy)
    return np.array(x != 0 if dtype is DType.BOOL else math.trunc(x), dtype.numpy)


def as_logical(s: TractScope, x: Any) -> Any:
    """Truth values."""
    x = tensor(s, x, "a condition")
    return x if s.dtype(x) is DType.BOOL else s.op("ne", [x, 0])


# ---- where tract deviates from the standard


@operation("copy", params="x")
def _copy(s: TractScope, a: Arguments) -> Any:
    return a.tensor("x")


@operation("recip", params="x")
def _recip(s: TractScope, a: Arguments) -> Any:
    return s.op("rcp", [a.tensor("x")])


@operation("square", params="x")
def _square(s: TractScope, a: Arguments) -> Any:
    return s.op("sqr", [a.tensor("x")])


@operation("round", params="x")
def _round(s: TractScope, a: Arguments) -> Any:
    """Halves away from zero."""
    x = a.tensor("x")
    if s.dtype(x).kind != "f":
        return x
    return s.op("mul", [s.op("sign", [x]), s.op("floor", [s.op("add", [s.op("abs", [x]), 0.5])])])


def _bias(s: TractScope, a: Arguments, channels: int, dtype: DType) -> Any:
    """The bias as a number or a row: tract drops its extents of 1. One of integers, of a quantized product, counts in
    steps of that product."""
    bias = a.operand("bias")
    if isinstance(bias, (int, float)):
        return _number(bias, dtype)
    steps = [s.step(a.tensor(name)) for name in ("input", "filter")]
    if isinstance(bias, np.ndarray) and bias.dtype.kind in "iu" and steps[0] is not None and steps[1] is not None:
        bias = (bias * (steps[0] * steps[1])).astype(np.float32)
    bias = s.cast(bias, dtype)
    if math.prod(s.shape(bias)) == 1:
        return s.reshape(bias, ())
    if math.prod(s.shape(bias)) != channels:
        raise InvalidModelError(f"bias has the shape {list(s.shape(bias))}; {channels} items are wanted")
    return s.reshape(bias, (1, channels))


_CONV = "input filter bias=0.0 border=constant padding=[] stride=[] dilation=[]"


@operation("conv", params=f"{_CONV} groups=1")
def _conv(s: TractScope, a: Arguments) -> Any:
    x, w = a.tensor("input"), a.tensor("filter")
    bias = _bias(s, a, s.shape(w)[0], s.dtype(x))
    return s.op("conv", [x, w, bias], groups=a.integer("groups"), **_window(a))


def _window(a: Arguments) -> dict[str, Any]:
    return {
        "border": a.text("border"),
        "padding": a.pairs("padding"),
        "stride": a.ints("stride"),
        "dilation": a.ints("dilation"),
    }


@operation("deconv", params=f"{_CONV} output_shape=[] groups=1")
def _deconv(s: TractScope, a: Arguments) -> Any:
    """The filter is [out, in / groups, ...], and the output's shape is that of its spatial dimensions."""
    x, w = a.tensor("input"), a.tensor("filter")
    channels, rest = s.shape(w)[0], s.shape(w)[1:]
    groups = a.integer("groups") or channels
    w = s.reshape(w, (groups, channels // groups, *rest))
    w = s.transpose(w, [0, 2, 1, *range(3, len(rest) + 2)])
    w = s.reshape(w, (groups * rest[0], channels // groups, *rest[1:]))
    shape = a.ints("output_shape")
    if shape and len(shape) != s.rank(x) - 2:
        raise InvalidModelError(f"output_shape {shape} must have {s.rank(x) - 2} extents, the spatial ones")
    full = [s.shape(x)[0], channels, *shape] if shape else []
    bias = _bias(s, a, channels, s.dtype(x))
    return s.op("deconv", [x, w, bias], groups=groups, output_shape=full, **_window(a))


@operation("pad", params="input padding border=constant value=0.0")
def _pad(s: TractScope, a: Arguments) -> Any:
    border = {"replicated": "replicate"}.get(a.text("border"), a.text("border"))
    return s.op("pad", [a.tensor("input")], padding=a.pairs("padding"), border=border, value=a.scalar("value"))


_POOL = "input size border=constant padding=[] stride=[] dilation=[]"


@operation("max_pool", params=_POOL)
def _max_pool(s: TractScope, a: Arguments) -> Any:
    """What lies outside never wins, whatever the border is called."""
    attrs = {**_window(a), "border": "ignore"}
    return s.op("max_pool", [a.tensor("input")], size=a.ints("size"), **attrs)


@operation("max_pool_with_index", params=_POOL)
def _max_pool_with_index(s: TractScope, a: Arguments) -> Any:
    raise s.unsupported("indices of pooling are not supported in tract's dialect")


@operation("linear", params="input filter bias=0.0")
def _linear(s: TractScope, a: Arguments) -> Any:
    """Of any rank; with one filter for all, a single product of all rows."""
    x, w, bias = a.tensor("input"), a.tensor("filter"), a.operand("bias")
    shape = (1,) if isinstance(bias, (int, float)) else s.shape(bias)
    channels, items = s.shape(w)[-2:]
    single = math.prod(s.shape(w)) == channels * items and s.rank(x) == s.rank(w)
    if single and (math.prod(shape) == 1 or (shape[-1] == math.prod(shape) == channels and len(shape) == s.rank(x))):
        rows = s.reshape(x, (math.prod(s.shape(x)[:-1]), items))
        row = _bias(s, a, channels, s.dtype(x))
        return s.reshape(s.op("linear", [rows, s.reshape(w, (channels, items)), row]), (*s.shape(x)[:-1], channels))
    return make(s, "add", [s.op("matmul", [x, w], transposeB=True), bias])


@operation("slice", params="input axes begin end stride=[]")
def _slice(s: TractScope, a: Arguments) -> Any:
    """Bounds below 0 count from the end, as does an end of 0; beyond it they are cut."""
    x = a.tensor("input")
    axes, begins, ends = a.ints("axes"), a.ints("begin"), a.ints("end")
    strides = a.ints("stride") or [1] * len(axes)
    kept: list[tuple[int, int, int, int]] = []
    for axis, begin, end, stride in zip(axes, begins, ends, strides, strict=True):
        extent = s.shape(x)[axis]
        begin, end = min(begin, extent), min(end, extent)
        begin, end = begin + extent * (begin < 0), end + extent * (end <= 0)
        if not 0 <= begin < end:
            raise InvalidModelError(f"nothing lies from {begin} to {end} of {extent} along dimension {axis}")
        if stride < 0:
            begin, end = end - 1, begin - 1 if begin else -extent - 1
        if (begin, end, stride) != (0, extent, 1):
            kept.append((axis, begin, end, stride))
    if not kept:
        return x
    names = ("axes", "begin", "end", "stride")
    return s.op("slice", [x], **dict(zip(names, map(list, zip(*kept, strict=True)), strict=True)))


def strided(s: TractScope, x: Any, axis: int, stride: int, modulo: int) -> Any:
    """Every ``stride``-th element along a dimension from ``modulo`` on; where it is negative, from the last back."""
    extent = s.shape(x)[axis]
    if stride > 0:
        return s.op("slice", [x], axes=[axis], begin=[modulo], end=[extent], stride=[stride])
    return s.op("slice", [x], axes=[axis], begin=[extent - 1 - modulo], end=[-extent - 1], stride=[stride])


@operation("reshape", params="input shape axis_start=0 axis_count=-1")
def _reshape(s: TractScope, a: Arguments) -> Any:
    x, shape, start, count = a.tensor("input"), a.ints("shape"), a.integer("axis_start"), a.integer("axis_count")
    old = s.shape(x)
    stop = len(old) if count == -1 else start + count
    new = [old[start + i] if extent == 0 else extent for i, extent in enumerate(shape)]
    if -1 in new:
        rest = -math.prod(new)
        new[new.index(-1)] = math.prod(old[start:stop]) // max(rest, 1)
    if math.prod(new) != math.prod(old[start:stop]) or min(new, default=1) < 1:
        raise InvalidModelError(f"{list(old[start:stop])} cannot be reshaped to {shape}")
    return s.reshape(x, (*old[:start], *new, *old[stop:]))


@operation("tile", params="input repeats")
def _tile(s: TractScope, a: Arguments) -> Any:
    return s.op("tile", [a.tensor("input")], repeats=a.ints("repeats"))


@operation("matmul", params="A B transposeA=false transposeB=false")
def _matmul(s: TractScope, a: Arguments) -> Any:
    x, y = a.tensor("A"), a.tensor("B")
    y = s.cast(y, s.dtype(x))
    return s.op("matmul", [x, y], transposeA=a.logical("transposeA"), transposeB=a.logical("transposeB"))
