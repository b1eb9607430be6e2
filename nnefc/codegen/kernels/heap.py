"""Sorting in place: a heap of element numbers, the last in order at its root."""

from __future__ import annotations

from typing import Any

from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr
from nnefc.ir.types import DType


class Heap:
    """The functions of a heap of numbers of elements, I64 at ``q[at + n * step]``.

    The elements are of type ``dtype`` at ``x[place + number * stride]``; ``precedes`` says of an element, its number,
    another element, its number, whether the first comes first. It must order them totally (Williams, 1964). What moves
    down goes to the bottom first, and then up again, which it seldom does far (Wegener, 1993).
    """

    def __init__(self, precedes: Expr, dtype: DType, target: Target):
        from nnefc.codegen import scalars
        from nnefc.codegen.device import device

        load, holds = scalars.load_element(dtype, target), scalars.holds(precedes, target)

        @device
        def before(x: Any, place: int, stride: int, i: int, j: int) -> bool:
            return holds((load(x, place + i * stride), i, load(x, place + j * stride), j))

        @device
        def sift(x: Any, place: int, stride: int, q: Any, at: int, step: int, root: int, n: int) -> None:
            item, hole, child = q[at + root * step], root, 2 * root + 1
            while child + 1 < n:
                # A sum, not a branch: which of the two comes last cannot be predicted.
                child += int(before(x, place, stride, q[at + child * step], q[at + (child + 1) * step]))
                q[at + hole * step] = q[at + child * step]
                hole, child = child, 2 * child + 1
            if child < n:
                q[at + hole * step] = q[at + child * step]
                hole = child
            while hole > root:
                above = q[at + (hole - 1) // 2 * step]
                if not before(x, place, stride, above, item):
                    break
                q[at + hole * step] = above
                hole = (hole - 1) // 2
            q[at + hole * step] = item

        @device
        def build(x: Any, place: int, stride: int, q: Any, at: int, step: int, n: int) -> None:
            for k in range(n // 2):
                sift(x, place, stride, q, at, step, n // 2 - 1 - k, n)

        @device
        def arrange(x: Any, place: int, stride: int, q: Any, at: int, step: int, n: int) -> None:
            for k in range(n - 1):
                last = at + (n - 1 - k) * step
                number = q[last]
                q[last] = q[at]
                q[at] = number
                sift(x, place, stride, q, at, step, 0, n - 1 - k)

        self.before = before
        """before(x, place, stride, i, j): whether element ``i`` comes before element ``j``."""
        self.sift = sift
        """sift(x, place, stride, q, at, step, root, n): move the number at ``root`` down to where it belongs."""
        self.build = build
        """build(x, place, stride, q, at, step, n): make ``n`` numbers a heap."""
        self.arrange = arrange
        """arrange(x, place, stride, q, at, step, n): put the numbers of a heap in order."""
