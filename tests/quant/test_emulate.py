"""The emulated engine: what it means, pair by pair, and that it is the integer meaning where nothing saturates."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_network import network
from layer_models import drawn

import nnefc
from nnefc.quant import quantize
from nnefc.quant.emulate import HIGH, LOW, emulate, saturating

CONVS = """
version 1.0;
graph net( x ) -> ( y )
{
    x = external(shape = [1,6,8,8]);
    w1 = variable(shape = [16,6,3,3], label = 'w1');
    b1 = variable(shape = [1,16], label = 'b1');
    w2 = variable(shape = [16,8,1,1], label = 'w2');
    w3 = variable(shape = [7,1024], label = 'w3');
    c1 = conv(x, w1, b1, padding = [(0,0),(0,0)]);
    r1 = relu(c1);
    c2 = conv(r1, w2, groups = 2, padding = [(1,1),(1,1)]);
    r2 = relu(c2);
    f = reshape(r2, shape = [1,1024]);
    y = linear(f, w3);
}
"""


def slow(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, int]:
    """Pair by pair, in Python's integers."""
    groups, pixels, reduced = left.shape
    out, cut = np.zeros((groups, pixels, right.shape[2])), 0
    for g, p, o in np.ndindex(out.shape):
        for k in range(0, reduced, 2):
            pair = sum(int(left[g, p, j]) * int(right[g, j, o]) for j in range(k, min(k + 2, reduced)))
            cut += not LOW <= pair <= HIGH
            out[g, p, o] += min(max(pair, LOW), HIGH)
    return out, cut


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 4, 5, 3), (2, 3, 8, 4), (3, 1, 2, 1)])
@pytest.mark.parametrize("largest", [127, 64])
def test_pairs_saturate_as_the_instruction_does(shape: tuple[int, int, int, int], largest: int) -> None:
    rng = np.random.default_rng(largest)
    groups, pixels, reduced, outputs = shape
    for _ in range(20):
        left = rng.integers(0, 256, (groups, pixels, reduced)).astype(np.float64)
        right = rng.integers(-largest, largest + 1, (groups, reduced, outputs)).astype(np.float64)
        result, cut = saturating(left, right)
        expected, count = slow(left, right)
        assert np.array_equal(result, expected) and cut == count
        if largest == 64:
            assert cut == 0 and np.array_equal(result, left @ right)


def test_the_ends_of_the_range() -> None:
    ones = np.full((1, 1, 2), 255.0)
    for weights, expected in (((127, 127), HIGH), ((-128, -128), LOW), ((127, -128), -255), ((64, 64), 32640)):
        result, _ = saturating(ones, np.asarray(weights, np.float64).reshape(1, 2, 1))
        assert result.item() == expected


def test_a_network_that_saturates_loses_and_another_does_not() -> None:
    graph = network(CONVS)
    samples = drawn(graph, 4)
    wide, narrow = quantize(graph, samples), quantize(graph, samples, weight_bits=7)
    for coded, loses in ((wide, True), (narrow, False)):
        found = emulate(coded, samples)
        exact = np.stack([nnefc.evaluate(coded, sample, execution="integer")["y"] for sample in samples])
        assert set(found.sums) == {"c1", "c2", "y"}
        assert np.array_equal(found.answers["y"], exact) is not loses
        assert any(found.shares.values()) is loses
        per_sample = 36 * 16 * 27 + 2 * 64 * 8 * 4 + 7 * 512
        assert sum(found.sums.values()) == len(samples) * per_sample
