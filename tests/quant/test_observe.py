"""Watching tensors over data: what is counted is what the network computes, in one group of tensors or in several."""

from __future__ import annotations

import numpy as np
import pytest
from networks import network, samples

import nnefc
from nnefc.quant import Samples, observe
from nnefc.quant.calibration import model_hash
from nnefc.quant.histogram import Statistics

NET = network(
    "x = external[1, 3, 9, 9]; w = variable[8, 3, 3, 3]; c = conv(x, w); r = relu(c); v = variable[4, 8, 1, 1];"
    "d = conv(r, v); y = relu(d);"
)
NAMES = ["x", "r", "d", "y"]


def of_values(parts: list[np.ndarray]) -> Statistics:
    made = Statistics.of(parts[0])
    for part in parts[1:]:
        made = made.merged(Statistics.of(part))
    return made


@pytest.mark.parametrize("room", [1 << 28, 1500])
@pytest.mark.parametrize("gathered", [1 << 18, 100])
def test_statistics_are_those_of_the_tensors(room: int, gathered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "MAX_TAPPED", room)
    monkeypatch.setattr(observe, "GATHERED", gathered)
    compiled = []
    monkeypatch.setattr(observe, "compile", lambda *a, **k: compiled.append(k["taps"]) or nnefc.compile(*a, **k))
    data = samples(NET, 6)
    made = observe.observe(NET, Samples(iter(data), NET.inputs), NAMES, threads=1)
    assert compiled == ([["r", "d", "y"]] if room > 10_000 else [["r"], ["d"], ["y"]])
    assert (made.calls, made.model) == (6, model_hash(NET))
    model = nnefc.compile(NET, taps=["r", "d"], threads=1)
    seen = [dict(zip("yrd", model(**x), strict=True)) | x for x in data]
    for name in NAMES:
        expected, found = of_values([values[name] for values in seen]), made.tensors[name]
        assert found.histogram == expected.histogram
        assert found.calls == 6
        assert found.moving_range == pytest.approx(expected.moving_range, rel=1e-12)
        assert (found.mean, found.variance) == pytest.approx((expected.mean, expected.variance), rel=1e-12)


def test_what_is_no_tensor_of_floats_is_refused() -> None:
    graph = network("x = external[1, 3]; a = argmax_reduce(x, axes = [1]); w = variable[2, 3]; y = linear(x, w);")
    for name, message in (("z", "there is no tensor 'z'"), ("a", "'a' holds i64")):
        with pytest.raises(ValueError, match=message):
            observe.observe(graph, Samples(samples(graph, 1), graph.inputs), [name])


def test_progress_counts_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    said: list[tuple[str, int, int]] = []

    @contextmanager
    def bar(title: str):
        yield lambda done, total: said.append((title, done, total))

    monkeypatch.setattr(observe, "bar", bar)
    observe.observe(NET, Samples(samples(NET, 3), NET.inputs), ["r"])
    assert said == [("calibrating", n, 3) for n in (1, 2, 3)]
