"""The instruction of sliding windows. See ``instructions`` for what an instruction is and for the names of operands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from nnefc.codegen.device import Instruction
from nnefc.codegen.instructions import operation
from nnefc.codegen.reductions import combined, take_in
from nnefc.codegen.spec import Access
from nnefc.codegen.tile import Accessor, Lattice, Offsets, index, load_i64
from nnefc.ir.expr import Expr
from nnefc.ir.window import Slide


def slide(
    lattice: Lattice, op: str, expr: Expr, inputs: int, rows: int, columns: Slide, left: int, right: int
) -> Instruction:
    """slide(acc, p, offsets, g, count): take the taps of one line into the accumulators of ``rows`` neighbours.

    Window ``r`` sees column ``r * stride + t * dilation`` at tap ``t``; ``left`` columns at the beginning and ``right``
    at the end of all are passed over. ``expr`` has the element as ``$0`` and the weight of the tap, if there are
    ``inputs`` of 2, as ``$1``. ``offsets`` are of column 0 and of tap 0; the geometry holds the steps at the lattice's
    ``row_at``."""
    reach = (rows - 1) * columns.stride + (columns.size - 1) * columns.dilation + 1
    seen: dict[int, list[tuple[int, int]]] = {}
    for r in range(rows):
        for t in range(columns.size):
            j = r * columns.stride + t * columns.dilation
            if left <= j < reach - right:
                seen.setdefault(j, []).append((r, t))

    def moved(offsets: Offsets, g: np.ndarray, k: int, steps: int) -> Offsets:
        return tuple(o + steps * int(g[lattice.row_at + k]) for o in offsets)

    def meaning(
        acc: tuple[np.ndarray, ...], p: Sequence[np.ndarray], offsets: Offsets, g: np.ndarray, count: int
    ) -> tuple[np.ndarray, ...]:
        total = acc[0].copy()
        for j, uses in seen.items():
            x = lattice.get(0, p, moved(offsets, g, 0, j), g, count)
            for r, t in uses:
                weight = [lattice.get(1, p, moved(offsets, g, 1, t), g, count)] if inputs > 1 else []
                value = np.broadcast_to(expr.evaluate([x, *weight]), total[:1].shape)
                total[r] = combined(op, expr.dtype).evaluate([total[r], value[0]])
        return (total,)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        acc, p, offsets, g, count = args
        access = lattice.emitter(b, p, offsets, g, count)
        tile = b.extract_value(acc, 0)
        weights = [_line(b, access, offsets, g, 1, range(columns.size))] if inputs > 1 else []
        line = _line(b, access, offsets, g, 0, sorted(seen))
        for j, uses in sorted(seen.items()):
            for r, t in uses:
                values = [line[j], *(w[t] for w in weights)]
                new = take_in(b, lattice, op, expr, values, [b.extract_value(tile, r)], index(0), False)
                tile = b.insert_value(tile, new[0], r)
        return b.insert_value(acc, tile, 0)

    return operation("slide", meaning, lambda acc, p, offsets, g, count: acc, emit)


def _line(
    b: ir.IRBuilder, access: Accessor, offsets: ir.Value, g: ir.Value, k: int, wanted: Iterable[int]
) -> dict[int, ir.Value]:
    """The vectors of operand ``k`` at these steps from its offset, which rise."""
    lattice, operand = access.lattice, access.lattice.operands[k]
    step = load_i64(b, g, index(lattice.row_at + k))
    stride = load_i64(b, g, index(lattice.lane_at + k)) if operand.access is Access.STRIDED else None
    pointer, offset = b.extract_value(access.p, k), b.extract_value(offsets, k)
    vectors, at = {}, 0
    for j in wanted:
        while at < j:
            offset, at = b.add(offset, step), at + 1
        vectors[j] = access.vectors.load(pointer, offset, operand.access, stride, operand.dtype, access.masks[0])
    return vectors
