"""grid_sample: a tensor sampled at given positions (spatial transformer networks, Jaderberg et al., 2015).

Positions, paddings and weights are those of GridSample in ONNX (operator version 22), for one to three spatial
dimensions, the last dimension first. Coordinates go from -1 to 1, or are elements where they are not ``normalized``.
Of cubic samples each tap is padded by itself, as engines do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from nnefc.ir.build import ProgramBuilder, channels_last
from nnefc.ir.expr import Expr, arg, call, cast, const, select
from nnefc.ir.graph import Attrs, Op
from nnefc.ir.types import DType, TensorType
from nnefc.ir.view import View
from nnefc.ops.common import one_of, require_kind, shape_text, tensor
from nnefc.ops.primitive import register, require

METHODS = ("nearest", "linear", "cubic")
PADDINGS = ("zeros", "border", "reflection")
_CUBIC = -0.75
_MAX_SPATIAL = 3


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """(N, C, spatial of the grid...) of the input's element type; the grid is (N, spatial..., positions)."""
    x, grid = types
    method = one_of(attrs, "method", METHODS)
    one_of(attrs, "padding", PADDINGS)
    require_kind(x, "fiub" if method == "nearest" else "f", "input")
    require_kind(grid, "f", "grid")
    spatial = x.rank - 2
    require(1 <= spatial <= _MAX_SPATIAL, f"input has {spatial} spatial dimensions; it must have 1 to {_MAX_SPATIAL}")
    require(
        grid.rank == x.rank and grid.shape[0] == x.shape[0] and grid.shape[-1] == spatial,
        f"grid has shape {shape_text(grid.shape)}; it must have {x.rank} dimensions, the first {x.shape[0]} as that of "
        f"the input, the last {spatial}",
    )
    return (tensor(x.dtype, (*x.extents[:2], *grid.extents[1:-1])),)


# ---- the NumPy meaning


def _bounds(extent: int, attrs: Attrs) -> tuple[float, float]:
    """Where the sampled extent begins and ends: at the centres of the outer elements, or at their edges."""
    return (0.0, extent - 1.0) if attrs["align_corners"] else (-0.5, extent - 0.5)


def _reflected(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Positions folded back at both bounds until they lie between them."""
    width = high - low
    if width <= 0:
        return np.full_like(x, low)
    distance = np.abs(x - low)
    turns = np.floor(distance / width)
    rest = distance - turns * width
    return np.where(turns % 2 == 0, low + rest, high - rest)


def _cubic_weights(u: np.ndarray) -> list[np.ndarray]:
    """The four weights of cubic convolution (Keys, 1981) at ``u`` between the second and the third element."""
    result = []
    for distance in (u + 1, u, 1 - u, 2 - u):
        near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance * distance + 1
        far = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
        result.append(np.where(distance <= 1, near, far))
    return result


def _axis_taps(position: np.ndarray, extent: int, attrs: Attrs) -> list[tuple[np.ndarray, np.ndarray]]:
    """The taps along one dimension: indices inside the extent, and weights (0 for a padding of zeros)."""
    method, padding, x = attrs["method"], attrs["padding"], position
    if attrs["normalized"]:
        align = attrs["align_corners"]
        x = (position + 1) / 2 * (extent - 1) if align else ((position + 1) * extent - 1) / 2
    x = np.clip(np.nan_to_num(x, nan=-1e9), -1e9, 1e9)
    low, high = _bounds(extent, attrs)
    if method == "nearest":
        x = np.rint(x)
    beyond = ((x < low) | (x > high)) & (method != "cubic")
    if padding == "border":
        x = np.where(beyond, np.clip(x, 0, extent - 1), x)
    elif padding == "reflection":
        x = np.where(beyond, _reflected(x, low, high), x)
    base = np.floor(x)
    u = x - base
    if method == "nearest":
        first, weights = 0, [np.ones_like(x)]
    elif method == "linear":
        first, weights = 0, [1 - u, u]
    else:
        first, weights = -1, _cubic_weights(u)
    taps = []
    for k, weight in enumerate(weights):
        index = base + (first + k)
        if padding == "zeros":
            weight = np.where((index >= 0) & (index < extent), weight, 0)
        elif padding == "reflection":
            index = np.trunc(_reflected(index, low, high))
        taps.append((np.clip(index, 0, extent - 1).astype(np.int64), weight))
    return taps


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, grid = arrays
    spatial = x.ndim - 2
    axes = [
        _axis_taps(grid[..., spatial - 1 - d].astype(np.float64 if grid.dtype == np.float64 else np.float32), n, attrs)
        for d, n in enumerate(x.shape[2:])
    ]
    batch = np.arange(x.shape[0]).reshape((-1,) + (1,) * spatial)
    total = np.zeros((x.shape[0], *grid.shape[1:-1], x.shape[1]))
    pixels = np.moveaxis(x, 1, -1)
    for taps in itertools.product(*axes):
        weight = math.prod((w.astype(np.float64) for _, w in taps), start=np.ones(()))
        picked = pixels[(batch, *(index for index, _ in taps))]
        total += np.where(weight[..., None] == 0, 0.0, weight[..., None] * picked)
    return (np.moveaxis(total, -1, 1).astype(x.dtype),)


# ---- lowering


def _number(x: Expr, value: float) -> Expr:
    return const(value, x.dtype)


def _between(x: Expr, low: float, high: float) -> Expr:
    return call("min", call("max", x, _number(x, low)), _number(x, high))


def _round_even(x: Expr) -> Expr:
    """To the nearest integer, halves to the even one."""
    up = call("round", x)
    half = call("eq", call("sub", up, x), _number(x, 0.5))
    odd = call("ne", call("mul", call("floor", call("mul", up, _number(x, 0.5))), _number(x, 2.0)), up)
    return select(call("and", half, odd), call("sub", up, _number(x, 1.0)), up)


def _reflected_expr(x: Expr, low: float, high: float) -> Expr:
    width = high - low
    if width <= 0:
        return _number(x, low)
    distance = call("abs", call("sub", x, _number(x, low)))
    turns = call("floor", call("div", distance, _number(x, width)))
    rest = call("sub", distance, call("mul", turns, _number(x, width)))
    halved = call("mul", turns, _number(x, 0.5))
    even = call("eq", call("floor", halved), halved)
    return select(even, call("add", _number(x, low), rest), call("sub", _number(x, high), rest))


def _position_expr(position: Expr, extent: int, attrs: Attrs) -> Expr:
    """Where a coordinate lies, in elements, its padding applied."""
    one = _number(position, 1.0)
    if not attrs["normalized"]:
        x = position
    elif attrs["align_corners"]:
        x = call(
            "mul", call("div", call("add", position, one), _number(position, 2.0)), _number(position, extent - 1.0)
        )
    else:
        x = call("sub", call("mul", call("add", position, one), _number(position, float(extent))), one)
        x = call("div", x, _number(position, 2.0))
    x = _between(x, -1e9, 1e9)
    if attrs["method"] == "nearest":
        x = _round_even(x)
    if attrs["padding"] == "zeros" or attrs["method"] == "cubic":
        return x
    low, high = _bounds(extent, attrs)
    border = attrs["padding"] == "border"
    inner = _between(x, 0.0, extent - 1.0) if border else _reflected_expr(x, low, high)
    beyond = call("or", call("lt", x, _number(x, low)), call("gt", x, _number(x, high)))
    return select(beyond, inner, x)


def _cubic_expr(u: Expr, k: int) -> Expr:
    """As ``_cubic_weights``: the weight of tap ``k``."""
    distance = (
        call("add", u, _number(u, 1.0)),
        u,
        call("sub", _number(u, 1.0), u),
        call("sub", _number(u, 2.0), u),
    )[k]

    def step(total: Expr, addend: float) -> Expr:
        return call("add", call("mul", total, distance), _number(u, addend))

    if k in (1, 2):
        inner = call("mul", step(_number(u, _CUBIC + 2), -(_CUBIC + 3)), distance)
        return step(inner, 1.0)
    return step(step(step(_number(u, _CUBIC), -5 * _CUBIC), 8 * _CUBIC), -4 * _CUBIC)


def _tap_exprs(x: Expr, extent: int, k: int, attrs: Attrs) -> tuple[Expr, Expr]:
    """The index (I64) and the weight of tap ``k`` at the position ``x``."""
    base = call("floor", x)
    u = call("sub", x, base)
    method, padding = attrs["method"], attrs["padding"]
    shift = k - 1 if method == "cubic" else k
    index = call("add", base, _number(x, float(shift))) if shift else base
    if method == "nearest":
        weight = _number(x, 1.0)
    elif method == "linear":
        weight = u if k else call("sub", _number(x, 1.0), u)
    else:
        weight = _cubic_expr(u, k)
    if padding == "zeros":
        inside = call("and", call("ge", index, _number(x, 0.0)), call("lt", index, _number(x, float(extent))))
        weight = select(inside, weight, _number(x, 0.0))
    elif padding == "reflection":
        index = call("trunc", _reflected_expr(index, *_bounds(extent, attrs)))
    return cast(_between(index, 0.0, extent - 1.0), DType.I64), weight


Taps = list[tuple[View, View]]


def _lowered_taps(b: ProgramBuilder, position: View, extent: int, attrs: Attrs) -> Taps:
    """Indices and weights (in the positions' type) of the taps along one dimension."""
    count = {"nearest": 1, "linear": 2, "cubic": 4}[attrs["method"]]
    wide = DType.F64 if position.dtype is DType.F64 else DType.F32
    x = b.map(_position_expr(cast(arg(0, position.dtype), wide), extent, attrs), [position])
    exprs = [_tap_exprs(arg(0, wide), extent, k, attrs) for k in range(count)]
    return [(b.map(index, [x]), b.map(weight, [x])) for index, weight in exprs]


def flat_index(extents: Sequence[int]) -> Expr:
    """The row-major number of the element at ``$1``, ``$2``, ... of the batch item ``$0``."""
    index = arg(0, DType.I64)
    for d, n in enumerate(extents, 1):
        index = call("add", call("mul", index, const(n, DType.I64)), arg(d, DType.I64))
    return index


def _blend(dtype: DType, weights: Sequence[View], taps: int, out: DType, first: bool) -> Expr:
    """``$0`` (the sum so far, unless first) plus the elements that follow, each times its product of weights.

    After the elements come the common weight, then the weights of each dimension's taps."""
    lead = 0 if first else 1
    wide = weights[0].dtype
    picked = taps ** ((len(weights) - 1) // taps)
    total = None if first else arg(0, out)
    common = arg(lead + picked, wide)
    rest = [arg(lead + picked + 1 + i, wide) for i in range(len(weights) - 1)]
    for i, factors in enumerate(_factor_products(rest, taps)):
        weight = common
        for factor in factors:
            weight = call("mul", weight, factor)
        element = cast(arg(lead + i, dtype), out)
        zero = call("eq", weight, const(0.0, wide))
        term = select(zero, const(0.0, out), call("mul", element, cast(weight, out)))
        total = term if total is None else call("add", total, term)
    assert total is not None
    return total


def _factor_products(weights: Sequence[Expr], taps: int) -> list[tuple[Expr, ...]]:
    """The weights of each combination of taps, ``taps`` per dimension."""
    return list(itertools.product(*(weights[i : i + taps] for i in range(0, len(weights), taps))))


def _lower(b: ProgramBuilder, op: Op) -> None:
    x, grid = b.view(op.inputs[0]), b.view(op.inputs[1])
    spatial, extents = x.rank - 2, x.shape[2:]
    coordinates = [grid.slice(grid.rank - 1, spatial - 1 - d, 1).squeeze(grid.rank - 1) for d in range(spatial)]
    axes = [_lowered_taps(b, c, n, op.attrs) for c, n in zip(coordinates, extents, strict=True)]
    b.reserve(x.shape[0])
    batch = b.const(np.arange(x.shape[0], dtype=np.int64).reshape((-1,) + (1,) * spatial))
    pixels = b.reshape(x.transpose(channels_last(x.rank)), (x.shape[0] * math.prod(extents), x.shape[1]))
    exact = op.attrs["method"] == "nearest" and op.attrs["padding"] != "zeros"
    out = x.dtype if exact or x.dtype is DType.F64 else DType.F32 if x.dtype.kind == "f" else DType.F64
    total: View | None = None
    for first_index, first_weight in axes[0]:
        terms, weights = [], [first_weight.expand_dims(spatial + 1)]
        for taps in itertools.product(*axes[1:]):
            index = b.map(flat_index(extents), [batch, first_index, *(i for i, _ in taps)])
            terms.append(b.gather(pixels, index, 0, check=False))
        if exact:
            total = terms[0]
            break
        weights += [w.expand_dims(spatial + 1) for axis in axes[1:] for _, w in axis]
        blend = _blend(x.dtype, weights, len(axes[0]), out, total is None)
        total = b.map(blend, [*([] if total is None else [total]), *terms, *weights])
    assert total is not None
    moved = total.transpose((0, spatial + 1, *range(1, spatial + 1)))
    b.put(op.output, b.cast(moved, x.dtype))


register("grid_sample", infer=_infer, reference=_reference, lower=_lower)
