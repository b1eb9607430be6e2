"""Numbers in which like expressions differ, and tables, become operands, so that calls that differ in them share a
kernel.

Calls are alike that are of one family and whose expressions, on operands of the same types, differ in numbers and
tables alone. Of their numbers, those that differ somewhere are lifted. What decides the code stays: numbers that bound
a value (``min``, ``max`` and comparisons), by which conversions need not saturate, exponents, shifts, integer divisors,
and a whole expression, which fills memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnefc.ir.expr import Expr, arg, table
from nnefc.ir.program import Call, Contract, Map, Program, Reduce
from nnefc.ir.view import View
from nnefc.ir.window import Window
from nnefc.passes.operands import Constants

LINEAR = frozenset({"add", "sub", "mul"})
"""Operations that cost the same by a number as by an operand; ``div`` does for floats."""

Column = tuple[object, ...]
"""What stands at one place in the expressions of calls that are alike."""


def lift(program: Program) -> Program:
    """The program with such numbers and all tables as operands; the same object where there are none."""
    forms = [_form(c) for c in program.calls]
    rows: dict[object, list[list[object]]] = {}
    for form in forms:
        if form is not None:
            rows.setdefault(form.key, []).append([_identity(e) for e in form.movable()])
    columns = {key: list(zip(*values, strict=True)) for key, values in rows.items()}
    constants = Constants(program, "lifted")
    calls = tuple(
        c if form is None or not columns[form.key] else _Lifting(c, form, columns[form.key], constants).result()
        for c, form in zip(program.calls, forms, strict=True)
    )
    if all(a is b for a, b in zip(calls, program.calls, strict=True)):
        return program
    return program.replace(calls=calls, constants=constants.values)


@dataclass(frozen=True)
class _Form:
    """The expressions of a call whose operands from the argument ``first`` on are ``views``; ``key`` is the same for
    calls that are alike."""

    key: object
    exprs: tuple[Expr, ...]
    views: tuple[View, ...]
    first: int
    shape: tuple[int, ...]

    def movable(self) -> Iterator[Expr]:
        """The numbers and tables that may be lifted, in the order of the expressions."""
        for e in self.exprs:
            yield from _movable(e)


def _form(c: Call) -> _Form | None:
    """The form of a call; None for one whose expressions stay."""
    if isinstance(c, Map):
        exprs, views, first, shape = c.exprs, c.inputs, 0, c.outputs[0].shape
    elif isinstance(c, (Contract, Window, Reduce)) and c.post is not None:
        exprs, views, first, shape = (c.post,), c.extras, 1, c.output.shape
    else:
        return None
    key = type(c), tuple(v.dtype for v in views), tuple(map(_alike, exprs))
    return _Form(key, exprs, views, first, shape)


def _linear(expr: Expr) -> bool:
    return expr.op in LINEAR or (expr.op == "div" and expr.dtype.kind == "f")


def _is_table(expr: Expr) -> bool:
    return expr.op == "table" and expr.value is not None


def _movable(expr: Expr) -> Iterator[Expr]:
    if _is_table(expr):
        yield expr
    for a in expr.args:
        if a.op == "const" and _linear(expr):
            yield a
        yield from _movable(a)


def _identity(leaf: Expr) -> object:
    """What two numbers, or two tables, of a type share if they are the same."""
    return leaf.value if isinstance(leaf.value, bytes) else repr(leaf.value)


def _alike(expr: Expr) -> Expr:
    """The expression with one number, or one table, for all that may be lifted."""
    free = _linear(expr)
    args = tuple(replace(a, value=0) if free and a.op == "const" else _alike(a) for a in expr.args)
    return Expr(expr.op, args, expr.dtype, b"" if _is_table(expr) else expr.value)


class _Lifting:
    """The rewriting of one call. What is equal at several places, in each of the calls that are alike, becomes one
    operand."""

    def __init__(self, call: Call, form: _Form, columns: Sequence[Column], constants: Constants):
        self._call, self._form, self._constants = call, form, constants
        self._columns = iter(columns)
        self._views = list(form.views)
        self._places: dict[object, Expr] = {}

    def result(self) -> Call:
        """The call with such operands; the same object if there are none."""
        exprs = tuple(map(self._rewritten, self._form.exprs))
        if not self._places:
            return self._call
        if isinstance(self._call, Map):
            return replace(self._call, exprs=exprs, inputs=tuple(self._views))
        assert isinstance(self._call, (Contract, Window, Reduce))
        return replace(self._call, post=exprs[0], extras=tuple(self._views))

    def _rewritten(self, expr: Expr) -> Expr:
        entries = self._table(expr) if _is_table(expr) else None
        args = tuple(self._number(a) if a.op == "const" and _linear(expr) else self._rewritten(a) for a in expr.args)
        return Expr(expr.op, args, expr.dtype, expr.value) if entries is None else table(args[0], entries)

    def _table(self, expr: Expr) -> Expr:
        return self._operand(next(self._columns), self._constants.table(expr.entries(), self._form.shape))

    def _number(self, expr: Expr) -> Expr:
        column = next(self._columns)
        if len(set(column)) == 1:
            return expr
        values = np.asarray(expr.value, expr.dtype.numpy)
        return self._operand(column, self._constants.number(values, self._form.shape))

    def _operand(self, column: Column, view: View) -> Expr:
        key = view.dtype, view.buffer.role, column
        if key not in self._places:
            self._places[key] = arg(self._form.first + len(self._views), view.dtype)
            self._views.append(view)
        return self._places[key]
