"""The least time that a call of a network can take on a machine whose peaks are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nnefc.codegen.cost import multiply_adds
from nnefc.ir.graph import Graph
from nnefc.ir.program import Call, Contract
from nnefc.passes import pipeline
from nnefc.tools.peaks import Peaks

F4, F2 = 4.0, 2.25
"""What Winograd's F(4x4, 3x3) and F(2x2, 3x3) save of the products (Lavin and Gray, 2016)."""
SMALL = 7
"""Maps of at most so many rows or columns gain from the smaller tiles only."""


@dataclass(frozen=True)
class Work:
    """What a call of a network takes: ``flops`` as written, ``reduced`` with every 3x3 convolution of step 1 done by
    Winograd's algorithm, and ``bytes`` that any program must move: parameters, inputs and outputs, once."""

    flops: int
    reduced: float
    bytes: int

    def seconds(self, peaks: Peaks, held: int) -> float:
        """The bound: the larger of arithmetic and memory time, data coming from the level that holds ``held``."""
        return max(self.reduced / peaks.gflops, self.bytes / peaks.level(held).bandwidth) * 1e-9


def work(graph: Graph) -> Work:
    """The work of a network."""
    program = pipeline.run(graph, after="lower")
    products = [(multiply_adds(call), saving(call)) for call in program.calls]
    stored = sum(t.data.nbytes for t in graph.tensors.values())
    ports = sum(v.type.volume * v.type.dtype.size for v in (*graph.inputs, *graph.outputs))
    return Work(2 * sum(n for n, _ in products), 2 * sum(n / by for n, by in products), stored + ports)


def saving(call: Call) -> float:
    """By what Winograd's algorithm divides the products of a call: 1 unless it is a 3x3 convolution of step 1."""
    if not isinstance(call, Contract):
        return 1.0
    maps = list(_taps(call))
    if len(maps) != 2 or any(taps != 3 for taps, _ in maps):
        return 1.0
    return F2 if min(pixels for _, pixels in maps) <= SMALL else F4


def _taps(call: Contract) -> Iterator[tuple[int, int]]:
    """Of each reduced dimension that moves over x as a dimension of pixels does: both extents. With another step than
    1 the two move differently."""
    first = call.x.rank - call.reduced
    dims = list(zip(call.x.shape, call.x.strides, strict=True))
    pixels = {stride: extent for extent, stride in dims[call.groups : first] if extent > 1 and stride}
    for extent, stride in dims[first:]:
        if extent > 1 and stride in pixels:
            yield extent, pixels[stride]
