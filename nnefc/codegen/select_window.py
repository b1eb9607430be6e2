"""Selection of windows: which dimension makes the lanes, the tile along the columns, and the work units."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from nnefc.codegen.choice import ENOUGH_UNITS, Choice, lane_loop, only_bytes, operands_of, vector_lanes
from nnefc.codegen.kernels.depthwise import DepthwiseKernel
from nnefc.codegen.kernels.window import WindowKernel
from nnefc.codegen.nest import Loop, Nest, collapsed, flattened, nest, ordered, unit_loop, volume, without
from nnefc.codegen.target import Target
from nnefc.ir.expr import arg, cast
from nnefc.ir.types import DType
from nnefc.ir.window import Slide, Window

MOST_ROWS = 8
"""Windows of a tile: more would load little less."""
MOST_TAPS = 32
"""Taps along the columns that a kernel spells out."""
MOST_LINES = 8
"""Lines, and columns, of windows on codes: weights of more would not stay near."""
MOST_SHARED = 16
"""Taps of windows of which two lines are done together: the weights of both would not stay in registers for more."""
LEAST_CHANNELS = 16
"""Bytes of the shortest vectors of channels."""
NEAR = 1 << 19
"""Bytes that the lines of a unit take, with all channels, while the next unit does other channels of them: half of a
common second-level cache."""
PREPARED = 8
"""Windows whose sums take as long as bringing the weights of some channels into the order of the instructions."""


@dataclass(frozen=True)
class _Axis:
    """A dimension that windows slide along: how many there are, x's extent, and the steps of x along its elements, of
    the weights along the taps, and of all operands from window to window (0 for x and the weights)."""

    slide: Slide
    windows: int
    extent: int
    step: int
    tap: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Tiles:
    """How a line of windows is cut into tiles; see WindowKernel."""

    rows: int
    left: int
    right: int
    single: bool
    beyond: int


def _axes(call: Window) -> list[_Axis]:
    """The sliding dimensions, by falling step in x."""
    kept, still = call.kept, (0,) * (1 + len(call.weights))
    axes = []
    for d, s in enumerate(call.slides, kept):
        strides = (*still, *(v.strides[d] for v in (*call.extras, call.output)))
        tap = call.weights[0].strides[d] if call.weights else 0
        axes.append(_Axis(s, call.output.shape[d], call.x.shape[d], call.x.strides[d], tap, strides))
    return sorted(axes, key=lambda a: (-abs(a.step), a.windows))


def _tiles(a: _Axis, target: Target) -> _Tiles | None:
    """The tiles along an axis; None where windows are too large, or the first and last tile would not hold all those
    that reach outside."""
    slide, n = a.slide, a.windows
    if slide.size > MOST_TAPS:
        return None
    most = max(min(target.vector_registers - slide.size - 2, MOST_ROWS), 2)
    parts = math.ceil(n / most)
    rows = math.ceil(n / parts)
    left, right = max(slide.before, 0), max(slide.after(n, a.extent), 0)
    first, last = (min(math.ceil(k / slide.stride), n) for k in (left, right))
    if parts > 1 and (max(first, last) > min(rows, n - rows) or (parts > 2 and first + last > n - rows)):
        return None
    return _Tiles(rows, left, right, parts == 1, last)


def _point(count: int) -> _Axis:
    """An axis of one window of one element."""
    return _Axis(Slide(1), 1, 1, 0, 0, (0,) * count)


def select_window(call: Window, target: Target) -> Choice:
    """The kernel for windows on codes where it is theirs, else the one for windows of any kind."""
    return _select_codes(call, target) or _select_any(call, target)


@dataclass(frozen=True)
class _Codes:
    """Sums of codes less a zero point, times weights if ``weighted``."""

    zero: int
    weighted: bool


def _codes(call: Window) -> _Codes | None:
    """What a Window makes of its codes; None where it does something else."""
    if call.op != "sum" or call.x.dtype is not DType.U8 or call.output.dtype is not DType.U8:
        return None
    code, weight = cast(arg(0, DType.U8), DType.I32), cast(arg(1, DType.I8), DType.I32)
    value = call.expr
    if call.weights:
        if value.op != "mul" or value.args[1] != weight:
            return None
        value = value.args[0]
    zero: float = 0
    if value.op == "sub" and value.args[1].op == "const":
        value, zero = value.args[0], value.args[1].number()
    return _Codes(int(zero), bool(call.weights)) if value == code and 0 <= zero <= 255 else None


def _width(channels: int, target: Target) -> int:
    """Channels of a tile, by the least time; vectors of less than a register take two thirds of that of whole ones."""
    widths = [n for n in (64, 32, 16) if n <= min(channels, target.vector_bytes)]
    return min(widths, key=lambda n: (math.ceil(channels / n) * (3 if n == target.vector_bytes else 2), -n))


def _select_codes(call: Window, target: Target) -> Choice | None:
    """Windows of codes that slide along lines and columns, with channels that lie together."""
    found = _codes(call)
    if found is None or len(call.slides) != 2 or any(s.dilation > 1 or s.size > MOST_LINES for s in call.slides):
        return None
    views = (call.x, *call.weights, *call.extras, call.output)
    count = len(views)
    line, columns = _axes(call)
    kept = collapsed(ordered(nest(call.output.shape[: call.kept], [v.strides[: call.kept] for v in views]), count - 1))
    k = next((k for k, p in enumerate(kept) if _together(p, 1 + len(call.weights))), None)
    if k is None:
        return None
    lane, width = kept[k], _width(kept[k].extent, target)
    lines = min(line.windows, 2) if line.slide.size * columns.slide.size <= MOST_SHARED else 1
    each, chunk = _code_units(call, without(kept, k), line, columns, lane, lines, width)
    outer = _outer(without(kept, k), [line], lane, each, chunk)
    rows, moving = Loop(columns.windows, columns.strides), Loop(line.windows, line.strides)
    operands = tuple(
        replace(a, moves=a.moves or b.moves)
        for a, b in zip(operands_of(views, lane, rows), operands_of(views, lane, moving), strict=True)
    )
    spec = DepthwiseKernel(
        call.post if call.post is not None else arg(0, call.expr.dtype),
        operands,
        found.weighted,
        len(outer),
        (line.slide.size, columns.slide.size),
        (line.slide.stride, columns.slide.stride),
        lines,
        width,
    )
    still = (0,) * (count - 1 - len(call.weights))
    steps = (columns.step, *((columns.tap,) if call.weights else ()), *still)
    geometry = (
        *(columns.windows, columns.extent, line.windows, each, lane.extent, chunk),
        *(columns.slide.before, found.zero),
        *(*steps, *columns.strides, *lane.strides, *line.strides, *_height(line), *flattened(outer)),
    )
    return Choice(spec, views, geometry, volume(outer))


def _together(loop: Loop, inputs: int) -> bool:
    """Whether a dimension can make vectors of channels: all operands lie together along it, extras may stay put."""
    last = len(loop.strides) - 1
    return loop.extent >= LEAST_CHANNELS and all(
        s == 1 or (s == 0 and inputs <= k < last) for k, s in enumerate(loop.strides)
    )


def _lanes(call: Window, target: Target) -> int:
    """Registers of bytes where nothing but bytes is known, and the channels divide into them."""
    exprs = (call.expr,) if call.post is None else (call.expr, call.post)
    if all(v.dtype.size == 1 for v in (*call.reads(), call.output)) and all(map(only_bytes, exprs)):
        for lanes in (64, 32):
            if lanes <= target.vector_bytes and any(n % lanes == 0 for n in call.output.shape[: call.kept]):
                return lanes
    return vector_lanes(target)


def _select_any(call: Window, target: Target) -> Choice:
    """Tiles lie along the sliding dimension of the least step in x, where it is cut into tiles well."""
    views = (call.x, *call.weights, *call.extras, call.output)
    count, lanes = len(views), _lanes(call, target)
    axes = _axes(call)
    tiles = _tiles(axes[-1], target)
    if tiles is None:
        axes.append(_point(count))
        tiles = _Tiles(1, 0, 0, True, 0)
    *heights, columns = axes
    heights = heights or [_point(count)]
    kept = collapsed(ordered(nest(call.output.shape[: call.kept], [v.strides[: call.kept] for v in views]), count - 1))
    kept = kept or (unit_loop(count),)
    k = lane_loop(kept, lanes)
    lane, line = kept[k], heights[-1]
    outer, lines, chunk = _units(call, without(kept, k), heights, columns, lane, lanes)
    spec = WindowKernel(
        call.op,
        call.expr,
        call.post if call.post is not None else arg(0, call.expr.dtype),
        operands_of(views, lane, Loop(columns.windows, columns.strides)),
        1 + len(call.weights),
        len(outer),
        tuple(a.slide.dilation for a in heights),
        Slide(columns.slide.size, columns.slide.stride, columns.slide.dilation),
        tiles.left,
        tiles.right,
        tiles.single,
        tiles.rows,
        lanes,
        lane.extent >= lanes,
        lane.extent % lanes != 0,
    )
    still = (0,) * (count - 1 - len(call.weights))
    steps = (columns.step, *((columns.tap,) if call.weights else ()), *still)
    geometry = (
        *(columns.windows, tiles.beyond, line.windows, lines, lane.extent, chunk),
        -columns.slide.before * columns.step,
        *(*steps, *columns.strides, *lane.strides, *line.strides),
        *(n for a in heights for n in _height(a)),
        *flattened(outer),
    )
    return Choice(spec, views, geometry, volume(outer))


def _height(a: _Axis) -> tuple[int, ...]:
    s = a.slide
    return (s.size, s.stride, s.before, a.extent, a.step, a.tap)


def _units(
    call: Window, kept: Nest, heights: list[_Axis], columns: _Axis, lane: Loop, lanes: int
) -> tuple[Nest, int, int]:
    """The loops over units, lines per unit and lanes per unit.

    Lines are many where all channels of them stay near; then a unit takes some channels, as many as leave enough units,
    and, where they are still too few, fewer lines."""
    line = heights[-1]
    outside = volume(kept) * math.prod(a.windows for a in heights[:-1])
    strips = math.ceil(line.windows / _near_lines(call, line, columns, lane))
    vectors = math.ceil(lane.extent / lanes)
    chunks = min(vectors, math.ceil(ENOUGH_UNITS / (outside * strips)))
    strips = min(line.windows, max(strips, math.ceil(ENOUGH_UNITS / (outside * chunks))))
    lines, chunk = math.ceil(line.windows / strips), vectors // chunks * lanes
    return _outer(kept, heights, lane, lines, chunk), lines, chunk


def _near_lines(call: Window, line: _Axis, columns: _Axis, lane: Loop) -> int:
    """The most lines of a unit of which all channels stay near."""
    width = lane.extent * columns.extent * call.x.dtype.size
    return max(NEAR // max(width, 1) // line.slide.stride, 4)


def _code_units(
    call: Window, kept: Nest, line: _Axis, columns: _Axis, lane: Loop, lines: int, width: int
) -> tuple[int, int]:
    """Lines and channels of a unit of windows on codes, in whole tiles of ``lines`` and ``width``: those that take 1, 2
    and 4 threads the least time, each unit and each vector of channels with what is prepared for it once."""
    tiles, vectors, outside = math.ceil(line.windows / lines), math.ceil(lane.extent / width), volume(kept)
    least = math.ceil(line.windows / _near_lines(call, line, columns, lane))

    def time(high: int, wide: int) -> float:
        units = outside * math.ceil(tiles / high) * math.ceil(vectors / wide)
        return sum(t * math.ceil(units / t) for t in (1, 2, 4)) * wide * (PREPARED + high * lines * columns.windows)

    choices = [
        (math.ceil(tiles / s), math.ceil(vectors / c))
        for s in range(min(least, tiles), tiles + 1)
        for c in range(1, vectors + 1)
    ]
    high, wide = min(dict.fromkeys(choices), key=lambda n: time(*n))
    return high * lines, wide * width


def _outer(kept: Nest, heights: list[_Axis], lane: Loop, lines: int, chunk: int) -> Nest:
    """The loops over units of so many lines and channels."""
    line, count, high = heights[-1], len(lane.strides), len(heights)
    nothing = (0,) * (high + 1)
    loops = [Loop(p.extent, (*p.strides, *nothing)) for p in kept]
    for d, a in enumerate(heights[:-1]):
        loops.append(Loop(a.windows, (*a.strides, *(int(d == e) for e in range(high)), 0)))
    for extent, size, strides, at in (
        (math.ceil(line.windows / lines), lines, line.strides, high - 1),
        (math.ceil(lane.extent / chunk), chunk, lane.strides, high),
    ):
        if extent > 1:
            loops.append(Loop(extent, (*(s * size for s in strides), *(size * int(at == e) for e in range(high + 1)))))
    assert all(len(p.strides) == count + high + 1 for p in loops)
    return tuple(loops)
