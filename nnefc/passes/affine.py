"""Scales and shifts of a convolution's result by constants go into its weights and its bias.

``post`` of a contraction or a window with constant weights may begin with products and sums of the result and constant
tensors that differ along its channels only: a bias, batch normalization. The products scale the weights, and all sums
become one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nnefc.ir.expr import Expr, arg, call, const
from nnefc.ir.program import Call, Contract, Map, Program
from nnefc.ir.simplify import simplified
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.ir.window import Window
from nnefc.passes.fold import fold
from nnefc.passes.simplify import simpler


def affine(program: Program) -> Program:
    """The program with scales and shifts by constants folded away; the same object where there are none."""
    readers: dict[str, int] = {}
    for c in program.calls:
        for name in {v.buffer.name for v in c.reads()}:
            readers[name] = readers.get(name, 0) + 1
    names = program.fresh_names("affine")
    calls: list[Call] = []
    for c in program.calls:
        parts = _parts(c)
        alone = parts is not None and readers[parts.weights.buffer.name] == 1
        calls += _folded(c, parts, names, alone) if parts is not None else [c]
    return fold(program.replace(calls=tuple(calls))) if len(calls) > len(program.calls) else program


@dataclass(frozen=True)
class _Parts:
    """What matters of a call: ``channels`` are the dimensions of the output in which its weights differ, ``places``
    where these dimensions are in the weights."""

    weights: View
    post: Expr
    extras: tuple[View, ...]
    output: View
    channels: tuple[int, ...]
    places: tuple[int, ...]


def _parts(c: Call) -> _Parts | None:
    """The parts of a call of constant weights with a ``post`` in which floats are not rounded to fewer bits."""
    if isinstance(c, Contract) and c.post is not None:
        weights, last = c.w, c.output.rank - 1
        channels, places = (*range(c.groups), last), (*range(c.groups), weights.rank - 1)
    elif isinstance(c, Window) and c.post is not None and c.weights and c.op == "sum" and _is_product(c.expr):
        weights = c.weights[0]
        channels = places = tuple(range(c.kept))
    else:
        return None
    dtype = c.output.dtype
    if weights.buffer.role is not Role.CONST or weights.dtype is not dtype or dtype not in (DType.F32, DType.F64):
        return None
    moving = [k for k, d in enumerate(places) if weights.shape[d] == 1 or weights.strides[d]]
    post, extras = c.post, c.extras
    chosen = (tuple(channels[k] for k in moving), tuple(places[k] for k in moving))
    return _Parts(weights, post, extras, c.output, *chosen) if post is not None else None


def _is_product(expr: Expr) -> bool:
    return expr.op == "mul" and sorted(a.value or 0 for a in expr.args if a.op == "arg") == [0, 1]


def _folded(c: Call, parts: _Parts, names: Iterator[str], alone: bool) -> list[Call]:
    """The calls that prepare weights and bias, and the call with these; or the call as it is."""
    constant = frozenset(k for k, v in enumerate(parts.extras, 1) if _per_channel(v, parts))
    scale, shift, post, steps = const(1.0, parts.post.dtype), const(0.0, parts.post.dtype), parts.post, 0
    while True:
        step = _step(post, constant)
        if step is None or (not alone and step[0].op in ("mul", "div")):
            break
        node, operand = step
        post, steps = _replaced(post, node, arg(0, post.dtype)), steps + 1
        scale, shift = _composed(node, operand, scale, shift)
    scale, shift = simplified(scale), simplified(shift)
    scaled = scale != const(1.0, scale.dtype)
    if not scaled and steps < 2:
        return [c]
    calls: list[Call] = []
    weights = parts.weights
    if scaled:
        calls.append(_scaled_weights(c, parts, scale, next(names)))
        weights = _placed(weights, calls[-1].writes()[0])
    extras = parts.extras
    if not _is_zero(shift):
        post = _replaced(post, arg(0, post.dtype), call("add", arg(0, post.dtype), arg(len(extras) + 1, post.dtype)))
        calls.append(_bias(c, parts, shift, next(names)))
        extras = (*extras, _spread_out(calls[-1].writes()[0], parts))
    return [*map(simpler, calls), simpler(_made_anew(c, weights, post, extras))]


def _per_channel(view: View, parts: _Parts) -> bool:
    """Whether a tensor is constant and differs along the channels only."""
    others = (d for d in range(view.rank) if d not in parts.channels)
    return view.buffer.role is Role.CONST and all(view.shape[d] == 1 or not view.strides[d] for d in others)


def _step(post: Expr, constant: frozenset[int]) -> tuple[Expr, Expr] | None:
    """The one operation in which ``$0`` occurs, and its other operand, where that is constant; else None."""
    parents = set(_parents(post))
    if len(parents) != 1:
        return None
    (node,) = parents
    if node.op not in ("add", "sub", "mul", "div") or len(node.args) != 2:
        return None
    first = node.args[0] == arg(0, node.dtype)
    operand = node.args[1] if first else node.args[0]
    usable = operand.arguments() <= constant and (first or node.op != "div")
    return (node, operand) if usable else None


def _parents(expr: Expr) -> Iterator[Expr]:
    for a in expr.args:
        if a.op == "arg" and not a.value:
            yield expr
        yield from _parents(a)


def _replaced(expr: Expr, old: Expr, new: Expr) -> Expr:
    if expr == old:
        return new
    return replace(expr, args=tuple(_replaced(a, old, new) for a in expr.args))


def _composed(node: Expr, operand: Expr, scale: Expr, shift: Expr) -> tuple[Expr, Expr]:
    """The scale and the shift after one operation more."""
    first = node.args[0] == arg(0, node.dtype)
    if node.op in ("mul", "div"):
        return call(node.op, scale, operand), shift if _is_zero(shift) else call(node.op, shift, operand)
    if _is_zero(shift):
        shift = operand if node.op == "add" or not first else call("neg", operand)
        return scale if node.op == "add" or first else call("neg", scale), shift
    if node.op == "add":
        return scale, call("add", shift, operand)
    if first:
        return scale, call("sub", shift, operand)
    return call("neg", scale), call("sub", operand, shift)


def _is_zero(shift: Expr) -> bool:
    return shift.op == "const" and not shift.value


def _scaled_weights(c: Call, parts: _Parts, scale: Expr, name: str) -> Map:
    """The call that makes the weights: those of repeated dimensions once."""
    w = parts.weights
    shape = tuple(n if s else 1 for n, s in zip(w.shape, w.strides, strict=True))
    order = w.dense_order
    once = View(w.buffer, w.offset, shape, w.strides)
    target = View(Buffer(name, w.dtype, once.volume, Role.TEMP), 0, shape, dense_strides(shape, order))
    views = []
    for v in parts.extras:
        strides = [0] * w.rank
        for d, place in zip(parts.channels, parts.places, strict=True):
            strides[place] = v.strides[d] if v.shape[d] > 1 else 0
        views.append(View(v.buffer, v.offset, shape, tuple(strides)) if _per_channel(v, parts) else once)
    return Map((call("mul", arg(0, w.dtype), scale),), (once, *views), (target,), origin=c.origin)


def _placed(w: View, made: View) -> View:
    """The view of the new weights where ``w`` was."""
    strides = tuple(0 if n == 1 else s for n, s in zip(made.shape, made.strides, strict=True))
    return View(made.buffer, 0, w.shape, strides)


def _bias(c: Call, parts: _Parts, shift: Expr, name: str) -> Map:
    """The call that makes the shift, a tensor of the channels."""
    shape = tuple(parts.output.shape[d] for d in parts.channels)
    target = View(Buffer(name, shift.dtype, math.prod(shape), Role.TEMP), 0, shape, dense_strides(shape))
    views = []
    for v in parts.extras:
        strides = tuple(v.strides[d] for d in parts.channels)
        constant = _per_channel(v, parts)
        views.append(View(v.buffer, v.offset, shape, strides) if constant else None)
    used = [k for k, v in enumerate(views) if v is not None]
    numbers = [0] * (len(views) + 1)
    for n, k in enumerate(used):
        numbers[k + 1] = n
    inputs = tuple(v for v in views if v is not None)
    return Map((shift.renumbered(numbers),), inputs, (target,), origin=c.origin)


def _spread_out(made: View, parts: _Parts) -> View:
    """The tensor of the channels in the output's shape."""
    strides = [0] * parts.output.rank
    for d, n, s in zip(parts.channels, made.shape, made.strides, strict=True):
        strides[d] = s if n > 1 else 0
    return View(made.buffer, 0, parts.output.shape, tuple(strides))


def _made_anew(c: Call, weights: View, post: Expr, extras: tuple[View, ...]) -> Call:
    if isinstance(c, Contract):
        return replace(c, w=weights, post=post, extras=extras)
    assert isinstance(c, Window)
    return replace(c, weights=(weights,), post=post, extras=extras)
