"""Scalar expressions: what a kernel computes for one element. They are typed, frozen and have a NumPy meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nnefc.ir import coarse
from nnefc.ir.types import DType

COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
UNARY_FLOAT = frozenset(
    "exp expm1 log log1p log2 sqrt rsqrt sin cos tan sinh cosh tanh "
    "asin acos atan asinh acosh atanh erf sigmoid".split()
)
COARSE = {name: f"coarse_{name}" for name in ("exp", "sigmoid", "tanh", "erf")}
"""The functions of ``nnefc.ir.coarse``, by those whose place they take where nothing but codes is made of a value."""
ROUNDING = frozenset({"floor", "ceil", "trunc", "round", "round_even"})
"""``round`` is floor(x + 0.5) computed without the rounding error of the sum (NNEF 1.0.5, 4.2.1);
``round_even`` takes halves to the even neighbour."""
UNARY = UNARY_FLOAT | frozenset(COARSE.values()) | ROUNDING | {"neg", "abs", "not"}
FUNCTIONS = UNARY_FLOAT | frozenset(COARSE.values()) | {"pow", "table"}
"""What takes many operations."""
SHIFTS = frozenset({"shl", "shr"})
BINARY = COMPARISONS | SHIFTS | {"add", "sub", "mul", "div", "pow", "min", "max", "and", "or", "xor"}


@dataclass(frozen=True)
class Expr:
    """A node of an expression tree.

    ``op`` is ``arg`` (``value``: which argument), ``const`` (``value``: the number), ``cast`` (to ``dtype``),
    ``select`` (condition, then, else), ``table`` (the operand, U8, says which of 256 entries of ``dtype``; ``value``:
    their bytes, or None where they are a second operand, an ``arg``) or a name of UNARY or BINARY. Operands of one node
    share a type, conditions are BOOL. ``min(x, y)`` is
    ``select(x < y, x, y)`` and ``max(x, y)`` is ``select(x > y, x, y)``, so a NaN in ``x`` gives ``y``. Integer ``div``
    truncates toward zero and gives 0 for a zero divisor. A cast from float to integer truncates and saturates, NaN
    giving 0; a cast to BOOL is ``!= 0``. ``and or xor not`` are logical on BOOL, bitwise on integers. ``shl`` and
    ``shr`` shift integers, ``shr`` of signed ones keeping the sign; as many places as the width has, or more, or fewer
    than 0, shift everything out. BF16 is computed as F32 and rounded after each operation. Integer ``pow`` by a
    negative exponent is the truncated quotient, and 0 for base 0.
    """

    op: str
    args: tuple[Expr, ...]
    dtype: DType
    value: float | int | bool | bytes | None = None

    def __str__(self) -> str:
        if self.op == "arg":
            return f"${self.value!r}"
        if self.op == "const":
            return repr(self.value).lower() if self.dtype is DType.BOOL else repr(self.value)
        name = f"cast<{self.dtype}>" if self.op == "cast" else self.op
        if self.op == "table":
            name = f"table<{self.dtype}>" + ("" if self.value is None else f"[{_runs(self.entries())}]")
        return f"{name}({', '.join(map(str, self.args))})"

    def size(self) -> int:
        """The number of nodes."""
        return 1 + sum(a.size() for a in self.args)

    def has_function(self) -> bool:
        """Whether a function that takes many operations is among the nodes: what is better not computed twice."""
        return self.op in FUNCTIONS or any(a.has_function() for a in self.args)

    def number(self) -> float | int | bool:
        """The value of a ``const``."""
        assert isinstance(self.value, (float, int))
        return self.value

    def entries(self) -> np.ndarray:
        """The 256 values of a ``table`` that has them itself."""
        assert isinstance(self.value, bytes)
        return np.frombuffer(self.value, self.dtype.numpy)

    def evaluate(self, args: Sequence[np.ndarray]) -> np.ndarray:
        """The NumPy meaning: ``args[i]`` stands for ``$i``; the arguments broadcast as NumPy does."""
        with np.errstate(all="ignore"):
            return self._evaluate(args)

    def _evaluate(self, args: Sequence[np.ndarray]) -> np.ndarray:
        if self.op == "arg":
            return np.asarray(args[int(self.value or 0)])
        if self.op == "const":
            return np.asarray(self.value, self.dtype.numpy)
        if self.op == "table":
            entries = self.entries() if self.value is not None else self.args[1]._evaluate(args)
            return entries[self.args[0]._evaluate(args)]
        operands = [widened(a._evaluate(args)) for a in self.args]
        if self.op == "cast":
            return cast_numpy(operands[0], self.dtype)
        return np.asarray(_NUMPY[self.op](*operands)).astype(self.dtype.numpy, copy=False)

    def substitute(self, args: Sequence[Expr]) -> Expr:
        """This expression with ``$i`` replaced by ``args[i]``."""
        if self.op == "arg":
            return args[int(self.value or 0)]
        return Expr(self.op, tuple(a.substitute(args) for a in self.args), self.dtype, self.value)

    def renumbered(self, numbers: Sequence[int] | Mapping[int, int]) -> Expr:
        """This expression with ``$i`` replaced by ``$numbers[i]``."""
        if self.op == "arg":
            return arg(numbers[int(self.value or 0)], self.dtype)
        return Expr(self.op, tuple(a.renumbered(numbers) for a in self.args), self.dtype, self.value)

    def arguments(self) -> set[int]:
        """The indices of the arguments in use."""
        if self.op == "arg":
            return {int(self.value or 0)}
        return set().union(*(a.arguments() for a in self.args)) if self.args else set()


def arg(index: int, dtype: DType) -> Expr:
    """The ``index``-th argument."""
    return Expr("arg", (), dtype, index)


def const(value: float | int | bool, dtype: DType) -> Expr:
    """A number, held as the element type would hold it."""
    with np.errstate(over="ignore"):
        held = dtype.numpy.type(float(value) if dtype.kind == "f" else value)
    return Expr("const", (), dtype, held.item())


def cast(x: Expr, dtype: DType) -> Expr:
    """``x`` converted; ``x`` itself where it has that type already."""
    return x if x.dtype is dtype else Expr("cast", (x,), dtype)


def select(condition: Expr, x: Expr, y: Expr) -> Expr:
    """``x`` where the condition holds, else ``y``. Raises TypeError on unequal types."""
    if condition.dtype is not DType.BOOL or x.dtype is not y.dtype:
        raise TypeError(f"select of {condition.dtype}, {x.dtype}, {y.dtype}")
    return Expr("select", (condition, x, y), x.dtype)


def call(op: str, *args: Expr) -> Expr:
    """An operation of UNARY or BINARY. Raises TypeError if the operand types differ or do not suit it."""
    if len(args) != (1 if op in UNARY else 2) or op not in UNARY | BINARY:
        raise TypeError(f"no operation {op!r} with {len(args)} operands")
    dtype = args[0].dtype
    if (
        any(a.dtype is not dtype for a in args)
        or (op in UNARY_FLOAT and dtype.kind != "f")
        or (op in COARSE.values() and dtype is not DType.F32)
        or (op in SHIFTS and dtype.kind not in "iu")
    ):
        raise TypeError(f"{op} of {', '.join(str(a.dtype) for a in args)}")
    return Expr(op, tuple(args), DType.BOOL if op in COMPARISONS else dtype)


def table(x: Expr, entries: np.ndarray | Expr) -> Expr:
    """``entries[x]``: of 256 values, or those of an argument, the one that ``x``, U8, says. Raises TypeError for
    another type of ``x`` or another number of entries."""
    if isinstance(entries, Expr):
        if x.dtype is not DType.U8 or entries.op != "arg":
            raise TypeError(f"table of {entries} by {x.dtype}")
        return Expr("table", (x, entries), entries.dtype)
    if x.dtype is not DType.U8 or entries.shape != (256,):
        raise TypeError(f"table of {entries.shape} entries by {x.dtype}")
    return Expr("table", (x,), DType.of(entries.dtype), np.ascontiguousarray(entries).tobytes())


def _runs(values: np.ndarray) -> str:
    """Numbers in order, equal neighbours as ``count * value``."""
    starts = [k for k in range(len(values)) if k == 0 or values[k].tobytes() != values[k - 1].tobytes()]
    counts = np.diff([*starts, len(values)])
    return ", ".join(f"{n} * {values[k]}" if n > 1 else f"{values[k]}" for k, n in zip(starts, counts, strict=True))


def cast_numpy(x: np.ndarray, dtype: DType) -> np.ndarray:
    """The meaning of ``cast``: float to integer truncates and saturates, NaN gives 0; to BOOL is ``!= 0``."""
    target = dtype.numpy
    if dtype is DType.BOOL:
        return x != 0
    if dtype.kind in "iu" and x.dtype.kind == "f":
        info = np.iinfo(target)
        with np.errstate(all="ignore"):
            y = np.trunc(np.nan_to_num(x, nan=0.0, posinf=np.inf, neginf=-np.inf))
            low, high = y <= float(info.min), y >= float(info.max)
            middle = np.where(low | high, 0, y).astype(target)
        return np.where(low, info.min, np.where(high, info.max, middle)).astype(target)
    return x.astype(target)


def widened(x: np.ndarray) -> np.ndarray:
    """bfloat16 values, of which NumPy knows little, as float32; others as they are."""
    return x.astype(np.float32) if x.dtype.kind == "V" else x


def _integer_or(float_form: Callable[..., Any], integer_form: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *rest: (float_form if x.dtype.kind == "f" else integer_form)(x, *rest)


def _integer_div(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    safe = np.where(y == 0, 1, y)
    quotient = np.floor_divide(x, safe)
    inexact = (quotient * safe != x) & ((x < 0) != (safe < 0))
    return np.where(y == 0, 0, quotient + inexact).astype(x.dtype)


def integer_power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``x ** y`` of integers of one type, modulo 2**bits; the truncated quotient for negative exponents."""
    base, exponent = np.broadcast_arrays(x, y)
    power = np.power(base, np.maximum(exponent, 0), dtype=x.dtype)
    unit = np.where(exponent % 2 == 0, np.abs(base), base) * (np.abs(base) == 1)
    return np.where(exponent < 0, unit, power).astype(x.dtype)


def shifted(x: np.ndarray, places: np.ndarray, left: bool) -> np.ndarray:
    """Integers shifted; a number of places that is not below the width, or negative, shifts everything out."""
    beyond = (places < 0) | (places >= x.dtype.itemsize * 8)
    safe = np.where(beyond, 0, places).astype(x.dtype)
    zero = np.zeros_like(x)
    if left:
        return np.where(beyond, zero, np.left_shift(x, safe))
    return np.where(beyond, np.where(x < 0, ~zero, zero), np.right_shift(x, safe))


def round_half_up(x: np.ndarray) -> np.ndarray:
    """floor(x + 0.5) without the rounding error of the sum."""
    low = np.floor(x)
    return low + ((x - low) >= 0.5).astype(x.dtype)


def _erf(x: np.ndarray) -> np.ndarray:
    import math

    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype) if x.size else x


def _sigmoid(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    e = np.exp(-np.abs(wide))
    return np.where(wide >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


_NUMPY: dict[str, Callable[..., Any]] = {
    "neg": np.negative,
    "abs": np.abs,
    "not": np.invert,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
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
    "erf": _erf,
    "sigmoid": _sigmoid,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": round_half_up,
    "round_even": _integer_or(np.rint, lambda x: x),
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _integer_or(np.divide, _integer_div),
    "pow": _integer_or(np.power, integer_power),
    "shl": lambda x, y: shifted(x, y, True),
    "shr": lambda x, y: shifted(x, y, False),
    "min": lambda x, y: np.where(x < y, x, y),
    "max": lambda x, y: np.where(x > y, x, y),
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "select": np.where,
}
_NUMPY |= {name: partial(coarse.evaluate, name) for name in coarse.FUNCTIONS}
