"""ProgramBuilder: what an operation's ``lower`` writes its kernel-family calls with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np

from nnefc.errors import UnsupportedError
from nnefc.ir.border import fill_border
from nnefc.ir.broadcast import broadcast_shape, leading, order_of
from nnefc.ir.expr import Expr, arg, call, cast, const
from nnefc.ir.graph import Literal, Operand, Origin, Value
from nnefc.ir.precision import HALVES, memory_of, product_type, rounded_product, wide_reduction, wide_row
from nnefc.ir.program import BoxReduce, Call, Contract, Gather, Map, Port, Program, Reduce, Row
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.ir.window import Slide, Window

Source = Operand | View

MAX_MEMORY = 1 << 40
"""Bytes that a tensor, and the whole memory of a Program, may take."""
MAX_CALLS = 1 << 15
"""Kernel calls that a Program may have."""
MAX_TABLES = 1 << 24
"""Elements that the tables which lowerings compute may have together."""


def channels_last(rank: int) -> tuple[int, ...]:
    """The memory order N, spatial..., C of a tensor whose dimensions are N, C, spatial... (row-major below rank 3)."""
    return (0, *range(2, rank), 1) if rank >= 3 else tuple(range(rank))


class ProgramBuilder:
    """Collects calls and the views that stand for a Graph's values.

    Dimensions of a view are the tensor's own; how they lie in memory is only in its strides. Methods that compute take
    ``out``, a view to write to, or make a new one whose dimensions lie in ``order`` (outermost first) or, by default,
    in the order of the largest input. They return the written view.
    """

    def __init__(self, name: str):
        self.name = name
        self.origin = Origin()
        self._values: dict[str, View] = {}
        self._calls: list[Call] = []
        self._names: dict[str, int] = {}
        self._table_elements = 0
        self._constants: dict[str, np.ndarray] = {}
        self._states: dict[str, np.ndarray] = {}
        self._updates: list[tuple[View, View]] = []
        self._inputs: list[tuple[Port, Buffer]] = []
        self._outputs: list[tuple[Port, Buffer]] = []

    # ---- values and memory

    def view(self, source: Source) -> View:
        """The view of a value; a literal becomes a constant of rank 0."""
        if isinstance(source, View):
            return source
        if isinstance(source, Literal):
            return self.const(np.asarray(source.value, source.dtype.numpy))
        return self._values[source.name]

    def put(self, value: Value, view: View) -> None:
        """Say where a value lies. Its shape must be that of the value's type."""
        if view.shape != value.type.extents or view.dtype is not value.type.dtype:
            raise ValueError(f"{value.name}: {value.type} lowered to {view.dtype}{view.shape}")
        self._values[value.name] = view

    def new(self, shape: Sequence[int], dtype: DType, order: Sequence[int] | None = None, name: str = "") -> View:
        """Scratch memory, dense, its dimensions in ``order``."""
        return self._dense(shape, dtype, Role.TEMP, order, name)

    def const(self, array: np.ndarray, name: str = "") -> View:
        """A constant tensor, row-major."""
        view = self._dense(array.shape, DType.of(array.dtype), Role.CONST, None, name or "const")
        self._constants[view.buffer.name] = np.ascontiguousarray(array).reshape(-1)
        return view

    def state(self, array: np.ndarray, name: str) -> View:
        """Memory that keeps its values between runs, with its initial values."""
        view = self._dense(array.shape, DType.of(array.dtype), Role.STATE, None, name)
        self._states[view.buffer.name] = np.ascontiguousarray(array).reshape(-1)
        return view

    def update(self, state: View, value: View) -> None:
        """After the run, ``state`` takes ``value``: all readers in this run see the old values."""
        self._updates.append((state, value))

    def input(self, name: str, dtype: DType, shape: Sequence[int]) -> View:
        """A tensor that the caller gives."""
        view = self._dense(shape, dtype, Role.INPUT, None, name)
        self._inputs.append((Port(name, dtype, tuple(shape)), view.buffer))
        return view

    def output(self, name: str, source: Source) -> None:
        """A tensor that the caller gets."""
        view = self.view(source)
        target = self._dense(view.shape, view.dtype, Role.OUTPUT, None, f"{name}.out")
        self._outputs.append((Port(name, view.dtype, view.shape), target.buffer))
        self.copy(view, target)

    def _dense(self, shape: Sequence[int], dtype: DType, role: Role, order: Sequence[int] | None, name: str) -> View:
        name = self._unique(name or (self.origin.names[0] if self.origin.names else "t"))
        size = math.prod(shape)
        if size * dtype.size > MAX_MEMORY:
            self._refuse(f"{size * dtype.size} bytes for {name!r}; at most {MAX_MEMORY} are")
        return View(Buffer(name, dtype, size, role), 0, tuple(shape), dense_strides(shape, order))

    def _unique(self, name: str) -> str:
        candidate = name
        while candidate in self._names:
            self._names[name] += 1
            candidate = f"{name}.{self._names[name]}"
        self._names[candidate] = 1
        return candidate

    def reserve(self, elements: int) -> None:
        """Announce a constant of so many elements that a lowering is about to compute: tables of weights or numbers.
        Raises UnsupportedError if those of the whole Program exceed MAX_TABLES."""
        self._table_elements += elements
        if self._table_elements > MAX_TABLES:
            self._refuse(f"tables of {self._table_elements} elements; at most {MAX_TABLES} are")

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedError(f"this needs {what} supported").at(self.origin.location)

    # ---- calls

    def emit(self, call: Call) -> None:
        """Append a call, unless it writes nothing. Raises UnsupportedError beyond MAX_CALLS."""
        if any(v.volume for v in call.writes()):
            if len(self._calls) >= MAX_CALLS:
                self._refuse(f"a network of more than {MAX_CALLS} kernel calls; so many are not")
            self._calls.append(replace(call, origin=self.origin))

    def map(
        self,
        expr: Expr,
        inputs: Sequence[View],
        *,
        out: View | None = None,
        order: Sequence[int] | None = None,
        shape: Sequence[int] | None = None,
    ) -> View:
        """``expr`` for each element. Inputs broadcast, leading dimensions aligned, to ``shape`` (default: theirs)."""
        full = tuple(shape) if shape is not None else out.shape if out is not None else broadcast_shape(inputs)
        if out is None:
            out = self.new(full, expr.dtype, order if order is not None else order_of(inputs, full))
        self.emit(Map((expr,), tuple(v.broadcast_to(full) for v in inputs), (out,)))
        return out

    def elementwise(
        self,
        function: Callable[..., Expr],
        operands: Sequence[Source],
        *,
        out: View | None = None,
        order: Sequence[int] | None = None,
        shape: Sequence[int] | None = None,
    ) -> View:
        """``function`` of one Expr per operand, for each element; literals become constants inside the expression."""
        views: list[View] = []
        exprs: list[Expr] = []
        for operand in operands:
            if isinstance(operand, Literal):
                exprs.append(const(operand.value, operand.dtype))
            else:
                view = self.view(operand)
                exprs.append(arg(len(views), view.dtype))
                views.append(view)
        if not views and shape is None and out is None:
            shape = ()
        return self.map(function(*exprs), views, out=out, order=order, shape=shape)

    def copy(self, view: View, out: View) -> View:
        """Copy elements, broadcasting leading-aligned."""
        return self.map(arg(0, view.dtype), [view], out=out)

    def fill(self, out: View, value: float | int | bool) -> View:
        """Set every element."""
        return self.map(const(value, out.dtype), [], out=out)

    def cast(self, view: View, dtype: DType) -> View:
        """The view converted, or itself where it has the type."""
        return view if view.dtype is dtype else self.map(cast(arg(0, view.dtype), dtype), [view])

    def reduce(
        self,
        op: str,
        inputs: Sequence[View],
        axes: int,
        *,
        expr: Expr | None = None,
        post: Expr | None = None,
        extras: Sequence[View] = (),
        out: View | None = None,
        order: Sequence[int] | None = None,
    ) -> View:
        """Reduce the last ``axes`` dimensions of ``expr`` over the inputs (default: the only one): see ``Reduce``.

        Inputs must have one rank; extents of 1 are repeated. ``extras`` broadcast to the result's shape."""
        full = broadcast_shape(inputs)
        kept = full[: len(full) - axes]
        expr, post = wide_reduction(op, expr if expr is not None else arg(0, inputs[0].dtype), post)
        dtype = post.dtype if post is not None else DType.I64 if op.startswith("arg") else expr.dtype
        if out is None:
            default = tuple(d for d in order_of(inputs, full) if d < len(kept))
            out = self.new(kept, dtype, order if order is not None else default)
        wide = tuple(v.broadcast_to(full) for v in inputs)
        self.emit(Reduce(op, expr, post, wide, tuple(v.broadcast_to(kept) for v in extras), out, axes))
        return out

    def window(
        self,
        op: str,
        x: View,
        slides: Sequence[Slide],
        out: View,
        *,
        weights: Sequence[View] = (),
        expr: Expr | None = None,
        post: Expr | None = None,
        extras: Sequence[View] = (),
    ) -> View:
        """Reduce the windows over the last ``len(slides)`` dimensions of ``x``: see ``Window``. The other dimensions of
        ``x`` and ``weights`` and all of ``extras`` broadcast to the output's. Half precision is added up in F32."""
        expr, post = wide_reduction(op, expr if expr is not None else arg(0, x.dtype), post)
        kept, sizes = out.shape[: out.rank - len(slides)], tuple(s.size for s in slides)
        x, taps = x.broadcast_to(kept + x.shape[len(kept) :]), tuple(w.broadcast_to(kept + sizes) for w in weights)
        added = tuple(v.broadcast_to(out.shape) for v in extras)
        self.emit(Window(op, expr, post, x, taps, added, out, tuple(slides)))
        return out

    def row(
        self,
        stages: Sequence[tuple[str, Expr]],
        expr: Expr,
        inputs: Sequence[View],
        axes: int,
        *,
        out: View | None = None,
        order: Sequence[int] | None = None,
    ) -> View:
        """Reductions over the last ``axes`` dimensions and a map that uses them: see ``Row``."""
        full, stages = broadcast_shape(inputs), tuple(stages)
        if any(e.dtype in HALVES for _, e in stages):
            stages, expr = wide_row(stages, expr, len(inputs))
        if out is None:
            out = self.new(full, expr.dtype, order if order is not None else order_of(inputs, full))
        self.emit(Row(stages, expr, tuple(v.broadcast_to(full) for v in inputs), out, axes))
        return out

    def contract(
        self,
        x: View,
        w: View,
        *,
        groups: int,
        reduced: int,
        post: Expr | None = None,
        extras: Sequence[View] = (),
        out: View | None = None,
        order: Sequence[int] | None = None,
    ) -> View:
        """Sum of products of ``x`` (G, P, R) and ``w`` (G, R, O) over R: see ``Contract``. Extents of 1 in ``groups``
        dimensions are repeated. The result has dimensions G, P, O, by default row-major.

        Half precision is computed in F32 and rounded once, ``post`` included; integers are exact modulo their width
        (those of at most 16 bits by way of F64, if fewer than 2**21 are summed)."""
        lead = broadcast_shape([leading(x, groups), leading(w, groups)])
        x = x.broadcast_to(lead + x.shape[groups:])
        w = w.broadcast_to(lead + w.shape[groups:])
        shape = x.shape[: x.rank - reduced] + w.shape[-1:]
        if x.shape[x.rank - reduced :] != w.shape[groups:-1]:
            raise ValueError(f"contraction of {x.shape} and {w.shape} over {reduced} dimensions")
        if out is None:
            out = self.new(shape, x.dtype if post is None else post.dtype, order)
        extras = tuple(v.broadcast_to(shape) for v in extras)
        wide = product_type(x.dtype)
        if wide is None:
            self._add_products(x, w, groups, reduced, post, extras, out)
            return out
        post = rounded_product(x.dtype, post)
        x, w = self._cast_memory(x, wide), self._cast_memory(w, wide)
        self.emit(Contract(x, w, post, extras, out, groups, reduced))
        return out

    def _cast_memory(self, view: View, dtype: DType) -> View:
        """The view converted; its memory is, where it has fewer elements than the view, as under windows."""
        memory = memory_of(view)
        if view.dtype is dtype or memory is None:
            return self.cast(view, dtype)
        wide = self.cast(memory, dtype)
        return View(wide.buffer, view.offset - memory.offset, view.shape, view.strides)

    def _add_products(
        self, x: View, w: View, groups: int, reduced: int, post: Expr | None, extras: tuple[View, ...], out: View
    ) -> None:
        """A contraction as sums of products, in the element type itself."""
        first = x.rank - reduced
        rows = replace(x.expand_dims(first), shape=(*x.shape[:first], w.shape[-1], *x.shape[first:]))
        columns = w.transpose((*range(groups), w.rank - 1, *range(groups, w.rank - 1)))
        for _ in range(first - groups):
            columns = columns.expand_dims(groups)
        product = call("mul", arg(0, x.dtype), arg(1, x.dtype))
        self.reduce("sum", [rows, columns], reduced, expr=product, post=post, extras=extras, out=out)

    def gather(
        self, x: View, index: View, axis: int, *, check: bool = True, batch: int = 0, out: View | None = None
    ) -> View:
        """Elements of ``x`` along ``axis`` at the I64 indices: see ``Gather``."""
        if out is None:
            out = self.new(x.shape[:axis] + index.shape[batch:] + x.shape[axis + 1 :], x.dtype)
        self.emit(Gather(x, index, out, axis, check, batch))
        return out

    def box_reduce(self, op: str, x: View, batch: View, rows: View, columns: View, *, out: View | None = None) -> View:
        """Pooling over boxes that data define: see ``BoxReduce``."""
        if out is None:
            shape = (batch.shape[0], x.shape[1], rows.shape[1], columns.shape[1])
            out = self.new(shape, x.dtype, channels_last(4))
        self.emit(BoxReduce(op, x, batch, rows, columns, out))
        return out

    # ---- moves made of the above

    def dense(self, view: View, order: Sequence[int] | None = None) -> View:
        """The same elements, dense with dimensions in ``order`` (row-major); the view itself where it is so."""
        wanted = dense_strides(view.shape, order)
        if all(a == b or n == 1 for a, b, n in zip(view.strides, wanted, view.shape, strict=True)):
            return view
        return self.copy(view, self.new(view.shape, view.dtype, order))

    def reshape(self, view: View, shape: Sequence[int]) -> View:
        """The same elements, row-major, in another shape; copies, as they lie, only where strides cannot say it."""
        direct = view.reshaped(shape)
        if direct is None:
            direct = self.dense(view, view.order_to_reshape(shape)).reshaped(shape)
        if direct is None:
            raise ValueError(f"reshape of {view.shape} to {tuple(shape)}")
        return direct

    def pad(
        self,
        view: View,
        pads: Sequence[tuple[int, int]],
        mode: str = "constant",
        value: float | int | bool = 0,
        order: Sequence[int] | None = None,
    ) -> View:
        """``view`` with ``pads[d] = (before, after)`` elements added to each dimension; negative ones are cut off.

        ``mode`` is constant (``value``), replicate, reflect (the edge once: 3 2 | 1 2) or reflect-even (twice:
        2 1 | 1 2), as NNEF's borders. The view itself where there is nothing to do."""
        for d, (before, after) in enumerate(pads):
            if before <= 0 and after <= 0:
                view = view.slice(d, -before, view.shape[d] + before + after)
        grow = [(max(p, 0), max(q, 0)) for p, q in pads]
        if not any(p or q for p, q in grow):
            return view
        shape = tuple(n + p + q for n, (p, q) in zip(view.shape, grow, strict=True))
        out = self.new(shape, view.dtype, order if order is not None else view.dense_order)
        inner = out
        for d, (p, _) in enumerate(grow):
            inner = inner.slice(d, p, view.shape[d])
        self.copy(view, inner)
        for d, extent in enumerate(view.shape):
            fill_border(self, out, d, extent, mode, value, grow)
        for d, (before, after) in enumerate(pads):
            if before * after < 0:
                # Where one side grows and the other is cut, the border still reflects the elements that are cut.
                out = out.slice(d, max(-before, 0), view.shape[d] + before + after)
        return out

    # ---- the result

    def finish(self) -> Program:
        """The Program: the calls so far, then the updates of states."""
        fresh = []
        for state, value in self._updates:
            moves = value.buffer.role is Role.STATE
            fresh.append((state, self.copy(value, self.new(value.shape, value.dtype)) if moves else value))
        for state, value in fresh:
            self.copy(value, state)
        return Program(
            self.name,
            tuple(p for p, _ in self._inputs),
            tuple(p for p, _ in self._outputs),
            tuple(b for _, b in self._inputs),
            tuple(b for _, b in self._outputs),
            tuple(self._calls),
            self._constants,
            self._states,
        )
