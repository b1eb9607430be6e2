"""Small quantized networks, and what exact arithmetic on integers gives for them, written down step by step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from nnefc.formats.nnef import parse_graph
from nnefc.ir.graph import Graph, Tensor


def zero_point(scale: object, zero: object, bits: int = 8, signed: bool = False, symmetric: bool = False) -> str:
    """The text of an encoding."""
    modes = f"signed = {str(signed).lower()}, symmetric = {str(symmetric).lower()}"
    return f"zero_point_linear_quantize(zero_point = {zero}, scale = {scale}, bits = {bits}, {modes})"


def network(body: str, tensors: dict[str, Tensor], inputs: str = "x", outputs: str = "y") -> Graph:
    """A Graph of typed text."""
    text = (
        "version 1.0;\nextension NNEFC_tensor_types;\nextension NNEFC_operations;\n\n"
        f"graph net({inputs}) -> ({outputs})\n{{\n{body}\n}}\n"
    )
    return parse_graph(text).replace(tensors=tensors)


@dataclass(frozen=True)
class Layer:
    """A quantized convolution: parameters of all its tensors, and the limits of the clamp behind it."""

    x: tuple[float, int, int, int]
    """Scale, zero point, lowest and highest code of the input; ``y`` alike."""
    y: tuple[float, int, int, int]
    w: np.ndarray
    w_scale: np.ndarray
    """Per output channel."""
    w_zero: np.ndarray
    bias: np.ndarray
    stride: int = 1
    pad: int = 0
    groups: int = 1
    clamp: tuple[float, float] | None = None
    half_up: bool = True
    residual: tuple[float, int] | None = field(default=None)


def f32(value: object) -> np.ndarray:
    return np.asarray(value, np.float32)


def rounded(x: np.ndarray, half_up: bool) -> np.ndarray:
    return np.floor(x + f32(0.5)) if half_up else np.rint(x)


def quantized(x: np.ndarray, parameters: tuple[float, int, int, int], half_up: bool) -> np.ndarray:
    """Codes of real numbers, int64."""
    scale, zero, low, high = parameters
    exact = (x / f32(scale)).astype(np.float64)
    whole = np.floor(exact + 0.5) if half_up else np.rint(exact)
    return np.clip(whole + zero, low, high).astype(np.int64)


def sums(layer: Layer, codes: np.ndarray) -> np.ndarray:
    """The sums of products of codes less their zero points, one at a time."""
    n, channels, height, width = codes.shape
    outer, inner, kh, kw = layer.w.shape
    steps = np.pad(codes - layer.x[1], ((0, 0), (0, 0), (layer.pad,) * 2, (layer.pad,) * 2))
    weights = layer.w.astype(np.int64) - layer.w_zero[:, None, None, None]
    rows = (height + 2 * layer.pad - kh) // layer.stride + 1
    columns = (width + 2 * layer.pad - kw) // layer.stride + 1
    result = np.zeros((n, outer, rows, columns), np.int64)
    for o in range(outer):
        first = o // (outer // layer.groups) * inner
        for i in range(rows):
            for j in range(columns):
                place = (slice(i * layer.stride, i * layer.stride + kh), slice(j * layer.stride, j * layer.stride + kw))
                result[:, o, i, j] = (steps[:, first : first + inner, *place] * weights[o]).sum((1, 2, 3))
    return result


def requantized(layer: Layer, total: np.ndarray, residual: np.ndarray | None = None) -> np.ndarray:
    """The codes of the sums: the stated formula, every operation rounded to F32."""
    scale, zero, low, high = layer.y
    step = np.float64(f32(layer.x[0])) * f32(layer.w_scale).astype(np.float64)
    offset = f32(layer.bias).astype(np.float64)
    out = np.float64(f32(scale))
    factor = f32(step / out)[:, None, None]
    if residual is not None:
        assert layer.residual is not None
        more, moved = layer.residual
        offset = offset - np.float64(f32(more)) * moved
    whole = np.rint(offset / step).astype(np.int64)[:, None, None]
    y = (total + whole).astype(np.float32) * factor
    if residual is not None:
        assert layer.residual is not None
        y = y + residual.astype(np.float32) * f32(np.float64(f32(layer.residual[0])) / out)
    if layer.clamp is not None:
        ends = (np.float64(f32(b)) / out for b in layer.clamp)
        cut = [int(np.floor(e + 0.5) if layer.half_up else np.rint(e)) + zero for e in ends]
        low, high = max(low, min(cut[0], high)), min(high, cut[1])
    code = np.floor(y + f32(zero + 0.5)) if layer.half_up else np.rint(y) + f32(zero)
    return np.clip(code, low, high).astype(np.int64)


def decoded(codes: np.ndarray, parameters: tuple[float, int, int, int]) -> np.ndarray:
    return (codes - parameters[1]).astype(np.float32) * f32(parameters[0])


def literals(values: np.ndarray, axis_first: bool = False) -> str:
    """Numbers as NNEF writes them; per channel of dimension 0 or 1."""
    if values.ndim == 0:
        return repr(values.item())
    items = "[" + ", ".join(repr(v) for v in values.tolist()) + "]"
    return items if axis_first else f"[{items}]"


def shifted(layer: Layer) -> Layer:
    """The layer as kernels see it: codes of signed tensors 128 higher."""

    def moved(p: tuple[float, int, int, int]) -> tuple[float, int, int, int]:
        return (p[0], p[1] + 128, p[2] + 128, p[3] + 128) if p[2] < 0 else p

    residual = layer.residual
    return replace(layer, x=moved(layer.x), y=moved(layer.y), residual=residual)
