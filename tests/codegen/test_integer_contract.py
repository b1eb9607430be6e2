"""Contractions of 8-bit codes: their meaning, and the kernels on every path of instructions."""

from __future__ import annotations

import numpy as np

from nnefc.ir.interpret import run_call
from nnefc.ir.program import Contract
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides


def view(name: str, dtype: DType, shape: tuple[int, ...]) -> View:
    size = int(np.prod(shape))
    return View(Buffer(name, dtype, size, Role.TEMP), 0, shape, dense_strides(shape))


def test_sums_of_codes_are_integers_modulo_their_width() -> None:
    x, w, out = view("x", DType.U8, (2, 70000)), view("w", DType.I8, (70000, 3)), view("y", DType.I32, (2, 3))
    memory = {"x": np.full(140000, 255, np.uint8), "w": np.full(210000, 127, np.int8), "y": np.zeros(6, np.int32)}
    memory["x"][70000:] = np.arange(70000) % 251
    run_call(Contract(x, w, None, (), out, 0, 1), memory)
    exact = memory["x"].reshape(2, -1).astype(np.int64) @ memory["w"].reshape(-1, 3).astype(np.int64)
    assert exact[0, 0] >= 2**31 > exact[1, 0]
    assert (memory["y"].reshape(2, 3) == (exact + 2**31) % 2**32 - 2**31).all()
