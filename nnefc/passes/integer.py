"""Kernels on codes: what reads decoded numbers reads the codes instead, and sums of products add up integers.

A float buffer that holds nothing but numbers decoded from bytes by one set of parameters, or copies of these, gets a
twin that holds the bytes; see ``coded.Coded``. Copies, greatest and least elements work on the twins as they do on the
numbers. A contraction of such a tensor and constant codes, or of two such tensors (``products``), adds up products of
codes in I32, and its ``post`` begins with what makes the real sum of that; so do sums over windows and sums. A Map
decodes what it reads. All other calls keep reading floats, decoded for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nnefc.ir.expr import Expr, arg, call, cast, const
from nnefc.ir.program import Call, Contract, Gather, Map, Program, Reduce
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.ir.window import Window
from nnefc.passes.coded import Coded, filled, is_fill, passed_on
from nnefc.passes.codes import (
    SHIFT,
    WHOLE,
    Code,
    centred,
    decoding_of,
    read_shifted,
    same_code,
    tidied,
    written_shifted,
)
from nnefc.passes.fold import prune
from nnefc.passes.products import MOST, Operand, Refused, most_of, product, require_room, with_sum


def integer(program: Program, notes: list[str] | None = None) -> Program:
    """The program on codes where kernels can; the same object where no buffer holds decoded numbers. ``notes`` gets a
    line about every contraction that stays with floats, and why."""
    unsigned = _unsigned(program)
    coded = Coded(unsigned)
    if not coded.codes:
        return program
    return prune(_Rewriting(unsigned, coded, [] if notes is None else notes).result())


# ---- signed codes that are computed become unsigned ones


def _unsigned(program: Program) -> Program:
    """The program with scratch tensors of I8 that Maps alone write and read as tensors of U8, SHIFT above."""
    touched = {v.buffer.name: v.buffer for c in program.calls for v in c.writes()}
    names = {n for n, b in touched.items() if b.dtype is DType.I8 and b.role is Role.TEMP}
    for c in program.calls:
        if not isinstance(c, Map):
            names -= {v.buffer.name for v in c.reads() + c.writes()}
    if not names:
        return program
    return program.replace(calls=tuple(_shifted(c, names) if isinstance(c, Map) else c for c in program.calls))


def _shifted(c: Map, names: set[str]) -> Map:
    inside = [v.buffer.name in names for v in c.inputs]
    outside = [v.buffer.name in names for v in c.outputs]
    if not any(inside + outside):
        return c
    views = [_as_byte(v) if moved else v for v, moved in zip(c.inputs, inside, strict=True)]
    args = [read_shifted(arg(k, v.dtype)) if inside[k] else arg(k, v.dtype) for k, v in enumerate(views)]
    exprs = []
    for e, moved in zip(c.exprs, outside, strict=True):
        made = e.substitute(args)
        exprs.append(tidied(written_shifted(made) if moved else made))
    outputs = tuple(_as_byte(v) if moved else v for v, moved in zip(c.outputs, outside, strict=True))
    return replace(c, exprs=tuple(exprs), inputs=tuple(views), outputs=outputs)


def _as_byte(view: View) -> View:
    return replace(view, buffer=replace(view.buffer, dtype=DType.U8))


# ---- codes in the place of numbers


class _Rewriting:
    """One run of the pass over the calls."""

    def __init__(self, program: Program, coded: Coded, notes: list[str]):
        self._program, self._coded, self._notes = program, coded, notes
        names = program.fresh_names("codes")
        self._twins = {name: next(names) for name in coded.codes}
        self._constants = dict(program.constants)
        self._names = program.fresh_names("integer")
        self._weights: dict[str, Buffer] = {}

    def result(self) -> Program:
        """The program: every writer of decoded numbers also writes their codes, and readers choose."""
        calls: list[Call] = []
        for c in self._program.calls:
            writes = {v.buffer.name for v in c.writes()}
            if len(writes) == 1 and writes <= self._coded.codes.keys():
                calls += [c, self._twin(c)]
            else:
                calls += self._reading_codes(c)
        return self._program.replace(calls=tuple(calls), constants=self._constants)

    def _code(self, view: View) -> Code | None:
        return self._coded.codes.get(view.buffer.name)

    def _codes(self, view: View) -> View:
        """The same view of the twin."""
        return replace(view, buffer=Buffer(self._twins[view.buffer.name], DType.U8, view.buffer.size, Role.TEMP))

    def _twin(self, c: Call) -> Call:
        """What writes the codes of the numbers that a call writes."""
        (target,) = c.writes()
        code, out = self._coded.codes[target.buffer.name], self._codes(target)
        if is_fill(c):
            return Map((const(code.code_of(filled(c)) or 0, DType.U8),), (), (out,), origin=c.origin)
        source = passed_on(c)
        if source is None:
            assert isinstance(c, Map)
            decoding = decoding_of(c.exprs[0])
            assert decoding is not None
            given = c.inputs[decoding.code]
            shifted = written_shifted(arg(0, DType.I8)) if given.dtype is DType.I8 else arg(0, DType.U8)
            return Map((shifted,), (given,), (out,), origin=c.origin)
        if isinstance(c, Map):
            return replace(c, exprs=(arg(0, DType.U8),), inputs=(self._codes(source),), outputs=(out,))
        if isinstance(c, Gather):
            return replace(c, x=self._codes(source), output=out)
        if isinstance(c, Reduce):
            return replace(c, expr=arg(0, DType.U8), inputs=(self._codes(source),), output=out)
        assert isinstance(c, Window)
        return replace(c, expr=arg(0, DType.U8), x=self._codes(source), output=out)

    def _reading_codes(self, c: Call) -> list[Call]:
        """The call on codes, where it can be, after those that compute what it needs."""
        if isinstance(c, Map):
            return [self._map(c)]
        if not isinstance(c, (Contract, Window, Reduce)):
            return [c]
        try:
            return self._contract(c) if isinstance(c, Contract) else [self._sum(c)]
        except Refused as why:
            if str(why):
                name = next(iter(c.origin.names), c.writes()[0].buffer.name)
                self._notes.append(f"{name} is computed in float: {why}")
            return [c]

    def _map(self, c: Map) -> Map:
        views, args = list(c.inputs), [arg(k, v.dtype) for k, v in enumerate(c.inputs)]
        for k, v in enumerate(c.inputs):
            code = self._code(v)
            if code is not None:
                views[k], args[k] = self._codes(v), code.decoded(arg(k, DType.U8))
        if views == list(c.inputs):
            return c
        known = {k: code for k, v in enumerate(c.inputs) if (code := self._code(v)) is not None}
        exprs = tuple(same_code(e, known) or tidied(e.substitute(args)) for e in c.exprs)
        return replace(c, exprs=exprs, inputs=tuple(views))

    # ---- sums

    def _contract(self, c: Contract) -> list[Call]:
        code = self._code(c.x)
        if code is None:
            raise Refused("its first operand is not quantized to 8 bits with one scale for all")
        other = self._code(c.w)
        if other is not None:
            return product(c, Operand(self._codes(c.x), code), Operand(self._codes(c.w), other), self._names)
        held = self._coded.weights(c.w)
        if held is None:
            raise Refused("its second operand is neither constant codes nor quantized to 8 bits with one scale for all")
        first = c.groups
        axes = tuple(range(first, first + c.reduced))
        codes, scale = _settled(*held, axes)
        between = (1,) * (c.output.rank - first - 1)
        scale = (scale * code.scale).reshape((*codes.shape[:first], *between, codes.shape[-1]))
        (codes, _), *above = _parts(codes, axes)
        lowest = replace(c, x=self._codes(c.x), w=self._stored(c.w, codes))
        calls, extras, more = [], list(c.extras), []
        for high, worth in above:
            strides = dense_strides(c.output.shape, c.output.dense_order)
            out = Buffer(next(self._names), DType.I32, c.output.volume, Role.TEMP)
            extras.append(View(out, 0, c.output.shape, strides))
            own: list[View] = []
            total = self._corrected(c, code, high, axes, own)
            sums = replace(lowest, w=self._stored(c.w, high), post=total, extras=tuple(own), output=extras[-1])
            calls.append(sums)
            more.append(self._scaled(arg(len(extras), DType.I32), scale * worth, code, c, extras))
        real = self._scaled(self._corrected(c, code, codes, axes, extras), scale, code, c, extras)
        for term in more:
            real = call("add", real, term)
        post = with_sum(c.post, real, c.extras)
        return [*calls, replace(lowest, post=post, extras=tuple(extras))]

    def _corrected(self, c: Contract, code: Code, codes: np.ndarray, axes: tuple[int, ...], extras: list[View]) -> Expr:
        """The sum of products of codes, less what the zero point contributes to it."""
        total = arg(0, DType.I32)
        correction = -code.zero * codes.sum(axes, dtype=np.int64)
        if not correction.any():
            return total
        between = (1,) * (c.output.rank - c.groups - 1)
        correction = correction.reshape((*codes.shape[: c.groups], *between, codes.shape[-1]))
        return call("add", total, self._operand(correction, DType.I32, c.output, extras))

    def _scaled(self, total: Expr, factor: np.ndarray, code: Code, c: Contract, extras: list[View]) -> Expr:
        """An integer sum as the number that it stands for."""
        return call("mul", cast(total, code.dtype), self._operand(factor, code.dtype, c.output, extras))

    def _sum(self, c: Window | Reduce) -> Call:
        """A sum of decoded numbers, or of their products with weights."""
        views = (c.x, *c.weights) if isinstance(c, Window) else c.inputs
        code = self._code(views[0]) if views else None
        if c.op != "sum" or code is None:
            raise Refused(
                ""
                if c.op != "sum" or len(views) != 2
                else "its first operand is not quantized to 8 bits with one scale for all"
            )
        dtype = c.expr.dtype
        step = centred(arg(0, DType.U8), code.zero)
        if c.expr == arg(0, dtype) and len(views) == 1:
            count = c.taps if isinstance(c, Window) else int(np.prod(views[0].shape[views[0].rank - c.axes :]))
            require_room(count * WHOLE[1])
            total = arg(0, DType.I32)
            if isinstance(c, Reduce) and code.zero:
                step, total = centred(arg(0, DType.U8), 0), call("sub", total, const(count * code.zero, DType.I32))
            real = call("mul", cast(total, code.dtype), const(code.scale, code.dtype))
            return self._rewritten(c, step, with_sum(c.post, real, c.extras), c.extras, [self._codes(views[0])])
        if len(views) != 2 or c.expr != call("mul", arg(0, dtype), arg(1, dtype)):
            raise Refused("")
        held = self._coded.weights(views[1])
        if held is None:
            raise Refused("its second operand is no tensor of constant codes")
        return self._products(c, code, step, views, *held)

    def _products(
        self,
        c: Window | Reduce,
        code: Code,
        step: Expr,
        views: Sequence[View],
        codes: np.ndarray,
        scales: np.ndarray,
    ) -> Call:
        kept = c.kept if isinstance(c, Window) else views[0].rank - c.axes
        axes = tuple(range(kept, codes.ndim))
        codes, scale = _settled(codes, scales, axes)
        require_room(most_of(codes, axes))
        weights, extras = self._stored(views[1], codes), list(c.extras)
        moving = [d for d in range(kept) if views[1].strides[d] and views[1].shape[d] > 1]
        scale = scale[tuple(slice(None) if d in moving else slice(0, 1) for d in range(kept))]
        factor = (scale * code.scale).reshape(*scale.shape, *(1,) * (c.output.rank - kept))
        product = call("mul", step, cast(arg(1, weights.dtype), DType.I32))
        total = cast(arg(0, DType.I32), code.dtype)
        real = call("mul", total, self._operand(factor, code.dtype, c.output, extras))
        post = with_sum(c.post, real, c.extras)
        return self._rewritten(c, product, post, extras, [self._codes(views[0]), weights])

    def _rewritten(
        self, c: Window | Reduce, expr: Expr, post: Expr, extras: Sequence[View], views: Sequence[View]
    ) -> Call:
        if isinstance(c, Window):
            return replace(c, expr=expr, post=post, extras=tuple(extras), x=views[0], weights=tuple(views[1:]))
        return replace(c, expr=expr, post=post, extras=tuple(extras), inputs=tuple(views))

    # ---- constants

    def _stored(self, view: View, codes: np.ndarray) -> View:
        """The codes of weights as a constant of I8, or of I32 where they are no signed bytes, of the order in memory
        that they had."""
        low, high = int(codes.min(initial=0)), int(codes.max(initial=0))
        dtype = DType.I8 if -SHIFT <= low <= high < SHIFT else DType.I32
        order = view.dense_order
        moving = [d for d in order if view.strides[d] and view.shape[d] > 1]
        once = codes[tuple(slice(None) if d in moving else slice(0, 1) for d in range(codes.ndim))]
        flat = np.ascontiguousarray(once.transpose(order).astype(dtype.numpy))
        buffer = Buffer(next(self._names), dtype, flat.size, Role.CONST)
        self._constants[buffer.name] = flat.reshape(-1)
        dense = dense_strides(once.shape, order)
        strides = tuple(s if d in moving else 0 for d, s in enumerate(dense))
        return View(buffer, 0, view.shape, strides)

    def _operand(self, values: np.ndarray, dtype: DType, output: View, extras: list[View]) -> Expr:
        """Values that broadcast to the output as a number or one more of the extras."""
        values = values.astype(dtype.numpy)
        if values.size and (values == values.flat[0]).all():
            return const(values.flat[0].item(), dtype)
        buffer = Buffer(next(self._names), dtype, values.size, Role.CONST)
        self._constants[buffer.name] = np.ascontiguousarray(values).reshape(-1)
        steps = dense_strides(values.shape)
        strides = tuple(s if n > 1 else 0 for n, s in zip(values.shape, steps, strict=True))
        extras.append(View(buffer, 0, output.shape, strides))
        return arg(len(extras), dtype)


def _uniform(codes: np.ndarray, scales: np.ndarray, axes: tuple[int, ...]) -> np.ndarray | None:
    """The scale that codes along the axes share, any where all are 0; None where they differ."""
    largest = scales.max(axes, initial=0.0, keepdims=True, where=codes != 0)
    if not ((codes == 0) | (scales == largest)).all():
        return None
    return np.where(largest == 0, 1.0, largest.astype(np.float64)).squeeze(axes)


def _settled(codes: np.ndarray, scales: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Codes that are added up along the axes, and the scale that these share. Of codes of more than 8 bits, the powers
    of two that all of a sum have in common are the scale's. Raises Refused where scales differ."""
    scale = _uniform(codes, scales, axes)
    if scale is None:
        raise Refused("the scale of its weights differs between elements that are added up")
    if codes.dtype.itemsize > 2:
        bits = np.bitwise_or.reduce(codes, axes, keepdims=True)
        common = np.where(bits, bits & -bits, 1)
        codes, scale = codes // common, scale * common.squeeze(axes)
    return codes, scale


def _parts(codes: np.ndarray, axes: tuple[int, ...]) -> list[tuple[np.ndarray, int]]:
    """Codes of weights as parts times powers of two, the lowest first, whose sums of products along the axes fit I32:
    one, or, where wide codes are too large for that, two, of which the upper one has 7 bits and signs. Raises Refused
    where these do not fit either."""
    most = most_of(codes, axes)
    if most <= MOST or codes.dtype.itemsize <= 2:
        require_room(most)
        return [(codes, 1)]
    magnitude = np.abs(codes)
    places = max(int(magnitude.max()).bit_length() - 7, 0)
    high = np.sign(codes) * (magnitude >> places)
    low = codes - (high << places)
    for part in (high, low):
        if most_of(part, axes) > MOST:
            require_room(most)
    return [(low, 1), (high, 1 << places)]
