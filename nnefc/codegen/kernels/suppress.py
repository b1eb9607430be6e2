"""Non-maximum suppression: candidates taken from a heap by score, each kept unless it overlaps one kept before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.spec import KernelSpec
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr, arg, call, const
from nnefc.ir.sequential import precedes
from nnefc.ir.types import DType


@dataclass(frozen=True)
class SuppressKernel(KernelSpec):
    """Pointers are boxes, scores, picked, count and order: see ``ir.sequential.Suppress``. A unit is one index of the
    ``outer`` dimensions.

    Geometry: boxes, most that may stay; the steps of boxes, of their four numbers, of scores, of picked and of order;
    per outer dimension its extent and the operands' strides.
    """

    family: ClassVar[str] = "suppress"
    dtype: DType
    overlap: Expr
    score_threshold: float
    outer: int

    def pointers(self) -> tuple[DType, ...]:
        return (self.dtype, self.dtype, DType.I64, DType.I64, DType.I64)

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i
        from nnefc.codegen import scalars
        from nnefc.codegen.device import device
        from nnefc.codegen.kernels.heap import Heap

        dtype = self.dtype
        geometry, start, move = i.geometry, i.zeros(5), i.unit_offsets(5, self.outer)
        # A heap has at its root what is last in order: that is the best candidate in the order turned round.
        numbers = zip((2, 3, 0, 1), (dtype, DType.I64) * 2, strict=True)
        turned = precedes(dtype, True).substitute([arg(k, t) for k, t in numbers])
        heap = Heap(turned, dtype, target)
        build, sift, load = heap.build, heap.sift, scalars.load_element(dtype, target)
        first, rest = _conjuncts(self.overlap)
        meets, overlap = scalars.holds(first, target), scalars.holds(rest, target)
        above = scalars.holds(call("gt", arg(0, dtype), const(self.score_threshold, dtype)), target)

        @device
        def box(p: Any, place: int, g: Any, number: int) -> Any:
            at, step = place + number * geometry(g, 2), geometry(g, 3)
            return load(p[0], at), load(p[0], at + step), load(p[0], at + 2 * step), load(p[0], at + 3 * step)

        @device
        def candidates(p: Any, place: Any, g: Any) -> int:
            stride, step = geometry(g, 4), geometry(g, 6)
            found = 0
            for s in range(geometry(g, 0)):
                if above((load(p[1], place[1] + s * stride),)):
                    p[4][place[4] + found * step] = s
                    found += 1
            build(p[1], place[1], stride, p[4], place[4], step, found)
            return found

        @device
        def pop(p: Any, place: Any, g: Any, left: int) -> int:
            number = p[4][place[4]]
            p[4][place[4]] = p[4][place[4] + (left - 1) * geometry(g, 6)]
            sift(p[1], place[1], geometry(g, 4), p[4], place[4], geometry(g, 6), 0, left - 1)
            return number

        @device
        def stays(p: Any, place: Any, g: Any, number: int, count: int) -> bool:
            a = box(p, place[0], g, number)
            for k in range(count):
                b = box(p, place[0], g, p[2][place[2] + k * geometry(g, 5)])
                both = (a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3])
                if meets(both) and overlap(both):
                    return False
            return True

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            most, step = geometry(g, 1), geometry(g, 5)
            for unit in range(begin, end):
                place = move(start(), g, 7, unit)
                count, left = 0, candidates(p, place, g)
                while left > 0 and count < most:
                    number = pop(p, place, g, left)
                    left -= 1
                    if stays(p, place, g, number, count):
                        p[2][place[2] + count * step] = number
                        count += 1
                p[3][place[3]] = count
                for t in range(count, most):
                    p[2][place[2] + t * step] = -1

        return kernel


def _conjuncts(condition: Expr) -> tuple[Expr, Expr]:
    """Two conditions that together are the given one: the second is looked at where the first holds."""
    if condition.op == "and":
        return condition.args[0], condition.args[1]
    return condition, const(True, DType.BOOL)
