"""What was observed of a model's tensors, as a file that can be kept, merged and used again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnefc.errors import InvalidModelError, Location
from nnefc.files import write_text
from nnefc.formats.nnef import format_graph
from nnefc.ir.graph import Graph
from nnefc.quant.histogram import BINS, Histogram, Statistics

FORMAT = "nnefc calibration 1"
MAX_FILE = 1 << 30
"""The most bytes of a calibration file."""


@dataclass(frozen=True)
class Calibration:
    """The statistics of tensors by name over ``calls`` of the model whose hash is ``model``."""

    model: str
    calls: int
    tensors: Mapping[str, Statistics]

    def check(self, graph: Graph) -> None:
        """Raises InvalidModelError if these are the statistics of another model."""
        if self.model != model_hash(graph):
            raise InvalidModelError(
                "the calibration is of another model, or of this one prepared with other options: make it anew"
            )

    def merged(self, later: Calibration) -> Calibration:
        """The calibration over the data of both. Raises InvalidModelError if they are not of one model and of the same
        tensors."""
        if self.model != later.model:
            raise InvalidModelError("calibrations of different models cannot be merged")
        if self.tensors.keys() != later.tensors.keys():
            odd = min(self.tensors.keys() ^ later.tensors.keys())
            raise InvalidModelError(f"only one of the calibrations to be merged knows the tensor {odd!r}")
        both = {name: s.merged(later.tensors[name]) for name, s in self.tensors.items()}
        return Calibration(self.model, self.calls + later.calls, both)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON; the file appears whole or not at all. Raises OSError."""
        record = {
            "format": FORMAT,
            "model": self.model,
            "calls": self.calls,
            "tensors": {name: _record(s) for name, s in self.tensors.items()},
        }
        write_text(path, json.dumps(record, allow_nan=False) + "\n")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Calibration:
        """Read what ``save`` wrote. Raises InvalidModelError for a file that is missing, or is something else."""
        place = Location(os.fspath(path))
        try:
            if os.path.getsize(path) > MAX_FILE:
                raise InvalidModelError(f"the file is larger than {MAX_FILE} bytes", place)
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidModelError(
                f"no calibration file: {getattr(error, 'strerror', None) or error}", place
            ) from error
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise InvalidModelError(f"no calibration file: it does not say that it is {FORMAT!r}", place)
        try:
            tensors = {str(name): _statistics(item) for name, item in record["tensors"].items()}
            return Calibration(str(record["model"]), int(record["calls"]), tensors)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InvalidModelError(f"the calibration file is damaged: {error!r}", place) from error


def _record(s: Statistics) -> dict[str, Any]:
    h = s.histogram
    counts = {"low": h.low, "high": h.high, "exponent": h.exponent, "counts": h.counts.tolist()}
    return {**counts, "calls": s.calls, "total": s.total, "squares": s.squares, "trail": list(s.trail)}


def _statistics(record: Mapping[str, Any]) -> Statistics:
    """What ``_record`` wrote. Raises ValueError, and what a wrong type raises, for what cannot be its result."""
    counts = np.array(record["counts"], np.int64)
    low, high, exponent = float(record["low"]), float(record["high"]), int(record["exponent"])
    if counts.ndim != 1 or not 0 < counts.size <= BINS or (counts < 0).any() or not counts[0] or not counts[-1]:
        raise ValueError("counts are no row of a histogram")
    made = Histogram(low, high, exponent, counts)
    if not np.isfinite([low, high]).all() or not made.edges[0] <= low <= high < made.edges[-1]:
        raise ValueError("the range does not fit the counts")
    trail = tuple(float(v) for v in record["trail"])
    calls, total, squares = int(record["calls"]), float(record["total"]), float(record["squares"])
    if len(trail) != 2 or calls < 1 or not np.isfinite([*trail, total, squares]).all():
        raise ValueError("sums are no sums of finite values")
    return Statistics(made, calls, total, squares, (trail[0], trail[1]))


def model_hash(graph: Graph) -> str:
    """A hash of what a model computes: its text and its parameters, encodings left aside."""
    found = hashlib.sha256(format_graph(graph, types=False).encode())
    for label, tensor in sorted(graph.tensors.items()):
        found.update(f"\n{label} {tensor.item}{tensor.bits} {tensor.data.dtype}{list(tensor.data.shape)}\n".encode())
        found.update(np.ascontiguousarray(tensor.data).reshape(-1).view(np.uint8).data)
    return found.hexdigest()
