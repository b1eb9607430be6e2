"""The operations of the registry tract_transformers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnefc.errors import InvalidModelError
from nnefc.formats.nnef.tract.core import datum_type
from nnefc.formats.nnef.tract.registry import Arguments, TractScope, operation
from nnefc.formats.nnef.tract.standard import make
from nnefc.ir.types import DType


@operation("tract_transformers_apply_rope", params="input cos sin")
def _apply_rope(s: TractScope, a: Arguments) -> Any:
    """x cos + rotated x sin, where the halves of the last dimension are swapped and the first one negated."""
    x = a.tensor("input")
    last, extent = s.rank(x) - 1, s.shape(x)[-1]
    if extent % 2:
        raise InvalidModelError(f"the last extent is {extent}; it must be even")
    low = s.op("slice", [x], axes=[last], begin=[0], end=[extent // 2])
    high = s.op("slice", [x], axes=[last], begin=[extent // 2], end=[extent])
    turned = s.op("concat", [s.op("neg", [high]), low], axis=last)
    factors = s.broadcast([x, a.tensor("cos"), a.tensor("sin")])
    return s.op("add", [make(s, "mul", [x, factors[1]]), make(s, "mul", [turned, factors[2]])])


@operation("tract_transformers_scaled_masked_softmax", params="input mask scale post_softmax_mask=false")
def _scaled_masked_softmax(s: TractScope, a: Arguments) -> Any:
    return masked_softmax(s, a.tensor("input"), a.tensor("mask"), a.scalar("scale"), a.logical("post_softmax_mask"))


def masked_softmax(s: TractScope, scores: Any, mask: Any | None, scale: float, zero: bool) -> Any:
    """The softmax of scaled scores along the last dimension; a mask of truth values keeps, one of numbers is added."""
    scores = make(s, "mul", [scores, scale])
    if mask is not None:
        scores, mask = s.broadcast([scores, mask])
        if s.dtype(mask) is DType.BOOL:
            scores = s.op("select", [mask, scores, np.array(-np.inf, s.dtype(scores).numpy)])
        else:
            scores = make(s, "add", [scores, mask])
    made = s.op("softmax", [scores], axes=[s.rank(scores) - 1])
    return s.op("select", [mask, made, 0.0]) if zero and mask is not None else made


@operation("tract_transformers_sdpa", params="q k v mask? scale? datum_type acc_datum_type is_causal")
def _sdpa(s: TractScope, a: Arguments) -> Any:
    """Scaled dot product attention of [batch, head, row, item] or [batch, row, item]; queries may have more heads."""
    inputs = [a.tensor(name) for name in ("q", "k", "v")]
    rank, dtype, acc = s.rank(inputs[0]), s.dtype(inputs[0]), datum_type(s, a.text("acc_datum_type"))
    if rank not in (3, 4):
        raise InvalidModelError(f"queries have {rank} dimensions; 3 or 4 are wanted")
    q, k, v = (s.cast(x, acc) for x in inputs)
    if rank == 4:
        repeats = s.shape(q)[1] // s.shape(k)[1]
        k, v = (_repeated(s, x, repeats) for x in (k, v))
    rows, columns = s.shape(q)[-2], s.shape(k)[-2]
    scale = a.scalar("scale") if "scale" in a else 1.0 / math.sqrt(s.shape(k)[-1])
    mask = s.lead(a.tensor("mask"), rank) if "mask" in a else None
    if a.logical("is_causal"):
        mask = s.causal(rows, columns).reshape((1,) * (rank - 2) + (rows, columns))
    scores = s.op("matmul", [q, k], transposeB=True)
    return s.cast(s.op("matmul", [masked_softmax(s, scores, mask, scale, False), v]), dtype)


def _repeated(s: TractScope, x: Any, times: int) -> Any:
    """Each head several times over, side by side."""
    if times == 1:
        return x
    batch, heads, rows, items = s.shape(x)
    wide = s.op("tile", [s.reshape(x, (batch, heads, 1, rows, items))], repeats=[1, 1, times, 1, 1])
    return s.reshape(wide, (batch, heads * times, rows, items))
