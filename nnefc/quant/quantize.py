"""Post-training quantization: from a network and data to a network with encodings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnefc.errors import InvalidModelError
from nnefc.ir.encoding import Encoding
from nnefc.ir.graph import Graph, Tensor
from nnefc.ops.evaluate import variable_values
from nnefc.quant.calibration import Calibration
from nnefc.quant.coding import Scales, coded_variable, largest_scales, logarithmic_encoding, with_encodings
from nnefc.quant.correct import corrected
from nnefc.quant.data import Samples
from nnefc.quant.excerpt import Excerpt
from nnefc.quant.histogram import Statistics
from nnefc.quant.observe import observe
from nnefc.quant.placement import Group, Placement, place, weight_axis
from nnefc.quant.prepare import prepare
from nnefc.quant.ranges import Codes, Range, find_range, linear_encoding
from nnefc.quant.recipe import Recipe, Setting, recipe_of, setting_of
from nnefc.quant.runs import Arrays


@dataclass(frozen=True)
class CodedTensor:
    """A tensor that is coded: ``kind`` is "activation" or "weights"; ``others`` share its encoding. ``observed`` is the
    smallest and the largest value, ``range`` what the codes cover (of weights: the widest channel)."""

    name: str
    kind: str
    encoding: Encoding
    method: str
    observed: Range
    range: Range
    others: tuple[str, ...] = ()

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return int(self.encoding["bits"])  # type: ignore[arg-type]


@dataclass(frozen=True)
class Quantization:
    """The result: the graph, what is coded in it, and why operations (by the name of their first result) stay float."""

    graph: Graph
    tensors: tuple[CodedTensor, ...]
    floats: Mapping[str, str]


def watched(graph: Graph) -> list[str]:
    """The tensors of a prepared graph that any recipe may code: what a calibration that serves them all observes."""
    return [name for group in place(graph).groups for name in group.members]


def calibrate(
    graph: Graph,
    data: Any,
    *,
    limit: int | None = None,
    threads: int | None = None,
    seen: Callable[[Arrays], None] | None = None,
) -> Calibration:
    """Observe a prepared graph over data: see ``Samples`` for its forms and ``observe`` for what is raised."""
    return observe(graph, Samples(data, graph.inputs, limit=limit), watched(graph), threads=threads, seen=seen)


def quantize(
    graph: Graph,
    data: Any = None,
    *,
    calibration: Calibration | None = None,
    recipe: Recipe | None = None,
    exclude: Sequence[str] = (),
    only: Sequence[str] = (),
    correct_bias: bool = True,
    limit: int | None = None,
    threads: int | None = None,
    **settings: Any,
) -> Graph:
    """A network with encodings: its weights as codes, and its tensors with the ranges that ``data`` show.

    ``data`` is what ``Samples`` takes; a ``calibration`` of the prepared graph stands in for it. From data biases are
    corrected, too, unless ``correct_bias`` is False: see ``correct_biases``. ``settings`` are those of ``setting_of``:
    scheme ("int8", ...), method ("minmax", ...), per_channel, bits, weight_bits, signed, symmetric, percentile.
    ``exclude`` and ``only`` are names, patterns or kinds of operations that stay float, or alone do not. ``recipe``
    says all this for each operation: its rules come after ``exclude``, its default replaces ``settings``. ``limit`` is
    the most calls of the model, ``threads`` how many threads these use.

    The encodings say what :func:`nnefc.compile` makes of the graph: integers where it can. Raises DataError for data
    that does not fit, RecipeError for settings and rules that do not, InvalidModelError for a calibration of another
    model, and what compiling the network raises.
    """
    chosen = recipe_of(setting_of(settings), exclude, only, recipe)
    prepared = prepare(graph)
    options: dict[str, Any] = {"correct_bias": correct_bias, "limit": limit, "threads": threads}
    return quantized(prepared, chosen, calibration, data, **options).graph


def quantized(
    graph: Graph,
    recipe: Recipe,
    calibration: Calibration | None = None,
    data: Any = None,
    *,
    correct_bias: bool = True,
    limit: int | None = None,
    threads: int | None = None,
) -> Quantization:
    """What :func:`quantize` does with a prepared graph, and what it decided.

    Without a calibration one is made of ``data``, where the recipe codes activations at all."""
    settings = recipe.settings(graph)
    placement = placed(graph, settings)
    excerpt = Excerpt()
    if calibration is not None:
        calibration.check(graph)
    elif placement.groups:
        if data is None:
            raise InvalidModelError("there is neither data nor a calibration to find the ranges of tensors with")
        calibration = calibrate(graph, data, limit=limit, threads=threads, seen=excerpt.add)
    made = encoded(graph, placement, settings, Codings(calibration.tensors if calibration is not None else {}))
    if correct_bias and len(excerpt):
        made = replace(made, graph=corrected(graph, made.graph, excerpt, threads=threads))
    return made


def placed(graph: Graph, settings: Mapping[str, Setting]) -> Placement:
    """Where the settings put encodings in a prepared graph."""
    kept = {name: "kept float" for name, s in settings.items() if s.scheme.activations is None}
    return place(graph, kept)


def _labels(graph: Graph) -> dict[str, str]:
    """The labels of variables, by name."""
    return {op.output.name: str(op.attrs["label"]) for op in graph.ops if op.kind == "variable"}


class Codings:
    """Ranges of a prepared graph's tensors, by their statistics, and codes of its weights, by ``scales``; each is found
    once."""

    def __init__(self, statistics: Mapping[str, Statistics], scales: Scales = largest_scales):
        self._statistics, self._scales = statistics, scales
        self._ranges: dict[tuple[object, ...], tuple[Range, Range]] = {}
        self._weights: dict[tuple[object, ...], tuple[Tensor, Encoding]] = {}

    def ranges(self, sources: Sequence[str], setting: Setting, codes: Codes) -> tuple[Range, Range]:
        """The range of all the values of tensors, and that which a setting's method gives codes for. Raises
        InvalidModelError for a tensor that has no statistics."""
        key = (*sources, setting.method, setting.percentile, codes)
        if key not in self._ranges:
            for name in sources:
                if name not in self._statistics:
                    raise InvalidModelError(f"the calibration does not know the tensor {name!r}: make it anew")
            whole, *more = (self._statistics[name] for name in sources)
            for one in more:
                whole = whole.merged(one)
            self._ranges[key] = whole.range, find_range(whole, setting.method, codes, setting.percentile)
        return self._ranges[key]

    def weights(self, name: str, values: np.ndarray, axis: int | None, codes: Codes) -> tuple[Tensor, Encoding]:
        """What ``coded_variable`` gives for the values of a variable."""
        key = (name, axis, codes)
        if key not in self._weights:
            self._weights[key] = coded_variable(values, axis, codes, self._scales)
        return self._weights[key]


def encoded(graph: Graph, placement: Placement, settings: Mapping[str, Setting], codings: Codings) -> Quantization:
    """A prepared graph with encodings."""
    rows = [_activation(graph, group, settings, codings) for group in placement.groups]
    labels = _labels(graph)
    encodings = {name: row.encoding for row in rows for name in (row.name, *row.others)}
    tensors: dict[str, Tensor] = {}
    for name, (axis, users) in placement.weights.items():
        row, stored = _weights(graph, name, axis, settings[users[0]], codings)
        rows.append(row)
        encodings[name] = row.encoding
        if stored is not None:
            tensors[labels[name]] = stored
    tensors |= _halves(graph, settings)
    return Quantization(with_encodings(graph, encodings, tensors), tuple(rows), placement.floats)


def _activation(graph: Graph, group: Group, settings: Mapping[str, Setting], codings: Codings) -> CodedTensor:
    """The encoding of tensors that share one: that of all the values of their sources."""
    setting, codes = _chosen(graph, group, settings)
    codes = replace(codes, signed=True, symmetric=True) if group.symmetric else codes
    observed, found = codings.ranges(group.sources, setting, codes)
    name, *others = (*group.sources, *(n for n in group.members if n not in group.sources))
    encoding = linear_encoding(*found, codes)
    return CodedTensor(name, "activation", encoding, setting.method, observed, found, tuple(others))


def _chosen(graph: Graph, group: Group, settings: Mapping[str, Setting]) -> tuple[Setting, Codes]:
    """The setting of the operations that compute the sources of a group, and the most bits, or, where these work on
    floats, of those that read its members."""
    makers = [settings[graph.producers[n].outputs[0].name if n in graph.producers else n] for n in group.sources]
    readers = [settings[op.outputs[0].name] for n in group.members for op in graph.users[n]]
    known = [(s, c) for some in (makers, readers) for s in some if (c := s.scheme.activations) is not None]
    own = sum(s.scheme.activations is not None for s in makers)
    return max(known[:own] or known, key=lambda pair: pair[1].bits)


def _weights(
    graph: Graph, name: str, axis: int, setting: Setting, codings: Codings
) -> tuple[CodedTensor, Tensor | None]:
    """The encoding of weights, and their codes where they are stored as such."""
    codes = setting.scheme.weights
    assert codes is not None
    values = variable_values(graph, graph.producers[name])
    along = axis if setting.per_channel else None
    stored: Tensor | None = None
    if setting.scheme.logarithmic:
        encoding = logarithmic_encoding(values, along, codes.bits)
        found = (-float(np.max(encoding["max"])), float(np.max(encoding["max"])))
    else:
        stored, encoding = codings.weights(name, values, along, codes)
        widest = float(np.max(np.asarray(encoding["scale"])))
        found = (widest * codes.limits[0], widest * codes.limits[1])
    observed = (float(values.min()), float(values.max()))
    return CodedTensor(name, "weights", encoding, "minmax", observed, found), stored


def _halves(graph: Graph, settings: Mapping[str, Setting]) -> dict[str, Tensor]:
    """Weights as half-precision floats, by label, of the operations whose scheme says so: those that fit."""
    found = {}
    for name, label in _labels(graph).items():
        readers = graph.users[name]
        if readers and all(settings[op.outputs[0].name].scheme.half and weight_axis(op) is not None for op in readers):
            values = variable_values(graph, graph.producers[name])
            with np.errstate(over="ignore"):
                half = values.astype(np.float16)
            if values.dtype.kind == "f" and np.isfinite(half).all():
                half.flags.writeable = False
                found[label] = Tensor(half, "float", 16)
    return found
