"""Half precision widened ahead of the steps that use it. See ``instructions`` for what an instruction is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from nnefc.codegen.device import Instruction
from nnefc.codegen.instructions import operation
from nnefc.codegen.spec import Access
from nnefc.codegen.target import CACHE_LINE, Target
from nnefc.codegen.tile import Vectors, index
from nnefc.ir.types import DType


def widen_rows(rows: int, lanes: int, target: Target, dtype: DType) -> Instruction:
    """widen_rows(x, xo, rs): memory of the kernel's own, of F32, whose element r * lanes + l is x[xo + r * rs + l].

    It holds them until the same place of the kernel widens others. They are converted by vectors, once, where an
    ``outer`` for each of ``lanes`` steps would convert one element of each row."""

    def meaning(x: np.ndarray, xo: int, rs: int) -> np.ndarray:
        places = xo + np.arange(rows)[:, None] * rs + np.arange(lanes)
        return x[places.reshape(-1)].astype(np.float32)

    def emit(b: ir.IRBuilder, result: Any, kinds: Any, args: Sequence[ir.Value]) -> ir.Value:
        x, xo, rs = args
        vectors = Vectors(b, target, lanes)
        with b.goto_entry_block():
            memory = b.alloca(ir.FloatType(), rows * lanes)
        memory.align = CACHE_LINE
        for r in range(rows):
            wide = vectors.load(x, b.add(xo, b.mul(rs, index(r))), Access.UNIT, None, dtype, None)
            vectors.store(wide, memory, index(r * lanes), Access.UNIT, None, DType.F32, None)
        return memory

    return operation("widen_rows", meaning, lambda x, xo, rs: types.CPointer(types.float32), emit)
