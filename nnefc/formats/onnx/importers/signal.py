"""Signals: DFT, STFT, MelWeightMatrix (operators of ai.onnx). Transforms are products with constant matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnefc.formats.onnx.importers.tables import check_table
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope
from nnefc.formats.onnx.tensors import DTYPES
from nnefc.ops.primitive import require


def _length(s: Scope, value: Imported | None, name: str, default: int) -> int:
    if value is None:
        return default
    number = s.known_integer(value, name)
    require(number > 0, f"{name} must be one positive number")
    return number


def _transformed(basis: np.ndarray, length: int, inverse: bool, onesided: bool) -> np.ndarray:
    """The transform of each row of ``basis`` (complex), as (rows, outputs, parts); parts are real and imaginary."""
    if inverse and onesided:
        return np.fft.irfft(basis, n=length, axis=1)[..., None]
    result = np.fft.ifft(basis, n=length, axis=1) if inverse else np.fft.fft(basis, n=length, axis=1)
    if onesided:
        result = result[:, : length // 2 + 1]
    return np.stack([result.real, result.imag], -1)


def _matrix(s: Scope, extent: int, parts: int, length: int, inverse: bool, onesided: bool) -> np.ndarray:
    """(extent, parts, outputs, parts of the output): what each number adds to each number of the result (float64)."""
    require(length > 0, f"the length of the transform is {length}; it must be positive")
    check_table(s, extent, parts, length, 2)
    unit = np.eye(extent)
    return np.stack([_transformed(unit * f, length, inverse, onesided) for f in (1, 1j)[:parts]], 1)


@importer("DFT")
def _dft(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    rank, shape = s.rank(x), s.shape(x)
    if n.version < 20:
        axis = int(n.attr("axis", 1))
    else:
        chosen = n.input(2)
        axis = -2 if chosen is None else s.known_integer(chosen, "axis")
    require(rank >= 2 and -rank <= axis < rank, f"axis = {axis} is out of range for {rank} dimensions")
    axis %= rank
    require(axis != rank - 1 and shape[-1] in (1, 2), f"the input has shape {list(shape)}; its last extent is 1 or 2")
    inverse, onesided = bool(n.attr("inverse", 0)), bool(n.attr("onesided", 0))
    default = 2 * (shape[axis] - 1) if inverse and onesided else shape[axis]
    length = _length(s, n.input(1), "dft_length", default)
    matrix = _matrix(s, shape[axis], shape[-1], length, inverse, onesided)
    order = [d for d in range(rank - 1) if d != axis] + [axis, rank - 1]
    moved = s.transpose(x, order)
    lead = s.shape(moved)[:-2]
    flat = s.reshape(moved, (int(np.prod(lead)), shape[axis] * shape[-1]))
    weights = matrix.reshape(shape[axis] * shape[-1], -1).astype(s.dtype(x).numpy)
    result = s.reshape(s.op("matmul", [flat, weights]), (*lead, *matrix.shape[2:]))
    return (s.transpose(result, [order.index(d) for d in range(rank)]),)


@importer("STFT")
def _stft(s: Scope, n: Node) -> Sequence[Imported]:
    """A convolution of the signal with the rows of the transform's matrix, each times the window."""
    x, window = n.need(0), n.input(2)
    step = _length(s, n.need(1), "frame_step", 1)
    require(window is None or s.rank(window) == 1, "the window must have one dimension")
    require(s.rank(x) in (2, 3), f"the signal has {s.rank(x)} dimensions; it must have three")
    if s.rank(x) == 2:
        x = s.reshape(x, (*s.shape(x), 1))
    parts = s.shape(x)[2]
    require(parts in (1, 2), f"the signal has the shape {list(s.shape(x))}; its last extent is 1 or 2")
    size = _length(s, n.input(3), "frame_length", s.shape(window)[0] if window is not None else s.shape(x)[1])
    matrix = _matrix(s, size, parts, size, False, bool(n.attr("onesided", 1)))
    bins = matrix.shape[2]
    filters = matrix.transpose(2, 3, 1, 0).reshape(2 * bins, parts, size).astype(s.dtype(x).numpy)
    weights: Imported = filters
    if window is not None:
        require(s.shape(window) == (size,), f"the window has {s.shape(window)} items; the frame has {size}")
        weights = s.op("mul", [filters, s.reshape(window, (1, 1, size))])
    planes = s.transpose(x, (0, 2, 1))
    result = s.op("conv", [planes, weights, 0.0], padding=[(0, 0)], stride=[step])
    batch, _, frames = s.shape(result)
    return (s.reshape(s.transpose(result, (0, 2, 1)), (batch, frames, bins, 2)),)


@importer("MelWeightMatrix")
def _mel_weight_matrix(s: Scope, n: Node) -> Sequence[Imported]:
    names = ("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz")
    values = [s.known_number(n.need(i), name) for i, name in enumerate(names)]
    require(all(np.isfinite(values)), f"{', '.join(names)} are {values}; they must be numbers")
    bins, length, rate = (int(v) for v in values[:3])
    require(0 < bins <= 2**16 and 0 < length <= 2**20 and rate > 0, "the numbers of bins and samples are out of range")
    low, high = (2595 * np.log10(1 + float(v) / 700) for v in values[3:])
    edges = low + np.arange(bins + 2) * (high - low) / (bins + 2)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    points = np.floor((length + 1) * hertz / rate).astype(np.int64)
    rows = length // 2 + 1
    require(points.min() >= 0 and points[:-1].max() < rows, "the edges lie outside of the spectrum")
    result = np.zeros((rows, bins))
    frequency = np.arange(rows)
    for i, (left, centre, right) in enumerate(zip(points, points[1:], points[2:], strict=False)):
        rising = (frequency >= left) & (frequency <= centre)
        result[rising, i] = (frequency[rising] - left) / (centre - left) if centre > left else 1.0
        if right > centre:
            falling = (frequency >= centre) & (frequency < right)
            result[falling, i] = (right - frequency[falling]) / (right - centre)
    dtype = DTYPES.get(int(n.attr("output_datatype", 1)))
    if dtype is None:
        raise s.unsupported("output_datatype names an element type that is not supported")
    return (result.astype(dtype.numpy),)


_COSINES = {
    "HannWindow": (0.5, 0.5, 0.0),
    "HammingWindow": (25 / 46, 1 - 25 / 46, 0.0),
    "BlackmanWindow": (0.42, 0.5, 0.08),
}


@importer("HannWindow", "HammingWindow", "BlackmanWindow")
def _window(s: Scope, n: Node) -> Sequence[Imported]:
    """Sums of cosines over a period of the size, or of one less where it is symmetric."""
    size = s.known_integer(n.need(0), "size")
    require(0 < size <= 2**24, f"size = {size} is out of range")
    steps = size if n.attr("periodic", 1) else size - 1
    angle = 2 * np.pi * np.arange(size) / max(steps, 1)
    a, b, c = _COSINES[n.op_type]
    dtype = DTYPES.get(int(n.attr("output_datatype", 1)))
    if dtype is None or dtype.kind == "b":
        raise s.unsupported("output_datatype names an element type that is not supported")
    return ((a - b * np.cos(angle) + c * np.cos(2 * angle)).astype(dtype.numpy),)
