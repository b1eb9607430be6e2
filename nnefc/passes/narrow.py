"""Weights of contractions in half precision: half the bytes on disk and from memory, widened in registers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnefc.errors import UnsupportedError
from nnefc.ir.graph import Graph
from nnefc.ir.program import Call, Contract, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Role, View

ERROR = {DType.F16: 2.0**-10, DType.BF16: 2.0**-7}
"""What rounding may change of a tensor, as norms: twice the largest that rounding to so many bits does to a number that
is neither too large nor too small for the type."""


def keep_weights(program: Program, graph: Graph, kept: str, notes: list[str] | None = None) -> Program:
    """The program of a network with its weights in the type ``kept``: f32, f16, bf16, or ``stored``, which means f16
    for those that f16 holds exactly if the network stores any so. See :func:`narrow_weights`."""
    if kept != "stored":
        return narrow_weights(program, DType(kept), notes)
    halves = any(t.item == "float" and t.bits == 16 for t in graph.tensors.values())
    return narrow_weights(program, DType.F16, exact=True) if halves else program


def narrow_weights(program: Program, dtype: DType, notes: list[str] | None = None, *, exact: bool = False) -> Program:
    """The constant weights of F32 contractions in F16 or BF16, rounded to nearest even; for F32, the same object.

    Weights stay in F32 where something else reads them too, or where the type cannot hold them: any beyond its range,
    or so many below it that rounding changes the tensor by more than ERROR, or at all if ``exact``; a line about each
    is added to ``notes``. Raises UnsupportedError where NumPy lacks the type.
    """
    if dtype is DType.F32:
        return program
    narrowed: dict[str, np.ndarray] = {}
    for constant, origin in constant_weights(program).items():
        try:
            values = rounded(program.constants[constant], dtype, exact=exact)
        except TypeError as error:
            raise UnsupportedError(str(error)) from error
        if values is not None:
            narrowed[constant] = values
        elif notes is not None:
            notes.append(f"the weights of {origin} stay in f32: {dtype} cannot hold them")
    if not narrowed:
        return program

    def changed(view: View) -> View:
        known = view.buffer.name in narrowed
        return replace(view, buffer=replace(view.buffer, dtype=dtype)) if known else view

    calls = tuple(call.with_views(changed) for call in program.calls)
    return program.replace(calls=calls, constants=program.constants | narrowed)


def rounded(values: np.ndarray, dtype: DType, *, exact: bool = False) -> np.ndarray | None:
    """F32 values in half precision; None if that changes them by more than ERROR, or at all if ``exact``. Raises
    TypeError where NumPy lacks the type."""
    with np.errstate(over="ignore", under="ignore"):
        narrow = values.astype(dtype.numpy)
    wide = values.astype(np.float64)
    change = np.linalg.norm((narrow.astype(np.float64) - wide).reshape(-1))
    return narrow if change <= (0.0 if exact else ERROR[dtype]) * np.linalg.norm(wide.reshape(-1)) else None


def constant_weights(program: Program) -> dict[str, str]:
    """The constants that nothing reads but F32 contractions as their weights, and whose they are."""
    found: dict[str, str] = {}
    refused: set[str] = set()
    for call in program.calls:
        names = {v.buffer.name for v in call.reads() if v.buffer.role is Role.CONST}
        weights = _narrowable(call)
        if weights is not None:
            found.setdefault(weights, " and ".join(call.origin.names) or call.writes()[0].buffer.name)
        refused |= names - {weights}
    return {name: origin for name, origin in found.items() if name not in refused}


def _narrowable(call: Call) -> str | None:
    """The constant that a call reads as weights in F32, and as nothing else; None if there is none."""
    if not isinstance(call, Contract) or call.w.buffer.role is not Role.CONST:
        return None
    name = call.w.buffer.name
    alone = all(v.buffer.name != name for v in (call.x, *call.extras))
    return name if alone and call.x.dtype is call.w.dtype is DType.F32 else None
