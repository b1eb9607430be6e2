"""Attention block of rows by block of rows: which calls become a Chain, and that it computes what they do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import nnefc
from nnefc.codegen import chain
from nnefc.codegen.chain import Chain, chained
from nnefc.codegen.cost import cost
from nnefc.codegen.driver import emit_driver
from nnefc.codegen.pack import pack
from nnefc.codegen.schedule import plan, prepare
from nnefc.codegen.spec import BlockedLaunch
from nnefc.codegen.target import Target
from nnefc.formats.nnef import parse_graph
from nnefc.ir.graph import Graph
from nnefc.passes import pipeline
from nnefc.quant.coding import with_encodings
from nnefc.quant.ranges import Codes, encoding_of

HOST = Target.host()

TEXT = """version 1.0;
extension KHR_enable_operator_expressions;
graph net(q, k, v, m) -> (y)
{{
    q = external(shape = {q});
    k = external(shape = {k});
    v = external(shape = {v});
    m = external(shape = {m});
    s = matmul(q, k, transposeB = true);
    t = s * 0.125{more};
    p = softmax(t, axes = [{last}]);
    y = matmul(p, v){after};
}}
"""


def attention(
    lead: tuple[int, ...],
    queries: int,
    keys: int,
    deep: int = 16,
    wide: int = 24,
    more: str = " + m",
    after: str = "",
    mask: tuple[int, ...] | None = None,
) -> Graph:
    shapes = ((*lead, queries, deep), (*lead, keys, deep), (*lead, keys, wide), mask or (*(1 for _ in lead), 1, keys))
    q, k, v, m = (str(list(shape)) for shape in shapes)
    return parse_graph(TEXT.format(q=q, k=k, v=v, m=m, more=more, after=after, last=len(lead) + 1))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Chains whatever the size of the scores, with blocks of few rows."""
    monkeypatch.setattr(chain, "LEAST_BYTES", 0)
    monkeypatch.setattr(chain, "BLOCK_BYTES", 4096)
    yield monkeypatch


def chains(graph: Graph, target: Target = HOST) -> list[Chain]:
    return [c for c in prepare(pipeline.run(graph), target).program.calls if isinstance(c, Chain)]


CASES = {
    "heads": ((1, 3), 50, 41),
    "batch": ((2, 2), 31, 70),
    "no heads": ((), 65, 33),
    "one dimension": ((5,), 17, 200),
    "few rows": ((4,), 3, 48),
    "several panels": ((1, 2), 40, 197),
}


@pytest.mark.parametrize("case", CASES)
def test_answers(case: str, small: pytest.MonkeyPatch) -> None:
    lead, queries, keys = CASES[case]
    for graph in (
        attention(lead, queries, keys),
        attention(lead, queries, keys, more="", after=" * 2.0"),
        attention(lead, queries, keys, mask=(*(1 for _ in lead), queries, keys)),
    ):
        (made,) = chains(graph)
        assert made.blocks > 1 or queries < 24
        rng = np.random.default_rng(0)
        inputs = {v.name: rng.standard_normal(v.type.extents).astype(np.float32) for v in graph.inputs}
        expected = nnefc.evaluate(graph, inputs)["y"]
        answers = [nnefc.compile(graph, threads=threads)(**inputs) for threads in (1, 2, 3)]
        np.testing.assert_allclose(answers[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        assert all(np.array_equal(answers[0], answer) for answer in answers[1:])


def test_scores_take_no_memory() -> None:
    graph = attention((1, 8), 256, 256)
    (made,) = chains(graph)
    found = plan(pipeline.run(graph), HOST)
    scores = 8 * 256 * 256 * 4
    assert made.scratch.buffer.bytes <= chain.UNITS * chain.BLOCK_BYTES
    assert found.arena_size < scores
    (launch,) = [step for step in found.steps if isinstance(step, BlockedLaunch)]
    assert launch.units <= chain.UNITS < launch.items == 8 * made.blocks
    assert cost(made).flops > 4 * 8 * 256 * 256 * 16


@pytest.mark.parametrize("cpu", ["x86_64-unknown-linux-gnu:x86-64-v2", "aarch64-unknown-linux-gnu:generic"])
def test_other_targets(cpu: str, small: pytest.MonkeyPatch) -> None:
    target = Target.parse(cpu)
    found = plan(pipeline.run(attention((1, 3), 50, 41)), target)
    assert any(isinstance(step, BlockedLaunch) for step in found.steps)
    symbols = {spec: f"kernel_{n}" for n, spec in enumerate(found.specs())}
    assert emit_driver([found], symbols, "net", target)


def test_blocks_cover_every_row_and_stay_inside(small: pytest.MonkeyPatch) -> None:
    (made,) = chains(attention((2, 3), 50, 41))
    rows = set()
    for first in (min(k * made.rows, 50 - made.rows) for k in range(made.blocks)):
        *_, last = made.block((1, 2, first))
        rows |= set(range(first, first + last.writes()[0].shape[-2]))
        assert made.part <= made.scratch.volume // made.units
        for call in made.block((1, 2, first)):
            assert all(
                v.span[1] <= made.part for v in (*call.reads(), *call.writes()) if v.buffer == made.scratch.buffer
            )
    assert rows == set(range(50))


@pytest.mark.parametrize(
    "change",
    [
        {"after": ";\n    z = t + 1.0"},
        {"after": ";\n    z = sum_reduce(p, axes = [2])"},
    ],
)
def test_scores_that_something_else_reads_stay(change: dict[str, str], small: pytest.MonkeyPatch) -> None:
    graph = attention((1, 3), 50, 41)
    assert chains(graph)
    text = TEXT.replace("-> (y)", "-> (y, z)")
    q, k, v, m = (str(list(x.type.extents)) for x in graph.inputs)
    other = parse_graph(text.format(q=q, k=k, v=v, m=m, more=" + m", last=3, **change))
    assert not chains(other)


def test_small_scores_stay() -> None:
    program = pack(pipeline.run(attention((1, 2), 50, 41)), HOST)
    assert chained(program) is program


def coded(names: str) -> Graph:
    """Attention whose tensors of these names are codes."""
    graph = attention((1, 3), 50, 41, more="")
    encoding = encoding_of(0, 0.02, Codes(8, signed=True, symmetric=True))
    return with_encodings(graph, dict.fromkeys(names, encoding), {})


@pytest.mark.parametrize(("names", "count"), [("qk", 1), ("qkvp", 0), ("vp", 0), ("kv", 1)])
def test_codes_on_either_side(names: str, count: int, small: pytest.MonkeyPatch) -> None:
    """Scores that are sums of codes are chained to products of floats; a softmax that becomes codes is not chained."""
    graph = coded(names)
    assert len(chains(graph)) == count
    rng = np.random.default_rng(0)
    inputs = {v.name: rng.standard_normal(v.type.extents).astype(np.float32) for v in graph.inputs}
    expected = nnefc.evaluate(graph, inputs, execution="integer")["y"]
    answers = [nnefc.compile(graph, threads=threads)(**inputs) for threads in (1, 2, 3)]
    # Where the softmax becomes codes, one that differs by one moves a sum of 41 products by a step times a value.
    limit = 1e-5 * np.abs(expected).max() if "p" not in names else 0.02 * np.abs(inputs["v"]).max()
    np.testing.assert_allclose(answers[0], expected, rtol=0, atol=limit)
    assert all(np.array_equal(answers[0], answer) for answer in answers[1:])
