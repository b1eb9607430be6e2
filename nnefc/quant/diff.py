"""Two sets of encodings side by side: what ``graph.quant`` says of each tensor in one model and in another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnefc import api
from nnefc.errors import InvalidModelError, Location
from nnefc.formats.nnef import archive, quantfile
from nnefc.formats.nnef.dialect import TOLERANT
from nnefc.ir.encoding import Encoding
from nnefc.ir.graph import Graph
from nnefc.ops.quantized import zero_point_range

MAX_TEXT = 1 << 28
"""The most bytes of a ``graph.quant`` that is read on its own."""
_SHORT = {
    "zero_point_linear_quantize": "zero point",
    "min_max_linear_quantize": "min max",
    "linear_quantize": "linear",
    "logarithmic_quantize": "logarithmic",
}


@dataclass(frozen=True)
class TensorDifference:
    """What both say of a tensor; None where one says nothing."""

    name: str
    first: Encoding | None
    second: Encoding | None

    @property
    def status(self) -> str:
        """``same``, ``changed``, ``added`` (only the second codes the tensor) or ``removed``."""
        if self.first is None or self.second is None:
            return "added" if self.first is None else "removed"
        return "same" if self.first == self.second else "changed"

    @property
    def change(self) -> str:
        """In which parameters they differ, in words; empty where they do not."""
        if self.first is None or self.second is None or self.first == self.second:
            return ""
        if self.first.algorithm != self.second.algorithm:
            return "another algorithm"
        pairs = zip(self.first.parameters, self.second.parameters, strict=False)
        return ", ".join(_changed(name, a, b) for (name, a), (_, b) in pairs if a != b)

    def record(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        sides = {key: None if e is None else record(e) for key, e in (("first", self.first), ("second", self.second))}
        return {"name": self.name, "status": self.status, **sides}


def diff(first: Mapping[str, Encoding], second: Mapping[str, Encoding]) -> tuple[TensorDifference, ...]:
    """Every tensor that either set codes, in the order of the first, then of the second."""
    names = dict.fromkeys((*first, *second))
    return tuple(TensorDifference(name, first.get(name), second.get(name)) for name in names)


def encodings(graph: Graph) -> dict[str, Encoding]:
    """The encodings of a graph by tensor, in order: what its ``graph.quant`` says."""
    return {name: v.type.encoding for name, v in graph.values.items() if v.type.encoding is not None}


def read_encodings(path: api.Path) -> dict[str, Encoding]:
    """The encodings that a ``.quant`` file, a model's folder or archive, or an ONNX model holds; none if it has no
    ``graph.quant``. Raises InvalidModelError and UnsupportedError."""
    name = os.fspath(path)
    if name.lower().endswith(".onnx"):
        return encodings(api.load(path))
    if name.lower().endswith(".quant"):
        return quantfile.parse(_text(name), name, dialect=TOLERANT)
    with archive.open_model(path) as files:
        if files.quant_text is None:
            return {}
        return quantfile.parse(files.quant_text, files.quant_file, dialect=TOLERANT)


def _text(name: str) -> str:
    try:
        if os.path.getsize(name) > MAX_TEXT:
            raise InvalidModelError(f"the file is larger than {MAX_TEXT} bytes", Location(name))
        with open(name, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidModelError(f"cannot be read: {getattr(error, 'strerror', error)}", Location(name)) from None


# ---- in words


def describe(encoding: Encoding) -> str:
    """An encoding in a few words: bits, sign, algorithm, and the real numbers that its codes reach."""
    given = dict(encoding.parameters)
    sign = {True: "s", False: "u"}.get(given.get("signed"), "")  # type: ignore[call-overload]
    count = max(np.size(value) for value in given.values())
    low, high = covered(encoding)
    channels = f", {count} channels" if count > 1 else ""
    return f"{sign}{given['bits']} {_SHORT[encoding.algorithm]} {low:.4g} .. {high:.4g}{channels}"


def covered(encoding: Encoding) -> tuple[float, float]:
    """The smallest and the largest number that has a code, of all channels."""
    given = {name: np.asarray(value, np.float64) for name, value in encoding.parameters}
    if encoding.algorithm == "zero_point_linear_quantize":
        modes = (int(given["bits"]), bool(given["signed"]), bool(given["symmetric"]))
        ends = [(code - given["zero_point"]) * given["scale"] for code in zero_point_range(*modes)]
        return float(np.min(ends[0])), float(np.max(ends[1]))
    largest = given["max"]
    smallest = -largest if encoding.algorithm == "logarithmic_quantize" else given["min"]
    return float(np.min(smallest)), float(np.max(largest))


def _changed(name: str, a: Any, b: Any) -> str:
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        return f"{name}: {x.size} -> {y.size} channels" if x.size != y.size else f"{name}: another shape"
    if x.ndim:
        apart = int(np.count_nonzero(x != y))
        if x.dtype.kind == "f" and (x > 0).all() and (y > 0).all():
            ratio = y / x
            return f"{name} x {ratio.min():.3g} .. {ratio.max():.3g} in {apart} of {x.size} channels"
        return f"{name} in {apart} of {x.size} channels"
    if isinstance(a, float) and isinstance(b, float) and a > 0 and b > 0:
        return f"{name} x {b / a:.4g}"
    said = [str(v).lower() if isinstance(v, bool) else f"{v:g}" for v in (a, b)]
    return f"{name} {said[0]} -> {said[1]}"


def record(encoding: Encoding) -> dict[str, Any]:
    """An encoding, ready for JSON."""
    return {"algorithm": encoding.algorithm, **{name: _plain(value) for name, value in encoding.parameters}}


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
