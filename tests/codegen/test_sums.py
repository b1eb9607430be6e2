"""Long sums are taken in blocks: un-jitted, lanes along either kind of dimension, and how exact they are."""

from __future__ import annotations

import numpy as np
import pytest

from nnefc.codegen.kernels.rows import BLOCK, RowsKernel
from nnefc.codegen.select import select
from nnefc.codegen.select_rows import MANY_TERMS
from nnefc.codegen.target import Target
from nnefc.ir.expr import arg, call
from nnefc.ir.program import Reduce
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides

F = DType.F32
TARGETS = {"host": Target.host(), "arm": Target.parse("aarch64-unknown-linux-gnu")}
SHAPES = {
    # kept dimensions, reduced ones, the order of all in memory
    "across one row": ((1,), (BLOCK * 37 + 5,), (0, 1)),
    "across, blocks of several": ((2,), (30, 157), (0, 1, 2)),
    "along, one long": ((19,), (MANY_TERMS + 31,), (1, 0)),
    "along, short rows": ((17,), (60, 5), (1, 2, 0)),
    "along, long rows": ((16,), (2, BLOCK + 9), (1, 2, 0)),
}


def summed(kept: tuple[int, ...], reduced: tuple[int, ...], order: tuple[int, ...], squared: bool) -> Reduce:
    shape = (*kept, *reduced)
    x = View(Buffer("x", F, int(np.prod(shape)), Role.INPUT), 0, shape, dense_strides(shape, order))
    y = View(Buffer("y", F, int(np.prod(kept)), Role.OUTPUT), 0, kept, dense_strides(kept))
    expr = call("mul", arg(0, F), arg(0, F)) if squared else arg(0, F)
    return Reduce("sum", expr, None, (x,), (), y, len(reduced))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", SHAPES)
def test_blocks_hold_every_term_once(name: str, target: str) -> None:
    """Whole numbers are added exactly, however they are grouped."""
    kept, reduced, order = SHAPES[name]
    for squared in (False, True):
        total = summed(kept, reduced, order, squared)
        choice = select(total, TARGETS[target])
        spec = choice.spec
        assert isinstance(spec, RowsKernel) and spec.blocked and spec.horizontal == name.startswith("across")
        x = np.random.default_rng(0).integers(-9, 9, total.inputs[0].buffer.size).astype(np.float32)
        y = np.full(total.output.buffer.size, np.nan, np.float32)
        spec.build(TARGETS[target])((x, y), np.array(choice.geometry, np.int64), 0, choice.units)
        strides = [4 * s for s in total.inputs[0].strides]
        seen = np.lib.stride_tricks.as_strided(x, total.inputs[0].shape, strides)
        wanted = (seen**2 if squared else seen).sum(tuple(range(len(kept), seen.ndim)))
        assert np.array_equal(y.reshape(kept), wanted)


def test_short_sums_need_no_blocks() -> None:
    spec = select(summed((16,), (7, 7), (1, 2, 0), False), TARGETS["host"]).spec
    assert isinstance(spec, RowsKernel) and not spec.blocked
