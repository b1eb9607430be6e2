"""The Program: calls of kernel families on strided views of flat buffers. Everything here is frozen.

A view is what NumPy calls a strided array: shape and strides (in elements) over one buffer. A transposed, sliced,
repeated or windowed tensor is another view of the same memory, and a memory layout is nothing but strides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import count
from typing import Self

import numpy as np

from nnefc.ir.expr import Expr
from nnefc.ir.graph import Origin
from nnefc.ir.types import SUM_TYPES, DType
from nnefc.ir.view import Buffer, View


@dataclass(frozen=True)
class Call:
    """Base of the kernel families. ``origin`` tells which operations of the Graph it stands for."""

    origin: Origin = field(default=Origin(), compare=False, kw_only=True)

    def reads(self) -> tuple[View, ...]:
        """Every view that is read."""
        raise TypeError(type(self).__name__)

    def writes(self) -> tuple[View, ...]:
        """Every view that is written."""
        raise TypeError(type(self).__name__)

    def elements(self) -> int:
        """How many elements are read and written, as often as they are."""
        return sum(v.volume for v in self.reads() + self.writes())

    def with_views(self, function: Callable[[View], View]) -> Self:
        """The call with every view ``v`` replaced by ``function(v)``, of the same shape."""
        changes: dict[str, object] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, View):
                changes[f.name] = function(value)
            elif isinstance(value, tuple) and value and all(isinstance(v, View) for v in value):
                changes[f.name] = tuple(function(v) for v in value)
            elif isinstance(value, Call):
                changes[f.name] = value.with_views(function)
            elif isinstance(value, tuple) and value and all(isinstance(c, Call) for c in value):
                changes[f.name] = tuple(c.with_views(function) for c in value)
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Map(Call):
    """``outputs[k][i] = exprs[k](inputs[0][i], inputs[1][i], ...)`` for every index ``i``; all views share a shape.

    An output must not overlap an input, unless both reach the same element for each index."""

    exprs: tuple[Expr, ...]
    inputs: tuple[View, ...]
    outputs: tuple[View, ...]

    def reads(self) -> tuple[View, ...]:
        return self.inputs

    def writes(self) -> tuple[View, ...]:
        return self.outputs


REDUCTIONS = ("sum", "prod", "max", "min", "all", "any", "argmax", "argmin")


@dataclass(frozen=True)
class Reduce(Call):
    """``output[p] = post(reduce over t of expr(inputs[..][p, t]), extras[0][p], ...)``.

    The last ``axes`` dimensions of the inputs are the reduced ones, ``t``; the others, ``p``, are the output's. In
    ``post``, ``$0`` is the reduced value (None: just that). ``argmax`` and ``argmin`` give the row-major index, I64, of
    the first extreme element. Sums and products are of floats or integers; ``all`` and ``any`` of BOOL.
    """

    op: str
    expr: Expr
    post: Expr | None
    inputs: tuple[View, ...]
    extras: tuple[View, ...]
    output: View
    axes: int

    def reads(self) -> tuple[View, ...]:
        return self.inputs + self.extras

    def writes(self) -> tuple[View, ...]:
        return (self.output,)


@dataclass(frozen=True)
class Row(Call):
    """Reductions of whole rows and a map that uses them: softmax and normalizations.

    ``r[k][p] = reduce by stages[k][0] over t of stages[k][1](inputs[..][p, t], r[0][p], ..., r[k-1][p])``, then
    ``output[p, t] = expr(inputs[..][p, t], r[0][p], r[1][p], ...)``. The last ``axes`` dimensions are ``t``.
    Stage operations are sum, max and min. The output may be the same elements as an input.
    """

    stages: tuple[tuple[str, Expr], ...]
    expr: Expr
    inputs: tuple[View, ...]
    output: View
    axes: int

    def reads(self) -> tuple[View, ...]:
        return self.inputs

    def writes(self) -> tuple[View, ...]:
        return (self.output,)


@dataclass(frozen=True)
class Contract(Call):
    """``output[g, p, o] = post(sum over r of x[g, p, r] * w[g, r, o], extras[0][g, p, o], ...)``.

    ``groups``, ``reduced`` count the dimensions ``g`` and ``r``; ``o`` is one dimension, the last of ``w`` and
    ``output``; ``p`` is what remains of ``output``. In ``post``, ``$0`` is the sum (None: just that). Matrix products,
    batched too, and convolutions (``x`` a window view) are contractions. The types of ``x`` and ``w`` are a pair of
    SUM_TYPES, which says that of ``$0``; integer sums are modulo 2**32, and a ``w`` of I32 is constant.
    """

    x: View
    w: View
    post: Expr | None
    extras: tuple[View, ...]
    output: View
    groups: int
    reduced: int

    @property
    def sum_type(self) -> DType:
        """The type of ``$0``. Raises KeyError if there is no contraction of the types of ``x`` and ``w``."""
        return SUM_TYPES[self.x.dtype, self.w.dtype]

    def reads(self) -> tuple[View, ...]:
        return (self.x, self.w, *self.extras)

    def writes(self) -> tuple[View, ...]:
        return (self.output,)


@dataclass(frozen=True)
class Gather(Call):
    """``output[g, a, i, b] = x[g, a, index[g, i], b]``: ``x`` has shape ``G + A + (n,) + B``, ``axis`` dimensions
    before ``n``, ``batch`` of them ``g``.

    ``index`` is I64. With ``check`` an index outside 0..n-1 makes the call fail; otherwise it is clamped.
    """

    x: View
    index: View
    output: View
    axis: int
    check: bool
    batch: int = 0

    def reads(self) -> tuple[View, ...]:
        return (self.x, self.index)

    def writes(self) -> tuple[View, ...]:
        return (self.output,)


@dataclass(frozen=True)
class BoxReduce(Call):
    """Pooling over boxes that data define: ``output[r, c, i, j]`` reduces ``x[batch[r], c, y, x]`` over
    ``rows[r, i, 0] <= y < rows[r, i, 1]`` and ``columns[r, j, 0] <= x < columns[r, j, 1]``.

    ``op`` is max or mean; an empty box gives 0. ``x`` is (N, C, H, W), ``batch`` (R,), ``rows`` (R, h, 2), ``columns``
    (R, w, 2), all but ``x`` I64. Bounds are clamped to the map, and ``batch`` to 0..N-1.
    """

    op: str
    x: View
    batch: View
    rows: View
    columns: View
    output: View

    def reads(self) -> tuple[View, ...]:
        return (self.x, self.batch, self.rows, self.columns)

    def writes(self) -> tuple[View, ...]:
        return (self.output,)


@dataclass(frozen=True)
class Port:
    """An input or output of the whole Program: row-major, as the caller sees it."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """A network as kernel calls, in order. ``constants`` and ``states`` give the values (initial values) of CONST and
    TABLE, and of STATE buffers, flat. Input and output ports have buffers of their own names' order: ``inputs[k]`` is
    the buffer ``input_buffers[k]``."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    input_buffers: tuple[Buffer, ...]
    output_buffers: tuple[Buffer, ...]
    calls: tuple[Call, ...]
    constants: dict[str, np.ndarray]
    states: dict[str, np.ndarray]

    def buffers(self) -> dict[str, Buffer]:
        """Every buffer that a call or a port uses, by name."""
        found = {b.name: b for b in self.input_buffers + self.output_buffers}
        for c in self.calls:
            for v in c.reads() + c.writes():
                found[v.buffer.name] = v.buffer
        return found

    def fresh_names(self, stem: str) -> Iterator[str]:
        """Names for new buffers, without end: the stem with numbers that no buffer of the Program has."""
        taken = self.buffers().keys()
        return (name for k in count(1) if (name := f"{stem}.{k}") not in taken)

    def replace(self, **changes: object) -> Program:
        """A copy with some fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]
