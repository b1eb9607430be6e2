"""What a call costs: arithmetic, bytes, and the time that a nominal machine would take. Pure functions of the call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nnefc.codegen.chain import Chain
from nnefc.codegen.choice import FUNCTION_COST, arithmetic
from nnefc.codegen.pack import Panels
from nnefc.codegen.target import Target
from nnefc.codegen.tiles import step_of
from nnefc.codegen.winograd import Convolution, Winograd, estimated_cycles
from nnefc.ir.program import BoxReduce, Call, Contract, Gather, Map, Program, Reduce, Row
from nnefc.ir.sequential import Scan, Scatter, Sort, Suppress
from nnefc.ir.types import DType
from nnefc.ir.view import View
from nnefc.ir.window import Window


@dataclass(frozen=True)
class Cost:
    """Of one call: ``flops`` (arithmetic operations on elements, a multiply-add being two, a function one), and the
    bytes ``read`` and ``written``, each element that it reaches counted once."""

    flops: int
    read: int
    written: int

    @property
    def bytes(self) -> int:
        """All traffic."""
        return self.read + self.written

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.read + other.read, self.written + other.written)


def cost(call: Call) -> Cost:
    """What a call computes, reads and writes; scratch memory of its own not counted."""
    written = (call.contract.output,) if isinstance(call, Winograd) else call.writes()
    return Cost(flops(call), _bytes(call.reads()), _bytes(written))


def flops(call: Call) -> int:
    """The arithmetic operations of a call. Those at a contraction's store (bias, activation) are not counted; of a
    Winograd convolution, those on transformed tiles are, the transforms are not."""
    return _FLOPS[type(call)](call)


def multiply_adds(call: Call) -> int:
    """The products that a call adds up: those of a contraction, and of a sum of products of two tensors."""
    if isinstance(call, Chain):
        return sum(map(multiply_adds, call.calls))
    if isinstance(call, (Panels, Winograd)):
        call = call.contract
    if isinstance(call, Contract):
        return call.output.volume * math.prod(call.x.shape[call.x.rank - call.reduced :])
    if isinstance(call, Window) and call.op == "sum" and call.expr.op == "mul" and call.weights:
        return call.taps * call.output.volume
    if isinstance(call, Reduce) and call.op == "sum" and call.expr.op == "mul":
        first, second = (e.arguments() for e in call.expr.args)
        if first and second and not first & second:
            return _volume(call.inputs)
    return 0


def flops_by_kind(call: Call) -> dict[DType, int]:
    """The arithmetic of a call, by whose rate bounds it: U8, sums of 8-bit codes or of products of them in integers;
    BF16, sums of products of it in pairs; F32, all else."""
    if isinstance(call, Chain):
        found: dict[DType, int] = {}
        for one in call.calls:
            for kind, count in flops_by_kind(one).items():
                found[kind] = found.get(kind, 0) + count
        return found
    return {_kind(call): flops(call)}


def _kind(call: Call) -> DType:
    if isinstance(call, Panels):
        if call.contract.sum_type is DType.I32:
            return DType.U8
        return DType.BF16 if call.contract.x.dtype is DType.BF16 and call.group > 1 else DType.F32
    if isinstance(call, (Window, Reduce)):
        codes = call.op == "sum" and call.expr.dtype is DType.I32 and call.reads()[0].dtype is DType.U8
        return DType.U8 if codes else DType.F32
    return DType.F32


def program_multiply_adds(program: Program) -> int:
    """Those of all calls of a Program."""
    return sum(map(multiply_adds, program.calls))


def reached_bytes(view: View) -> int:
    """The bytes that a view reaches; overlapping windows reach an element once, repeated dimensions count once."""
    if not view.volume:
        return 0
    low, high = view.span
    distinct = math.prod(n for n, s in zip(view.shape, view.strides, strict=True) if s)
    return min(distinct, high - low) * view.dtype.size


def _bytes(views: Iterable[View]) -> int:
    return sum(map(reached_bytes, dict.fromkeys(views)))


def _volume(views: tuple[View, ...]) -> int:
    """Elements of the shape that views of one rank have when broadcast; NumPy's function refuses the largest."""
    return math.prod(next((n for n in extents if n != 1), 1) for extents in zip(*(v.shape for v in views), strict=True))


def _map(call: Map, function: int = 1) -> int:
    return sum(arithmetic(e, function) for e in call.exprs) * call.outputs[0].volume


def _reduce(call: Reduce, function: int = 1) -> int:
    post = arithmetic(call.post, function) * call.output.volume if call.post is not None else 0
    return _volume(call.inputs) * (arithmetic(call.expr, function) + 1) + post


def _window(call: Window, function: int = 1) -> int:
    post = arithmetic(call.post, function) if call.post is not None else 0
    return call.output.volume * (call.taps * (arithmetic(call.expr, function) + 1) + post)


def _row(call: Row, function: int = 1) -> int:
    stages = sum(arithmetic(e, function) + 1 for _, e in call.stages)
    return _volume((*call.inputs, call.output)) * (stages + arithmetic(call.expr, function))


def _scatter(call: Scatter, function: int = 1) -> int:
    return call.updates.volume * arithmetic(call.expr, function)


def _scan(call: Scan, function: int = 1) -> int:
    return call.x.volume * arithmetic(call.step, function)


def _compares(call: Sort | Suppress, function: int = 1) -> int:
    """Sorting by a heap compares about twice the logarithm of the row's length per element."""
    keys = call.x if isinstance(call, Sort) else call.scores
    return keys.volume * 2 * max(1, keys.shape[-1]).bit_length() if keys.volume else 0


def _products(call: Contract | Panels, function: int = 1) -> int:
    return 2 * multiply_adds(call)


def _transformed_products(call: Winograd, function: int = 1) -> int:
    convolution, scheme = Convolution.of(call.contract, call.axes), call.blocking.scheme
    return 2 * convolution.tiles(scheme.m) * scheme.n**2 * convolution.channels * convolution.outputs


def _chain(call: Chain, function: int = 1) -> int:
    return sum(_FLOPS[type(one)](one, function) for one in call.calls)


def _nothing(call: Call, function: int = 1) -> int:
    return 0


def _boxes(call: BoxReduce, function: int = 1) -> int:
    return call.x.volume


_FLOPS: dict[type, Callable[..., int]] = {
    Map: _map,
    Reduce: _reduce,
    Window: _window,
    Row: _row,
    Contract: _products,
    Panels: _products,
    Winograd: _transformed_products,
    Chain: _chain,
    Gather: _nothing,
    BoxReduce: _boxes,
    Scatter: _scatter,
    Scan: _scan,
    Sort: _compares,
    Suppress: _compares,
}


# ---- the nominal machine


@dataclass(frozen=True)
class Machine:
    """A nominal core of a target, by which times are estimated without running anything: ``vectors`` multiply-adds
    of ``vector_bytes`` a cycle at ``clock`` GHz, and GB/s by where the data of a call fit."""

    vector_bytes: int
    vectors: float
    clock: float = 3.0
    caches: tuple[tuple[int, float], ...] = ((32 << 10, 150.0), (1 << 20, 80.0), (1 << 62, 20.0))

    @staticmethod
    def of(target: Target) -> Machine:
        """One 64-byte multiply-add a cycle, or two of narrower vectors."""
        return Machine(target.vector_bytes, 1.0 if target.vector_bytes == 64 else 2.0)

    def bandwidth(self, size: int) -> float:
        """GB/s at which ``size`` bytes are read again and again."""
        return next(speed for limit, speed in self.caches if size <= limit)


def expected_seconds(call: Call, target: Target) -> float:
    """The time of a call on one nominal core of ``target``: the larger of that for its arithmetic, by vectors, with
    the lanes and rows that its tile wastes, and that for its bytes."""
    machine = Machine.of(target)
    spent = cost(call)
    return max(_cycles(call, machine, target) / machine.clock, spent.bytes / machine.bandwidth(spent.bytes)) * 1e-9


def _cycles(call: Call, machine: Machine, target: Target) -> float:
    if isinstance(call, Chain):
        return sum(_cycles(one, machine, target) for one in call.calls)
    if isinstance(call, Winograd):
        convolution, tile = Convolution.of(call.contract, call.axes), call.blocking.tile
        return estimated_cycles(convolution, call.blocking.scheme.m, tile.lanes) / machine.vectors
    if isinstance(call, Panels):
        tile, outputs = call.tile, call.contract.output.shape[-1]
        padded = 1.0 if call.pixel_lanes else math.ceil(outputs / tile.width) * tile.width / max(outputs, 1)
        waiting = max(1.0, 4 * machine.vectors / (tile.rows * tile.cols * tile.lines))
        step = step_of(call.group, target).products / call.group
        lanes = target.lanes(call.contract.sum_type)
        bands = max(1, len(call.factors))
        return multiply_adds(call) * bands * padded * waiting * step / (lanes * machine.vectors)
    size = max(v.dtype.size for v in (*call.reads(), *call.writes()))
    operations = _FLOPS[type(call)](call, FUNCTION_COST)
    return operations * max(4, size) / (machine.vector_bytes * machine.vectors)
