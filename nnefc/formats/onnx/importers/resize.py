"""Resize and Upsample (operators of ai.onnx)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnefc.formats.onnx.importers.reduce import axis_of
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope
from nnefc.ir.types import DType
from nnefc.ops.primitive import require

_METHODS = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "trilinear": "linear", "cubic": "cubic"}


def _optional(s: Scope, value: Imported | None, name: str) -> np.ndarray | None:
    """The values of an input, or None where it is left out or empty."""
    if value is None:
        return None
    array = s.known(value, name).reshape(-1)
    return array if array.size else None


@importer("Upsample")
def _upsample(s: Scope, n: Node) -> Sequence[Imported]:
    """Asymmetric coordinates, rounded down. Up to opset 8 the scales are an attribute."""
    x = n.need(0)
    scales = n.attr("scales") if n.version < 9 else s.known(n.need(1), "scales").reshape(-1)
    require(scales is not None and len(scales) == s.rank(x), f"scales must have {s.rank(x)} items")
    attrs = {"method": _method(n), "coordinates": "asymmetric", "rounding": "floor"}
    return (_resized(s, x, [None] * s.rank(x), [float(v) for v in scales], attrs),)


def _method(n: Node) -> str:
    mode = str(n.attr("mode", "nearest"))
    require(mode in _METHODS, f"mode = {mode!r} is unknown; it must be one of {', '.join(_METHODS)}")
    return _METHODS[mode]


@importer("Resize")
def _resize(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    rank = s.rank(x)
    if n.version < 11:
        factors = [float(v) for v in s.known(n.need(1), "scales").reshape(-1)]
        require(len(factors) == rank, f"scales has {len(factors)} items; it must have {rank}")
        attrs: dict[str, Any] = {"method": _method(n), "coordinates": "asymmetric", "rounding": "floor"}
        return (_resized(s, x, [None] * rank, factors, attrs),)
    require(0 not in s.shape(x), f"the input has the shape {list(s.shape(x))}; it must have elements")
    axes = [axis_of(s, a, rank, "an item of axes") for a in n.attr("axes") or range(rank)]
    require(len(set(axes)) == len(axes), f"axes = {axes} repeats an item")
    attrs = {
        "method": _method(n),
        "coordinates": str(n.attr("coordinate_transformation_mode", "half_pixel")),
        "rounding": str(n.attr("nearest_mode", "round_prefer_floor")),
        "cubic_coefficient": float(n.attr("cubic_coeff_a", -0.75)),
        "exclude_outside": bool(n.attr("exclude_outside", 0)),
        "antialias": bool(n.attr("antialias", 0)),
        "extrapolation": float(n.attr("extrapolation_value", 0.0)),
    }
    if attrs["coordinates"] == "tf_half_pixel_for_nn":
        s.unsupported("the coordinates 'tf_half_pixel_for_nn', which opset 13 removed, are not supported")
    if attrs["coordinates"] == "tf_crop_and_resize":
        attrs["region"] = _region(s, n, axes, rank)
    sizes, scales = _extents(s, n, axes, s.shape(x))
    return (_resized(s, x, sizes, scales, attrs),)


def _region(s: Scope, n: Node, axes: Sequence[int], rank: int) -> list[tuple[float, float]]:
    roi = s.known(n.need(1), "roi").reshape(-1)
    require(roi.size == 2 * len(axes), f"roi has {roi.size} items; it must have {2 * len(axes)}")
    region = [(0.0, 1.0)] * rank
    for i, axis in enumerate(axes):
        region[axis] = (float(roi[i]), float(roi[len(axes) + i]))
    return region


def _extents(s: Scope, n: Node, axes: Sequence[int], shape: Sequence[int]) -> tuple[list[int | None], list[float]]:
    """For each dimension the output's extent, or None where it follows from the scale, and the scale."""
    wanted, factors = _optional(s, n.input(3), "sizes"), _optional(s, n.input(2), "scales")
    require((wanted is None) != (factors is None), "one of scales and sizes must be given, the other left out")
    sizes: list[int | None] = list(shape)
    scales = [1.0] * len(shape)
    given = wanted if factors is None else factors
    assert given is not None
    require(given.size == len(axes), f"scales or sizes has {given.size} items; it must have {len(axes)}")
    if factors is not None:
        for axis, factor in zip(axes, factors, strict=True):
            sizes[axis], scales[axis] = None, float(factor)
        return sizes, scales
    require(given.dtype.kind in "iu", f"sizes must be integers, not {given.dtype}")
    targets = [int(v) for v in given]
    policy = str(n.attr("keep_aspect_ratio_policy", "stretch"))
    ratios = [t / shape[a] for t, a in zip(targets, axes, strict=True)]
    if policy != "stretch":
        require(policy in ("not_larger", "not_smaller"), f"keep_aspect_ratio_policy = {policy!r} is unknown")
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        targets = [math.floor(ratio * shape[a] + 0.5) for a in axes]
        ratios = [ratio] * len(axes)
    for axis, target, ratio in zip(axes, targets, ratios, strict=True):
        sizes[axis], scales[axis] = target, ratio
    return sizes, scales


def _resized(
    s: Scope, x: Imported, sizes: Sequence[int | None], scales: Sequence[float], attrs: dict[str, Any]
) -> Imported:
    """The resized tensor; numbers other than floats are interpolated in F32 and then truncated."""
    shape, dtype = s.shape(x), s.dtype(x)
    require(all(0 < v < 2**31 for v in scales), f"the scales {list(scales)} must be positive")
    size = [
        int(np.floor(np.float32(e) * np.float32(f))) if t is None else t
        for e, t, f in zip(shape, sizes, scales, strict=True)
    ]
    plain = _integer_factors(shape, size, scales, attrs)
    if plain is not None and dtype.kind == "f":
        kind, factors, more = plain
        return s.op(kind, [x], factor=factors, **more)
    if attrs["method"] != "nearest" and dtype.kind != "f":
        x = s.cast(x, DType.F32)
    return s.cast(s.op("resize", [x], size=size, scale=list(scales), **attrs), dtype)


_MULTILINEAR = {"half_pixel": "symmetric", "asymmetric": "asymmetric", "align_corners": "aligned"}


def _integer_factors(
    shape: Sequence[int], size: Sequence[int], scales: Sequence[float], attrs: dict[str, Any]
) -> tuple[str, list[int], dict[str, Any]] | None:
    """NNEF's own up-sampling of the spatial dimensions by integer factors, where it means the same."""
    factors = [t // e for e, t in zip(shape, size, strict=True)]
    whole = all(t == f * e and f == v for e, t, f, v in zip(shape, size, factors, scales, strict=True))
    if len(shape) < 3 or not whole or factors[:2] != [1, 1] or attrs.get("antialias"):
        return None
    coordinates = attrs["coordinates"]
    if attrs["method"] == "linear" and coordinates in _MULTILINEAR and not attrs.get("exclude_outside"):
        return "multilinear_upsample", factors[2:], {"method": _MULTILINEAR[coordinates], "border": "replicate"}
    repeats = (coordinates, attrs["rounding"]) == ("asymmetric", "floor") or (
        coordinates == "half_pixel" and attrs["rounding"].startswith("round")
    )
    if attrs["method"] == "nearest" and repeats:
        return "nearest_upsample", factors[2:], {}
    return None
