"""Drawn cases of the operations of ours that go by indices or in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from drawn import scalars, shapes
from drawn_extension import whole
from op_cases import Case

DTYPES = [np.dtype(t) for t in ("f4", "f4", "f8", "f2", "i4", "u1")]


def elements(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Elements of any numeric type, whose sums and products are exact in any order where they are floats of 16 bits."""
    if dtype.itemsize == 2:
        return rng.integers(-2, 3, tuple(shape)).astype(dtype)
    return scalars(rng, shape).astype(dtype) if dtype.kind == "f" else whole(rng, shape, dtype)


def indices(rng: np.random.Generator, shape: Sequence[int], extent: int) -> np.ndarray:
    """Indices on an extent, some counted from the end, of both common types."""
    dtype = np.int64 if rng.random() < 0.7 else np.int32
    return rng.integers(-extent, extent, tuple(shape)).astype(dtype)


def gathers() -> Iterator[Case]:
    """gather_elements and gather_nd."""
    rng = np.random.default_rng(21)
    for i, shape in enumerate(shapes(rng, 10, (1, 2, 3, 4))):
        axis, dtype = int(rng.integers(len(shape))), (*DTYPES, np.dtype("?"))[i % 7]
        x = elements(rng, shape, dtype) if dtype.kind != "b" else rng.random(shape) < 0.5
        smaller = [int(rng.integers(1, n + 1)) for n in shape]
        smaller[axis] = int(rng.choice((1, 5, 17)))
        yield Case("gather_elements", [x, indices(rng, smaller, shape[axis])], {"axis": axis})
        batch = int(rng.integers(len(shape)))
        count = int(rng.integers(1, len(shape) - batch + 1))
        own = [int(rng.choice((1, 3, 9))) for _ in range(int(rng.integers(3)))]
        index = [rng.integers(-n, n, (*shape[:batch], *own)) for n in shape[batch : batch + count]]
        yield Case("gather_nd", [x, np.stack(index, -1)], {"batch_dims": batch})


def scatters() -> Iterator[Case]:
    """scatter_elements and scatter_nd, with repeated indices."""
    rng = np.random.default_rng(22)
    for i, shape in enumerate(shapes(rng, 20, (1, 2, 3, 4))):
        reduction, dtype = ("none", "add", "mul", "max", "min")[i % 5], DTYPES[i % len(DTYPES)]
        axis, x = int(rng.integers(len(shape))), elements(rng, shape, dtype)
        smaller = [int(rng.integers(1, n + 1)) for n in shape]
        smaller[axis] = int(rng.choice((1, 2, 7)))
        index = indices(rng, smaller, shape[axis])
        attrs = {"axis": axis, "reduction": reduction}
        yield Case("scatter_elements", [x, index, elements(rng, smaller, dtype)], attrs)
        count = int(rng.integers(1, len(shape) + 1))
        own = [int(rng.choice((1, 2, 5))) for _ in range(int(rng.integers(3)))]
        index = np.stack([rng.integers(-n, n, own) for n in shape[:count]], -1)
        updates = elements(rng, (*own, *shape[count:]), dtype)
        yield Case("scatter_nd", [x, index, updates], {"reduction": reduction})
    nan = np.array([[np.nan, 1, 2, np.nan]], np.float32)
    for reduction in ("max", "min"):
        new = np.array([[3, np.nan, 1, 0]], np.float32)
        yield Case("scatter_elements", [nan, np.array([[0, 1, 2, 3]]), new], {"axis": 1, "reduction": reduction})


def scans() -> Iterator[Case]:
    """cumulate, both ways, inclusive and exclusive."""
    rng = np.random.default_rng(23)
    for i, shape in enumerate(shapes(rng, 24, (1, 2, 3, 4))):
        dtype = DTYPES[i % len(DTYPES)]
        x = elements(rng, shape, dtype)
        name = ("sum", "prod", "max", "min")[i % 4]
        if name == "prod" and dtype.kind == "f":
            x = np.clip(x, -1, 1)
        attrs = {"axis": int(rng.integers(len(shape))), "reduction": name}
        yield Case("cumulate", [x], {**attrs, "exclusive": i % 3 == 0, "reverse": i % 5 < 2})
    yield Case("cumulate", [np.array([1, np.nan, 3, 2], np.float32)], {"axis": 0, "reduction": "max"})


def sorts() -> Iterator[Case]:
    """top_k with ties and NaN."""
    rng = np.random.default_rng(24)
    for i, shape in enumerate(shapes(rng, 18, (1, 2, 3, 4))):
        axis, dtype = int(rng.integers(len(shape))), DTYPES[i % len(DTYPES)]
        x = elements(rng, shape, dtype)
        if dtype.kind == "f" and i % 2:
            x = np.where(rng.random(shape) < 0.1, np.array(np.nan, dtype), np.round(x)).astype(dtype)
        k = int(rng.integers(1, shape[axis] + 1))
        yield Case("top_k", [x], {"axis": axis, "k": k, "largest": bool(i % 3)})


def suppressions() -> Iterator[Case]:
    """non_max_suppression of boxes that overlap often, some of them with equal scores."""
    rng = np.random.default_rng(25)
    for i in range(8):
        n, c, s = (int(rng.choice(v)) for v in ((1, 2), (1, 3), (1, 7, 33)))
        boxes = rng.uniform(0, 3, (n, s, 4)).astype(np.float32)
        scores = np.round(rng.uniform(-0.2, 1, (n, c, s)), 1 + i % 2).astype(np.float32)
        attrs = {"max_output": int(rng.choice((1, 4, 50))), "iou_threshold": float(rng.choice((0.0, 0.3, 0.5)))}
        yield Case("non_max_suppression", [boxes, scores], {**attrs, "score_threshold": 0.2, "center": i % 3 == 0})


@cache
def families() -> dict[str, tuple[Case, ...]]:
    """All drawn cases, by family."""
    return {
        "gathers": tuple(gathers()),
        "scatters": tuple(scatters()),
        "scans": tuple(scans()),
        "sorts": tuple(sorts()),
        "suppressions": tuple(suppressions()),
    }
