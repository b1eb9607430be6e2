"""Tensors of networks that are run part by part are those of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from drawn_network import network
from layer_models import CHAIN, drawn

from nnefc.quant import quantize, runs
from nnefc.quant.runs import Walk, part_of, tensors_of

RESIDUAL = """
version 1.0;
graph residual( x, z ) -> ( y, s )
{
    x = external(shape = [1,4,6,6]);
    z = external(shape = [1,4,6,6]);
    w1 = variable(shape = [4,4,1,1], label = 'w1');
    w2 = variable(shape = [4,4,3,3], label = 'w2');
    w3 = variable(shape = [2,4,1,1], label = 'w3');
    a = add(x, z);
    c1 = conv(a, w1);
    r1 = relu(c1);
    c2 = conv(r1, w2);
    s = add(c2, a);
    r2 = relu(s);
    c3 = conv(r2, w3);
    y = mul(c3, 2.0);
}
"""


def walked(text: str, names: Sequence[str], quantized: bool) -> tuple[list[np.ndarray], list[np.ndarray], list[Any]]:
    """Tensors of all samples by a walk that reaches one after another, and by the whole network; and what was
    compiled."""
    graph = network(text)
    samples = drawn(graph, 5)
    graph = quantize(graph, samples) if quantized else graph
    compiled: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        whole = runs.api.compile
        patch.setattr(runs.api, "compile", lambda part, **options: compiled.append(part) or whole(part, **options))
        walk, found = Walk(graph, samples, threads=1), []
        for name in names:
            walk.reach(graph, name)
            found.append(np.stack(list(walk.tensors(graph, name))))
    wanted = [np.stack([t[name] for t in tensors_of(graph, [name], samples, threads=1)]) for name in names]
    return found, wanted, compiled


@pytest.mark.parametrize("kept", [0, 3000, 1 << 28])
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize(
    ("text", "names"),
    [(CHAIN, ["r1", "r2", "f3", "r4"]), (RESIDUAL, ["a", "r1", "s", "r2", "y"])],
    ids=["chain", "sum"],
)
def test_a_walk_gives_what_the_whole_network_has(
    text: str, names: list[str], quantized: bool, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "KEPT", kept)
    found, wanted, _ = walked(text, names, quantized)
    for name, one, other in zip(names, found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_walk_compiles_no_operation_twice() -> None:
    compiled = walked(RESIDUAL, ["a", "r1", "s", "r2", "y"], False)[2]
    kinds = [op.output.name for part in compiled for op in part.ops if op.kind != "variable"]
    assert kinds == ["a", "c1", "r1", "c2", "s", "r2", "c3", "y"]


def test_what_is_looked_at_ahead_may_still_change() -> None:
    graph = network(CHAIN)
    samples = drawn(graph, 2)
    walk = Walk(graph, samples)
    walk.reach(graph, "r1")
    first = list(walk.tensors(graph, "c2"))
    changed = graph.replace(tensors={**graph.tensors, "b2": network(CHAIN, seed=5).tensors["b2"]})
    second = list(walk.tensors(changed, "c2"))
    shift = (changed.tensors["b2"].data - graph.tensors["b2"].data)[..., None, None]
    np.testing.assert_allclose(
        np.stack(second) - np.stack(first), np.broadcast_to(shift, (2, *first[0].shape)), atol=1e-5
    )


def test_a_part_needs_what_it_reads_alone() -> None:
    graph = network(CHAIN)
    part = part_of(graph, ["x", "r1"], ["c3", "r2"])
    assert [v.name for v in part.inputs] == ["r1"] and [v.name for v in part.outputs] == ["c3", "r2"]
    assert [op.output.name for op in part.ops if op.kind != "variable"] == ["c2", "r2", "c3"]
    assert set(part.tensors) == {"w2", "b2", "w3"}
