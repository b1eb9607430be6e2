"""Operations of ONNX that make tensors, or give their elements another shape, order or grouping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnefc.formats.onnx.importers.reduce import axes_of, axis_of
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import MAX_FOLDED, Scope
from nnefc.formats.onnx.tensors import element_type
from nnefc.ir.types import DType
from nnefc.ops.common import MAX_RANK

# ---- made from nothing


@importer("Constant")
def _constant(s: Scope, n: Node) -> Sequence[Imported]:
    if "value" in n.attrs:
        return [n.attrs["value"]]
    for name, dtype in (("value_float", np.float32), ("value_int", np.int64)):
        for written in (name, f"{name}s"):
            if written in n.attrs:
                return [np.asarray(n.attrs[written], dtype)]
    raise s.unsupported("a constant of strings, or a sparse one")


@importer("ConstantOfShape")
def _constant_of_shape(s: Scope, n: Node) -> Sequence[Imported]:
    shape = s.known_ints(n.need(0), "the shape")
    value = np.asarray(n.attr("value", np.zeros(1, np.float32)))
    if value.size != 1:
        raise s.invalid(f"value has {value.size} elements; it must have one")
    return [filled(s, value.reshape(()), shape)]


def filled(s: Scope, value: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """An array of one repeated value, which takes no memory. Raises InvalidModelError for an absurd shape."""
    if len(shape) > MAX_RANK or any(d < 0 for d in shape) or math.prod(max(1, d) for d in shape) > 2**40:
        raise s.invalid(f"no tensor has the shape {list(shape)}")
    return np.broadcast_to(value, tuple(shape))


@importer("Shape")
def _shape(s: Scope, n: Node) -> Sequence[Imported]:
    shape = s.shape(n.need(0))
    start, end = n.attr("start", 0), n.attr("end")
    return [np.asarray(shape[slice(start, end)], np.int64)]


@importer("Size")
def _size(s: Scope, n: Node) -> Sequence[Imported]:
    return [np.asarray(math.prod(s.shape(n.need(0))), np.int64)]


@importer("Range")
def _range(s: Scope, n: Node) -> Sequence[Imported]:
    named = ("start", "limit", "delta")
    first, last, step = numbers = [s.known_number(n.need(i), name) for i, name in enumerate(named)]
    dtype = s.dtype(n.need(0))
    if step == 0 or not all(map(math.isfinite, numbers)):
        raise s.invalid(f"there is no range from {first} to {last} in steps of {step}")
    count = max(math.ceil((last - first) / step), 0)
    if count > MAX_FOLDED:
        raise s.unsupported(f"a range of {count} numbers; at most {MAX_FOLDED} are")
    items = first + step * np.arange(count)
    return [np.asarray(items, np.float64 if dtype.kind == "f" else np.int64).astype(dtype.numpy)]


@importer("EyeLike")
def _eye_like(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    shape = s.shape(x)
    if len(shape) != 2 or math.prod(shape) > MAX_FOLDED:
        raise s.invalid(f"the input has the shape {list(shape)}; it must be a matrix of at most {MAX_FOLDED} elements")
    dtype = element_type(n.attrs["dtype"], "the result") if "dtype" in n.attrs else s.dtype(x)
    return [np.eye(*shape, k=n.attr("k", 0)).astype(dtype.numpy)]


def numbers(s: Scope, count: int) -> np.ndarray:
    """The integers from 0. Raises UnsupportedError for very many."""
    if count > MAX_FOLDED:
        raise s.unsupported(f"a dimension of {count} elements, which are numbered here; at most {MAX_FOLDED} are")
    return np.arange(count, dtype=np.int64)


def empty(s: Scope, x: Imported, shape: Sequence[int]) -> np.ndarray:
    """A tensor without elements, of the type of ``x``: its values are always known."""
    return np.empty(tuple(shape), s.dtype(x).numpy)


# ---- shape


@importer("Identity")
def _identity(s: Scope, n: Node) -> Sequence[Imported]:
    return [n.need(0)]


@importer("Reshape")
def _reshape(s: Scope, n: Node) -> Sequence[Imported]:
    x, shape = n.need(0), s.known_ints(n.need(1), "the shape")
    given = s.shape(x)
    if not n.attr("allowzero", 0):
        if any(d == 0 and i >= len(given) for i, d in enumerate(shape)):
            raise s.invalid(f"the shape {shape} has a 0 where the input, of shape {list(given)}, has no dimension")
        shape = [given[i] if d == 0 else d for i, d in enumerate(shape)]
    known = math.prod(d for d in shape if d != -1)
    if -1 in shape and known:
        shape[shape.index(-1)] = math.prod(given) // known
    if min(shape, default=0) < 0 or math.prod(shape) != math.prod(given):
        raise s.invalid(f"{list(given)} cannot be reshaped to {shape}")
    return [s.reshape(x, shape)]


@importer("Flatten")
def _flatten(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    shape, axis = s.shape(x), n.attr("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise s.invalid(f"axis is {axis}; it must be {-len(shape)} to {len(shape)}")
    axis += len(shape) if axis < 0 else 0
    return [s.reshape(x, [math.prod(shape[:axis]), math.prod(shape[axis:])])]


def _axes(s: Scope, n: Node) -> list[int] | None:
    """The axes of Squeeze and Unsqueeze: an input from opset 13, before that an attribute."""
    if n.version < 13:
        return n.attr("axes")
    return None if n.input(1) is None else s.known_ints(n.input(1), "axes")


@importer("Squeeze")
def _squeeze(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    shape, axes = s.shape(x), _axes(s, n)
    found = axes_of(s, axes, len(shape)) if axes is not None else [i for i, d in enumerate(shape) if d == 1]
    if any(shape[a] != 1 for a in found):
        raise s.invalid(f"the dimensions {list(found)} of {list(shape)} cannot be removed: an extent is not 1")
    return [s.reshape(x, [d for i, d in enumerate(shape) if i not in found])]


@importer("Unsqueeze")
def _unsqueeze(s: Scope, n: Node) -> Sequence[Imported]:
    x, axes = n.need(0), _axes(s, n)
    if axes is None:
        raise s.invalid("axes is missing")
    rank = s.rank(x) + len(axes)
    found, rest = axes_of(s, axes, rank), iter(s.shape(x))
    return [s.reshape(x, [1 if i in found else next(rest) for i in range(rank)])]


@importer("Transpose")
def _transpose(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    rank = s.rank(x)
    perm = n.attr("perm", list(range(rank))[::-1])
    if sorted(perm) != list(range(rank)):
        raise s.invalid(f"perm = {perm} does not name the {rank} dimensions once each")
    return [s.transpose(x, perm)]


@importer("Expand")
def _expand(s: Scope, n: Node) -> Sequence[Imported]:
    return [expanded(s, n.need(0), s.known_ints(n.need(1), "the shape"))]


def expanded(s: Scope, x: Imported, shape: Sequence[int]) -> Any:
    """The tensor, repeated along dimensions of extent 1 so that its shape and ``shape`` become one."""
    try:
        full = np.broadcast_shapes(s.shape(x), tuple(shape))
    except ValueError:
        raise s.invalid(f"the shapes {list(s.shape(x))} and {list(shape)} do not broadcast") from None
    if isinstance(x, np.ndarray) and (x.size <= 1 or math.prod(full) <= MAX_FOLDED):
        return filled(s, x, full)
    wide = s.reshape(x, (1,) * (len(full) - s.rank(x)) + s.shape(x))
    repeats = [a // b for a, b in zip(full, s.shape(wide), strict=True)]
    if 0 in full:
        return empty(s, x, full)
    return wide if all(r == 1 for r in repeats) else s.op("tile", [wide], repeats=repeats)


# ---- parts


@importer("Concat")
def _concat(s: Scope, n: Node) -> Sequence[Imported]:
    axis = axis_of(s, n.need_attr("axis"), s.rank(n.need(0)))
    inputs = [x for x in n.inputs if x is not None]
    unlike = next((x for x in inputs if s.rank(x) != s.rank(inputs[0]) or s.dtype(x) is not s.dtype(inputs[0])), None)
    if unlike is not None:
        raise s.invalid(f"tensors of the types {s.type(inputs[0])} and {s.type(unlike)} cannot be joined")
    if all(isinstance(x, np.ndarray) for x in inputs) and sum(x.size for x in inputs) <= MAX_FOLDED:
        try:
            return [np.concatenate(inputs, axis)]
        except ValueError:
            shapes = ", ".join(str(list(x.shape)) for x in inputs[:16])
            raise s.invalid(f"tensors of the shapes {shapes} cannot be joined along axis {axis}") from None
    kept = [x for x in inputs if math.prod(s.shape(x))]
    return [kept[0] if len(kept) == 1 else s.op("concat", kept, axis=axis)]


@importer("Split")
def _split(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    axis = axis_of(s, n.attr("axis", 0), s.rank(x))
    extent = s.shape(x)[axis]
    sizes = n.attr("split") if n.version < 13 else n.input(1)
    if sizes is not None:
        lengths = [int(v) for v in sizes] if n.version < 13 else s.known_ints(sizes, "split")
    else:
        count = n.attr("num_outputs", n.output_count)
        if count != n.output_count:
            raise s.invalid(f"num_outputs is {count}, but there are {n.output_count} outputs")
        each = -(-extent // count)
        lengths = [each] * (count - 1) + [extent - each * (count - 1)]
    if sum(lengths) != extent or min(lengths, default=0) < 0:
        raise s.invalid(f"parts of {lengths} do not make up the extent {extent}")
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [part(s, x, axis, start, length) for start, length in zip(starts, lengths, strict=True)]


def part(s: Scope, x: Imported, axis: int, start: int, length: int, step: int = 1) -> Any:
    """``length`` elements along a dimension, from ``start``, ``step`` apart."""
    extent = s.shape(x)[axis]
    if isinstance(x, np.ndarray):
        return x[(slice(None),) * axis + (start + step * np.arange(length),)]
    if length == 0:
        return empty(s, x, [0 if i == axis else d for i, d in enumerate(s.shape(x))])
    if (start, length, step) == (0, extent, 1):
        return x
    end = start + step * length
    if step < 0:
        # An end before the first element is written so that it does not count from the end.
        end = end if end >= 0 else -extent - 1
    return s.op("slice", [x], axes=[axis], begin=[start], end=[min(end, extent)], stride=[] if step == 1 else [step])


@importer("Slice")
def _slice(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    rank = s.rank(x)
    if n.version < 10:
        starts, ends = list(n.need_attr("starts")), list(n.need_attr("ends"))
        axes, steps = n.attr("axes"), None
    else:
        starts, ends = (s.known_ints(n.need(i), what) for i, what in ((1, "starts"), (2, "ends")))
        axes, steps = (
            None if n.input(i) is None else s.known_ints(n.input(i), what) for i, what in ((3, "axes"), (4, "steps"))
        )
    axes = [axis_of(s, a, rank, "an item of axes") for a in (axes if axes is not None else range(len(starts)))]
    steps = steps or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or len(set(axes)) != len(axes) or 0 in steps:
        raise s.invalid(f"starts {starts}, ends {ends}, axes {axes} and steps {steps} do not fit each other")
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        first, stop, _ = slice(start, end, step).indices(s.shape(x)[axis])
        x = part(s, x, axis, first, len(range(first, stop, step)), step)
    return [x]


@importer("Trilu")
def _trilu(s: Scope, n: Node) -> Sequence[Imported]:
    x, k = n.need(0), n.input(1)
    shift = 0 if k is None else s.known_integer(k, "k")
    shape = s.shape(x)
    if len(shape) < 2:
        raise s.invalid(f"the input has the shape {list(shape)}; it must have at least two dimensions")
    rows, columns = numbers(s, shape[-2]).reshape(-1, 1), numbers(s, shape[-1]).reshape(1, -1)
    keep = s.op("ge" if n.attr("upper", 1) else "le", [s.op("sub", [columns, rows]), shift])
    zero = False if s.dtype(x) is DType.BOOL else 0
    return [s.op("select", [*s.broadcast([keep, x]), zero])]


# ---- repetition and borders


@importer("Tile")
def _tile(s: Scope, n: Node) -> Sequence[Imported]:
    x, repeats = n.need(0), s.known_ints(n.need(1), "repeats")
    if len(repeats) != s.rank(x) or min(repeats, default=1) < 0:
        raise s.invalid(f"repeats = {repeats} does not fit a tensor of {s.rank(x)} dimensions")
    if 0 in repeats:
        return [empty(s, x, [d * r for d, r in zip(s.shape(x), repeats, strict=True)])]
    return [s.op("tile", [x], repeats=repeats)]


_MOST_TURNS = 256
"""How often a dimension is repeated on each side."""
BORDERS = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}


@importer("Pad")
def _pad(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    rank = s.rank(x)
    mode = n.attr("mode", "constant")
    if n.version < 11:
        pads, number = list(n.need_attr("pads")), float(n.attr("value", 0.0))
    else:
        pads = s.known_ints(n.need(1), "pads")
        number = 0.0 if n.input(2) is None else float(s.known_number(n.input(2), "constant_value"))
    axes = range(rank) if n.input(3) is None else s.known_ints(n.input(3), "axes")
    if len(pads) != 2 * len(axes):
        raise s.invalid(f"there are {len(pads)} pads for {len(axes)} dimensions; there must be two for each")
    padding = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        padding[axis_of(s, axis, rank, "an item of axes")] = (pads[i], pads[i + len(axes)])
    if mode == "wrap":
        return [_wrapped(s, x, padding)]
    if mode not in BORDERS:
        raise s.invalid(f"mode is {mode!r}; it must be 'wrap' or one of {', '.join(map(repr, BORDERS))}")
    return [s.op("pad", [x], padding=padding, border=BORDERS[mode], value=number)]


def _wrapped(s: Scope, x: Any, padding: Sequence[tuple[int, int]]) -> Any:
    """The tensor continued with its other end, as often as that takes; negative padding cuts."""
    for axis, (before, after) in enumerate(padding):
        extent = s.shape(x)[axis]
        if max(before, after) > _MOST_TURNS * extent:
            raise s.unsupported(f"an extent of {extent} wrapped around by {max(before, after)} elements")
        parts, start, stop = [], -before, extent + after
        while start < stop:
            first = start % extent
            length = min(stop - start, extent - first)
            parts.append(part(s, x, axis, first, length))
            start += length
        x = parts[0] if len(parts) == 1 else s.op("concat", parts, axis=axis)
    return x


# ---- blocks


def _block_size(s: Scope, n: Node) -> int:
    size = int(n.need_attr("blocksize"))
    if size < 1 or s.rank(n.need(0)) != 4:
        raise s.invalid(
            f"blocksize is {size}, the input has {s.rank(n.need(0))} dimensions; it must be positive, and 4"
        )
    return size


@importer("DepthToSpace")
def _depth_to_space(s: Scope, n: Node) -> Sequence[Imported]:
    x, block = n.need(0), _block_size(s, n)
    batch, depth, height, width = s.extents(x, 4)
    inner = depth // (block * block)
    if n.attr("mode", "DCR") == "DCR":
        split, perm = (batch, block, block, inner, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split, perm = (batch, inner, block, block, height, width), (0, 1, 4, 2, 5, 3)
    return [s.reshape(s.transpose(s.reshape(x, split), perm), (batch, inner, height * block, width * block))]


@importer("SpaceToDepth")
def _space_to_depth(s: Scope, n: Node) -> Sequence[Imported]:
    x, block = n.need(0), _block_size(s, n)
    batch, depth, height, width = s.extents(x, 4)
    tall, wide = height // block, width // block
    split = s.reshape(x, (batch, depth, tall, block, wide, block))
    perm = (0, 3, 5, 1, 2, 4) if n.attr("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return [s.reshape(s.transpose(split, perm), (batch, depth * block * block, tall, wide))]


@importer("ReverseSequence")
def _reverse_sequence(s: Scope, n: Node) -> Sequence[Imported]:
    """Each sequence is gathered in its own order."""
    x, lengths = n.need(0), s.known_ints(n.need(1), "sequence_lens")
    batch, time = n.attr("batch_axis", 1), n.attr("time_axis", 0)
    if sorted((batch, time)) != [0, 1]:
        raise s.invalid(f"batch_axis = {batch} and time_axis = {time}; one must be 0 and the other 1")
    shape = s.shape(x)
    if len(shape) < 2:
        raise s.invalid(f"the input has the shape {list(shape)}; it must have at least two dimensions")
    if len(lengths) != shape[batch] or not all(0 <= length <= shape[time] for length in lengths):
        raise s.invalid(f"sequence_lens = {lengths} does not fit {shape[batch]} sequences of {shape[time]} steps")
    steps = numbers(s, shape[time])
    order = np.stack([np.where(steps < length, length - 1 - steps, steps) for length in lengths])
    rows = x if batch == 0 else s.transpose(x, (1, 0, *range(2, len(shape))))
    flat = s.reshape(rows, (shape[0] * shape[1], *shape[2:]))
    index = order + shape[time] * np.arange(shape[batch])[:, None]
    picked = s.op("gather", [flat, index.astype(np.int64)], axis=0)
    return [picked if batch == 0 else s.transpose(picked, (1, 0, *range(2, len(shape))))]
