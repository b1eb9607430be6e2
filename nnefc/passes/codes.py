"""What expressions say of codes: how numbers are made from them, and they from numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nnefc.ir.expr import Expr, arg, call, cast, const
from nnefc.ir.types import DType

SHIFT = 128
"""What is added to a signed code where it is kept as an unsigned one."""
WHOLE = (0, 255)
"""The codes that a byte holds."""
BYTES = (DType.U8, DType.I8)
"""Types of codes that are computed with in the place of numbers."""
_WIDE = (DType.F32, DType.F64)
_CODES = (*BYTES, DType.U16, DType.I16, DType.I32)


@dataclass(frozen=True)
class Code:
    """How a tensor of type ``dtype`` is coded in bytes from ``low`` to ``high``: real = (code - zero) scale."""

    scale: float
    zero: int
    low: int
    high: int
    dtype: DType = DType.F32

    def decoded(self, code: Expr) -> Expr:
        """The number that a code stands for."""
        steps = centred(code, self.zero)
        return call("mul", cast(steps, self.dtype), const(self.scale, self.dtype))

    def code_of(self, value: float) -> int | None:
        """The code of a number that has one."""
        steps = value / self.scale
        code = round(steps) + self.zero if abs(steps) <= WHOLE[1] else WHOLE[0] - 1
        exact = self.decoded(const(code, DType.U8)).evaluate([]) == value if WHOLE[0] <= code <= WHOLE[1] else False
        return code if exact and self.low <= code <= self.high else None

    def same_numbers(self, other: Code) -> bool:
        """Whether equal codes stand for equal numbers."""
        return (self.scale, self.zero, self.dtype) == (other.scale, other.zero, other.dtype)


def centred(code: Expr, zero: int) -> Expr:
    """A code less its zero point, I32."""
    wide = cast(code, DType.I32)
    return call("sub", wide, const(zero, DType.I32)) if zero else wide


@dataclass(frozen=True)
class Decoding:
    """An expression (code - zero) scale: the number of the argument that is the code, and both parameters."""

    code: int
    scale: Expr
    zero: Expr | None


def decoding_of(expr: Expr) -> Decoding | None:
    """The expression as a decoding of one of its arguments, a code of 8, 16 or 32 bits; None for any other. A code of 8
    bits that is only converted stands for itself."""
    if expr.op == "cast" and expr.dtype in _WIDE and _is_code(expr.args[0], BYTES):
        return Decoding(int(expr.args[0].value or 0), const(1.0, expr.dtype), None)
    if expr.dtype not in _WIDE:
        return None
    steps, scale = expr.args if expr.op == "mul" else (expr, const(1.0, expr.dtype))
    wide = steps.args[0].dtype if steps.op == "cast" else None
    if wide not in (DType.I32, DType.I64) or scale.op not in ("const", "arg"):
        return None
    (steps,), zero = steps.args, None
    if steps.op == "sub":
        steps, zero = steps.args
        leaf = zero.args[0] if zero.op == "cast" else zero
        if leaf.op not in ("const", "arg"):
            return None
    if steps.op != "cast" or not _is_code(steps.args[0], _CODES):
        return None
    return Decoding(int(steps.args[0].value or 0), scale, zero)


def _is_code(expr: Expr, types: tuple[DType, ...]) -> bool:
    return expr.op == "arg" and expr.dtype in types


@dataclass(frozen=True)
class Quantization:
    """An expression that makes a byte of a number: ``value / scale``, rounded, moved by ``zero``, and cut off."""

    value: Expr
    scale: Expr
    zero: int
    low: int
    high: int
    rounding: str


def quantization_of(expr: Expr) -> Quantization | None:
    """The expression as a quantization to unsigned bytes; None for any other."""
    limits = clamped(expr.args[0]) if expr.op == "cast" and expr.dtype is DType.U8 else None
    if limits is None or limits[0].op != "add":
        return None
    (code, low, high) = limits
    rounded, zero = code.args
    if rounded.op not in ("round", "round_even") or zero.op != "const" or rounded.args[0].op != "div":
        return None
    value, scale = rounded.args[0].args
    if not WHOLE[0] <= low <= high <= WHOLE[1] or not float(zero.number()).is_integer():
        return None
    return Quantization(value, scale, int(zero.number()), int(low), int(high), rounded.op)


def same_code(expr: Expr, codes: Mapping[int, Code]) -> Expr | None:
    """The code itself, where an expression quantizes one of the numbers (arguments) that ``codes`` tell of as it was
    quantized before, and cuts nothing off; None for any other."""
    found = quantization_of(expr)
    if found is None or found.value.op != "arg" or found.scale.op != "const":
        return None
    code = codes.get(int(found.value.value or 0))
    if code is None or (found.scale.number(), found.zero) != (code.scale, code.zero):
        return None
    return arg(int(found.value.value or 0), DType.U8) if found.low <= code.low <= code.high <= found.high else None


def clamped(expr: Expr) -> tuple[Expr, float, float] | None:
    """x, low and high of max(min(x, high), low) with numbers, of a float type."""
    if expr.op != "max" or expr.dtype not in _WIDE or expr.args[0].op != "min" or expr.args[1].op != "const":
        return None
    low, (x, high) = expr.args[1], expr.args[0].args
    return (x, float(low.number()), float(high.number())) if high.op == "const" else None


def bounds(expr: Expr) -> tuple[int, int]:
    """The bytes that an expression of type U8 may give."""
    limits = clamped(expr.args[0]) if expr.op == "cast" else None
    if limits is None:
        return WHOLE
    return max(int(limits[1]), WHOLE[0]), min(int(limits[2]), WHOLE[1])


# ---- functions of one code


def argument_code(expr: Expr) -> Expr | None:
    """The code, among the operands of an expression, that decides its value; the largest, None where there is none."""
    for code in sorted(set(_codes_in(expr)), key=Expr.size, reverse=True):
        if _decided(expr, code):
            return code
    return None


def _codes_in(expr: Expr) -> Iterator[Expr]:
    for a in expr.args:
        if a.dtype is DType.U8 and a.op != "const":
            yield a
        yield from _codes_in(a)


def _decided(expr: Expr, code: Expr) -> bool:
    """Whether nothing but a part of it, and numbers, decides an expression."""
    return expr == code or (expr.op != "arg" and all(_decided(a, code) for a in expr.args))


def replaced(expr: Expr, old: Expr, new: Expr) -> Expr:
    """The expression with another part."""
    if expr == old:
        return new
    return Expr(expr.op, tuple(replaced(a, old, new) for a in expr.args), expr.dtype, expr.value)


# ---- signed codes as unsigned ones


def read_shifted(code: Expr) -> Expr:
    """The signed code that an unsigned one, SHIFT above it, stands for."""
    return cast(call("sub", cast(code, DType.I32), const(SHIFT, DType.I32)), DType.I8)


def written_shifted(code: Expr) -> Expr:
    """A signed code as an unsigned one, SHIFT above it."""
    if code.op == "cast":
        (inner,) = code.args
        limits = clamped(inner)
        if limits is not None and limits[0].op == "add" and limits[0].args[1].op == "const":
            (moved, low, high) = limits
            number = moved.args[1].number()
            if -SHIFT <= low <= high < SHIFT:
                dtype = inner.dtype
                whole = call("add", moved.args[0], const(float(number) + SHIFT, dtype))
                cut = call("min", whole, const(high + SHIFT, dtype))
                return cast(call("max", cut, const(low + SHIFT, dtype)), DType.U8)
        if inner.op == "sub" and inner.args[1] == const(SHIFT, DType.I32) and _byte(inner.args[0]) is not None:
            return inner.args[0].args[0]
    return cast(call("add", cast(code, DType.I32), const(SHIFT, DType.I32)), DType.U8)


def _byte(expr: Expr) -> Expr | None:
    """x of cast<i32>(x) of type U8."""
    return expr.args[0] if expr.op == "cast" and expr.dtype is DType.I32 and expr.args[0].dtype is DType.U8 else None


def tidied(expr: Expr) -> Expr:
    """The expression without conversions there and back and products by 1, and with one difference where there are two
    in turn."""
    args = tuple(map(tidied, expr.args))
    if args != expr.args:
        expr = Expr(expr.op, args, expr.dtype, expr.value)
    if expr.op == "mul" and expr.args[1].op == "const" and expr.args[1].number() == 1:
        return expr.args[0]
    if expr.op == "cast" and expr.args[0].op == "cast":
        origin = _widened(expr.args[0])
        if origin.dtype is expr.dtype:
            return origin
    if expr.op == "cast" and expr.dtype is DType.I32 and expr.args[0].op == "cast" and expr.args[0].dtype is DType.I8:
        (inner,) = expr.args[0].args
        if inner.op == "sub" and inner.args[1] == const(SHIFT, DType.I32) and _byte(inner.args[0]) is not None:
            return inner
    if expr.op == "sub" and expr.dtype is DType.I32 and expr.args[0].op == "sub":
        (inner, b), (x, a) = expr.args, expr.args[0].args
        if a.op == b.op == "const":
            total = int(a.number()) + int(b.number())
            return call("sub", x, const(total, DType.I32)) if total else x
    return expr


def _widened(expr: Expr) -> Expr:
    """What conversions to wider types have made an expression of."""
    while expr.op == "cast" and _holds(expr.dtype, expr.args[0].dtype):
        (expr,) = expr.args
    return expr


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether each number of one type is one of the other."""
    if wide.kind == "f" and narrow.kind in "iu":
        return narrow.bits <= {DType.F32: 24, DType.F64: 53}.get(wide, 8 if wide is DType.F16 else 0)
    return wide.kind == "i" and narrow.kind in "iu" and narrow.bits + (narrow.kind == "u") <= wide.bits
