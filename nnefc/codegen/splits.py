"""Sums in several parts, added up at the end: where a tile has so few vectors that each would wait for its last sum."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from nnefc.codegen.device import Instruction, device
from nnefc.codegen.instructions import operation
from nnefc.codegen.tile import Tile


def add_parts(tiles: tuple[Tile, ...], parts: int) -> Instruction:
    """add_parts(sums): ``tiles``, each the sum of its own in ``parts`` runs of as many that make the tuple."""
    size = len(tiles)

    def meaning(sums: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        return tuple(functools.reduce(np.add, sums[k::size]) for k in range(size))

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        totals = [b.extract_value(args[0], k) for k in range(size)]
        for k, tile in enumerate(tiles):
            add = b.fadd if tile.dtype.kind == "f" else b.add
            others = [b.extract_value(args[0], k + part * size) for part in range(1, parts)]
            for n in range(tile.rows * tile.cols):
                values = [b.extract_value(v, n) for v in (totals[k], *others)]
                totals[k] = b.insert_value(totals[k], functools.reduce(add, values), n)
        kind = ir.ArrayType(totals[0].type, size) if size == 1 else ir.LiteralStructType([t.type for t in totals])
        found = ir.Constant(kind, ir.Undefined)
        for k, total in enumerate(totals):
            found = b.insert_value(found, total, k)
        return found

    return operation("add_parts", meaning, lambda sums: types.Tuple(tiles), emit)


def outer_in_turns(outer: Any, size: int, parts: int, width: int) -> Any:
    """outer_in_turns(sums, p, x, step, rs, w): ``outer`` for as many neighbours of the reduction as there are parts,
    each added to its own run of ``size`` accumulators; x is ``step`` further for each, the weights ``width``."""
    if parts == 1:
        return device(lambda sums, p, x, step, rs, w: outer(sums, p[0], x, rs, p[1], w))
    others = outer_in_turns(outer, size, parts - 1, width)

    @device
    def turns(sums: Any, p: Any, x: int, step: int, rs: int, w: int) -> Any:
        found = outer(sums[:size], p[0], x, rs, p[1], w)
        return found + others(sums[size:], p, x + step, step, rs, w + width)

    return turns
