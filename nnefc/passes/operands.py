"""Constants that passes add to a Program: numbers and tensors that become operands of its calls."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nnefc.ir.program import Program
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View


class Constants:
    """The constants of a Program, and new ones, named after ``stem``."""

    def __init__(self, program: Program, stem: str):
        self.values = dict(program.constants)
        self._names: Iterator[str] = program.fresh_names(stem)
        self._known: dict[tuple[DType, Role, bytes], Buffer] = {}

    def add(self, values: np.ndarray) -> Buffer:
        """A new constant; the same for equal numbers."""
        return self._stored(values, Role.CONST) if values.size == 1 else self._new(values, Role.CONST)

    def number(self, values: np.ndarray, shape: tuple[int, ...]) -> View:
        """One number as an operand of a call whose index space has this shape."""
        return View(self.add(values.reshape(1)), 0, shape, (0,) * len(shape))

    def table(self, entries: np.ndarray, shape: tuple[int, ...]) -> View:
        """A table as an operand of such a call; the same for equal entries."""
        return View(self._stored(entries, Role.TABLE), 0, shape, (0,) * len(shape))

    def _stored(self, values: np.ndarray, role: Role) -> Buffer:
        key = DType.of(values.dtype), role, values.tobytes()
        if key not in self._known:
            self._known[key] = self._new(values, role)
        return self._known[key]

    def _new(self, values: np.ndarray, role: Role) -> Buffer:
        buffer = Buffer(next(self._names), DType.of(values.dtype), values.size, role)
        self.values[buffer.name] = np.ascontiguousarray(values).reshape(-1)
        return buffer
