"""How windows are reduced: by a Window, where other dimensions make good vectors, else by a Reduce of a window view."""

from __future__ import annotations

from collections.abc import Sequence

from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.expr import Expr, arg
from nnefc.ir.view import View
from nnefc.ir.window import Slide
from nnefc.ops.geometry import Axes, bordered_view

LEAST_LANES = 8
"""Elements of a dimension in which windows do not move that are enough to make its vectors worth while."""


def _passed_over(op: str, border: str) -> bool:
    """Whether what lies outside may be passed over: it would change nothing."""
    return border == "ignore" or (border == "constant" and op == "sum")


def slides_well(x: View, axes: Axes) -> bool:
    """Whether windows over the last dimensions of ``x`` are to be a Window: they move or reach outside, and some other
    dimension is long enough to be cut into vectors."""
    first = x.rank - len(axes)
    moving = any(a.size > 1 and (a.downscaled > 1 or a.reach != (0, 0)) for a in axes)
    sliding = [first + d for d, a in enumerate(axes) if a.size > 1]
    return moving and any(x.shape[d] >= LEAST_LANES for d in range(x.rank) if d not in sliding)


def slide_windows(
    b: ProgramBuilder,
    op: str,
    x: View,
    axes: Axes,
    border: str,
    out: View,
    *,
    fill: float = 0.0,
    weights: Sequence[View] = (),
    expr: Expr | None = None,
    post: Expr | None = None,
    extras: Sequence[View] = (),
) -> View:
    """Reduce windows over the last ``len(axes)`` dimensions of ``x``, which ``slides_well``. Returns ``out``.

    ``border`` and ``fill`` are as of ``bordered_view``; ``fill`` is what the reduction ``op``, sum or max, starts from,
    or the border is constant. ``weights`` have the dimensions before those of ``axes``, then the taps of all windows of
    more than one element; in ``expr`` they are ``$1``. ``extras`` broadcast to ``out``."""
    first, passed = x.rank - len(axes), _passed_over(op, border)
    sliding = [first + d for d, a in enumerate(axes) if a.size > 1]
    kept = [d for d in range(x.rank) if d not in sliding]
    x = bordered_view(b, x, [(0, 0) if passed and a.size > 1 else a.reach for a in axes], border, fill)
    if not any(x.shape[d] >= LEAST_LANES and x.strides[d] == 1 for d in kept):
        x = b.dense(x, channels_last(x.rank))
    slides = []
    for d, a in enumerate(axes, first):
        if a.size > 1:
            slides.append(Slide(a.size, a.stride, a.dilation, a.before if passed else 0))
        else:
            x = x.slice(d, 0, a.downscaled, a.stride)
    order = (*kept, *sliding)
    full = [_of_rank(v, x.rank).transpose(order) for v in extras]
    taps = [_of_rank(w, x.rank, first) for w in weights]
    b.window(op, x.transpose(order), slides, out.transpose(order), weights=taps, expr=expr, post=post, extras=full)
    return out


def _of_rank(view: View, rank: int, at: int | None = None) -> View:
    """The view with dimensions of extent 1 put in at ``at``, by default at its end, up to a rank."""
    while view.rank < rank:
        view = view.expand_dims(view.rank if at is None else at)
    return view


def reduce_windows(
    b: ProgramBuilder,
    op: str,
    seen: Sequence[View],
    count: int,
    *,
    expr: Expr | None = None,
    post: Expr | None = None,
    extras: Sequence[View] = (),
    out: View | None = None,
) -> View:
    """Reduce the last ``count`` dimensions of window views into memory with channels last.

    With ``count`` 0 a window is one element, and the result a map of it. ``op`` is sum or max.
    """
    expr = expr if expr is not None else arg(0, seen[0].dtype)
    rank = seen[0].rank - count
    if count:
        order = channels_last(rank)
        return b.reduce(op, seen, count, expr=expr, post=post, extras=extras, out=out, order=order)
    if post is not None:
        expr = post.substitute([expr, *(arg(len(seen) + i, v.dtype) for i, v in enumerate(extras))])
    return b.map(expr, [*seen, *extras], out=out, order=channels_last(rank))
