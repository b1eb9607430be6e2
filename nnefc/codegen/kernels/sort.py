"""The first elements of rows in order: a heap of the best so far, then sorted in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.spec import KernelSpec
from nnefc.codegen.target import Target
from nnefc.ir.sequential import precedes
from nnefc.ir.types import DType


@dataclass(frozen=True)
class SortKernel(KernelSpec):
    """Pointers are x, the values and the indices: see ``ir.sequential.Sort``. A unit is one row.

    Geometry: elements and wanted elements of a row; the steps of x, values and indices along it; per outer dimension,
    of ``outer``, its extent and the operands' strides.
    """

    family: ClassVar[str] = "sort"
    dtype: DType
    outer: int
    largest: bool

    def pointers(self) -> tuple[DType, ...]:
        return (self.dtype, self.dtype, DType.I64)

    def build(self, target: Target) -> Callable[..., Any]:
        from nnefc.codegen import instructions as i
        from nnefc.codegen import scalars
        from nnefc.codegen.kernels.heap import Heap

        geometry, start, move = i.geometry, i.zeros(3), i.unit_offsets(3, self.outer)
        heap = Heap(precedes(self.dtype, self.largest), self.dtype, target)
        before, sift, build, arrange = heap.before, heap.sift, heap.build, heap.arrange
        load, store = scalars.load_element(self.dtype, target), scalars.store_element(self.dtype, target)

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            n, k, stride, step = geometry(g, 0), geometry(g, 1), geometry(g, 2), geometry(g, 4)
            for unit in range(begin, end):
                place, out, at = move(start(), g, 5, unit)
                for t in range(k):
                    p[2][at + t * step] = t
                build(p[0], place, stride, p[2], at, step, k)
                for t in range(k, n):
                    if before(p[0], place, stride, t, p[2][at]):
                        p[2][at] = t
                        sift(p[0], place, stride, p[2], at, step, 0, k)
                arrange(p[0], place, stride, p[2], at, step, k)
                for t in range(k):
                    store(load(p[0], place + p[2][at + t * step] * stride), p[1], out + t * geometry(g, 3))

        return kernel
