"""What a vector function is written over: a provider of elementwise operations, and the two floating-point formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from nnefc.ir.coarse import Operations, Value
from nnefc.ir.types import DType


@dataclass(frozen=True)
class Format:
    """An IEEE 754 binary format: ``bits`` wide, of which ``fraction`` are the stored significand."""

    dtype: DType
    bits: int
    fraction: int

    @property
    def name(self) -> str:
        """``f32`` or ``f64``."""
        return self.dtype.value

    @property
    def precision(self) -> int:
        """Significand bits, the hidden one included."""
        return self.fraction + 1

    @property
    def bias(self) -> int:
        """What is added to the exponent in its field; also the largest exponent."""
        return (1 << (self.bits - self.fraction - 2)) - 1

    @property
    def sign(self) -> int:
        """The sign bit, as an unsigned integer."""
        return 1 << (self.bits - 1)

    @property
    def min_normal(self) -> float:
        """The smallest normal number."""
        return 2.0 ** (1 - self.bias)

    @property
    def magic(self) -> float:
        """1.5 * 2**fraction: adding it rounds to the nearest integer, which then is in the low bits."""
        return 1.5 * 2.0**self.fraction


F32 = Format(DType.F32, 32, 23)
F64 = Format(DType.F64, 64, 52)
FORMATS = {DType.F32: F32, DType.F64: F64}


class Vec(Operations, Protocol):
    """Elementwise operations on vectors of one format, in IEEE 754 arithmetic rounded to nearest even.

    Every operation is rounded on its own; ``fma`` is one rounding where ``fused``, else a product and a sum. Integers
    have the format's width and wrap; comparisons of floats are false for NaN except ``ne``. Shift counts are less than
    the width. ``where_any`` computes ``then()`` only if the mask holds somewhere; else the result is ``otherwise``.
    ``lookup`` reads a table of non-negative integers; each index must be within it. ``scale(x, k, i)`` is x * 2**k,
    rounded once, for 0.5 <= x <= 2; ``k`` and ``i`` are one integer as a float and as an integer, of at most three
    times the largest exponent. ``reciprocal`` is 1 / a with a relative error of at most 2**-14, of f32 alone.
    """

    format: Format
    fused: bool

    def fma(self, a: Value, b: Value, c: Value) -> Value: ...
    def neg(self, a: Value) -> Value: ...
    def sqrt(self, a: Value) -> Value: ...
    def floor(self, a: Value) -> Value: ...
    def ceil(self, a: Value) -> Value: ...
    def trunc(self, a: Value) -> Value: ...
    def le(self, a: Value, b: Value) -> Value: ...
    def ge(self, a: Value, b: Value) -> Value: ...
    def eq(self, a: Value, b: Value) -> Value: ...
    def ne(self, a: Value, b: Value) -> Value: ...
    def mand(self, a: Value, b: Value) -> Value: ...
    def mor(self, a: Value, b: Value) -> Value: ...
    def mxor(self, a: Value, b: Value) -> Value: ...
    def imul(self, a: Value, b: Value) -> Value: ...
    def ior(self, a: Value, b: Value) -> Value: ...
    def ilshr(self, a: Value, n: Value) -> Value: ...
    def iashr(self, a: Value, n: Value) -> Value: ...
    def ieq(self, a: Value, b: Value) -> Value: ...
    def reciprocal(self, a: Value) -> Value: ...
    def lookup(self, name: str, table: tuple[int, ...], index: Value) -> Value: ...
    def where_any(
        self, mask: Value, then: Callable[[], Sequence[Value]], otherwise: Sequence[Value]
    ) -> Sequence[Value]: ...
