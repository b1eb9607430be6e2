"""Drawn cases of the operations: awkward extents, ranks 0 to 6, every element type that an operation takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from op_cases import Case

AWKWARD = (1, 7, 8, 9, 31, 33)
DOMAINS = {
    "log": (0.05, 9),
    "log2": (0.05, 9),
    "sqrt": (0.01, 9),
    "rsqrt": (0.05, 9),
    "rcp": (0.2, 4),
    "rsqr": (0.3, 4),
    "asin": (-1, 1),
    "acos": (-1, 1),
    "acosh": (1, 9),
    "atanh": (-0.99, 0.99),
    "tan": (-1.4, 1.4),
}
"""Where an operation is drawn if not between -4 and 4."""

UNARY = (
    "copy neg rcp exp log sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh abs sign floor ceil round "
    "sqr sqrt rsqr rsqrt log2 relu sigmoid gelu silu softplus"
).split()
BINARY = "add sub mul div pow lt gt le ge eq ne min max".split()


def scalars(rng: np.random.Generator, shape: Sequence[int], low: float = -4, high: float = 4) -> np.ndarray:
    """Float32 values, one in twenty of them a whole number."""
    x = rng.uniform(low, high, tuple(shape))
    x = np.where(rng.random(x.shape) < 0.05, np.clip(np.round(x), low, high), x)
    return np.asarray(x, np.float32)


def integers(rng: np.random.Generator, shape: Sequence[int], low: int = -9, high: int = 10) -> np.ndarray:
    """Int64 values."""
    return rng.integers(low, high, tuple(shape), dtype=np.int64)


def logicals(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """BOOL values."""
    return np.asarray(rng.random(tuple(shape)) < 0.5)


def shapes(rng: np.random.Generator, count: int, ranks: Sequence[int] = (1, 2, 3, 4, 5, 6)) -> list[tuple[int, ...]]:
    """Shapes of at most a few thousand elements, the ranks in turn."""
    result: list[tuple[int, ...]] = []
    while len(result) < count:
        rank = ranks[len(result) % len(ranks)]
        pool = AWKWARD if rank <= 2 else (1, 2, 3, 7, 8, 9) if rank <= 3 else (1, 2, 3, 5)
        shape = tuple(int(n) for n in rng.choice(pool, rank))
        if np.prod(shape) <= 4000:
            result.append(shape)
    return result


def broadcasting(rng: np.random.Generator, shape: Sequence[int], leading: bool = True) -> tuple[int, ...]:
    """A shape that broadcasts to ``shape``: some extents 1, some trailing dimensions left out."""
    kept = [n if rng.random() < 0.6 else 1 for n in shape]
    return tuple(kept[: int(rng.integers(1, len(kept) + 1))]) if leading else tuple(kept)


def elementwise() -> Iterator[Case]:
    """Unary, binary, ternary operations and activations."""
    rng = np.random.default_rng(1)
    for name in UNARY:
        for shape in [(), *shapes(rng, 4)]:
            yield Case(name, [scalars(rng, shape, *DOMAINS.get(name, (-4, 4)))])
    for name in BINARY:
        low = 0.3 if name in ("pow", "div") else -4
        for i, shape in enumerate(shapes(rng, 6)):
            x, y = scalars(rng, shape, low), scalars(rng, broadcasting(rng, shape), low)
            yield Case(name, [x, y] if i % 2 else [y, x])
        yield Case(name, [scalars(rng, (3, 8), low), 2.0])
        yield Case(name, [1.5, scalars(rng, (2, 7, 3), low)])
    for shape in shapes(rng, 4):
        yield Case("not", [logicals(rng, shape)])
        for name in ("and", "or"):
            yield Case(name, [logicals(rng, shape), logicals(rng, broadcasting(rng, shape))])
    yield from _ternary(rng)
    yield from _activations(rng)
    yield from _casts(rng)


def _ternary(rng: np.random.Generator) -> Iterator[Case]:
    for shape in shapes(rng, 8):
        condition = logicals(rng, broadcasting(rng, shape))
        yield Case("select", [condition, scalars(rng, shape), scalars(rng, broadcasting(rng, shape))])
        yield Case("select", [logicals(rng, shape), scalars(rng, shape), scalars(rng, shape)])
        yield Case("select", [condition, integers(rng, shape), integers(rng, shape)])
        yield Case("select", [condition, scalars(rng, shape), 0.0])
        low, high = scalars(rng, broadcasting(rng, shape), -3, 0), scalars(rng, broadcasting(rng, shape), 0, 3)
        yield Case("clamp", [scalars(rng, shape), low, high])
        yield Case("clamp", [scalars(rng, shape), -1.0, 2.0])


def _activations(rng: np.random.Generator) -> Iterator[Case]:
    for shape in shapes(rng, 6):
        yield Case("leaky_relu", [scalars(rng, shape)], {"alpha": 0.125})
        yield Case("prelu", [scalars(rng, shape), scalars(rng, (1, *shape[1:2]))])
        yield Case("elu", [scalars(rng, shape)])
        yield Case("elu", [scalars(rng, shape)], {"alpha": 0.5})
        yield Case("selu", [scalars(rng, shape)])
        yield Case("selu", [scalars(rng, shape)], {"alpha": 1.25, "lambda": 0.75})
        yield Case("softabs", [scalars(rng, shape)], {"epsilon": 0.01})
        yield Case("copy_n", [scalars(rng, shape)], {"times": 3})
    for count, shape in zip((1, 2, 5, 6, 7, 13), shapes(rng, 6), strict=True):
        yield Case("add_n", [scalars(rng, shape) for _ in range(count)])


def _casts(rng: np.random.Generator) -> Iterator[Case]:
    from nnefc.ir.types import INTEGER, LOGICAL, SCALAR

    for shape in shapes(rng, 4):
        for source in (scalars(rng, shape), integers(rng, shape, -2, 3), logicals(rng, shape)):
            for dtype in (SCALAR, INTEGER, LOGICAL):
                yield Case("cast", [source], {"dtype": dtype})


def quantized() -> Iterator[Case]:
    """Pseudo-quantization."""
    rng = np.random.default_rng(2)
    for shape in shapes(rng, 6):
        channels = (1, *shape[1:2])
        for signed, symmetric in ((False, False), (True, False), (True, True)):
            modes = {"bits": int(rng.integers(2, 9)), "signed": signed, "symmetric": symmetric}
            low, high = scalars(rng, channels, -3, -1), scalars(rng, channels, 1, 3)
            yield Case("min_max_linear_quantize", [scalars(rng, shape), low, high], modes)
            zero, scale = integers(rng, channels, -3, 4), scalars(rng, channels, 0.05, 0.3)
            yield Case("zero_point_linear_quantize", [scalars(rng, shape), zero, scale], modes)
            yield Case("min_max_linear_quantize", [scalars(rng, shape), -2.5, 3.0], modes)
            yield Case("zero_point_linear_quantize", [scalars(rng, shape), 2, 0.07], modes)
        yield Case("linear_quantize", [scalars(rng, shape), -2.0, 2.5], {"bits": 8})
        yield Case("logarithmic_quantize", [scalars(rng, shape), 3.5], {"bits": 3})


def reductions() -> Iterator[Case]:
    """Reductions over every number of axes."""
    rng = np.random.default_rng(3)
    for shape in shapes(rng, 24):
        chosen = rng.permutation(len(shape))[: rng.integers(0, len(shape) + 1)]
        axes = {"axes": [int(a) for a in (np.sort(chosen) if rng.random() < 0.7 else chosen)]}
        for name in ("sum", "max", "min", "mean"):
            yield Case(f"{name}_reduce", [scalars(rng, shape)], axes)
        yield Case("sum_reduce", [scalars(rng, shape)], {**axes, "normalize": True})
        for name in ("all", "any"):
            yield Case(f"{name}_reduce", [np.asarray(rng.random(shape) < (0.8 if name == "all" else 0.2))], axes)
        yield Case("moments", [scalars(rng, shape)], axes)
        for name in ("argmax", "argmin"):
            yield Case(f"{name}_reduce", [scalars(rng, shape)], {"axes": [int(rng.integers(len(shape)))]})
            yield Case(f"{name}_reduce", [integers(rng, shape, 0, 3).astype(np.float32)], axes)


def normalizations() -> Iterator[Case]:
    """Softmax and normalizations."""
    rng = np.random.default_rng(4)
    for shape in shapes(rng, 18, (2, 3, 4, 5)):
        yield Case("softmax", [scalars(rng, shape)])
        axis = int(rng.integers(len(shape)))
        yield Case("softmax", [scalars(rng, shape, -40, 40)], {"axes": [axis]})
        chosen = sorted(int(a) for a in rng.permutation(len(shape))[: rng.integers(2, len(shape) + 1)])
        yield Case("softmax", [scalars(rng, shape)], {"axes": chosen})
        for name in ("l1_normalization", "l2_normalization"):
            yield Case(name, [scalars(rng, shape)], {"axes": chosen, "bias": 0.1})
            yield Case(name, [scalars(rng, shape)], {"axes": [axis], "epsilon": 0.5})
        size = [int(rng.choice((1, 2, 3, 5))) for _ in shape]
        channel = [1, int(rng.choice((3, 4, 5)))] + [1] * (len(shape) - 2)
        for window in (size, channel):
            options = {"size": window, "alpha": 0.4, "beta": 0.75, "bias": 1.5}
            yield Case("local_response_normalization", [scalars(rng, shape)], options)
            yield Case("local_response_normalization", [scalars(rng, shape)], {"size": window})
            yield Case("local_mean_normalization", [scalars(rng, shape)], {"size": window})
            options = {"size": window, "bias": 0.1, "epsilon": 0.3}
            yield Case("local_variance_normalization", [scalars(rng, shape)], options)
            yield Case("local_contrast_normalization", [scalars(rng, shape)], options)
        c = (1, shape[1])
        parameters = [scalars(rng, c), scalars(rng, c, 0.2, 3), scalars(rng, c), scalars(rng, c)]
        yield Case("batch_normalization", [scalars(rng, shape), *parameters], {"epsilon": 0.001})


def movements() -> Iterator[Case]:
    """Operations that move elements, on scalars, integers and logicals."""
    rng = np.random.default_rng(5)
    for i, shape in enumerate(shapes(rng, 24)):
        x = (scalars, integers, logicals)[i % 3](rng, shape)
        rank = len(shape)
        yield from _reshapes(rng, x)
        yield Case("transpose", [x], {"axes": [int(a) for a in rng.permutation(rank)]})
        yield Case("transpose", [x], {"axes": [int(a) for a in rng.permutation(int(rng.integers(1, rank + 1)))]})
        yield from _parts(rng, x)
        yield Case("tile", [x], {"repeats": [int(rng.integers(1, 4)) for _ in shape]})
        for _ in range(3):
            yield _slice(rng, x)
        axis = int(rng.integers(rank))
        for picked in ((5,), (2, 3)):
            yield Case("gather", [x, integers(rng, picked, 0, shape[axis])], {"axis": axis})
        yield from _pads(rng, scalars(rng, shape))


def _reshapes(rng: np.random.Generator, x: np.ndarray) -> Iterator[Case]:
    rank = x.ndim
    yield Case("reshape", [x], {"shape": [-1]})
    yield Case("reshape", [x], {"shape": [0] * (rank - 1) + [1, -1]})
    start = int(rng.integers(rank))
    count = int(rng.integers(1, rank - start + 1))
    yield Case("reshape", [x], {"shape": [1, -1], "axis_start": start, "axis_count": count})
    yield Case("reshape", [x], {"shape": list(x.shape[start:]), "axis_start": start})
    ones = [d for d, n in enumerate(x.shape) if n == 1]
    yield Case("squeeze", [x], {"axes": ones})
    yield Case("unsqueeze", [x], {"axes": sorted(int(a) for a in rng.permutation(rank + 2)[:2])})


def _parts(rng: np.random.Generator, x: np.ndarray) -> Iterator[Case]:
    axis = int(rng.integers(x.ndim))
    extent = x.shape[axis]
    first = int(rng.integers(1, extent + 1))
    ratios = [first, extent - first] if extent > first else [1]
    yield Case("split", [x], {"axis": axis, "ratios": ratios})
    yield Case("unstack", [x], {"axis": axis})
    yield Case("stack", [x, x[::-1].copy(), x], {"axis": int(rng.integers(x.ndim + 1))})
    other = np.concatenate([x, x], axis)
    yield Case("concat", [x, other, x], {"axis": axis})


def _slice(rng: np.random.Generator, x: np.ndarray) -> Case:
    axes, begins, ends, strides = [], [], [], []
    plain = rng.random() < 0.4
    for axis in sorted(int(a) for a in rng.permutation(x.ndim)[: rng.integers(1, x.ndim + 1)]):
        n = x.shape[axis]
        first, last = sorted(int(v) for v in rng.integers(0, n, 2))
        stride = 1 if plain else int(rng.choice([1, 2, 3, -1, -2, -3]))
        if stride < 0:
            begin, end = last, first - 1 if first else -n - 1
        else:
            begin, end = first, last + 1
        if rng.random() < 0.3:
            begin -= n
        if plain and rng.random() < 0.3:
            end = 0
        axes.append(axis)
        begins.append(begin)
        ends.append(end)
        strides.append(stride)
    attrs = {"axes": axes, "begin": begins, "end": ends}
    return Case("slice", [x], attrs if plain else {**attrs, "stride": strides})


def _pads(rng: np.random.Generator, x: np.ndarray) -> Iterator[Case]:
    for border in ("constant", "replicate", "reflect", "reflect-even"):
        padding = []
        for d, n in enumerate(x.shape):
            most = min(n - 1, 3) if border == "reflect" else min(n, 3)
            spatial = d >= 2 or x.ndim < 3
            low = -1 if n > 2 else 0
            padding.append((int(rng.integers(low, most + 1)), int(rng.integers(low, most + 1))) if spatial else (0, 0))
        value = {"value": 1.5} if border == "constant" and rng.random() < 0.5 else {}
        yield Case("pad", [x], {"padding": padding, "border": border, **value})


@cache
def families() -> dict[str, tuple[Case, ...]]:
    """All drawn cases, by family."""
    return {
        "elementwise": tuple(elementwise()),
        "quantized": tuple(quantized()),
        "reductions": tuple(reductions()),
        "normalizations": tuple(normalizations()),
        "movements": tuple(movements()),
    }
