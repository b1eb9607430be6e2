"""Better weights: equalized, corrected, of the least error, rounded as suits the layers' results; each on its own."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_network import network
from layer_models import CHAIN, Arrays, drawn, rescaled, snr, with_codes

import nnefc
from nnefc.ir.graph import Graph, Tensor
from nnefc.quant.correct import correct_biases
from nnefc.quant.equalize import equalize, find_pairs
from nnefc.quant.layers import layer_named, layers, values_of, with_values
from nnefc.quant.round import adaround
from nnefc.quant.runs import part_of, tensors_of
from nnefc.quant.weights import coded, least_error_scales


def outputs(graph: Graph, samples: list[Arrays]) -> np.ndarray:
    (name,) = (v.name for v in graph.outputs)
    model = nnefc.compile(graph)
    assert model.outputs[0].name == name
    return np.concatenate([model(**sample) for sample in samples])


def test_layers_are_found_with_their_biases() -> None:
    graph = network(CHAIN)
    found = {layer.name: layer for layer in layers(graph)}
    assert list(found) == ["c1", "c2", "c3", "m4", "y"]
    biases = [layer.bias.output.name if layer.bias else None for layer in found.values()]
    assert biases == ["b1", "b2", None, "b4", None]
    assert [layer.plain for layer in found.values()] == [False, False, True, False, True]
    assert found["m4"].output.name == "a4" and found["c2"].groups == 8 and found["m4"].channels == 5
    for layer in found.values():
        weights = values_of(graph, layer.weights)
        assert np.array_equal(layer.from_output(layer.by_output(weights)), weights)
    with pytest.raises(ValueError, match="no layer 'c9'; the layers are c1, c2"):
        layer_named(graph, "c9")


def test_only_real_neighbours_are_pairs() -> None:
    graph = network(CHAIN)
    assert [(p.first.name, p.second.name) for p in find_pairs(graph)] == [
        ("c1", "c2"),
        ("c2", "c3"),
        ("c3", "m4"),
        ("m4", "y"),
    ]
    assert find_pairs(graph)[2].channel.tolist() == list(range(6)) * 25
    other = network(CHAIN.replace("-> ( y )", "-> ( y, r1 )").replace("leaky_relu(a4, alpha = 0.1)", "sigmoid(a4)"))
    assert [(p.first.name, p.second.name) for p in find_pairs(other)] == [("c2", "c3"), ("c3", "m4")]


def test_equalization_leaves_the_function_and_evens_the_ranges() -> None:
    graph = rescaled(network(CHAIN))
    even = equalize(graph)
    samples = drawn(graph, 4)
    real = outputs(graph, samples)
    assert np.abs(outputs(even, samples) - real).max() <= 2e-6 * np.abs(real).max()
    for pair in find_pairs(even):
        produced = np.abs(pair.first.by_output(values_of(even, pair.first.weights))).max((2, 3)).ravel()
        consumed = np.zeros_like(produced)
        into = np.abs(pair.second.by_output(values_of(even, pair.second.weights))).max((1, 3)).ravel()
        np.maximum.at(consumed, pair.channel, into)
        np.testing.assert_allclose(produced, consumed, rtol=0.01)
    bound = even.producers["r2"].inputs[2]
    assert even.values[bound.name].type.shape == (1, 8, 1, 1)  # type: ignore[union-attr]


def test_equalization_is_worth_its_name_where_channels_differ() -> None:
    graph = rescaled(network(CHAIN))
    samples = drawn(graph, 16)
    real = outputs(graph, samples)
    plain = snr(real, outputs(with_codes(graph, per_channel=False), samples))
    even = snr(real, outputs(with_codes(equalize(graph), per_channel=False), samples))
    assert plain < 15 and even > 30


def test_nothing_to_equalize_is_the_same_graph() -> None:
    graph = network(CHAIN.replace("relu(c1)", "sigmoid(c1)"))
    alone = part_of(graph, ["x"], ["r1"])
    assert equalize(alone) is alone


@pytest.mark.parametrize("high", [1, 7, 127])
def test_scales_of_the_least_error(high: int) -> None:
    rng = np.random.default_rng(high)
    rows = (rng.standard_normal((6, 300)) ** 3 * np.exp2(rng.integers(-30, 30, (6, 1)))).astype(np.float32)
    rows[3] = 0
    found = least_error_scales(rows, high)
    assert found.dtype == np.float32 and found[3] == 0
    used = np.arange(6) != 3
    scale, largest = found[used], (np.abs(rows).max(1) / high)[used]

    def errors(s: np.ndarray) -> np.ndarray:
        return ((coded(rows[used], s, high) * s[:, None] - rows[used]).astype(np.float64) ** 2).sum(1)

    assert (scale <= 1.05 * largest).all() and (errors(scale) <= errors(largest)).all()
    least = np.min([errors(largest * part) for part in np.linspace(0.2, 1, 2000, dtype=np.float32)], 0)
    assert (errors(scale) <= 1.05 * least).all()


def test_bias_correction_takes_back_a_shift() -> None:
    graph = network(CHAIN)
    samples = drawn(graph, 64)
    rough = with_codes(graph, bits=4, per_channel=False)
    right = correct_biases(graph, rough, samples)
    assert [layer.plain for layer in layers(right)] == [False] * 5
    bounds = {"c1": (0.0, np.inf), "c2": (0.0, 6.0)}
    for layer in layers(graph):
        name = layer.output.name
        alone = correct_biases(graph, rough, samples, only=[layer.name])
        wanted, before, after = (
            np.stack([t[name] for t in tensors_of(g, [name], samples)]) for g in (graph, rough, alone)
        )
        low, high = bounds.get(name, (-np.inf, np.inf))
        used = (wanted > low) & (wanted < high)
        others = tuple(d for d in range(wanted.ndim) if d != layer.axis + 1)
        shift, left = (np.mean(wanted - seen, others, where=used) for seen in (before, after))
        deviation = np.where(used, wanted - before - np.expand_dims(shift, others), 0).sum(others[1:])
        variance = np.var(deviation, 0, ddof=1) * 64 / used.sum(others) ** 2
        few = (used.sum(others[1:]) > 0).sum(0) < 64  # dead channels: samples without values do not count
        expected = np.where(variance < shift**2, variance / shift, shift)
        np.testing.assert_allclose(left[~few], expected[~few], atol=2e-5, err_msg=name)
        assert np.abs(shift).max() > 1e-3 and np.abs(left).max() < np.abs(shift).max() / 2, name
    fresh = drawn(graph, 64, seed=7)
    assert snr(outputs(graph, fresh), outputs(right, fresh)) > snr(outputs(graph, fresh), outputs(rough, fresh)) + 1


def test_biases_are_not_corrected_by_what_chance_can_make() -> None:
    graph = network(CHAIN)
    rough = with_codes(graph)
    alone = correct_biases(graph, rough, drawn(graph, 1))
    assert all((alone.tensors[b].data == graph.tensors[b].data).all() for b in ("b1", "b2", "b4"))
    fresh = drawn(graph, 64, seed=7)
    before, after = (
        snr(outputs(graph, fresh), outputs(g, fresh)) for g in (rough, correct_biases(graph, rough, drawn(graph, 3)))
    )
    assert after > before - 0.5


def test_bias_correction_gives_a_product_a_bias() -> None:
    text = CHAIN.replace("a4 = add(m4, b4);", "a4 = copy(m4);")
    graph = network(text)
    samples = drawn(graph, 16)
    right = correct_biases(graph, rough := with_codes(graph, bits=4), samples, only=["m4"])
    assert right.producers["m4"].kind == "add" and [x.plain for x in layers(right)] == [False, False, True, False, True]
    mean, before, after = (np.mean([t["m4"] for t in tensors_of(g, ["m4"], samples)], 0) for g in (graph, rough, right))
    assert (np.abs(after - mean) <= np.abs(before - mean) + 1e-6).all()
    assert np.abs(after - mean).max() < np.abs(before - mean).max() / 2


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_learned_rounding_beats_the_nearest(bits: int) -> None:
    graph = network(CHAIN)
    samples, others = drawn(graph, 64), drawn(graph, 16, seed=9)
    nearest = with_codes(graph, bits)
    learned = adaround(graph, nearest, samples, iterations=100)
    for label in ("w1", "w2", "w3", "w4", "w5"):
        apart = learned.tensors[label].data.astype(int) - nearest.tensors[label].data
        assert np.abs(apart).max() <= 1 and learned.tensors[label].item == "qint"
    real = outputs(graph, others)
    gain = snr(real, outputs(learned, others)) - snr(real, outputs(nearest, others))
    assert gain > 1, gain
    again = adaround(graph, nearest, samples, iterations=100)
    assert again.tensors == learned.tensors


def test_learned_rounding_of_one_layer_alone() -> None:
    graph = network(CHAIN)
    nearest = with_codes(graph, 4)
    learned = adaround(graph, nearest, drawn(graph, 8), iterations=100, only=["c3"])
    changed = [k for k in learned.tensors if learned.tensors[k] != nearest.tensors[k]]
    assert changed == ["w3"]


def test_learned_rounding_of_layers_that_see_nothing_and_of_tiny_ones() -> None:
    graph = network(CHAIN)
    parts = {label: graph.tensors[label].data.copy() for label in ("w1", "w2", "b1")}
    parts["w1"][0], parts["b1"][0, 0] = 0, -1  # nothing comes through
    parts["w1"][1] *= np.float32(2.0**-100)
    parts["w2"][1] *= np.float32(2.0**100)
    tensors = {**graph.tensors, **{k: Tensor(v, "float", 32) for k, v in parts.items()}}
    odd = graph.replace(tensors=tensors)
    samples = drawn(graph, 16)
    with np.errstate(all="raise", under="ignore"):
        learned = adaround(odd, with_codes(odd), samples, iterations=100)
    real = outputs(odd, samples)
    assert snr(real, outputs(learned, samples)) >= snr(real, outputs(with_codes(odd), samples)) - 1


def test_new_values_fit() -> None:
    graph = network(CHAIN)
    with pytest.raises(ValueError, match=r"'w1' is f32\[8,3,1,1\], not of shape \[8\]"):
        with_values(graph, {"w1": np.zeros(8)})
    with pytest.raises(ValueError, match="'c1' is no variable"):
        with_values(graph, {"c1": np.zeros(8)})
