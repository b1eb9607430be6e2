"""The rule by which contractions get register tiles: how the outputs are cut into panels, and how many rows are one
tile. Pure functions of extents and the target."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from nnefc.codegen.target import Target

MOST_COLS = 8
"""Vectors across a register tile, at most."""
MOST_ROWS = 14
"""Rows of a register tile, at most."""
SPLIT_GAIN = 0.03
"""The part of the time that a second launch must save."""
PIXEL_GAIN = 0.8
"""The part of the time of lanes along outputs below which lanes lie along pixels."""
TILE_COST = 16.0
"""Cycles that a tile whose lanes lie along pixels takes to begin and to end."""
LATENCY = 4.0
"""Cycles from a multiply-add to one that adds to its result."""
CACHES = ((16 << 10, math.inf), (512 << 10, 24.0), (1 << 62, 8.0))
"""Bytes of weights that stay in each level of the caches, beside others, and bytes that come from there in a cycle."""


@dataclass(frozen=True)
class Step:
    """What a step of a reduction takes. In instructions of the multiplying units: for each vector of sums, and for
    preparing a column of weights and a row. In registers: for a column, for a row, and beside."""

    products: float = 1.0
    column_work: float = 0.0
    row_work: float = 0.0
    column: int = 1
    row: int = 1
    beside: int = 1


MULTIPLY_ADD = Step()


def step_of(group: int, target: Target) -> Step:
    """For steps that sum a ``group`` of neighbours: see :func:`nnefc.codegen.dots.dot` for more than one."""
    if group > 4:
        s = step_of(4, target)
        return Step(2 * s.products, 2 * s.column_work + 1.5, 2 * s.row_work, s.column + 1, s.row, s.beside + 1)
    if group == 2:
        return MULTIPLY_ADD if target.bfdot else Step(2.0, 2.0, 2.0, 2, 2)
    if group == 1 or target.vnni or target.i8mm:
        return MULTIPLY_ADD
    if target.madd:
        return Step(2.0, 1.5, 1.0, 2, 2, 2)
    return Step(2.0, 1.0, 0.5, 2) if target.dotprod else Step(4.0, 4.0, 4.0, 4, 4)


@dataclass(frozen=True)
class TileShape:
    """A register tile: ``rows`` pixels by ``cols`` vectors of ``lanes`` outputs and, if not 0, one of ``last``. Where
    lanes lie along pixels, the rows are outputs, and there are as many columns for each of ``lines`` neighbours."""

    rows: int
    cols: int
    lanes: int
    last: int = 0
    lines: int = 1

    @property
    def width(self) -> int:
        """Outputs per panel of weights."""
        return self.cols * self.lanes + self.last


def sum_parts(tile: TileShape, extent: int) -> int:
    """In how many parts a sum over ``extent`` neighbours is taken, so that multiply-adds do not wait for each other
    where the tile has fewer vectors than they take cycles; 1 where there are few neighbours."""
    parts = math.ceil(LATENCY / (tile.rows * (tile.cols + (tile.last > 0))))
    return parts if extent >= 4 * parts else 1


@dataclass(frozen=True)
class Panelling:
    """So many outputs in panels, each of ``cols`` vectors of ``lanes`` and, if not 0, one of ``last``."""

    outputs: int
    cols: int
    lanes: int
    last: int = 0

    @property
    def columns(self) -> int:
        """Vectors across."""
        return self.cols + (self.last > 0)

    @property
    def panels(self) -> int:
        """The number of panels; the last one may be filled up."""
        return math.ceil(self.outputs / (self.cols * self.lanes + self.last))


Cut = tuple[Panelling, ...]
"""All outputs of a contraction: those in whole panels, and what remains, if that has panels of its own."""


@functools.cache
def cuts(outputs: int, lanes: int, target: Target, exact: bool = False) -> tuple[Cut, ...]:
    """Every way considered to cut outputs, for vectors of ``lanes``; with ``exact`` no panel has to be filled up."""
    if exact:
        return tuple(cut for cut in cuts(outputs, lanes, target) if _is_exact(cut)) or (_narrow(outputs, lanes),)
    single = _single(outputs, lanes, target)
    double: list[Cut] = []
    for cols in range(1, min(outputs // lanes, MOST_COLS) + 1):
        rest = outputs % (cols * lanes)
        if rest:
            whole = Panelling(outputs - rest, cols, lanes)
            double += [(whole, *tail) for tail in _single(rest, lanes, target)]
    return (*single, *double)


def _is_exact(cut: Cut) -> bool:
    return all(p.outputs % (p.cols * p.lanes + p.last) == 0 for p in cut)


def _narrow(outputs: int, lanes: int) -> Cut:
    """Panels of one vector, then narrower and narrower ones for what remains."""
    parts: list[Panelling] = []
    while outputs:
        count = outputs // lanes * lanes
        if count:
            parts.append(Panelling(count, 1, lanes))
        outputs, lanes = outputs - count, lanes // 2
    return tuple(parts)


def _single(outputs: int, lanes: int, target: Target) -> list[Cut]:
    """Panels of one width. Where vectors have 64 bytes, the only panel may end with half a vector (another would not
    begin with a cache line)."""
    found = [Panelling(outputs, cols, lanes) for cols in range(1, min(math.ceil(outputs / lanes), MOST_COLS) + 1)]
    half, whole = lanes // 2, outputs // lanes
    if target.vector_bytes == 64 and 0 < outputs - whole * lanes <= half and whole < MOST_COLS:
        found.append(Panelling(outputs, whole, lanes, half) if whole else Panelling(outputs, 1, half))
    return [(p,) for p in found]


def cut_time(cut: Cut, rows: int, steps: int, lanes: int, target: Target, step: Step = MULTIPLY_ADD) -> float:
    """The estimated cycles of a contraction so cut; infinity if no tile fits the registers.

    Every part but the first is one more launch."""
    times = (_best_height(rows, p.columns, _vectors(p, lanes), steps, target, step)[0] * p.panels for p in cut)
    return sum(times) * (1 + SPLIT_GAIN * (len(cut) - 1))


def _vectors(p: Panelling, lanes: int) -> float:
    """How wide a panel is; half a vector counts half, as processors do 64 bytes in two halves, or two units share
    them."""
    return (p.cols * p.lanes + p.last) / lanes


@functools.cache
def _best_height(rows: int, count: int, vectors: float, steps: int, target: Target, kind: Step) -> tuple[float, int]:
    """The least time for all rows, and the height of the tiles that takes it: 0 if none fits the registers, which hold
    the accumulators, one row of weights and a broadcast pixel.

    ``count`` columns are ``vectors`` wide. In cycles, a step takes the most of its multiply-adds, of its loads (two a
    cycle, one of 64 bytes), of the latency of a multiply-add, and of the weights it reads, from where a panel stays
    (from memory if there is but one tile); and a little for each vector and row, which come from further away. A tile
    takes its steps, 4 for each row and 1 for each vector stored. The last tile overlaps the one before.
    """
    rate = 1 if target.vector_bytes == 64 else 2
    size = vectors * target.vector_bytes
    again = next(speed for limit, speed in CACHES if steps * size <= limit)
    most = min((target.vector_registers - kind.row - kind.beside - kind.column * count) // count, MOST_ROWS, rows)
    best = (math.inf, 0)
    for height in {math.ceil(rows / math.ceil(rows / h)) for h in range(1, most + 1)}:
        bandwidth = again if height < rows else CACHES[-1][1]
        products = (height * (vectors * kind.products + kind.row_work) + count * kind.column_work) / rate
        step = max(products, height / 2 + count / rate, LATENCY, size / bandwidth)
        step += (vectors + height / 4) / 16
        time = (steps * step + height * (4 + count)) * math.ceil(rows / height)
        best = min(best, (time, -height))
    return best[0], -best[1]


def ranked_cuts(
    rows: int,
    outputs: int,
    steps: int,
    lanes: int,
    target: Target,
    exact: bool = False,
    step: Step = MULTIPLY_ADD,
) -> list[Cut]:
    """Ways to cut ``outputs`` for ``rows`` neighbouring pixels and ``steps`` products in each sum whose tiles fit the
    registers, those of least time first; of equals the widest."""
    timed = [(cut_time(cut, rows, steps, lanes, target, step), cut) for cut in cuts(outputs, lanes, target, exact)]
    fitting = [pair for pair in timed if pair[0] < math.inf]
    return [cut for _, cut in sorted(fitting, key=lambda pair: (pair[0], -pair[1][0].columns))]


def tile_shapes(
    cut: Cut, rows: int, steps: int, lanes: int, target: Target, step: Step = MULTIPLY_ADD
) -> tuple[TileShape, ...]:
    """The register tile for each part of a cut."""
    heights = (_best_height(rows, p.columns, _vectors(p, lanes), steps, target, step)[1] for p in cut)
    return tuple(TileShape(h, p.cols, p.lanes, p.last) for h, p in zip(heights, cut, strict=True))


def cut_vectors(cut: Cut, lanes: int) -> float:
    """How many vectors of ``lanes`` are stored of each row."""
    return sum(p.panels * _vectors(p, lanes) for p in cut)


def pixel_tile(
    pixels: int,
    outputs: int,
    steps: int,
    lanes: int,
    target: Target,
    lines: int = 1,
    turned: bool = True,
    kind: Step = MULTIPLY_ADD,
    gather: float = 0.0,
    stored: float = 0.0,
) -> tuple[float, TileShape] | None:
    """The best tile whose lanes lie along ``pixels`` neighbours and whose rows are all ``outputs``, with its time for
    one line of pixels as :func:`cut_time` counts; None if none is full or fits the registers. Pixels of the last tile
    may overlap.

    Two of ``lines`` are one tile where they are even: they share the weights. If ``turned``, vectors of pixels are
    transposed as they are stored, which takes 4 for each. In a step of a ``kind``, whose rows are pixels here, each of
    their vectors takes ``gather`` instructions more; what is done as a vector is stored takes ``stored``."""
    rate = 1 if target.vector_bytes == 64 else 2
    half = lanes // 2 if target.vector_bytes == 64 else 0
    shapes = [(cols, lanes, last) for cols in range(1, MOST_COLS) for last in sorted({0, half})]
    found: list[tuple[float, int, TileShape]] = []
    for together in (1, 2) if lines % 2 == 0 else (1,):
        for cols, size, last in [*shapes, *([(1, half, 0)] if half else [])]:
            tile, count = TileShape(outputs, cols, size, last, together), (cols + (last > 0)) * together
            held = (outputs + kind.row) * count + kind.column + kind.beside
            if tile.width > pixels or held > target.vector_registers:
                continue
            wide = tile.width * together / lanes
            work = wide * (outputs * kind.products + kind.row_work + gather) + outputs * kind.column_work
            step = max(work / rate, outputs / 2 + count / rate, LATENCY)
            time = steps * step + outputs * ((4 if turned else 1) * count + stored * wide) + TILE_COST
            found.append((time * math.ceil(pixels / tile.width) / together, -tile.width, tile))
    if not found:
        return None
    time, _, tile = min(found, key=lambda f: f[:2])
    return time, tile
