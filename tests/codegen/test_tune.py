"""Ways that override the rules, and choosing them by trial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nnefc
from nnefc.codegen import tune as tuning
from nnefc.codegen.options import Options
from nnefc.codegen.pack import Panels
from nnefc.codegen.precision import lowered
from nnefc.codegen.schedule import prepare
from nnefc.codegen.target import Target
from nnefc.codegen.tiles import ranked_cuts
from nnefc.codegen.tune import tune
from nnefc.codegen.ways import Way, signature
from nnefc.codegen.winograd import Winograd
from nnefc.errors import UnsupportedError
from nnefc.formats.nnef import parse_graph
from nnefc.formats.nnef.tensor import tensor_of, write_tensor
from nnefc.ir.graph import Graph
from nnefc.ir.program import Contract, Program
from nnefc.ir.types import DType
from nnefc.passes import pipeline
from nnefc.quant import quantize

HOST = Target.host()
TEXT = """version 1.0;
graph Net(x) -> (y)
{
    x = external(shape = [1, 32, 14, 14]);
    w = constant(shape = [48, 32, 3, 3], value = [0.02]);
    v = constant(shape = [40, 48, 1, 1], value = [0.05]);
    a = conv(x, w, 0.5);
    b = relu(a);
    y = conv(b, v);
}
"""


@pytest.fixture
def graph() -> Graph:
    return parse_graph(TEXT)


def contractions(program: Program) -> list[Contract]:
    return [c for c in program.calls if isinstance(c, Contract)]


def test_signatures_tell_apart_what_differs(graph: Graph) -> None:
    first, second = contractions(pipeline.run(graph))
    assert signature(first) != signature(second)
    again = contractions(pipeline.run(parse_graph(TEXT.replace("0.02", "0.03"))))
    assert [signature(c) for c in again] == [signature(first), signature(second)]
    wider = contractions(pipeline.run(parse_graph(TEXT.replace("14, 14", "15, 14"))))
    assert signature(wider[0]) != signature(first)


def test_ways_override_the_rules(graph: Graph) -> None:
    program = pipeline.run(graph)
    first, second = contractions(program)
    for image, kind in ((0, Panels), (2, Winograd), (4, Winograd)):
        calls = prepare(program, HOST, ways={signature(first): Way(image)}).program.calls
        (made,) = [c for c in calls if c.origin == first.origin and isinstance(c, (Panels, Winograd))]
        assert isinstance(made, kind)
        assert not isinstance(made, Winograd) or made.blocking.scheme.m == image
    cuts = ranked_cuts(14 * 14, 40, 48, HOST.lanes(first.x.dtype), HOST)
    assert len(cuts) > 1
    ways = ({signature(second): Way(None, rank)} for rank in (0, 1))
    calls = [prepare(program, HOST, ways=way).program.calls for way in ways]
    tiles = [[c.tile for c in each if isinstance(c, Panels) and c.origin == second.origin] for each in calls]
    assert tiles[0] != tiles[1]


def test_what_is_found_is_kept(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "SECONDS", 0.02)
    monkeypatch.setattr(tuning, "_folder", lambda: tmp_path / "tuned")
    program = pipeline.run(graph)
    known = {signature(c) for c in contractions(program)}
    steps: list[tuple[int, int]] = []
    found = tune([program], HOST, threads=1, progress=lambda done, total: steps.append((done, total)))
    assert set(found) <= known and steps[-1] == (6, 6)
    (path,) = (tmp_path / "tuned").iterdir()
    monkeypatch.setattr(tuning, "_measured", None)
    assert tune([program], HOST, threads=1) == found
    path.write_text('{"a": {"image": 3}}')
    with pytest.raises(TypeError):
        tune([program], HOST, threads=1)  # it would measure again


def test_the_faster_way_is_taken(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_folder", lambda: tmp_path / "tuned")
    program = pipeline.run(graph)
    first, second = map(signature, contractions(program))
    times = {Way(): {first: 100.0, second: 10.0}, Way(2): {first: 90.0, second: 10.0}}
    times[Way(4)] = {first: 96.0, second: 9.6}

    def measured(program: Program, target: Target, small: bool, threads: int | None, way: Way) -> dict[str, float]:
        return times.get(way, {first: 200.0, second: 20.0})

    monkeypatch.setattr(tuning, "_measured", measured)
    assert tune([program], HOST) == {first: Way(2)}
    assert tune([program], HOST, small=True) == {}


def coded(graph: Graph, folder: Path) -> Graph:
    """The network on codes, its weights in variables."""
    rng = np.random.default_rng(0)
    text = TEXT
    for name, shape in (("w", (48, 32, 3, 3)), ("v", (40, 48, 1, 1))):
        values = rng.standard_normal(shape).astype(np.float32)
        (folder / f"{name}.dat").write_bytes(write_tensor(tensor_of(values)))
        label = f"variable<scalar>(shape = {list(shape)}, label = '{name}');"
        text = "".join(
            f"    {name} = {label}\n" if x.strip().startswith(f"{name} =") else x for x in text.splitlines(True)
        )
    (folder / "graph.nnef").write_text(text.replace("external(", "external<scalar>("))
    return quantize(nnefc.load(folder), [{"x": rng.standard_normal((1, 32, 14, 14)).astype(np.float32)}])


@pytest.mark.parametrize("kind", ["int8", "bf16", "f16"])
def test_other_types_are_tuned_too(graph: Graph, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts into panels are tried, and image tiles where there are some; what is computed stays what it was."""
    monkeypatch.setattr(tuning, "SECONDS", 0.02)
    monkeypatch.setattr(tuning, "_folder", lambda: tmp_path / "tuned")
    graph = coded(graph, tmp_path) if kind == "int8" else graph
    precision = "f32" if kind == "int8" else kind
    program = lowered(graph, Options(precision=precision, optimize="size"))
    pairs = {"int8": (DType.U8, DType.I8), "bf16": (DType.BF16, DType.BF16), "f16": (DType.F16, DType.F16)}
    calls = [c for c in contractions(program) if (c.x.dtype, c.w.dtype) == pairs[kind]]
    assert calls
    for call in calls:
        found = [
            [(c.tile, c.w.shape) for c in made.program.calls if isinstance(c, Panels) and c.origin == call.origin]
            for made in (prepare(program, HOST, small=True, ways={signature(call): Way(0, k)}) for k in (0, 1))
        ]
        assert found[0] != found[1]
    x = np.random.default_rng(0).standard_normal((1, 32, 14, 14)).astype(np.float32)
    options = {"precision": precision, "threads": 1, "optimize": "size"}
    plain, tuned = (nnefc.compile(graph, tune=on, **options)(x) for on in (False, True))
    assert len(list((tmp_path / "tuned").iterdir())) == 1
    if kind == "int8":
        assert np.array_equal(plain, tuned)
    else:
        np.testing.assert_allclose(tuned, plain, rtol=1e-2, atol=1e-2 * float(np.abs(plain).max()))


def test_another_machine_cannot_be_tuned_for(graph: Graph) -> None:
    with pytest.raises(UnsupportedError):
        nnefc.compile(graph, tune=True, target="aarch64-unknown-linux-gnu")


def test_a_tuned_network_means_the_same(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "SECONDS", 0.02)
    x = np.random.default_rng(0).standard_normal((1, 32, 14, 14)).astype(np.float32)
    plain, tuned = nnefc.compile(graph)(x), nnefc.compile(graph, tune=True, threads=1)(x)
    np.testing.assert_allclose(tuned, plain, rtol=1e-4, atol=1e-4)
