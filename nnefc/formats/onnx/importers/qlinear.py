"""Operations on codes of the domain com.microsoft, which ONNX Runtime's quantization writes: those on the numbers that
the codes stand for, their results quantized (ContribOperators of ONNX Runtime)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnefc.formats.onnx.importers.quantized import coded, decoded, number
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope
from nnefc.ops.primitive import require

_DOMAIN = "com.microsoft"
_PLAIN = ("alpha", "axis", "kernel_shape", "pads", "strides", "auto_pad", "ceil_mode", "count_include_pad")
"""Attributes that the operations on numbers have too."""


def _operand(s: Scope, n: Node, first: int) -> Imported:
    """The numbers of the codes in input ``first``, whose scale and zero point follow."""
    scale = number(s, n.need(first + 1))
    assert scale is not None
    return decoded(s, n.need(first), scale, number(s, n.input(first + 2)))


def _result(s: Scope, n: Node, value: Imported, first: int) -> Sequence[Imported]:
    """The codes of a result, whose scale is input ``first``; its zero point follows."""
    scale = number(s, n.need(first))
    assert scale is not None
    return (coded(s, value, scale, number(s, n.input(first + 1))),)


def _plain(n: Node) -> dict[str, Any]:
    require(not n.attr("channels_last", 0), "channels_last = 1 is not ONNX's order of dimensions")
    return {name: value for name, value in n.attrs.items() if name in _PLAIN}


@importer("QLinearAdd", "QLinearMul", domain=_DOMAIN)
def _binary(s: Scope, n: Node) -> Sequence[Imported]:
    x, y = _operand(s, n, 0), _operand(s, n, 3)
    return _result(s, n, s.call(n.op_type.removeprefix("QLinear"), [x, y])[0], 6)


@importer(
    "QLinearSigmoid",
    "QLinearLeakyRelu",
    "QLinearSoftmax",
    "QLinearAveragePool",
    "QLinearGlobalAveragePool",
    domain=_DOMAIN,
)
def _unary(s: Scope, n: Node) -> Sequence[Imported]:
    plain = n.op_type.removeprefix("QLinear")
    return _result(s, n, s.call(plain, [_operand(s, n, 0)], **_plain(n))[0], 3)


@importer("QLinearConcat", domain=_DOMAIN)
def _concat(s: Scope, n: Node) -> Sequence[Imported]:
    require(len(n.inputs) % 3 == 2, f"{len(n.inputs)} inputs; they must be two and then three for each tensor")
    parts = [_operand(s, n, k) for k in range(2, len(n.inputs), 3)]
    return _result(s, n, s.call("Concat", parts, axis=n.attr("axis"))[0], 0)


@importer("QGemm", domain=_DOMAIN)
def _gemm(s: Scope, n: Node) -> Sequence[Imported]:
    a, b = _operand(s, n, 0), n.need(3)
    transposed = bool(n.attr("transB", 0))
    scale, zero = (_per_output(s, v, transposed) for v in (n.need(4), n.input(5)))
    assert scale is not None
    operands: list[Imported | None] = [a, decoded(s, b, scale, zero)]
    bias = n.input(6)
    if bias is not None:
        step = s.op("mul", [s.reshape(n.need(1), ()), s.reshape(n.need(4), _vector(s, n.need(4)))])
        if s.rank(step) == 1 and s.rank(bias) == 2:
            step = s.reshape(step, (1, s.shape(step)[0]))
        operands.append(decoded(s, bias, step, None))
    attrs = {name: n.attrs[name] for name in ("alpha", "transA", "transB") if name in n.attrs}
    value = s.call("Gemm", operands, **attrs)[0]
    return _result(s, n, value, 7) if n.input(7) is not None else (value,)


def _vector(s: Scope, value: Imported) -> tuple[int, ...]:
    shape = s.shape(value)
    return () if sum(shape) == len(shape) else (max(shape),)


def _per_output(s: Scope, value: Imported | None, transposed: bool) -> Imported | None:
    """A parameter of the second matrix: one number, or one for each of its columns, which ``transposed`` are rows."""
    if value is None:
        return None
    shape = _vector(s, value)
    return s.reshape(value, shape if transposed or not shape else (1, *shape))  # type: ignore[no-any-return]
