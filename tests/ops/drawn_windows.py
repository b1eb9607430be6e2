"""Drawn cases of convolutions, products, windows, resampling and regions: every border, awkward attributes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from drawn import scalars
from op_cases import Case

from nnefc.errors import InvalidModelError

BORDERS = ("constant", "replicate", "reflect", "reflect-even")
EXTENTS = (1, 2, 3, 5, 7, 8, 9)


def _filter(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Weights so small that sums of products stay within a few units."""
    return scalars(rng, shape, -0.3, 0.3)


def _draw(rng: np.random.Generator, choices: Sequence[int]) -> int:
    return int(rng.choice(choices))


def _windows(rng: np.random.Generator, extents: Sequence[int], reverse: bool = False) -> dict[str, Any]:
    """Size, stride, dilation and padding that fit, each of the last three sometimes left to its default."""
    given = {name: rng.random() < 0.7 for name in ("stride", "dilation", "padding")}
    drawn: dict[str, Any] = {name: [] for name in ("size", *given)}
    for n in extents:
        f = _draw(rng, (1, 2, 3, 4))
        d = _draw(rng, (1, 1, 2, 3)) if given["dilation"] else 1
        s = _draw(rng, (1, 2, 3, 4)) if given["stride"] else 1
        span = (f - 1) * d + 1
        p, q = _draw(rng, range(-1, 4)), _draw(rng, range(-1, 4))
        if reverse and (n - 1) * s + span <= p + q:
            p, q = 0, 0
        elif not reverse and p + q + n < span:
            p, q = span, 0
        for name, value in (("size", f), ("stride", s), ("dilation", d), ("padding", (p, q))):
            drawn[name].append(value)
    return {name: items for name, items in drawn.items() if given.get(name, True)}


def _spatial(rng: np.random.Generator, count: int) -> tuple[int, ...]:
    return tuple(_draw(rng, EXTENTS if count < 3 else (1, 2, 3, 5)) for _ in range(count))


def _bias(rng: np.random.Generator, channels: int) -> np.ndarray | float:
    shape = [None, (), (1,), (1, 1), (1, channels), (1, channels)][rng.integers(6)]
    return float(rng.choice([0, 0.5])) if shape is None else scalars(rng, shape)


def _round_trip(rng: np.random.Generator, case: Case, name: str) -> Case:
    """The case with an output_shape that differs from the natural one where strides allow."""
    shape = list(case.graph().outputs[0].type.extents)
    attrs = dict(case.attrs)
    stride = attrs.get("stride", [1] * len(shape))
    if "groups" in attrs:
        stride = [1, 1, *(attrs.get("stride") or [1] * (len(shape) - 2))]
    if "padding" in attrs:
        shape = [n + int(rng.integers(s)) for n, s in zip(shape, stride, strict=True)]
    else:
        shape = [n - int(rng.integers(s)) for n, s in zip(shape, stride, strict=True)]
    try:
        wider = Case(name, case.operands, {**attrs, "output_shape": shape})
        wider.graph()
    except InvalidModelError:
        return case
    return wider


def convolutions() -> Iterator[Case]:
    """conv, with groups of every kind."""
    rng = np.random.default_rng(11)
    for i in range(110):
        spatial = _spatial(rng, (2, 1, 2, 3)[i % 4])
        attrs = _windows(rng, spatial)
        size = attrs.pop("size")
        groups, inner, outer = [(1, 3, 5), (1, 1, 2), (2, 3, 2), (5, 1, 1), (3, 1, 2), (2, 1, 9), (1, 16, 17)][i % 7]
        x = scalars(rng, (_draw(rng, (1, 2)), groups * inner, *spatial))
        w = _filter(rng, (groups * outer, inner, *size))
        attrs["groups"] = 0 if inner == 1 and groups > 1 and rng.random() < 0.5 else groups
        attrs["border"] = BORDERS[i % 5 % 4]
        yield Case("conv", [x, w, _bias(rng, groups * outer)], attrs)
    for _ in range(12):
        spatial = _spatial(rng, 2)
        attrs = _windows(rng, spatial)
        size = attrs.pop("size")
        plane, point = _filter(rng, (8, 1, *size)), _filter(rng, (6, 4, 1, 1))
        yield Case(
            "separable_conv",
            [scalars(rng, (2, 4, *spatial)), plane, point, _bias(rng, 6)],
            {**attrs, "groups": 2},
        )


def deconvolutions() -> Iterator[Case]:
    """deconv, with groups of every kind, and with output_shape."""
    rng = np.random.default_rng(12)
    for i in range(110):
        spatial = _spatial(rng, (2, 1, 2, 3)[i % 4])
        attrs = _windows(rng, spatial, reverse=True)
        size = attrs.pop("size")
        groups, inner, outer = [(1, 3, 5), (1, 1, 2), (2, 3, 2), (5, 1, 1), (2, 9, 1), (1, 16, 17)][i % 6]
        x = scalars(rng, (_draw(rng, (1, 2)), groups * inner, *spatial))
        w = _filter(rng, (groups * inner, outer, *size))
        attrs["groups"] = 0 if (inner, outer) == (1, 1) and rng.random() < 0.5 else groups
        attrs["border"] = BORDERS[i % 5 % 4]
        case = Case("deconv", [x, w, _bias(rng, groups * outer)], attrs)
        yield _round_trip(rng, case, "deconv") if i % 3 == 0 else case
    for _ in range(12):
        spatial = _spatial(rng, 2)
        attrs = _windows(rng, spatial, reverse=True)
        size = attrs.pop("size")
        plane, point = _filter(rng, (6, 1, *size)), _filter(rng, (4, 3, 1, 1))
        yield Case(
            "separable_deconv",
            [scalars(rng, (2, 4, *spatial)), plane, point, _bias(rng, 6)],
            {**attrs, "groups": 2},
        )


def products() -> Iterator[Case]:
    """matmul and linear."""
    rng = np.random.default_rng(13)
    extents = (1, 7, 8, 9, 31, 33)
    for i in range(48):
        m, k, n = (_draw(rng, extents) for _ in range(3))
        lead = tuple(_draw(rng, (1, 2, 3)) for _ in range(i % 4))
        first = tuple(d if rng.random() < 0.7 else 1 for d in lead)
        second = tuple(d if rng.random() < 0.7 else 1 for d in lead)
        a, b = bool(i & 4), bool(i & 8)
        left = scalars(rng, (*first, *((k, m) if a else (m, k))))
        right = scalars(rng, (*second, *((n, k) if b else (k, n))))
        yield Case("matmul", [left, right], {"transposeA": a, "transposeB": b})
        yield Case("linear", [scalars(rng, (m, k)), scalars(rng, (n, k)), _bias(rng, n)])


def pools() -> Iterator[Case]:
    """box, the pools and argmax_pool, with windows in all dimensions."""
    rng = np.random.default_rng(14)
    for i in range(110):
        rank = (4, 3, 4, 5, 2, 1)[i % 6]
        shape = tuple(_draw(rng, (1, 2, 3)) for _ in range(min(rank, 2))) + _spatial(rng, max(rank - 2, 0))
        attrs = _windows(rng, shape)
        if i % 3:
            neutral = {"size": 1, "stride": 1, "dilation": 1, "padding": (0, 0)}
            attrs = {k: [neutral[k]] * min(rank, 2) + v[2:] for k, v in attrs.items()}
        attrs["border"] = (*BORDERS, "ignore")[i % 5]
        x = scalars(rng, shape)
        if i % 4 == 0:
            x = np.round(x)
        yield Case("box", [x], {**attrs, "normalize": bool(rng.random() < 0.5)})
        for name in ("avg_pool", "max_pool", "rms_pool", "argmax_pool", "max_pool_with_index"):
            yield Case(name, [x], attrs)
        if attrs["border"] != "ignore":
            probe = Case("argmax_pool", [x], attrs)
            (index,) = probe.reference()
            index = np.where(rng.random(index.shape) < 0.5, index, rng.integers(-1, 5, index.shape))
            yield Case("sample", [x, index], attrs)


def unpools() -> Iterator[Case]:
    """debox and desample, with windows in all dimensions and with output_shape."""
    rng = np.random.default_rng(15)
    for i in range(80):
        rank = (4, 3, 4, 5, 2, 1)[i % 6]
        shape = tuple(_draw(rng, (1, 2, 3)) for _ in range(min(rank, 2))) + _spatial(rng, max(rank - 2, 0))
        attrs = _windows(rng, shape, reverse=True)
        if i % 3:
            neutral = {"size": 1, "stride": 1, "dilation": 1, "padding": (0, 0)}
            attrs = {k: [neutral[k]] * min(rank, 2) + v[2:] for k, v in attrs.items()}
        x = scalars(rng, shape)
        index = rng.integers(-1, int(np.prod(attrs["size"])) + 1, shape)
        boxed = Case("debox", [x], {**attrs, "border": (*BORDERS, "ignore")[i % 5], "normalize": bool(i & 1)})
        spread = Case("desample", [x, index], attrs)
        for case in (boxed, spread):
            yield _round_trip(rng, case, case.kind) if i % 4 == 0 else case


def resamplings() -> Iterator[Case]:
    """Up- and down-sampling."""
    rng = np.random.default_rng(16)
    for i in range(60):
        spatial = _spatial(rng, (2, 1, 2, 3)[i % 4])
        factor = [_draw(rng, (1, 2, 3, 4)) for _ in spatial]
        shape = (_draw(rng, (1, 2)), _draw(rng, (1, 3)), *spatial)
        x = scalars(rng, shape)
        coarse = scalars(rng, (*shape[:2], *(n * f for n, f in zip(spatial, factor, strict=True))))
        yield Case("nearest_upsample", [x], {"factor": factor})
        yield Case("nearest_downsample", [coarse], {"factor": factor})
        yield Case("area_downsample", [coarse], {"factor": factor})
        for method in ("symmetric", "asymmetric", "aligned"):
            border = BORDERS[i % 4]
            yield Case("multilinear_upsample", [x], {"factor": factor, "method": method, "border": border})


def regions() -> Iterator[Case]:
    """Regions of interest: inside, across the edge, outside, empty, and with coordinates that are no numbers."""
    rng = np.random.default_rng(17)
    for i in range(40):
        spatial = _spatial(rng, (2, 1, 2, 3)[i % 4])
        x = scalars(rng, (_draw(rng, (1, 2, 3)), _draw(rng, (1, 3)), *spatial))
        count = _draw(rng, (1, 4, 7))
        starts = rng.uniform(-2, max(spatial), (count, len(spatial)))
        ends = starts + rng.uniform(-1, max(spatial), starts.shape)
        rois = np.concatenate([starts, ends], 1).astype(np.float32)
        if i % 5 == 0:
            rois[0, 0], rois[-1, -1] = [(np.nan, 1), (np.inf, 2), (-1e30, 1e30), (3, np.nan)][i // 5 % 4]
        elif i % 2:
            rois = np.round(rois * 2) / 2
        batch = rng.integers(-1, x.shape[0] + 1, (count, 1) if i % 3 else (count,))
        size, rate = ([_draw(rng, (1, 2, 3)) for _ in spatial] for _ in range(2))
        method = ("symmetric", "asymmetric", "aligned")[i % 3]
        for name in ("avg_roi_pool", "max_roi_pool"):
            yield Case(name, [x, rois, batch], {"output_size": size})
        yield Case("roi_resample", [x, rois, batch], {"output_size": size, "method": method})
        for name in ("avg_roi_align", "max_roi_align"):
            attrs = {"output_size": size, "sampling_rate": rate, "resize_method": method}
            yield Case(name, [x, rois, batch], attrs)


@cache
def families() -> dict[str, tuple[Case, ...]]:
    """All drawn cases of windows, by family."""
    return {
        "convolutions": tuple(convolutions()),
        "deconvolutions": tuple(deconvolutions()),
        "products": tuple(products()),
        "pools": tuple(pools()),
        "unpools": tuple(unpools()),
        "resamplings": tuple(resamplings()),
        "regions": tuple(regions()),
    }
