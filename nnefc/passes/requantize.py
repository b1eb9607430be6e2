"""Requantization in one form: a byte made of sums of codes by one product, one rounding and one cut at either end.

What a kernel stores as a code is an expression of codes, of an integer sum and of constants: scales, a bias, batch
normalization, a residual, relu or clamp. Here it becomes

    y = cast<f32>($0 + b) m + cast<f32>($1) n + ... + c
    cast<u8>(max(min(cast<i32>(round_even(min(y, 255))) + z, 255), low))    ONNX: halves to even
    cast<u8>(max(cast<i32>(min(y + (z + 0.5), 255)), low))                  NNEF: floor(x + 0.5)

with one product for each tensor of codes. ``b`` is an I32, the bias in steps of the sum and what zero points
contribute, and ``m``, ``n``, ``c`` are F32. ``z`` is the result's zero point; ``low`` is the least of its codes, or of
those that relu leaves, and where the greatest is not 255, ``y`` is cut off there first. All of these are operands, so
that layers that differ in them share a kernel; zeros are left out. The inner 255 tells kernels that a conversion does
not saturate at the upper end. Floats that functions computed (softmax, normalizations, ...) take the place of a sum in
this form; others are divided by the scale, as the standard says.

What makes a code of one other code by functions (exp, sigmoid, ...) is looked up in a table of 256.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nnefc.ir.expr import COARSE as COARSE_FUNCTIONS
from nnefc.ir.expr import Expr, arg, call, cast, const, table
from nnefc.ir.interpret import array
from nnefc.ir.program import Call, Contract, Map, Program, Reduce, Row
from nnefc.ir.types import DType
from nnefc.ir.view import View, dense_strides
from nnefc.ir.window import Window
from nnefc.passes.coded import once
from nnefc.passes.codes import WHOLE, Quantization, argument_code, quantization_of, replaced
from nnefc.passes.operands import Constants
from nnefc.passes.products import MOST, most_of

F32, I32 = DType.F32, DType.I32
COARSE = 1 / 16
"""Codes that a step of the sum may make for a bias to be rounded to steps: what is lost is half as much."""
RESULTS = 1 << 20
"""The number of the first result of a Row while operands are added."""
STEEP = 4096.0
"""Codes that a unit of a result makes beyond which its functions are computed precisely."""
INTEGER_ZERO = 1e-3
"""How far from a whole number a zero point may lie, by rounding."""


def requantize(program: Program) -> Program:
    """The program with what makes codes of integers in one form; the same object where nothing does."""
    state = Constants(program, "requantize")
    calls = tuple(_requantized(c, state) for c in program.calls)
    if all(a is b for a, b in zip(calls, program.calls, strict=True)):
        return program
    return program.replace(calls=calls, constants=state.values)


def _requantized(c: Call, constants: Constants) -> Call:
    if isinstance(c, Map) and len(c.exprs) == 1:
        form = _Form(c.inputs, 0, c.outputs[0], constants, 0)
        expr = form.rewritten(c.exprs[0])
        return c if expr is c.exprs[0] else replace(c, exprs=(expr,), inputs=tuple(form.views))
    if isinstance(c, Row):
        count = len(c.inputs)
        numbers = [*range(count), *range(RESULTS, RESULTS + len(c.stages))]
        form = _Form(c.inputs, 0, c.output, constants, 0)
        before = c.expr.renumbered(numbers)
        expr = form.rewritten(before)
        return c if expr is before else _with_inputs(c, tuple(form.views), expr)
    if isinstance(c, (Contract, Window, Reduce)) and c.post is not None:
        form = _Form(c.extras, 1, c.output, constants, _most(c, constants))
        expr = form.rewritten(c.post)
        return c if expr is c.post else replace(c, post=expr, extras=tuple(form.views))
    return c


def _with_inputs(row: Row, views: tuple[View, ...], expr: Expr) -> Row:
    """A Row of ``views``, the first of which it has, and of an expression whose results are numbered from RESULTS."""
    more = len(views) - len(row.inputs)
    numbers = {k: k if k < len(row.inputs) else k + more for k in range(len(row.inputs) + len(row.stages))}
    results = {RESULTS + k: len(views) + k for k in range(len(row.stages))}
    final = expr.renumbered({**{k: k for k in range(len(views))}, **results})
    stages = tuple((op, e.renumbered(numbers)) for op, e in row.stages)
    return replace(row, stages=stages, expr=final, inputs=views)


def _most(c: Contract | Window | Reduce, constants: Constants) -> int:
    """What the integer sum of a call may come to."""
    weights, kept = _weights(c)
    if weights is not None and weights.dtype is I32 and weights.buffer.name in constants.values:
        axes = range(kept, weights.rank - isinstance(c, Contract))
        return most_of(array(once(weights), constants.values), tuple(axes))
    if isinstance(c, Contract):
        if c.w.dtype is not DType.I8:
            return 0
        known = constants.values.get(c.w.buffer.name)
        peak = WHOLE[1] if known is None else max(int(known.max(initial=0)), -int(known.min(initial=0)))
        return WHOLE[1] * peak * int(np.prod(c.w.shape[c.groups : -1]))
    count = c.taps if isinstance(c, Window) else int(np.prod(c.inputs[0].shape[c.inputs[0].rank - c.axes :]))
    weighted = len(c.weights) if isinstance(c, Window) else len(c.inputs) - 1
    return WHOLE[1] * count * (128 if weighted else 1)


def _weights(c: Contract | Window | Reduce) -> tuple[View | None, int]:
    """What the codes of a call are multiplied by, and how many of its dimensions come before those summed up."""
    if isinstance(c, Contract):
        return c.w, c.groups
    more, kept = (c.weights, c.kept) if isinstance(c, Window) else (c.inputs[1:], c.output.rank)
    return (more[0] if more else None), kept


@dataclass
class _Linear:
    """A sum of ``factors[k] * atoms[k]`` and ``offset``; factors and the offset are F64 arrays of the output's rank."""

    offset: np.ndarray
    factors: list[np.ndarray] = field(default_factory=list)
    atoms: list[Expr] = field(default_factory=list)

    def scaled(self, factor: np.ndarray) -> _Linear:
        return _Linear(self.offset * factor, [f * factor for f in self.factors], self.atoms)

    def plus(self, other: _Linear) -> _Linear:
        result = _Linear(self.offset + other.offset, list(self.factors), list(self.atoms))
        for f, a in zip(other.factors, other.atoms, strict=True):
            if a in result.atoms:
                result.factors[result.atoms.index(a)] = result.factors[result.atoms.index(a)] + f
            else:
                result.factors.append(f)
                result.atoms.append(a)
        return result


class _Form:
    """The expression of one call under rewriting; ``views`` are its operands from the argument ``first`` on."""

    def __init__(self, views: Sequence[View], first: int, output: View, constants: Constants, most: int):
        self.views = list(views)
        self._first, self._output, self._constants, self._most = first, output, constants, most

    def rewritten(self, expr: Expr) -> Expr:
        """The expression with every quantization of integers in the one form, and functions of one code as tables; the
        same object where there is none."""
        found = quantization_of(expr)
        made = self._quantized(expr, found) if found is not None else None
        if made is not None:
            return made
        args = tuple(map(self.rewritten, expr.args))
        changed = any(a is not b for a, b in zip(args, expr.args, strict=True))
        return Expr(expr.op, args, expr.dtype, expr.value) if changed else expr

    def _quantized(self, expr: Expr, q: Quantization) -> Expr | None:
        """One quantization, ``expr``; None where it is one of floats that no function computed, which keeps its
        quotient."""
        scale = self._constant(q.scale)
        if scale is None or scale.size != 1 or q.value.dtype is not F32:
            return None
        step = scale.reshape(())
        value, low, high = self._peeled(q, float(step))
        linear = self._linear(value).scaled(1 / step)
        floats = all(e.dtype is F32 for e in self._sources(linear.atoms))
        if not linear.atoms or (floats and not value.has_function()):
            return None
        code = argument_code(expr) if any(a.dtype is F32 for a in linear.atoms) else None
        if code is not None:
            entries = replaced(expr, code, arg(0, DType.U8)).evaluate([np.arange(256, dtype=np.uint8)])
            return table(self.rewritten(code), entries)
        plain = self._plain(q, linear, low, high)
        if plain is not None:
            return plain
        linear = _coarser(linear)
        y, offset = self._sum(linear)
        even = q.rounding == "round_even"
        if not even:
            offset = offset + (q.zero + 0.5)
        if offset.any():
            y = call("add", y, self._operand(offset.astype(np.float32)))
        if high < WHOLE[1]:
            y = call("min", y, self._operand(np.asarray(high - q.zero * even, np.float32)))
        y = call("min", y, const(WHOLE[1], F32))
        code = cast(call("round_even", y) if even else y, I32)
        if even and q.zero:
            code = call("add", code, self._operand(np.asarray(q.zero, np.int32)))
            code = call("min", code, const(WHOLE[1], I32)) if high == WHOLE[1] else code
        least = self._operand(np.asarray(low, np.int32)) if low else const(0, I32)
        return cast(call("max", code, least), DType.U8)

    def _peeled(self, q: Quantization, step: float) -> tuple[Expr, int, int]:
        """What remains of the value without cuts by numbers at its end, which cut the codes instead."""
        value, low, high = q.value, q.low, q.high
        while value.op in ("max", "min") and any(a.op == "const" for a in value.args):
            bound, rest = value.args if value.args[0].op == "const" else value.args[::-1]
            code = _rounded(np.float64(bound.number()) / step, q.rounding) + q.zero
            code = int(min(max(code, q.low), q.high))
            if value.op == "max":
                low = max(low, min(code, high))
            else:
                high = min(high, code)
            value = rest
        return value, low, high

    def _plain(self, q: Quantization, linear: _Linear, low: int, high: int) -> Expr | None:
        """A code that is another, moved by whole steps: cut off, where that is the code itself."""
        if len(linear.atoms) != 1 or linear.atoms[0].dtype is not DType.U8:
            return None
        (factor,), moved = linear.factors, linear.offset + q.zero
        if np.abs(factor - 1).max() > 1e-6 or np.abs(moved).max() > 1e-3:
            return None
        code = linear.atoms[0]
        code = call("min", code, const(high, DType.U8)) if high < WHOLE[1] else code
        return call("max", code, const(low, DType.U8)) if low > WHOLE[0] else code

    def _sum(self, linear: _Linear) -> tuple[Expr, np.ndarray]:
        """The atoms times their factors, added up, and the offset that is left."""
        total, offset = None, linear.offset
        order = sorted(range(len(linear.atoms)), key=lambda k: linear.atoms[k].dtype is not I32)
        for k in order:
            atom, factor = linear.atoms[k], linear.factors[k]
            if atom.dtype is I32 and total is None:
                steps = self._in_steps(offset, factor)
                if steps is not None:
                    atom = call("add", atom, self._operand(steps)) if steps.any() else atom
                    offset = np.zeros(())
            value = call("mul", cast(atom, F32), self._operand(factor.astype(np.float32)))
            total = value if total is None else call("add", total, value)
        assert total is not None
        return total, offset

    def _in_steps(self, offset: np.ndarray, factor: np.ndarray) -> np.ndarray | None:
        """An offset in steps of the sum, where these are fine enough and the sum holds them."""
        if (np.abs(factor) > COARSE).any() or not factor.all():
            return None
        steps = np.rint(offset / factor)
        fits = np.abs(steps).max(initial=0) + self._most <= MOST
        return steps.astype(np.int32) if fits else None

    # ---- linear forms

    def _linear(self, expr: Expr) -> _Linear:
        value = self._constant(expr)
        if value is not None:
            return _Linear(value)
        computed = expr.dtype is I32 and all(a.dtype is I32 and self._constant(a) is None for a in expr.args)
        if expr.op in ("add", "sub") and not computed:
            first, second = map(self._linear, expr.args)
            return first.plus(second if expr.op == "add" else second.scaled(np.asarray(-1.0)))
        if expr.op == "neg":
            return self._linear(expr.args[0]).scaled(np.asarray(-1.0))
        if expr.op in ("mul", "div") and expr.dtype is F32:
            x, y = expr.args
            right = self._constant(y)
            if right is not None and (expr.op == "mul" or right.all()):
                return self._linear(x).scaled(right if expr.op == "mul" else 1 / right)
            left = self._constant(x) if expr.op == "mul" else None
            if left is not None:
                return self._linear(y).scaled(left)
            product = self._product(x, y) if expr.op == "mul" else None
            if product is not None:
                return product
        if expr.op == "cast" and _widens(expr.args[0].dtype, expr.dtype):
            return self._linear(expr.args[0])
        return _Linear(np.zeros(()), [np.ones(())], [self.rewritten(expr)])

    def _product(self, x: Expr, y: Expr) -> _Linear | None:
        """The product of two codes, each less its zero point, which F32 holds; None for any other product."""
        parts: list[Expr] = []
        scale = np.ones(())
        for linear in map(self._linear, (x, y)):
            if len(linear.atoms) != 1 or linear.atoms[0].dtype is not DType.U8 or linear.factors[0].size != 1:
                return None
            (atom,), (factor,) = linear.atoms, linear.factors
            if linear.offset.size != 1 or not factor.all():
                return None
            zero = -linear.offset / factor
            whole = np.rint(zero)
            if np.abs(zero - whole).max() > INTEGER_ZERO:
                return None
            steps = cast(atom, I32)
            if whole.any():
                steps = call("sub", steps, self._operand(whole.astype(np.int32)))
            parts.append(cast(steps, F32))
            scale = scale * factor
        return _Linear(np.zeros(()), [scale], [call("mul", *parts)])

    def _sources(self, exprs: Sequence[Expr]) -> Iterator[Expr]:
        """What expressions are made of: codes, each whole, and arguments that are not constant."""
        for e in exprs:
            if e.dtype is DType.U8 or (e.op == "arg" and self._constant(e) is None):
                yield e
            else:
                yield from self._sources(e.args)

    def _constant(self, expr: Expr) -> np.ndarray | None:
        """The values of an expression of constants, F64, of the output's rank; None for any other."""
        views: dict[int, View] = {}
        for k in expr.arguments():
            if not self._first <= k < self._first + len(self.views):
                return None
            if self.views[k - self._first].buffer.name not in self._constants.values:
                return None
            views[k] = once(self.views[k - self._first])
        if expr.dtype is DType.BOOL or (not views and expr.op == "arg"):
            return None
        args = [
            array(views[k], self._constants.values) if k in views else np.zeros(())
            for k in range(max(views, default=-1) + 1)
        ]
        return expr.evaluate(args).astype(np.float64)

    def _operand(self, values: np.ndarray) -> Expr:
        """Values that broadcast to the output as one more operand."""
        dtype, strides = DType.of(values.dtype), (0,) * self._output.rank
        if (values == values.flat[0]).all():
            values = values.reshape(-1)[:1]
        else:
            steps = zip(values.shape, dense_strides(values.shape), strict=True)
            strides = tuple(s if n > 1 else 0 for n, s in steps)
        view = View(self._constants.add(values), 0, self._output.shape, strides)
        if view not in self.views:
            self.views.append(view)
        return arg(self._first + self.views.index(view), dtype)


def _coarser(linear: _Linear) -> _Linear:
    """The same with coarser functions, where what they are multiplied by does not make more than a fraction of a code
    of what they lose."""
    steep = (np.abs(f).max(initial=0) > STEEP for f in linear.factors)
    atoms = [a if s or a.dtype is not F32 else _coarse(a) for a, s in zip(linear.atoms, steep, strict=True)]
    return _Linear(linear.offset, linear.factors, atoms)


def _coarse(expr: Expr) -> Expr:
    """An F32 expression with coarser functions, but in codes that are parts of it."""
    if expr.dtype is not F32:
        return expr
    return Expr(COARSE_FUNCTIONS.get(expr.op, expr.op), tuple(map(_coarse, expr.args)), F32, expr.value)


def _widens(source: DType, target: DType) -> bool:
    """Whether a conversion keeps the number, of the sums and codes that there are."""
    return source in (I32, DType.U8) and target in (F32, I32) and source is not target


def _rounded(value: np.float64, rounding: str) -> float:
    return float(np.rint(value) if rounding == "round_even" else np.floor(value + 0.5))
