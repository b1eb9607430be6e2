"""Matrix products of two tensors of codes that are both computed, and what sums of products of codes have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnefc.ir.expr import Expr, arg, call, cast, const
from nnefc.ir.program import Call, Contract, Map, Reduce
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.passes.coded import once
from nnefc.passes.codes import SHIFT, WHOLE, Code, centred, tidied

MOST = 2**31 - 1
"""What a sum may come to."""


class Refused(Exception):
    """Why a call stays with floats."""


@dataclass(frozen=True)
class Operand:
    """A tensor of bytes, and what these stand for."""

    view: View
    code: Code


def require_room(most: int) -> None:
    """Raises Refused where sums of magnitudes up to ``most`` do not fit I32."""
    if most > MOST:
        raise Refused(f"its sums may come to {most}, more than 32 bits hold")


def most_of(codes: np.ndarray, axes: tuple[int, ...]) -> int:
    """What sums of products of bytes, less any zero point, and these codes along the axes may come to in
    magnitude, which is what the positive or the negative codes alone may."""
    magnitude, total = np.abs(codes).sum(axes, dtype=np.int64), codes.sum(axes, dtype=np.int64)
    return WHOLE[1] * int(((magnitude + np.abs(total)) // 2).max(initial=0))


def with_sum(post: Expr | None, real: Expr, extras: Sequence[View]) -> Expr:
    """``post``, of a sum and ``extras``, with the sum replaced."""
    args = [real, *(arg(k, v.dtype) for k, v in enumerate(extras, 1))]
    return tidied(real if post is None else post.substitute(args))


def product(c: Contract, x: Operand, w: Operand, names: Iterator[str]) -> list[Call]:
    """The contraction of two tensors of codes, ``x`` and ``w`` in the place of its operands, after the calls that
    compute what it needs: w as signed bytes, less its zero point where these hold that, else less SHIFT, and sums.

    With a = x - its zero point, and b the signed bytes, less z of them, the real sum is that of a (b - z) times both
    scales. It is the sum of x b, less the zero point of x times the sum of b for each output, less z times the sum of a
    for each row; all partial sums are below 255 * 255 times the terms in magnitude. Raises Refused where I32 does not
    hold that."""
    low, high = w.code.low - w.code.zero, w.code.high - w.code.zero
    step = w.code.zero if -SHIFT <= low <= high < SHIFT else SHIFT
    zero = w.code.zero - step
    terms = math.prod(w.view.shape[c.groups : -1])
    require_room(terms * WHOLE[1] * (WHOLE[1] if zero else SHIFT))
    source = once(w.view)
    buffer = Buffer(next(names), DType.I8, source.volume, Role.TEMP)
    target = View(buffer, 0, source.shape, dense_strides(source.shape, source.dense_order))
    calls: list[Call] = [Map((cast(centred(arg(0, DType.U8), step), DType.I8),), (source,), (target,), origin=c.origin)]
    signed = replace(target, shape=w.view.shape, strides=_strides(target))
    total, extras = arg(0, DType.I32), list(c.extras)
    sums: list[tuple[Reduce, View]] = []
    if x.code.zero:
        between = (-1,) * (c.output.rank - c.groups - 1)
        sums.append(_sums(c, signed, (*range(c.groups), *between, signed.rank - 1), (0, -x.code.zero), next(names)))
    if zero:
        sums.append(_sums(c, x.view, (*range(c.output.rank - 1), -1), (x.code.zero, -zero), next(names)))
    for made, view in sums:
        calls.append(made)
        extras.append(view)
        total = call("add", total, arg(len(extras), DType.I32))
    factor = const(x.code.scale * w.code.scale, x.code.dtype)
    post = with_sum(c.post, call("mul", cast(total, x.code.dtype), factor), c.extras)
    return [*calls, replace(c, x=x.view, w=signed, post=post, extras=tuple(extras))]


def _sums(c: Contract, view: View, kept: tuple[int, ...], steps: tuple[int, int], name: str) -> tuple[Reduce, View]:
    """What sums the elements of a view, less the first of ``steps``, times the second; and the sums as the output of a
    contraction takes them. Of the view's dimensions ``kept`` are those of the output, -1 where it has none."""
    less, factor = steps
    reduced = tuple(d for d in range(view.rank) if d not in kept)
    inner = view.transpose((*(d for d in kept if d >= 0), *reduced))
    shape = inner.shape[: inner.rank - len(reduced)]
    out = View(Buffer(name, DType.I32, math.prod(shape), Role.TEMP), 0, shape, dense_strides(shape))
    post = call("mul", arg(0, DType.I32), const(factor, DType.I32))
    made = Reduce("sum", centred(arg(0, view.dtype), less), post, (inner,), (), out, len(reduced), origin=c.origin)
    strides = iter(out.strides)
    return made, View(out.buffer, 0, c.output.shape, tuple(next(strides) if d >= 0 else 0 for d in kept))


def _strides(view: View) -> tuple[int, ...]:
    """Strides with which dimensions of extent 1 repeat."""
    return tuple(s if n > 1 else 0 for n, s in zip(view.shape, view.strides, strict=True))
