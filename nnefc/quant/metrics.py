"""How good the answers of a quantized network are: beside those of the network itself, by labels, or as a user says."""

from __future__ import annotations

import importlib.util
import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnefc.errors import InvalidModelError, Location
from nnefc.tools.arrays import npz_names, stored_npy, stored_npz

Answers = Mapping[str, np.ndarray]
"""The outputs of all calls by name: (calls, *shape of the output)."""
NAMES = ("snr", "cosine", "top1")
"""The metrics that have a name; others are ``FILE.py:FUNCTION``."""


class MetricError(InvalidModelError, ValueError):
    """A metric that does not exist, does not work, or has not got what it needs."""


@dataclass(frozen=True)
class Metric:
    """``function(answers, references, labels)`` gives a number, greater being better; ``references`` are the answers of
    the network with real numbers. ``loss`` is how much less than the network itself, or where that is infinite than
    ``enough``, a quantized one may have to be taken for good."""

    name: str
    unit: str
    function: Callable[[Answers, Answers, np.ndarray | None], float]
    loss: float
    enough: float | None = None
    labelled: bool = False

    def __call__(self, answers: Answers, references: Answers, labels: np.ndarray | None) -> float:
        """The number. Raises MetricError where the function fails or gives none."""
        return self.function(answers, references, labels)

    def least(self, of_float: float, loss: float | None = None) -> float:
        """The number that a quantized network should reach."""
        start = of_float if math.isfinite(of_float) or self.enough is None else self.enough
        return start - (self.loss if loss is None else loss)


def metric_of(name: str) -> Metric:
    """The metric of a name, or of ``FILE.py:FUNCTION``. Raises MetricError."""
    known = {
        "snr": Metric("snr", "dB", lambda a, r, labels: snr(a, r), 0.0, 20.0),
        "cosine": Metric("cosine", "", lambda a, r, labels: cosine(a, r), 1e-3),
        "top1": Metric("top1", "", top1, 1e-3, labelled=True),
    }
    if name in known:
        return known[name]
    file, colon, function = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise MetricError(f"there is no metric {name!r}; there are {', '.join(NAMES)} and FILE.py:FUNCTION")
    return Metric(name, "", _checked(_function(file, function), name), 0.0)


# ---- the metrics


def snr(answers: Answers, references: Answers) -> float:
    """The signal-to-noise ratio in dB, of the worst output; infinite where there is no difference."""
    return min(_ratio(answers[name], real) for name, real in references.items())


def _ratio(seen: np.ndarray, real: np.ndarray) -> float:
    real = real.astype(np.float64)
    noise, signal = float(np.sum((seen - real) ** 2)), float(np.sum(real**2))
    if not math.isfinite(noise):
        return -math.inf
    return math.inf if noise == 0 else 10 * math.log10(signal / noise) if signal else -math.inf


def cosine(answers: Answers, references: Answers) -> float:
    """The mean over calls of the cosine of the angle between the answer and the reference, of the worst output."""
    return min(_cosine(answers[name], real) for name, real in references.items())


def _cosine(seen: np.ndarray, real: np.ndarray) -> float:
    x, y = (v.reshape(len(v), -1).astype(np.float64) for v in (seen, real))
    products, lengths = np.sum(x * y, 1), np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    same = (x == y).all(1)
    return float(np.mean(np.where(same, 1.0, products / np.where(lengths > 0, lengths, 1.0))))


def top1(answers: Answers, references: Answers, labels: np.ndarray | None) -> float:
    """The share of samples whose label is where the first output is greatest."""
    assert labels is not None
    scores = next(answers[name] for name in references)
    rows = scores.reshape(len(labels), -1)
    return float(np.mean(rows.argmax(1) == labels))


def labels_for(labels: Any, samples: int, classes: int | None = None) -> np.ndarray:
    """Labels as an array of integers: given as one, or as an .npy file or an .npz with ``labels``, or one array alone.

    Raises MetricError for anything else, and unless there is one for each sample, of ``classes`` if that is given."""
    place = Location(os.fspath(labels)) if isinstance(labels, (str, os.PathLike)) else None
    array = _stored(os.fspath(labels)) if isinstance(labels, (str, os.PathLike)) else np.asarray(labels)
    if array.dtype.kind not in "iu" or array.ndim < 1 or array.size != array.shape[0]:
        raise MetricError(f"labels are whole numbers in a row, not {array.dtype}{list(array.shape)}", place)
    if array.size != samples:
        raise MetricError(f"there are {array.size} labels for {samples} samples", place)
    wrong = array[(array < 0) | (array >= classes)] if classes is not None else array[:0]
    if classes is not None and wrong.size:
        raise MetricError(f"the label {wrong.flat[0]} is none of the {classes} classes, 0 to {classes - 1}", place)
    return array.reshape(-1).astype(np.int64)


def _stored(path: str) -> np.ndarray:
    if not path.lower().endswith(".npz"):
        return _whole(stored_npy(path))
    names = npz_names(path)
    name = "labels" if "labels" in names else names[0] if len(names) == 1 else None
    if name is None:
        message = f"it holds {', '.join(names) or 'nothing'}; labels are looked for under 'labels'"
        raise MetricError(message, Location(path))
    return _whole(stored_npz(path, name))


def _whole(stored: Any) -> np.ndarray:
    count = int(np.prod(stored.shape, dtype=np.int64))
    return np.concatenate([np.asarray(block).reshape(-1) for block in stored.rows(max(1, count))]).reshape(stored.shape)


# ---- functions of users


def _function(file: str, name: str) -> Callable[..., Any]:
    """A function of a Python file. Raises MetricError."""
    place = Location(file)
    spec = importlib.util.spec_from_file_location("nnefc_metric", file)
    if not os.path.isfile(file) or spec is None or spec.loader is None:
        raise MetricError("there is no such file to take a metric from", place)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        raise MetricError(f"the file cannot be run: {type(error).__name__}: {error}", place) from error
    function = getattr(module, name, None)
    if not callable(function):
        has = ", ".join(n for n, v in vars(module).items() if inspect.isfunction(v)) or "none"
        raise MetricError(f"there is no function {name!r}; the file's functions are {has}", place)
    return function  # type: ignore[no-any-return]


def _checked(function: Callable[..., Any], name: str) -> Callable[[Answers, Answers, np.ndarray | None], float]:
    """The function, but that its faults and what is no number become MetricErrors."""

    def call(answers: Answers, references: Answers, labels: np.ndarray | None) -> float:
        try:
            value = function(dict(answers), dict(references), labels)
        except Exception as error:  # whatever the user's function raises
            raise MetricError(f"the metric {name} fails: {type(error).__name__}: {error}") from error
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            raise MetricError(f"the metric {name} gives {value!r}; it must give a number, greater being better")
        return number

    return call


def best(rows: Sequence[tuple[float, float]]) -> int:
    """The first of the greatest pairs."""
    return max(range(len(rows)), key=lambda k: (rows[k], -k))
