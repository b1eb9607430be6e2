"""Two models, or a model and a reference, on the same inputs: output by output, then layer by layer."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnefc.api import EXECUTION, Shapes, load
from nnefc.api import Path as PathLike
from nnefc.ir.graph import Graph
from nnefc.ir.types import TensorType
from nnefc.runtime import Entry
from nnefc.tools.sides import Arrays, MismatchError, Side, compiled_side, ort_side, reference_side

PEERS = ("ort", "reference")


@dataclass(frozen=True)
class Difference:
    """How far a tensor of the first model is from that of the second, ``name`` in the first, ``other`` in the second.

    ``max_abs`` is the largest difference, ``max_rel`` that relative to the largest magnitude of the second's,
    ``snr`` the signal-to-noise ratio in dB (infinite where there is no difference), ``cosine`` the cosine of the angle
    between the two. Logicals count as 0 and 1; a NaN equals a NaN. ``equal`` says whether it is within the tolerance.
    ``shapes`` are both shapes where they differ; then nothing else is known (NaN).
    """

    name: str
    other: str
    dtype: str
    max_abs: float
    max_rel: float
    snr: float
    cosine: float
    equal: bool
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None


@dataclass(frozen=True)
class Comparison:
    """The result of :func:`compare`: ``outputs`` and ``layers`` in the order of the first model, in ``first`` the
    first layer, or else output, that differs (None: none does). ``unmatched`` counts the tensors of the first
    model that the second has under no name."""

    outputs: tuple[Difference, ...]
    layers: tuple[Difference, ...]
    unmatched: int

    @property
    def equal(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(d.equal for d in self.outputs)

    @property
    def first(self) -> Difference | None:
        """The first divergence."""
        return next((d for d in (*self.layers, *self.outputs) if not d.equal), None)


def compare(
    a: PathLike | Graph,
    b: PathLike | Graph,
    inputs: Mapping[str, np.ndarray] | None = None,
    *,
    tolerance: float = 1e-4,
    layers: bool = True,
    seed: int = 0,
    shapes: Shapes | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
    strict: bool = False,
    threads: int | None = None,
    execution: str = EXECUTION,
) -> Comparison:
    """Feed two models the same inputs and measure how far the tensors of the first are from those of the second.

    ``a`` is a path, read by :func:`nnefc.load`, or a Graph; it is compiled. ``b`` is another, ``"ort"`` (the same model
    in ONNX Runtime: the ONNX file itself, or the model written as ONNX) or ``"reference"`` (its NumPy meaning).
    ``inputs`` are by name; what is not given is drawn at random from ``seed``. Inputs and outputs are matched by name,
    or by position where their names differ; ``layers`` by name, also by the names that tensors had in the files they
    came from. Two tensors are equal within ``tolerance`` relative to the largest magnitude; integers and logicals
    exactly. ``execution`` is as for :func:`nnefc.compile`, of both.

    Raises InvalidModelError and UnsupportedError for models, TypeError and ValueError for inputs of another type or
    shape, and MismatchError (a ValueError) where the two do not take and give the same, or cannot work on the inputs.
    """
    notes: list[str] = []
    path = None if isinstance(a, Graph) else os.fspath(a)
    graph = a if isinstance(a, Graph) else load(a, shapes=shapes, constants=constants, strict=strict, notes=notes)
    first = compiled_side(graph, threads, execution)
    if isinstance(b, str) and b in PEERS:
        second = reference_side(graph, execution) if b == "reference" else ort_side(graph, path, constants)
    else:
        second = compiled_side(_second(b, shapes, constants, strict), threads, execution)
    given = complete(inputs or {}, first.inputs, seed)
    fed = dict(zip(second.inputs, _matched(given, first.inputs, second.inputs, "inputs"), strict=True))
    ours, theirs = first.run(given, ()), second.run(fed, ())
    names = _pairs(list(first.outputs), list(second.outputs), "outputs")
    outputs = tuple(difference(x, y, ours[x], theirs[y], tolerance) for x, y in names)
    if not layers:
        return Comparison(outputs, (), 0)
    taps, unmatched = _taps(first, second)
    ours, theirs = first.run(given, [x for x, _ in taps]), second.run(fed, [y for _, y in taps])
    differences = tuple(difference(x, y, ours[x], theirs[y], tolerance) for x, y in taps)
    return Comparison(outputs, differences, unmatched)


def _second(
    b: PathLike | Graph, shapes: Shapes | None, constants: Mapping[str, np.ndarray] | None, strict: bool
) -> Graph:
    """The other model."""
    if isinstance(b, Graph):
        return b
    is_onnx = os.fspath(b).lower().endswith(".onnx")
    return load(b, shapes=shapes, constants=constants if is_onnx else None, strict=strict)


def fitting(entries: Sequence[Entry], shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """The number of the first entry whose inputs have these shapes, by name; None if there is none."""
    for number, entry in enumerate(entries):
        has = {port.name: port.shape for port in entry.inputs}
        if all(has.get(name) == tuple(shape) for name, shape in shapes.items()):
            return number
    return None


def complete(given: Mapping[str, np.ndarray], types: Mapping[str, TensorType], seed: int) -> Arrays:
    """An array for each input: the given one, or a random one: normal floats, integers of 0..9, coins.

    Raises ValueError for an input that does not exist."""
    for name in given:
        if name not in types:
            raise ValueError(f"there is no input {name!r}; the inputs are {', '.join(types) or 'none'}")
    generator = np.random.default_rng(seed)
    return {name: given[name] if name in given else random(generator, type_) for name, type_ in types.items()}


def random(generator: np.random.Generator, type_: TensorType) -> np.ndarray:
    """Normal floats, integers of 0..9, coins."""
    shape, dtype = type_.extents, type_.dtype
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype.numpy)
    return generator.integers(0, 2 if dtype.kind == "b" else 10, shape).astype(dtype.numpy)


# ---- matching


def _pairs(these: Sequence[str], those: Sequence[str], what: str) -> list[tuple[str, str]]:
    """Names of both, by name where all are the same, else by position. Raises MismatchError for different numbers."""
    if len(these) != len(those):
        raise MismatchError(f"the models have {len(these)} and {len(those)} {what}: {list(these)} and {list(those)}")
    return [(n, n) for n in these] if set(these) == set(those) else list(zip(these, those, strict=True))


def _matched(
    given: Arrays, these: Mapping[str, TensorType], those: Mapping[str, TensorType], what: str
) -> list[np.ndarray]:
    """The arrays in the order of the second's names. Raises MismatchError where types differ."""
    there = {y: x for x, y in _pairs(list(these), list(those), what)}
    for name, type_ in those.items():
        mine = these[there[name]]
        if (mine.dtype, mine.shape) != (type_.dtype, type_.shape):
            raise MismatchError(f"the input {there[name]!r} is {mine} in one model and {type_} in the other")
    return [given[there[name]] for name in those]


def _taps(first: Side, second: Side) -> tuple[list[tuple[str, str]], int]:
    """The tensors that both sides have, in the first's order, and how many the second lacks."""
    known: dict[str, str] = {}
    for name, aliases in second.tensors.items():
        for alias in aliases:
            known.setdefault(alias, name)
    known |= {name: name for name in second.tensors}
    found, unmatched = [], 0
    for name, aliases in first.tensors.items():
        other = next((known[n] for n in (name, *aliases) if n in known), None)
        if other is None:
            unmatched += 1
        else:
            found.append((name, other))
    return found, unmatched


# ---- measures


def difference(name: str, other: str, a: np.ndarray, b: np.ndarray, tolerance: float) -> Difference:
    """How far ``a`` is from ``b``."""
    if a.shape != b.shape:
        return Difference(name, other, str(a.dtype), math.nan, math.nan, math.nan, math.nan, False, (a.shape, b.shape))
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    with np.errstate(all="ignore"):
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        apart = np.where(same, 0.0, np.abs(x - y))
        x, y = (np.where(same & ~np.isfinite(v), 0.0, v) for v in (x, y))
        worst = float(np.max(apart, initial=0.0))
        largest = float(np.max(np.abs(y[np.isfinite(y)]), initial=0.0))
        noise, signal = float(np.sum(apart * apart)), float(np.sum(y * y))
        lengths = math.sqrt(float(np.sum(x * x)) * signal)
        cosine = float(np.sum(x * y)) / lengths if lengths else (1.0 if not noise else 0.0)
    relative = worst / largest if largest else (0.0 if worst == 0 else math.inf)
    exact = a.dtype.kind in "iub" and b.dtype.kind in "iub"
    equal = worst == 0 if exact else bool(worst <= tolerance * largest)
    snr = math.inf if noise == 0 else 10 * math.log10(signal / noise) if signal and noise < math.inf else -math.inf
    if math.isnan(worst) or math.isnan(noise):
        worst, relative, snr, equal = math.inf, math.inf, -math.inf, False
    return Difference(name, other, str(a.dtype), worst, relative, snr, min(cosine, 1.0), equal)
