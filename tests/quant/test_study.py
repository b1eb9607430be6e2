"""Studies: what they measure is what it is called, and the same in every run."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from drawn_network import network
from layer_models import SMALL, drawn, snr

import nnefc
from nnefc.ir.graph import Graph, Tensor
from nnefc.quant import DataError, recipe_of, setting_of
from nnefc.quant.coding import largest_scales
from nnefc.quant.diff import encodings
from nnefc.quant.layers import layer_named, values_of, with_values
from nnefc.quant.metrics import MetricError
from nnefc.quant.report import plain
from nnefc.quant.result import Study
from nnefc.quant.study import study
from nnefc.quant.weights import coded

METHODS = ("minmax", "mse")


def samples_of(graph: Graph, count: int, seed: int = 1) -> np.ndarray:
    return np.concatenate([s["x"] for s in drawn(graph, count, seed)])


def small_study(**options: Any) -> Study:
    graph = network(SMALL)
    given = {"methods": METHODS, "remedies": ("correct",), "engines": ("saturating-avx2",), **options}
    return study(graph, samples_of(graph, 24), **given)


@pytest.fixture(scope="module")
def result() -> Study:
    return small_study()


def test_what_is_tried(result: Study) -> None:
    assert [t.name for t in result.trials][:2] == list(METHODS)
    best = max(result.trials[:2], key=lambda t: t.snr).method
    assert result.trials[2].name == f"{best} + correct bias"
    assert [e.name for e in result.errors] == ["c1", "l2", "y"]
    names = [c.name for c in result.candidates]
    assert names[:4] == ["int8", "float: c1", "float: l2", "float: y"]
    assert sorted(names[4:]) == ["float: c1, l2", "float: c1, y", "float: l2, y"]
    assert result.seconds.keys() == {"float", *names, *(c.name for c in result.extra)}
    assert all(s > 0 for s in result.seconds.values())


def test_a_second_run_gives_the_same(result: Study) -> None:
    one, two = (json.loads(json.dumps(plain(r.record()))) for r in (result, small_study()))
    for record in (one, two):
        assert record.pop("measured").keys() >= {"seconds", "front", "chosen", "slower"}
    assert one == two
    assert one["data"]["calls"] == 24 and len(one["data"]["sha256"]) == len(one["model"]["sha256"]) == 64
    assert one["versions"]["nnefc"] == nnefc.__version__
    other = small_study(remedies=(), engines=(), test=samples_of(network(SMALL), 5, seed=7)).record()
    assert other["test"]["sha256"] != other["data"]["sha256"] == one["data"]["sha256"]


def test_the_errors_of_layers(result: Study) -> None:
    """Weights alone, recomputed from the definition."""
    graph = network(SMALL)
    samples = drawn(graph, 24)
    for errors in result.errors:
        layer = layer_named(graph, errors.name)
        weights = values_of(graph, layer.weights)
        rows = weights.reshape(len(weights), -1)
        scale = largest_scales(weights, 0, setting_of({}).scheme.weights)  # type: ignore[arg-type]
        rough = (coded(rows, scale, 127) * scale[:, None]).reshape(weights.shape)
        alone = with_values(graph, {layer.weights.output.name: rough})
        seen, real = (
            np.stack([nnefc.evaluate(g.replace(outputs=(layer.op.output,)), s)[errors.name] for s in samples])
            for g in (alone, graph)
        )
        assert errors.weights == pytest.approx(snr(real, seen), abs=0.05)
        noise = sum(10 ** (-x / 10) for x in (errors.weights, errors.activations))
        assert errors.own == pytest.approx(-10 * math.log10(noise), abs=2)
    first, last = result.errors[0], result.errors[-1]
    base = result.candidates[0]
    # With its layers looked into a network rounds once more: a code may differ by one, a per cent of the noise here.
    assert last.accumulated == pytest.approx(base.snr, abs=0.1) and last.accumulated < last.own + 3
    assert first.accumulated == pytest.approx(first.own, abs=1)


def test_what_a_layer_gives_back(result: Study) -> None:
    base, by_name = result.candidates[0], {c.name: c for c in result.candidates}
    for name, (metric, ratio) in result.recovered.items():
        alone = by_name[f"float: {name}"]
        assert metric == pytest.approx(alone.metric - base.metric) and ratio == pytest.approx(alone.snr - base.snr)
    assert max(ratio for _, ratio in result.recovered.values()) > 0.5


def test_bytes_are_those_of_the_parameters(result: Study) -> None:
    weights, biases = 8 * 18 + 12 * 128 + 4 * 12, 8
    assert result.real.bytes == 4 * (weights + biases)
    by_name = {c.name: c for c in result.candidates}
    corrected = 4 * (12 + 4) if result.trials[result.base].refinement.correct else 0
    assert by_name["int8"].bytes == weights + 4 * biases + corrected
    assert by_name["float: y"].bytes == by_name["int8"].bytes + 3 * 48


def test_no_network_beats_one_on_the_front(result: Study) -> None:
    points = {c.name: (c.metric, -result.seconds[c.name], -c.bytes) for c in (result.real, *result.candidates)}
    for name in result.front:
        if name in points:
            p = points[name]
            assert not any(q != p and all(a >= b for a, b in zip(q, p, strict=True)) for q in points.values())
    assert result.chosen in result.front
    pick = next(c for c in (result.real, *result.candidates, *result.extra) if c.name == result.chosen)
    assert pick.metric >= result.least == 20.0


def test_the_chosen_graph_is_what_was_measured(result: Study) -> None:
    made = encodings(result.graph)
    pick = next(c for c in (result.real, *result.candidates, *result.extra) if c.name == result.chosen)
    real = pick.name == result.real.name
    for name, weights in (("c1", "w1"), ("l2", "w2"), ("y", "w3")):
        assert (weights in made) is (not real and name not in dict(pick.choice))
    graph = network(SMALL)
    samples = drawn(graph, 24)
    model, plainly = nnefc.compile(result.graph, execution="integer"), nnefc.compile(graph)
    got = snr(*(np.stack([m(**s) for s in samples]) for m in (plainly, model)))
    assert got > 100 if real else got == pytest.approx(pick.snr, abs=1e-6)


def test_another_engine_is_judged_beside_the_same_data(result: Study) -> None:
    (engine,) = result.emulated
    base = result.candidates[0]
    assert engine.calls == 24 and engine.exact_snr == pytest.approx(base.snr, abs=1e-6)
    assert engine.shares.keys() == {"c1", "l2", "y"}
    assert any(engine.shares.values()) is (engine.snr < engine.exact_snr - 1e-9)


def test_a_layer_made_bad_is_found() -> None:
    graph = network(SMALL)
    parts = {label: graph.tensors[label].data.copy() for label in ("w2", "w3")}
    parts["w2"][0] = 0.0
    parts["w3"][:, 0] *= 100
    bad = graph.replace(tensors={**graph.tensors, **{k: Tensor(v, "float", 32) for k, v in parts.items()}})
    found = study(
        bad,
        samples_of(graph, 8),
        methods=("minmax",),
        remedies=(),
        recipe=recipe_of(setting_of({"per_channel": False})),
        candidates=1,
    )
    first, second, third = sorted(found.errors, key=lambda e: e.own)
    assert first.name == "y" and first.weights < min(first.activations, second.own, third.own) - 10


def test_layers_may_have_other_schemes() -> None:
    found = small_study(methods=("minmax",), remedies=("mse",), schemes=("float", "int4w"), candidates=3, engines=())
    by_name = {c.name: c for c in found.candidates}
    assert by_name["int4w: l2"].bytes == by_name["int8"].bytes - 12 * 128 // 2
    assert by_name["int4w: l2"].snr < by_name["int8"].snr - 3
    assert len(found.candidates) <= 1 + 6 + 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": ["best"]}, ValueError, "no method 'best'; there are minmax"),
        ({"methods": []}, ValueError, "needs a method"),
        ({"remedies": ["luck"]}, ValueError, "no remedy 'luck'"),
        ({"engines": ["mmx"]}, ValueError, "no engine 'mmx'; there are saturating-avx2"),
        ({"schemes": ["int3"]}, ValueError, "no scheme 'int3'"),
        ({"metric": "f1"}, MetricError, "no metric 'f1'; there are snr, cosine, top1 and FILE.py:FUNCTION"),
        ({"metric": "top1"}, DataError, "top1 needs labels"),
        ({"metric": "top1", "labels": [0] * 23}, MetricError, "23 labels for 24 samples"),
        ({"metric": "top1", "labels": [0.5] * 24}, MetricError, "labels are whole numbers"),
        ({"metric": "top1", "labels": [*[0] * 23, 10**6]}, MetricError, "the label 1000000 is none of the "),
        ({"metric": "top1", "labels": [-1, *[0] * 23]}, MetricError, "the label -1 is none of the "),
        ({"test": iter([])}, DataError, "reads its data several times"),
        ({"test": np.zeros((3, 2, 6, 5), np.float32)}, DataError, "has the shape"),
    ],
)
def test_what_does_not_fit_is_said_at_once(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message.replace("(", r"\(")):
        small_study(**options)


def test_an_unknown_layer_is_said() -> None:
    recipe = recipe_of(setting_of({}), exclude=["l9"])
    with pytest.raises(nnefc.errors.InvalidModelError, match="fits 'l9'"):
        small_study(recipe=recipe)
