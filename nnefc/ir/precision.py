"""The precision in which kernels add up: half precision in F32, products of small integers in F64."""

from __future__ import annotations

from collections.abc import Collection

from nnefc.ir.expr import COMPARISONS, Expr, arg, cast
from nnefc.ir.types import DType
from nnefc.ir.view import View

HALVES = frozenset({DType.F16, DType.BF16})
"""Half precision: sums and what uses them are computed in F32 and rounded once."""


def wide_type(dtype: DType) -> DType:
    """The type in which sums of elements are computed."""
    return DType.F32 if dtype in HALVES else dtype


def in_wide(expr: Expr, wide: Collection[int] = ()) -> Expr:
    """An expression with its half precision computed in F32. The arguments ``wide`` are F32 already."""
    dtype = wide_type(expr.dtype)
    if expr.op == "arg":
        return arg(int(expr.value or 0), dtype) if expr.value in wide else cast(expr, dtype)
    if expr.op == "const":
        return Expr("const", (), dtype, expr.value)
    args = tuple(in_wide(a, wide) for a in expr.args)
    if expr.op == "cast":
        return cast(args[0], dtype)
    if expr.op == "table":
        return cast(Expr(expr.op, args, expr.dtype, expr.value), dtype)
    return Expr(expr.op, args, DType.BOOL if expr.op in COMPARISONS else dtype)


def wide_sum(expr: Expr, post: Expr | None) -> tuple[Expr, Expr]:
    """A sum or product of elements of half precision, and what is done with it, in F32 and rounded in the end."""
    final = arg(0, DType.F32) if post is None else in_wide(post, {0})
    return in_wide(expr), cast(final, expr.dtype if post is None else post.dtype)


def wide_reduction(op: str, expr: Expr, post: Expr | None) -> tuple[Expr, Expr | None]:
    """``expr`` to be reduced by ``op``, and ``post``: half precision is added up and multiplied in F32."""
    return wide_sum(expr, post) if op in ("sum", "prod") and expr.dtype in HALVES else (expr, post)


def wide_row(
    stages: tuple[tuple[str, Expr], ...], expr: Expr, inputs: int
) -> tuple[tuple[tuple[str, Expr], ...], Expr]:
    """The stages and the map of a Row whose half precision is computed in F32 and rounded in the end."""
    results = range(inputs, inputs + len(stages))
    return tuple((op, in_wide(e, results)) for op, e in stages), cast(in_wide(expr, results), expr.dtype)


def product_type(dtype: DType) -> DType | None:
    """The type in which products of two matrices are computed by a Contract, or None if it has none.

    F64 holds every sum of fewer than 2**21 products of 16-bit integers exactly."""
    if dtype.kind == "f":
        return wide_type(dtype)
    return DType.F64 if dtype.bits <= 16 else None


def rounded_product(dtype: DType, post: Expr | None) -> Expr | None:
    """What a Contract in ``product_type(dtype)`` stores for one of ``dtype`` that is followed by ``post``."""
    wide = product_type(dtype)
    assert wide is not None
    if wide is dtype:
        return post
    if dtype in HALVES:
        return wide_sum(arg(0, dtype), post)[1]
    total = cast(cast(arg(0, wide), DType.I64), dtype)
    return total if post is None else _with_result(post, total)


def _with_result(expr: Expr, result: Expr) -> Expr:
    """An expression with ``$0`` replaced."""
    if expr.op == "arg":
        return result if expr.value == 0 else expr
    return Expr(expr.op, tuple(_with_result(a, result) for a in expr.args), expr.dtype, expr.value)


def memory_of(view: View) -> View | None:
    """All memory from the first to the last element of a view, where that is no more than the view has; else None."""
    low, high = view.span
    return View(view.buffer, low, (high - low,), (1,)) if high - low <= view.volume else None
