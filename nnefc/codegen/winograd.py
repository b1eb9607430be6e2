"""Convolutions of 3 x 3 by few multiplications (Winograd, 1980; Lavin and Gray, 2016): where and how.

The map is cut into image tiles, for which ``schemes`` says the algorithm. The last ones of a row or a column overlap
those before, so that nothing outside the input is read.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnefc.codegen.made import Making
from nnefc.codegen.nest import Nest, collapsed, nest
from nnefc.codegen.schemes import SIZES, Scheme, matrices
from nnefc.codegen.target import Target
from nnefc.codegen.tiles import Panelling, TileShape, tile_shapes
from nnefc.codegen.ways import RULES, Ways, way_of
from nnefc.ir.interpret import Memory, array
from nnefc.ir.program import Call, Contract, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.passes.narrow import rounded

PLANE_PAD = 16
"""Elements between the ``n * n`` planes of scratch memory, which powers of two would map to the same cache sets."""


@dataclass(frozen=True)
class Axes:
    """Dimensions of a Contract's ``x``: the map's height and width, the taps that move along them, the channels; and
    how many taps it is from pixel to pixel."""

    height: int
    width: int
    taps: tuple[int, int]
    channels: int
    step: int


def convolution_axes(call: Contract) -> Axes | None:
    """Where a Contract is a 3 x 3 convolution with a step of 1 or 2, as its strides tell; else None.

    Two of its reduced dimensions are taps: of extent 3, and moving through ``x`` as a kept dimension does, or half as
    far. One more are the channels. Steps and distances between taps are relative to each other."""
    return next((axes for step in (1, 2) if (axes := _axes_of_step(call, step)) is not None), None)


def _axes_of_step(call: Contract, step: int) -> Axes | None:
    x, first = call.x, call.x.rank - call.reduced
    if math.prod(x.shape[: call.groups]) != 1:
        return None
    taps: dict[int, int] = {}
    for d in range(call.groups, first):
        free = (r for r in range(first, x.rank) if x.shape[r] == 3 and r not in taps.values())
        tap = next((r for r in free if x.strides[r] * step == x.strides[d] != 0), None)
        if tap is not None and x.shape[d] > 1 and len(taps) < 2:
            taps[d] = tap
    rest = [r for r in range(first, x.rank) if r not in taps.values() and x.shape[r] > 1]
    if len(taps) != 2 or len(rest) != 1:
        return None
    (height, down), (width, across) = taps.items()
    return Axes(height, width, (down, across), rest[0], step)


@dataclass(frozen=True)
class Blocking:
    """How the image tiles of a scheme are worked on: in ``blocks`` blocks of ``size`` neighbours, the last one
    overlapping the one before, by register tiles of the shape ``tile``, in ``units`` units of equal work."""

    scheme: Scheme
    tile: TileShape
    size: int
    blocks: int
    units: int


@dataclass(frozen=True)
class Winograd(Call):
    """A Contract that is a 3 x 3 convolution, by image tiles.

    ``w`` are the transformed weights: (panel, plane, channel, tile.width), zero-padded. ``scratch`` is memory for the
    transformed tiles, a part for each unit."""

    w: View
    scratch: View
    contract: Contract
    axes: Axes
    blocking: Blocking

    def reads(self) -> tuple[View, ...]:
        return (self.contract.x, self.w, *self.contract.extras)

    def writes(self) -> tuple[View, ...]:
        return (self.contract.output, self.scratch)

    @property
    def images(self) -> Nest:
        """The loops over maps; operands are x, the extras and the output."""
        return image_loops(self.contract, self.axes)


@dataclass(frozen=True)
class Transform(Making):
    """The weights of a Winograd call, ``output``, from those of its Contract, of which ``taps`` are the dimensions that
    move down and across beside ``groups`` of extent 1."""

    w: View
    output: View
    groups: int
    taps: tuple[int, int]
    scheme: Scheme

    def reads(self) -> tuple[View, ...]:
        return (self.w,)

    def writes(self) -> tuple[View, ...]:
        return (self.output,)

    def make(self, memory: Memory) -> None:
        w = array(self.w, memory)[(0,) * self.groups]
        transform_weights(w, self.taps, self.scheme, array(self.output, memory))


def image_loops(call: Contract, axes: Axes) -> Nest:
    """The loops over kept dimensions beside height and width; operands are x, the extras and the output."""
    kept = [d for d in range(call.groups, call.output.rank - 1) if d not in (axes.height, axes.width)]
    views = (call.x, *call.extras, call.output)
    return collapsed(nest([call.output.shape[d] for d in kept], [tuple(v.strides[d] for d in kept) for v in views]))


@dataclass(frozen=True)
class Scratch:
    """A unit's scratch memory, in elements: planes of transformed tiles (vector of channels, image tile, lane), one for
    each element of a tile, as many of products (image tile, output of a panel), and the image tile at work."""

    plane: int
    product_plane: int
    products: int
    work: int
    size: int

    @staticmethod
    def of(channels: int, blocking: Blocking) -> Scratch:
        """For convolutions of ``channels`` channels."""
        n, lanes = blocking.scheme.n, blocking.tile.lanes
        plane = math.ceil(channels / lanes) * lanes * blocking.size + PLANE_PAD
        product_plane = blocking.size * blocking.tile.width + PLANE_PAD
        work = n * n * (plane + product_plane)
        return Scratch(plane, product_plane, n * n * plane, work, work + n * n * lanes)


# ---- the rule


@dataclass(frozen=True)
class Convolution:
    """What the choice rests on: ``images`` maps of ``height x width`` outputs, channels and outputs, and the step."""

    images: int
    height: int
    width: int
    channels: int
    outputs: int
    step: int = 1

    @staticmethod
    def of(call: Contract, axes: Axes) -> Convolution:
        """Those of a Contract."""
        height, width, channels = (call.x.shape[d] for d in (axes.height, axes.width, axes.channels))
        images = math.prod(p.extent for p in image_loops(call, axes))
        return Convolution(images, height, width, channels, call.output.shape[-1], axes.step)

    def tiles(self, m: int) -> int:
        """Image tiles in all."""
        return self.images * math.ceil(self.height / m) * math.ceil(self.width / m)


PRODUCT = 1.1
"""Cycles that a vector of products takes of a core that does one vector multiply-add a cycle."""
TRANSFORM = 10.0
"""Cycles that each vector of an image tile takes to be transformed, there or back."""
STREAM = 12.0
"""Cycles in which a vector of weights comes from memory."""
GAIN = 0.9
"""The part of the direct time below which transformed tiles are worth their memory and their rounding."""


def estimated_cycles(c: Convolution, m: int | None, lanes: int) -> float:
    """The time of a convolution by image tiles of ``m x m``, or directly for None, on a nominal core.

    Weights stream while others are multiplied, so the longer of the two counts, and a quarter of the other."""
    deep, wide = math.ceil(c.channels / lanes), math.ceil(c.outputs / lanes)
    planes, places = (9, c.images * c.height * c.width) if m is None else (Scheme(c.step, m).n ** 2, c.tiles(m))
    transforms = 0.0 if m is None else TRANSFORM * (deep + wide)
    work = places * planes * (PRODUCT * c.channels * wide + transforms)
    stream = STREAM * planes * c.channels * wide
    return max(work, stream) + min(work, stream) / 4


def choose_tile_size(uses: Sequence[Convolution], lanes: int) -> int | None:
    """The size of image tiles that suits convolutions of the same weights and step best: that of the least sum of
    times, each relative to the direct one. None where direct convolutions are as good, or a map is too small."""
    sizes = [m for m in SIZES if all(min(c.height, c.width) >= m for c in uses)]

    def relative(m: int) -> float:
        return sum(estimated_cycles(c, m, lanes) / estimated_cycles(c, None, lanes) for c in uses) / len(uses)

    best = min(sizes, key=relative, default=None)
    return best if best is not None and relative(best) <= GAIN else None


COLUMNS = 2
"""Vectors of a panel of weights, whatever the map, so that networks for several shapes share the weights."""
BLOCK = 14
"""Image tiles of a block, at most: no more than fill a register tile or a few, so that a block's planes stay in the
second-level cache."""
WHOLE = 64
"""Image tiles that may make one block, whose weights are then read once."""
SMALL, LARGE = 512 << 10, 4 << 20
"""Bytes of transformed tiles that stay in the second-level cache beside the weights that stream; bytes of weights that
had better be read from memory once, whatever else."""
SHARED = 4
"""Panels of weights that threads can divide between them, so that it does not take several blocks."""
UNITS = 16
"""Work units, at most."""


def choose_blocking(c: Convolution, m: int, target: Target) -> Blocking:
    """How a convolution is done by image tiles of ``m x m``."""
    lanes = target.lanes(DType.F32)
    scheme = Scheme(c.step, m)
    columns = min(COLUMNS, math.ceil(c.outputs / lanes))
    cut = (Panelling(c.outputs, columns, lanes),)
    rows = max(tile_shapes(cut, r, c.channels, lanes, target)[0].rows for r in range(1, BLOCK + 1))
    total, panels = c.tiles(m), cut[0].panels
    each = scheme.n**2 * c.channels * DType.F32.size
    whole = total <= WHOLE and panels >= SHARED and (each * total <= SMALL or each * c.outputs > LARGE)
    blocks = 1 if whole else math.ceil(total / (BLOCK // rows * rows))
    size = math.ceil(total / blocks)
    blocks = math.ceil(total / size)
    (tile,) = tile_shapes(cut, size, c.channels, lanes, target)
    return Blocking(scheme, tile, size, blocks, min(UNITS, blocks * panels))


# ---- the pass

WeightsKey = tuple[int, int, tuple[int, ...], tuple[int, ...], tuple[int, int], int]
"""Weights as convolutions see them: the identity of their array, the view of it, the dimensions that are taps, and
the step."""


def common_sizes(programs: Sequence[Program], target: Target, ways: Ways = RULES) -> dict[WeightsKey, int]:
    """The sizes of image tiles by the weights that are transformed for them, for all convolutions that share these.
    ``ways`` override the rule."""
    uses: dict[WeightsKey, dict[Convolution, None]] = {}
    given: dict[WeightsKey, int] = {}
    for program in programs:
        for call in program.calls:
            found = _eligible(call, program)
            if found is not None:
                contract, axes, key = found
                convolution, image = Convolution.of(contract, axes), way_of(ways, contract).image
                uses.setdefault(key, {})[convolution] = None
                if image is not None:
                    given[key] = image if image <= min(convolution.height, convolution.width) else 0
    sizes = {key: choose_tile_size(tuple(each), target.lanes(DType.F32)) for key, each in uses.items()} | given
    return {key: m for key, m in sizes.items() if m}


def use_winograd(program: Program, target: Target, sizes: Mapping[WeightsKey, int] | None = None) -> Program:
    """Every Contract for whose weights there is a size of image tiles becomes a Winograd call: convolutions
    of 3 x 3 of F32 or F16 whose weights are constant. A Transform makes the weights.

    ``sizes`` are the :func:`common_sizes` of this and other Programs (default: of this one). The same object if there
    is nothing to do."""
    sizes = common_sizes([program], target) if sizes is None else sizes
    calls: list[Call] = []
    constants = dict(program.constants)
    transformed: dict[WeightsKey, View] = {}
    taken = set(program.buffers())
    for call in program.calls:
        found = _eligible(call, program)
        if found is None or found[2] not in sizes:
            calls.append(call)
            continue
        contract, axes, key = found
        blocking = choose_blocking(Convolution.of(contract, axes), sizes[key], target)
        if key not in transformed:
            shape, scheme = transformed_shape(contract, axes, blocking), blocking.scheme
            if contract.w.dtype is DType.F32:
                transformed[key] = _dense("winograd", shape, Role.TEMP, taken)
                calls.append(
                    Transform(contract.w, transformed[key], contract.groups, key[4], scheme, origin=call.origin)
                )
            else:
                weights = np.empty(shape, np.float32)
                transform_weights(array(contract.w, constants)[(0,) * contract.groups], key[4], scheme, weights)
                half = rounded(weights, DType.F16)
                if half is None:
                    calls.append(call)
                    continue
                transformed[key] = _dense("winograd", shape, Role.CONST, taken, DType.F16)
                constants[transformed[key].buffer.name] = half.reshape(-1)
        size = Scratch.of(contract.x.shape[axes.channels], blocking).size * blocking.units
        scratch = _dense("tiles", (size,), Role.TEMP, taken)
        calls.append(Winograd(transformed[key], scratch, contract, axes, blocking, origin=call.origin))
    return program.replace(calls=tuple(calls), constants=constants) if transformed else program


def faster_by_image_tiles(program: Program, target: Target, part: float) -> set[int]:
    """The calls, by position, that image tiles are expected to do in less than a ``part`` of the direct time."""
    sizes = common_sizes([program], target)
    lanes = target.lanes(DType.F32)
    found: set[int] = set()
    for n, call in enumerate(program.calls):
        eligible = _eligible(call, program)
        if eligible is not None and eligible[2] in sizes:
            c = Convolution.of(eligible[0], eligible[1])
            if estimated_cycles(c, sizes[eligible[2]], lanes) < part * estimated_cycles(c, None, lanes):
                found.add(n)
    return found


def _dense(kind: str, shape: tuple[int, ...], role: Role, taken: set[str], dtype: DType = DType.F32) -> View:
    """All of a new buffer, named after its ``kind`` as none of those ``taken``."""
    name = next(name for k in itertools.count(1) if (name := f"{kind}.{k}") not in taken)
    taken.add(name)
    return View(Buffer(name, dtype, math.prod(shape), role), 0, shape, dense_strides(shape))


def _eligible(call: Call, program: Program) -> tuple[Contract, Axes, WeightsKey] | None:
    """A convolution that image tiles can do, and its weights; else None."""
    if not isinstance(call, Contract) or call.x.dtype not in (DType.F32, DType.F16):
        return None
    if call.w.buffer.role is not Role.CONST or call.x.buffer.role is Role.CONST:
        return None
    axes = convolution_axes(call)
    if axes is None:
        return None
    w, first = call.w, call.x.rank - call.reduced
    taps = axes.taps[0] - first, axes.taps[1] - first
    return call, axes, (id(program.constants[w.buffer.name]), w.offset, w.shape, w.strides, taps, axes.step)


def transformed_shape(call: Contract, axes: Axes, blocking: Blocking) -> tuple[int, int, int, int]:
    """The shape of Winograd.w."""
    panels = math.ceil(call.w.shape[-1] / blocking.tile.width)
    return panels, blocking.scheme.n**2, call.x.shape[axes.channels], blocking.tile.width


def transform_weights(w: np.ndarray, taps: tuple[int, int], scheme: Scheme, packed: np.ndarray) -> None:
    """``G g G'`` for every pair of channel and output, to ``packed``, in the order of Winograd.w. ``taps`` are the
    dimensions of ``w`` that move down and across; its last is the outputs. Computed in F64 and rounded once."""
    rest = (d for d in range(w.ndim - 1) if d not in taps)
    w = w.transpose((*taps, *rest, w.ndim - 1))
    _, planes, channels, width = packed.shape
    g = matrices(scheme)[1]
    both = np.kron(g, g)
    for k, panel in enumerate(packed):
        part = w[..., k * width : (k + 1) * width].astype(np.float64)
        panel[..., : part.shape[-1]] = (both @ part.reshape(9, -1)).reshape(planes, channels, -1)
        panel[..., part.shape[-1] :] = 0
