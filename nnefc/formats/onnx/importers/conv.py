"""Convolutions: Conv, ConvTranspose, DeformConv, Col2Im, CausalConvWithState (operators of ai.onnx)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnefc.formats.onnx.importers.tables import check_table
from nnefc.formats.onnx.importers.windows import Windows, halves, windows
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope
from nnefc.ops.primitive import require


def channels(s: Scope, bias: Imported | None) -> Imported | float:
    """A vector with one item per channel as a tensor [1, C], which broadcasts from the first dimension; 0 for None."""
    return 0.0 if bias is None else s.reshape(bias, (1, math.prod(s.shape(bias))))


@importer("Conv")
def _conv(s: Scope, n: Node) -> Sequence[Imported]:
    x, w = n.need(0), n.need(1)
    return (convolved(s, n, x, w, channels(s, n.input(2))),)


def convolved(s: Scope, n: Node, x: Imported, w: Imported, bias: Imported | float) -> Imported:
    """The convolution that the attributes of a node ask for."""
    shape = s.shape(w)
    require(len(shape) == len(s.shape(x)) >= 3, f"the filter has {len(shape)} dimensions, the input {s.shape(x)}")
    win = windows(n, len(shape) - 2, shape[2:])
    return s.op(
        "conv",
        [x, w, bias],
        border="constant",
        padding=win.padding(s.shape(x)[2:]),
        stride=list(win.strides),
        dilation=list(win.dilations),
        groups=_groups(n),
    )


def _groups(n: Node) -> int:
    groups = int(n.attrs.get("group", 1))
    require(groups > 0, f"group = {groups}; it must be positive")
    return groups


@importer("ConvTranspose")
def _conv_transpose(s: Scope, n: Node) -> Sequence[Imported]:
    x, w = n.need(0), n.need(1)
    shape, extents = s.shape(w), s.shape(x)[2:]
    require(len(shape) == len(s.shape(x)) >= 3, f"the filter has {len(shape)} dimensions, the input {s.shape(x)}")
    win = windows(n, len(shape) - 2, shape[2:])
    padding = _transposed_padding(n, win, extents)
    result = s.op(
        "deconv",
        [x, w, channels(s, n.input(2))],
        border="constant",
        padding=padding,
        stride=list(win.strides),
        dilation=list(win.dilations),
        output_shape=[],
        groups=_groups(n),
    )
    return (result,)


def _transposed_padding(n: Node, win: Windows, extents: Sequence[int]) -> list[tuple[int, int]]:
    """The padding from which the output's extents follow. output_padding is padding taken away from the end."""
    extra = [int(v) for v in n.attrs.get("output_padding") or [0] * len(extents)]
    require(len(extra) == len(extents), f"output_padding = {extra} must have {len(extents)} items")
    full = [(e - 1) * s + span for e, s, span in zip(extents, win.strides, win.spans, strict=True)]
    wanted = [int(v) for v in n.attrs.get("output_shape") or ()]
    if not wanted and win.auto.startswith("SAME"):
        wanted = [e * s for e, s in zip(extents, win.strides, strict=True)]
    if not wanted:
        pads = [(0, 0)] * len(extents) if win.auto == "VALID" else win.pads
        return [(p, q - more) for (p, q), more in zip(pads, extra, strict=True)]
    wanted = wanted[-len(extents) :]
    result = []
    for total, more, size in zip(full, extra, wanted, strict=True):
        cut = total + more - size
        p, q = halves(cut, "SAME_UPPER" if win.auto == "SAME_UPPER" else "SAME_LOWER") if cut >= 0 else (0, cut)
        result.append((p, q - more))
    return result


@importer("Col2Im")
def _col2im(s: Scope, n: Node) -> Sequence[Imported]:
    """Columns added up where they lie: a transposed convolution whose filters hold a single one."""
    x = n.need(0)
    image = s.known_ints(n.need(1), "image_shape")
    block = s.known_ints(n.need(2), "block_shape")
    win = windows(n, len(image), block)
    batch, columns, count = s.extents(x, 3)
    volume = math.prod(block)
    require(columns % volume == 0, f"the columns have {columns} rows; it must be a multiple of {volume}")
    grid = [
        (e + p + q - span) // stride + 1
        for e, (p, q), span, stride in zip(image, win.pads, win.spans, win.strides, strict=True)
    ]
    require(math.prod(grid) == count, f"{count} columns are given; the image has {math.prod(grid)} blocks")
    check_table(s, volume, volume)
    filters = np.eye(volume).reshape(volume, 1, *block).astype(s.dtype(x).numpy)
    result = s.op(
        "deconv",
        [s.reshape(x, (batch * columns // volume, volume, *grid)), filters, 0.0],
        padding=list(win.pads),
        stride=list(win.strides),
        dilation=list(win.dilations),
        output_shape=[batch * columns // volume, 1, *image],
    )
    return (s.reshape(result, (batch, columns // volume, *image)),)


@importer("DeformConv")
def _deform_conv(s: Scope, n: Node) -> Sequence[Imported]:
    """Bilinear samples of every tap of every window, then a matrix product. Two spatial dimensions."""
    x, w, offset, bias, mask = n.need(0), n.need(1), n.need(2), n.input(3), n.input(4)
    if s.rank(x) != 4:
        raise s.unsupported("only two spatial dimensions are supported")
    batch, channel_count, *extents = s.shape(x)
    filters, inner, *kernel = s.extents(w, 4, "the filter")
    win = windows(n, 2, kernel)
    groups, shared, taps = _groups(n), int(n.attr("offset_group", 1)), math.prod(kernel)
    require(inner * groups == channel_count, f"{groups} groups of {inner} channels are not {channel_count}")
    require(shared > 0 and channel_count % shared == 0, f"offset_group = {shared} must divide the channels")
    grid = s.extents(offset, 4, "offset")[2:]
    pixels = math.prod(grid)
    require(s.shape(offset)[1] == shared * taps * 2, f"offset has the shape {s.shape(offset)}")
    parts = s.transpose(s.reshape(offset, (batch * shared, taps, 2, pixels)), (0, 1, 3, 2))
    check_table(s, taps, pixels, 2)
    starts = [
        np.arange(g) * stride - p for g, stride, (p, _) in zip(grid, win.strides, win.padding(extents), strict=True)
    ]
    inside = [np.arange(k) * d for k, d in zip(kernel, win.dilations, strict=True)]
    rows, columns = (np.add.outer(a, b) for a, b in zip(inside, starts, strict=True))
    base = np.stack(np.broadcast_arrays(rows[:, None, :, None], columns[None, :, None, :]), -1)
    place = s.op("add", [parts, base.reshape(1, taps, pixels, 2).astype(s.dtype(x).numpy)])
    sampled = s.op(
        "grid_sample",
        [
            s.reshape(x, (batch * shared, channel_count // shared, *extents)),
            s.op("gather", [place, np.array([1, 0])], axis=3),
        ],
        normalized=False,
    )
    if mask is not None:
        sampled = s.op("mul", [sampled, s.reshape(mask, (batch * shared, 1, taps, pixels))])
    columns_ = s.reshape(sampled, (batch, groups, inner * taps, pixels))
    result = s.op("matmul", [s.reshape(w, (1, groups, filters // groups, inner * taps)), columns_])
    result = s.reshape(result, (batch, filters, *grid))
    return (result if bias is None else s.op("add", [result, channels(s, bias)]),)
