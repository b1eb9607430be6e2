"""How views meet: common shapes and memory orders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nnefc.ir.view import View


def leading(view: View, count: int) -> View:
    """The first dimensions of a view, at the first place of the others."""
    return replace(view, shape=view.shape[:count], strides=view.strides[:count])


def replace_stride(view: View, axis: int, count: int) -> View:
    """A dimension of extent 1 repeated ``count`` times."""
    shape, strides = list(view.shape), list(view.strides)
    shape[axis], strides[axis] = count, 0
    return replace(view, shape=tuple(shape), strides=tuple(strides))


def broadcast_shape(views: Iterable[View]) -> tuple[int, ...]:
    """The common shape of views, leading dimensions aligned (NNEF 1.0.5, 4.2). Raises ValueError if there is none."""
    shapes = [v.shape for v in views]
    result = [1] * max((len(s) for s in shapes), default=0)
    for shape in shapes:
        for d, n in enumerate(shape):
            if n != 1 and result[d] not in (1, n):
                raise ValueError(f"shapes {shapes} do not broadcast")
            result[d] = n if n != 1 else result[d]
    return tuple(result)


def order_of(views: Iterable[View], shape: Sequence[int]) -> tuple[int, ...]:
    """The memory order of the largest of the views that has all dimensions of ``shape``, else row-major."""
    best = max((v for v in views if v.rank == len(shape)), key=lambda v: v.volume, default=None)
    return best.dense_order if best is not None and best.volume > 1 else tuple(range(len(shape)))
