"""Before selection: channels that are scaled on their way into a contraction, as squeeze and excitation does it, scale
its weights instead, where these are fewer than the image's elements."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from nnefc.codegen.pack import Panels
from nnefc.ir.expr import arg, call, cast
from nnefc.ir.program import Call, Map, Program
from nnefc.ir.types import SUM_TYPES
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.passes.fuse import alignment
from nnefc.passes.rewrite import Rewriting

LEAST_PIXELS = 2
"""Pixels for each output of the contraction that make it pay."""


@dataclass(frozen=True)
class _Scaling:
    """A contraction that reads the image before it is scaled, and the factors, in the shape of x."""

    panels: Panels
    factors: View


def scale_weights(program: Program) -> Program:
    """The packed program with every product of an image and a factor per channel taken on the weights, if only
    contractions over the channels read it and it pays. The same object where there is none."""
    state = Rewriting(program)
    names = program.fresh_names("scaled")
    before: dict[int, Call] = {}
    for n, product in enumerate(program.calls):
        for image, factors in _operands(product):
            found = _scalings(state, n, image, factors)
            if found:
                state.replace(n, None)
                for m, scaling in found.items():
                    panels, before[m] = _on_weights(scaling, next(names), product)
                    state.replace(m, panels)
                break
    if not before:
        return program
    calls = (c for m, one in enumerate(state.calls) for c in (before.get(m), one))
    return program.replace(calls=tuple(c for c in calls if c is not None))


def _operands(product: Call) -> tuple[tuple[View, View], ...]:
    """If a call multiplies two tensors of one type: the two, either way round."""
    if not isinstance(product, Map) or len(product.exprs) != 1 or len(product.inputs) != 2:
        return ()
    (expr,), (first, second) = product.exprs, product.inputs
    plain = expr.op == "mul" and all(a.op == "arg" for a in expr.args) and expr.arguments() == {0, 1}
    return ((first, second), (second, first)) if plain and first.dtype is second.dtype is expr.dtype else ()


def _scalings(state: Rewriting, n: int, image: View, factors: View) -> dict[int, _Scaling]:
    """The contractions that read product ``n``, by position; none where something else reads it, too, where operands
    are overwritten before, or where it does not pay."""
    (product,) = state.call(n).writes()
    name = product.buffer.name
    if product.buffer.role is not Role.TEMP or state.writers[name] != {n}:
        return {}
    found: dict[int, _Scaling] = {}
    for m in sorted(state.readers.get(name, ())):
        scaling = _scaling(state.call(m), product, image, factors)
        if scaling is None or any(state.written(v.buffer.name, n, m) for v in (image, factors)):
            return {}
        found[m] = scaling
    outputs = sum(s.panels.contract.output.shape[-1] for s in found.values())
    pixels = min((math.prod(s.panels.x.shape[:-1]) for s in found.values()), default=0)
    return found if pixels >= LEAST_PIXELS * outputs else {}


def _scaling(reader: Call, product: View, image: View, factors: View) -> _Scaling | None:
    """A reader of the product that could read the image, which lies as the product does: a contraction over its last
    dimension, along which alone the factors differ."""
    if not isinstance(reader, Panels) or reader.contract.groups or reader.contract.reduced != 1:
        return None
    if any(v.buffer == product.buffer for v in reader.contract.extras):
        return None
    to_x = alignment(product, reader.x)
    if to_x is None or SUM_TYPES.get((image.dtype, reader.w.dtype)) is not image.dtype:
        return None
    x, by = to_x(image), to_x(factors)
    if not x.moves_like(reader.x.strides) or any(s for n, s in zip(by.shape[:-1], by.strides, strict=False) if n > 1):
        return None
    return _Scaling(replace(reader, x=x, contract=replace(reader.contract, x=x)), by)


def _on_weights(scaling: _Scaling, name: str, product: Call) -> tuple[Panels, Call]:
    """The contraction with scaled weights, and the call that scales them."""
    w, factors = scaling.panels.w, scaling.factors
    shape, size = w.shape, math.prod(w.shape)
    dtype = scaling.panels.x.dtype
    scaled = View(Buffer(name, dtype, size, Role.TEMP), 0, shape, dense_strides(shape))
    by = View(factors.buffer, factors.offset, shape, (*(0,) * (w.rank - 2), factors.strides[-1], 0))
    expr = call("mul", cast(arg(0, w.dtype), dtype), arg(1, dtype))
    return replace(scaling.panels, w=scaled), Map((expr,), (w, by), (scaled,), origin=product.origin)
