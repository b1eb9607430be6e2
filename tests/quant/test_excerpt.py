"""An excerpt is small, evenly spaced, and the same however its samples come."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_network import network
from layer_models import SMALL, drawn

from nnefc.quant import excerpt, prepare, quantize
from nnefc.quant.excerpt import Excerpt


def numbers(count: int) -> list[dict[str, np.ndarray]]:
    return [{"x": np.full(4, k, np.float32)} for k in range(count)]


def kept(samples: Excerpt) -> list[int]:
    return [int(sample["x"][0]) for sample in samples]


@pytest.mark.parametrize("count", [1, 8, 9, 100, 1000])
def test_it_is_evenly_spaced(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpt, "CALLS", 8)
    found = kept(Excerpt(iter(numbers(count))))
    assert min(count, 4) <= len(found) == len(Excerpt(numbers(count))) <= 8
    assert found == list(range(0, count, max(1, found[1] if len(found) > 1 else 1)))
    assert kept(Excerpt(Excerpt(numbers(count)))) == found


def test_large_samples_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpt, "BYTES", 100)
    assert len(Excerpt(numbers(50))) <= 6
    monkeypatch.setattr(excerpt, "BYTES", 1)
    assert kept(Excerpt(numbers(50))) == [0]


def test_quantization_corrects_biases_from_whatever_is_read_once() -> None:
    graph = network(SMALL)
    samples = drawn(graph, 20)
    prepared, plain = prepare(graph), quantize(graph, samples, correct_bias=False)
    assert (plain.tensors["b1"].data == prepared.tensors["b1"].data).all()
    found = [quantize(graph, data) for data in (samples, iter(samples))]
    assert (found[0].tensors["b1"].data != plain.tensors["b1"].data).any()
    assert found[0] == found[1]
    assert all(found[0].values[n].type == v.type for n, v in plain.values.items())
