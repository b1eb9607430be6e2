"""What another engine would make of the same encodings: one that multiplies bytes with ``vpmaddubsw``.

That instruction adds the products of two neighbouring pairs of an unsigned and a signed byte and saturates the sum to
16 bits: -32768..32767. Engines for AVX2 without VNNI that use it as it is lose what is beyond, unnoticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from nnefc.ir.graph import Graph
from nnefc.ir.interpret import Memory, interpret, run_call, run_contract
from nnefc.ir.program import Call, Contract
from nnefc.ir.types import DType
from nnefc.passes import pipeline
from nnefc.quant.metrics import Answers

LOW, HIGH = -(2**15), 2**15 - 1
"""What a sum of two products is cut off at."""
ENGINES = ("saturating-avx2",)
"""What can be emulated."""


@dataclass
class Emulation:
    """``answers`` are the outputs; ``sums`` and ``saturated`` count, by name of the layer, sums of two products and
    those that were cut off."""

    answers: Answers
    sums: Counter[str] = field(default_factory=Counter)
    saturated: Counter[str] = field(default_factory=Counter)

    @property
    def shares(self) -> dict[str, float]:
        """The share of sums that were cut off, by layer; layers that lose nothing, too."""
        return {name: self.saturated[name] / count for name, count in self.sums.items()}


def emulate(graph: Graph, samples: Iterable[Mapping[str, np.ndarray]]) -> Emulation:
    """The answers of a quantized graph whose contractions of codes add up saturated sums of two neighbouring products,
    neighbours being as they lie in memory: input channels of a pixel. Everything else is as :func:`nnefc.compile` with
    ``execution="integer"`` computes it: depthwise convolutions, which engines compute otherwise, are exact, and so are
    weights of more than 8 bits."""
    program = pipeline.run(graph)
    made = Emulation({})

    def run(call: Call, memory: Memory) -> None:
        if not isinstance(call, Contract) or call.w.dtype is not DType.I8:
            run_call(call, memory)
            return
        name = next(iter(call.origin.names), call.output.buffer.name)

        def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            result, cut = saturating(left, right)
            made.sums[name] += left.shape[0] * left.shape[1] * right.shape[2] * ((left.shape[2] + 1) // 2)
            made.saturated[name] += cut
            return result

        run_contract(call, memory, product)

    rows = [interpret(program, sample, run=run) for sample in samples]
    made.answers = {name: np.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}
    return made


def saturating(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, int]:
    """Sums of products of (groups, pixels, K) and (groups, K, outputs), each two neighbouring products saturated to 16
    bits together; and how many pairs were. The numbers are codes: unsigned bytes by signed bytes, as float64.

    Only weights that can make a pair saturate with what is in ``left`` are looked at one by one."""
    if left.shape[2] % 2:
        left, right = np.pad(left, ((0, 0), (0, 0), (0, 1))), np.pad(right, ((0, 0), (0, 1), (0, 0)))
    exact, cut = left @ right, 0
    most = left.max(1, initial=0)
    first, second = (right[:, k::2] * most[:, k::2, None] for k in (0, 1))
    high = np.maximum(first, 0) + np.maximum(second, 0) > HIGH
    low = np.minimum(first, 0) + np.minimum(second, 0) < LOW
    risky = high | low
    for g, k in np.argwhere(risky.any(2)):
        at = np.flatnonzero(risky[g, k])
        a, b = 2 * k, 2 * k + 1
        pairs = left[g, :, a, None] * right[g, a, at] + left[g, :, b, None] * right[g, b, at]
        beyond = pairs - np.clip(pairs, LOW, HIGH)
        cut += int(np.count_nonzero(beyond))
        exact[g][:, at] -= beyond
    return exact, cut
