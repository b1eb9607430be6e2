"""A study of a network's quantization: methods side by side, where it loses, what mixed precision is worth."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from typing import Any

import numpy as np

from nnefc.api import Model
from nnefc.ir.graph import Graph
from nnefc.passes.encode import is_quantized
from nnefc.progress import Report, bar
from nnefc.quant.calibration import Calibration, model_hash
from nnefc.quant.data import DataError, Samples
from nnefc.quant.emulate import ENGINES, emulate
from nnefc.quant.judge import Judge, stored_bytes
from nnefc.quant.layers import layers
from nnefc.quant.metrics import Metric, labels_for, metric_of
from nnefc.quant.mixed import Mixed
from nnefc.quant.observe import observe
from nnefc.quant.prepare import prepare
from nnefc.quant.quantize import watched
from nnefc.quant.ranges import METHODS
from nnefc.quant.recipe import Recipe
from nnefc.quant.refine import NAMES, Refinement, refined
from nnefc.quant.result import EmulatedEngine, Study, Trial
from nnefc.quant.runs import Arrays
from nnefc.quant.scheme import SCHEMES
from nnefc.quant.search import Candidate, Choice, chosen, combinations, front, singles, title
from nnefc.quant.sensitivity import layer_errors
from nnefc.tools.machine import versions

CANDIDATES = 32
"""The most combinations of layers that are tried, by default."""
MARGIN = 0.03
"""By what part a network must be faster with a layer in float for its codes to count as slower."""
EMULATED = 64
"""The most calls that another engine is emulated for."""
FLOAT = "float"
"""The name of the network with real numbers."""


def study(
    graph: Graph,
    data: Any,
    *,
    test: Any = None,
    labels: Any = None,
    metric: str | Metric = "snr",
    methods: Sequence[str] | None = None,
    remedies: Sequence[str] = NAMES,
    recipe: Recipe | None = None,
    schemes: Sequence[str] = (FLOAT,),
    loss: float | None = None,
    candidates: int = CANDIDATES,
    engines: Sequence[str] = (),
    limit: int | None = None,
    test_limit: int | None = None,
    threads: int | None = None,
    execution: str = "integer",
    facts: Mapping[str, Any] | None = None,
) -> Study:
    """Study how a network is best quantized.

    ``data`` calibrates, ``test`` (by default the same) judges; both are what ``Samples`` takes, and can be read several
    times. ``metric`` is "snr", "cosine", "top1" (which needs ``labels``, one for each test sample) or
    "FILE.py:FUNCTION". ``methods`` find ranges (default: all), ``remedies`` are those of ``Refinement``. ``recipe`` is
    what is quantized at all; ``schemes`` are what single layers may have instead, at most ``candidates`` combinations
    being tried. The choice is the fastest network whose metric is at most ``loss`` below that of the network itself.
    ``engines`` are to be emulated; ``limit`` and ``test_limit`` the most calls that are read; ``facts`` go into the
    record.

    Raises DataError, MetricError and RecipeError for what does not fit, before anything is computed where it can be
    known, ValueError for methods, remedies, engines that do not exist, and what compiling the network raises.
    """
    start = time.perf_counter()
    methods = list(METHODS) if methods is None else list(methods)
    _check(methods, METHODS, "method")
    _check(remedies, NAMES, "remedy")
    _check(engines, ENGINES, "engine")
    _check(schemes, SCHEMES, "scheme")
    metric = metric if isinstance(metric, Metric) else metric_of(metric)
    prepared = prepare(graph)
    samples = _samples(data, prepared, limit)
    same = test is None and test_limit is None
    tested = samples if same else _samples(data if test is None else test, prepared, test_limit)
    known = _labels(labels, metric, tested, prepared)
    judge = Judge(prepared, tested, metric, known, threads)
    work = _Work(prepared, samples, judge, recipe or Recipe(), execution)
    trials, base = work.trials(methods, [name for name in NAMES if name in remedies])
    found = work.mixed(trials[base], schemes, candidates)
    errors = layer_errors(found.real, found.base, tested, threads=threads, execution=execution)
    real = Candidate(FLOAT, (), *judge.score(judge.references).key, stored_bytes(prepared))
    least = metric.least(real.metric, loss)
    seconds = {FLOAT: judge.latencies({FLOAT: judge.real})[FLOAT], **work.seconds}
    points = {c.name: (c.metric, seconds[c.name], c.bytes) for c in (real, *work.candidates, *work.extra)}
    pick = chosen(points, least)
    choices = {c.name: dict(c.choice) for c in (*work.candidates, *work.extra)}
    return Study(
        facts=_facts(graph, samples, tested, known, metric) | dict(facts or {}),
        real=real,
        trials=tuple(trials),
        base=base,
        errors=errors,
        recovered=work.recovered,
        candidates=tuple(work.candidates),
        emulated=tuple(work.emulated(found.base, engine) for engine in engines),
        least=least,
        seconds=seconds,
        slower=tuple(work.slower),
        extra=tuple(work.extra),
        front=tuple(front(points)),
        chosen=pick,
        graph=prepared if pick == FLOAT else found.graph(choices[pick]),
        duration=time.perf_counter() - start,
    )


def _check(given: Sequence[str], known: Any, what: str) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"there is no {what} {name!r}; there are {', '.join(known)}")
    if what == "method" and not given:
        raise ValueError("a study needs a method at least")


def _samples(data: Any, graph: Graph, limit: int | None) -> Samples:
    samples = Samples(data, graph.inputs, limit=limit)
    if not samples.again or samples.count is None:
        raise DataError("a study reads its data several times: give a list, files or arrays, not an iterator")
    return samples


def _labels(labels: Any, metric: Metric, tested: Samples, graph: Graph) -> np.ndarray | None:
    if labels is None:
        if metric.labelled:
            raise DataError(f"the metric {metric.name} needs labels, one for each sample of the test data")
        return None
    first = graph.inputs[0].type
    each = first.extents[0] if first.rank else 1
    classes = graph.outputs[0].type.volume // each if metric.name == "top1" else None
    return labels_for(labels, (tested.count or 0) * each, classes)


def _facts(
    graph: Graph, samples: Samples, tested: Samples, labels: np.ndarray | None, metric: Metric
) -> dict[str, Any]:
    """What a study rests on: hashes, counts, versions."""
    used = {"calls": samples.count, "sha256": _hash(samples)}
    return {
        "model": {"name": graph.name, "sha256": model_hash(graph)},
        "data": used,
        "test": used if tested is samples else {"calls": tested.count, "sha256": _hash(tested)},
        "labels": None if labels is None else {"count": len(labels), "sha256": sha256(labels.tobytes()).hexdigest()},
        "metric": {"name": metric.name, "unit": metric.unit},
        "versions": versions(("numpy", "numba", "llvmlite")),
    }


def _hash(samples: Samples) -> str:
    found = sha256()
    for sample in samples:
        for name, array in sorted(sample.items()):
            found.update(f"{name} {array.dtype}{list(array.shape)}\n".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


class _Work:
    """A study under way."""

    def __init__(self, prepared: Graph, samples: Samples, judge: Judge, recipe: Recipe, execution: str):
        self.prepared, self.samples, self.judge = prepared, samples, judge
        self.recipe, self.execution = recipe, execution
        self.candidates: list[Candidate] = []
        self.extra: list[Candidate] = []
        self.recovered: dict[str, tuple[float, float]] = {}
        self.seconds: dict[str, float] = {}
        self.slower: list[str] = []
        self._calibrations: dict[bool, Calibration] = {}
        self._quantized: dict[str, tuple[Graph, Graph]] = {}

    def _compiled(self, graph: Graph) -> Model:
        return self.judge.compiled(graph, execution=self.execution)

    # ---- the whole network

    def trials(self, methods: Sequence[str], remedies: Sequence[str]) -> tuple[list[Trial], int]:
        """Every method alone, then the best with each remedy, and with all that help where several do: the trials, and
        which of them is best."""
        made: list[Trial] = []
        with bar("methods") as report:
            total = len(methods) + len(remedies) + (len(remedies) > 1)
            for method in methods:
                made.append(self._trial(method, Refinement()))
                report(len(made), total)
            best = made[_best(made)]
            helpful = []
            for name in remedies:
                made.append(self._trial(best.method, Refinement(**{name: True})))
                report(len(made), total)
                if made[-1].key > best.key:
                    helpful.append(name)
            if len(helpful) > 1:
                made.append(self._trial(best.method, Refinement(**dict.fromkeys(helpful, True))))
        return made, _best(made)

    def _trial(self, method: str, refinement: Refinement) -> Trial:
        made = refined(
            self.prepared,
            _with_method(self.recipe, method),
            refinement,
            lambda graph: self._calibration(graph, refinement.equalize),
            self.samples,
            threads=self.judge.threads,
            execution=self.execution,
        )
        score = self.judge.score(self.judge.answers(self._compiled(made[1].graph)))
        trial = Trial(method, refinement, score.metric, score.snr, stored_bytes(made[1].graph))
        self._quantized[trial.name] = (made[0], made[1].graph)
        return trial

    def _calibration(self, graph: Graph, equalized: bool) -> Calibration:
        if equalized not in self._calibrations:
            names = watched(graph)
            self._calibrations[equalized] = observe(graph, self.samples, names, threads=self.judge.threads)
        return self._calibrations[equalized]

    # ---- mixed precision

    def mixed(self, trial: Trial, schemes: Sequence[str], most: int) -> Mixed:
        """Try the choices: layers one by one, combinations, and the layers whose codes turn out to be slower."""
        real, base = self._quantized[trial.name]
        self._quantized.clear()
        recipe = _with_method(self.recipe, trial.method)
        statistics = self._calibration(real, trial.refinement.equalize).tensors
        mixed = Mixed(real, base, recipe, statistics, trial.refinement.mse)
        names = [layer.name for layer in layers(real) if mixed.is_coded(layer)]
        whole = self._compiled(base)
        score = self.judge.score(self.judge.answers(whole))
        first = Candidate(title({}, mixed.scheme), (), score.metric, score.snr, stored_bytes(base))
        self.candidates.append(first)
        self.seconds[first.name] = self.judge.latencies({"": whole})[""]
        with bar("layers") as report:
            alone = singles(names, schemes)
            for k, choice in enumerate(alone, 1):
                made = self._candidate(mixed, choice, whole, first)
                self.candidates.append(made)
                ((name, scheme),) = choice.items()
                if scheme == FLOAT:
                    self.recovered[name] = (_gain(made.metric, score.metric), _gain(made.snr, score.snr))
                    if self.seconds[made.name] < (1 - MARGIN) * self.seconds[first.name]:
                        self.slower.append(name)
                report(k, len(alone))
        ranked = sorted(self.candidates[1:], key=lambda c: (-c.metric, -c.snr))
        order = [c.choice[0] for c in ranked]
        with bar("combinations") as report:
            found = list(combinations(order, names, schemes, most))
            for k, choice in enumerate(found, 1):
                # Where nothing is left that is coded, this is the network with real numbers.
                if is_quantized(mixed.graph(choice)):
                    self.candidates.append(self._candidate(mixed, choice, whole, first))
                report(k, len(found))
        slow = dict.fromkeys(self.slower, FLOAT)
        if slow and all(dict(c.choice) != slow for c in self.candidates):
            self.extra.append(self._candidate(mixed, slow, whole, first))
        return mixed

    def _candidate(self, mixed: Mixed, choice: Choice, whole: Model, first: Candidate) -> Candidate:
        """A choice, scored, and timed beside the network without it."""
        graph = mixed.graph(choice)
        model = self._compiled(graph)
        score = self.judge.score(self.judge.answers(model))
        name = title(choice, mixed.scheme)
        times = self.judge.latencies({"whole": whole, "this": model})
        self.seconds[name] = self.seconds[first.name] * times["this"] / times["whole"]
        return Candidate(name, tuple(choice.items()), score.metric, score.snr, stored_bytes(graph))

    # ---- other engines

    def emulated(self, base: Graph, engine: str) -> EmulatedEngine:
        """The answers of another engine to the first calls, beside those of integers that do not saturate."""
        count = min(EMULATED, self.judge.samples.count or 0)
        per_call = 0 if self.judge.labels is None else len(self.judge.labels) // (self.judge.samples.count or 1)
        labels = None if self.judge.labels is None else self.judge.labels[: count * per_call]
        references = {name: rows[:count] for name, rows in self.judge.references.items()}
        exact = {name: rows[:count] for name, rows in self.judge.answers(self._compiled(base)).items()}
        with bar(f"emulating {engine}") as report:
            found = emulate(base, _counted(islice(self.judge.samples, count), count, report))
        ours, theirs = (self.judge.score_of(a, references, labels) for a in (exact, found.answers))
        return EmulatedEngine(engine, count, *ours.key, *theirs.key, found.shares)


def _counted(samples: Iterable[Arrays], count: int, report: Report) -> Iterator[Arrays]:
    for k, sample in enumerate(samples, 1):
        yield sample
        report(k, count)


def _best(trials: Sequence[Trial]) -> int:
    """The trial of the greatest metric, then SNR; the first of equals, which is the simplest."""
    return max(range(len(trials)), key=lambda k: (*trials[k].key, -k))


def _gain(after: float, before: float) -> float:
    return 0.0 if after == before else after - before


def _with_method(recipe: Recipe, method: str) -> Recipe:
    """The recipe with another method wherever it does not leave things in float."""
    rules = tuple(replace(rule, setting=replace(rule.setting, method=method)) for rule in recipe.rules)
    return Recipe(replace(recipe.default, method=method), rules, recipe.only)
