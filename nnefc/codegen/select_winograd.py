"""Selection of Winograd convolutions: what their blocking means for the kernel."""

from __future__ import annotations

import math

from nnefc.codegen.choice import Choice, operands_of
from nnefc.codegen.kernels.winograd import WinogradKernel
from nnefc.codegen.nest import Loop, flattened
from nnefc.codegen.target import CACHE_LINE, Target
from nnefc.codegen.winograd import Convolution, Scratch, Winograd
from nnefc.ir.expr import arg
from nnefc.ir.program import Contract
from nnefc.ir.view import View


def select_winograd(call: Winograd, target: Target) -> Choice:
    plain, axes, blocking = call.contract, call.axes, call.blocking
    tile, m = blocking.tile, blocking.scheme.m
    views = (plain.x, call.w, *plain.extras, plain.output, call.scratch)
    convolution = Convolution.of(plain, axes)
    height, width, channels, outputs = convolution.height, convolution.width, convolution.channels, convolution.outputs
    down, across = (_moves(plain, d) for d in (axes.height, axes.width))
    inward = Loop(channels, (plain.x.strides[axes.channels],))
    lane = Loop(outputs, (*inward.strides, 1, *(v.strides[-1] for v in (*plain.extras, plain.output)), 1))
    operands = operands_of((plain.x,), inward, across) + operands_of(views, lane, across)[1:]
    images = tuple(Loop(p.extent, (p.strides[0], 0, *p.strides[1:], 0)) for p in call.images)
    taps = [s for d in axes.taps for s in (plain.x.strides[d], *(0 for _ in views[1:]))]
    scratch = Scratch.of(channels, blocking)
    lines = tile.width * call.w.dtype.size / CACHE_LINE
    spec = WinogradKernel(
        plain.post if plain.post is not None else arg(0, plain.sum_type),
        operands,
        len(images),
        blocking.scheme,
        tile.rows,
        tile.cols,
        tile.lanes,
        math.ceil(lines / math.ceil(blocking.size / tile.rows)),
        width % m != 0,
        channels % tile.lanes != 0,
        outputs % tile.lanes != 0,
    )
    geometry = (
        *(blocking.size, convolution.tiles(m), blocking.blocks, math.ceil(outputs / tile.width), blocking.units),
        *(math.ceil(height / m), math.ceil(width / m), height, width, channels, outputs),
        *(scratch.plane, scratch.product_plane, scratch.products, scratch.work, scratch.size),
        *(*down.strides, *across.strides, *lane.strides, *taps, *flattened(images)),
    )
    return Choice(spec, views, geometry, blocking.units)


def _moves(plain: Contract, dimension: int) -> Loop:
    """A kept dimension as a loop over every operand."""
    views: tuple[View, ...] = (*plain.extras, plain.output)
    strides = (plain.x.strides[dimension], 0, *(v.strides[dimension] for v in views), 0)
    return Loop(plain.x.shape[dimension], strides)
