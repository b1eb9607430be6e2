"""Depthwise convolutions: sums of products over windows of one channel each."""

from __future__ import annotations

from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import Expr, arg, call
from nnefc.ir.graph import Operand
from nnefc.ir.types import DType
from nnefc.ir.view import View
from nnefc.ops.geometry import Axes
from nnefc.ops.product import added_bias
from nnefc.ops.slide import slide_windows


def is_depthwise(filters: View) -> bool:
    """Whether filters (G, O, I, taps...) have one input and few outputs in each group: neighbouring channels, which lie
    side by side, then make better vectors than the outputs of a group."""
    groups, outer, inner = filters.shape[:3]
    return groups > 1 and inner == 1 and outer < 8


def tap_weights(b: ProgramBuilder, filters: View) -> View:
    """Filters (G, O, 1, taps...) as weights (1, G, O, taps...) that lie as the image does, channels side by side."""
    return b.dense(filters, (*range(3, filters.rank), 2, 0, 1)).squeeze(2).expand_dims(0)


def product(dtype: DType) -> Expr:
    """An element times its weight."""
    return call("mul", arg(0, dtype), arg(1, dtype))


def channel_bias(view: View, groups: int, outer: int) -> View:
    """A bias as (groups, outer), repeated where it is one number."""
    for _ in range(view.rank - (view.volume > 1)):
        view = view.squeeze(next(d for d, n in enumerate(view.shape) if n == 1))
    return view.split_dim(0, (groups, outer)) if view.rank else view.broadcast_to((groups, outer))


def slide_filters(
    b: ProgramBuilder, x: View, filters: View, bias: Operand, axes: Axes, border: str, output: View
) -> None:
    """A depthwise convolution of x (N, G, pixels...) by filters (G, O, 1, taps...), which ``slides_well``."""
    groups, outer, _ = filters.shape[:3]
    post, addend = added_bias(b, bias, output)
    slide_windows(
        b,
        "sum",
        x.split_dim(1, (groups, 1)),
        axes,
        border,
        output.split_dim(1, (groups, outer)),
        weights=[tap_weights(b, filters)],
        expr=product(x.dtype),
        post=post,
        extras=[] if addend is None else [channel_bias(addend, groups, outer).expand_dims(0)],
    )
