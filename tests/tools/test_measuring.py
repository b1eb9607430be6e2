"""Peaks, profiles and benchmarks of small networks: what they count, and that they leave results alone."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from skips import need

import nnefc
from nnefc.codegen.kernels.peak import PeakKernel
from nnefc.codegen.target import Target
from nnefc.errors import UnsupportedError
from nnefc.formats.nnef import parse_graph
from nnefc.ir.graph import Graph
from nnefc.ir.types import DType
from nnefc.quant import quantize
from nnefc.tools import engines
from nnefc.tools.bench import ROUNDS, answers_apart, take_turns
from nnefc.tools.engine_worker import matched
from nnefc.tools.machine import machine, machine_text, versions
from nnefc.tools.peaks import RATED, cache_sizes, measure

bench_module = importlib.import_module("nnefc.tools.bench")
TEXT = """version 1.0;
graph Net(x) -> (y)
{
    x = external(shape = [1, 4, 12, 12]);
    w = constant(shape = [8, 4, 3, 3], value = [0.5]);
    c = conv(x, w, 0.5, padding = [(1, 1), (1, 1)]);
    r = relu(c);
    y = softmax(r);
}
"""


@pytest.fixture(scope="module")
def net() -> Graph:
    return parse_graph(TEXT)


@pytest.mark.parametrize("moving", [False, True])
def test_the_peak_kernel_as_plain_python(moving: bool) -> None:
    kernel = PeakKernel(2, 3, 4, moving).build(Target.host())
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(2).astype(np.float32), rng.standard_normal(200).astype(np.float32)
    y = np.zeros(100, np.float32)
    spec = PeakKernel(2, 3, 4, moving)
    kernel((x, w, y), np.array(spec.geometry(2, 5, 60)), 0, 2)
    for unit in range(2):
        steps = [w[60 * unit + 12 * k * moving :][:12] for k in range(5)]
        expected = 2 * np.outer(x, np.sum(steps, axis=0))
        np.testing.assert_allclose(y[24 * unit :][:24].reshape(2, 12), expected, rtol=1e-5, atol=1e-5)


def test_the_peak_kernel_of_codes_as_plain_python() -> None:
    spec = PeakKernel(2, 3, 4, False, DType.U8)
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 256, 5).astype(np.uint8), rng.integers(-128, 128, 48).astype(np.int8)
    y = np.zeros(24, np.int32)
    spec.build(Target.host())((x, w, y), np.array(spec.geometry(2, 5, 0)), 0, 1)
    groups = np.stack([x[:4], x[1:5]]).astype(np.int32)
    assert (y.reshape(2, 12) == 10 * groups @ w.reshape(12, 4).T).all()


def test_the_peak_kernel_of_pairs_as_plain_python() -> None:
    spec, half = PeakKernel(2, 3, 4, False, DType.BF16), DType.BF16.numpy
    rng = np.random.default_rng(0)
    x, w = rng.integers(-8, 9, 3).astype(half), rng.integers(-8, 9, 24).astype(half)
    y = np.zeros(24, np.float32)
    spec.build(Target.host())((x, w, y), np.array(spec.geometry(2, 5, 0)), 0, 1)
    pairs = np.stack([x[:2], x[1:3]]).astype(np.float32)
    assert (y.reshape(2, 12) == 10 * pairs @ w.astype(np.float32).reshape(12, 2).T).all()


def test_peaks() -> None:
    peaks = measure(1)
    assert peaks.gflops > 1 and peaks.gops > 1 and peaks.bf16_gflops > 1
    assert [peaks.rate(kind) for kind in RATED] == [peaks.gflops, peaks.gops, peaks.bf16_gflops]
    assert [v.name for v in peaks.levels] == ["L1", "L2", "L3", "memory"]
    assert all(v.bandwidth > 0.1 for v in peaks.levels)
    sizes = cache_sizes()
    assert 0 < sizes["L1"] <= sizes["L2"] <= sizes["L3"]


def test_a_profile_covers_the_whole_call(net: Graph) -> None:
    result = nnefc.profile(net, threads=1, seconds=0.05)
    names = {n for k in result.kernels for n in k.names}
    assert {"c", "r", "y"} <= names
    (conv,) = [k for k in result.kernels if k.family == "contract"]
    assert conv.cost.flops == 2 * 8 * 4 * 9 * 144
    assert all(k.seconds >= 0 and k.limit > 0 for k in result.kernels)
    assert 0 < result.kernel_seconds < 20 * result.seconds
    record = json.loads(json.dumps(result.record()))
    assert len(record["kernels"]) == len(result.kernels) and sum(
        k["share"] for k in record["kernels"]
    ) == pytest.approx(1)
    assert record["peaks"]["threads"] == 1 and record["machine"]["cpus"] >= 1


def test_a_profile_takes_inputs_and_refuses_wrong_ones(net: Graph) -> None:
    assert nnefc.profile(net, {"x": np.ones((1, 4, 12, 12), np.float32)}, threads=2, seconds=0.01).kernels
    with pytest.raises(ValueError, match="no input 'z'"):
        nnefc.profile(net, {"z": np.ones(1)}, threads=1, seconds=0.01)


def test_a_benchmark_of_itself(net: Graph, tmp_path: Path) -> None:
    result = nnefc.bench(net, threads=1, seconds=0.05, runs=30)
    (ours,) = result.timings
    assert ours.engine == "nnefc" and len(ours.times) >= 30 and result.ratio(ours) == 1.0
    assert 0 < ours.least <= ours.median <= ours.p90 and ours.peak_memory > 1e6 and ours.error == 0.0
    nnefc.compile(net).save(tmp_path / "net")
    assert len(nnefc.bench(tmp_path / "net", seconds=0.02).timings) == 1
    with pytest.raises(ValueError, match="compiled folder"):
        nnefc.bench(tmp_path / "net", compare=["ort"])


@pytest.mark.parametrize(("execution", "coded"), [("integer", True), ("float", True), ("ignore", False)])
def test_a_peer_of_a_quantized_network(
    net: Graph, tmp_path: Path, execution: str, coded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It computes the same network, on codes where we do."""
    kinds: list[str] = []
    plain = bench_module.Engine

    def engine(name: str, path: Path, *rest: Any) -> engines.Engine:
        if name == "ort":
            kinds.extend(n.op_type for n in onnx.load(path).graph.node)
        return plain(name, path, *rest)

    monkeypatch.setattr(bench_module, "Engine", engine)
    x = np.random.default_rng(0).standard_normal((1, 4, 12, 12)).astype(np.float32)
    nnefc.save(quantize(net, [{"x": x}]), tmp_path / "net.nnef.tgz")
    result = nnefc.bench(
        tmp_path / "net.nnef.tgz", {"x": x}, compare=["ort"], threads=1, seconds=0.02, execution=execution
    )
    assert "Conv" in kinds and ("QuantizeLinear" in kinds) == coded
    assert result.timings[1].error is not None and result.timings[1].error < 1e-5


@pytest.mark.parametrize("name", list(engines.PEERS))
def test_peers(net: Graph, tmp_path: Path, name: str) -> None:
    if name != "ort":
        need("OpenVINO and tract as peers of `bench`", engines.PEERS[name].package)
    nnefc.save(net, tmp_path / "net.nnef.tgz")
    result = nnefc.bench(tmp_path / "net.nnef.tgz", compare=[name], threads=1, seconds=0.05)
    assert not result.skipped, result.skipped
    ours, theirs = result.timings
    assert theirs.engine == name and theirs.version[0].isdigit() and theirs.error is not None and theirs.error < 1e-5
    assert result.ratio(theirs) == theirs.median / ours.median
    assert [e["engine"] for e in json.loads(json.dumps(result.record()))["engines"]] == ["nnefc", name]


def test_peers_that_are_not_there(net: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no peer 'tvm'; there are ort, openvino, tract"):
        nnefc.bench(net, compare=["tvm"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="OpenVINO and tract are not installed: pip install openvino tract"):
        nnefc.bench(net, compare=["openvino", "tract"])


def test_an_engine_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "inputs.npz", x=np.ones(3, np.float32))
    with pytest.raises(UnsupportedError, match="nnefc cannot run the model: ModuleNotFoundError"):
        engines.Engine("nnefc", tmp_path / "absent", 1, tmp_path / "inputs.npz")
    dying = tmp_path / "dying.py"
    dying.write_text("import os, sys; sys.stdin.readline(); print('oh no', file=sys.stderr, flush=True); os._exit(7)")
    monkeypatch.setattr(engines, "WORKER", dying)
    with pytest.raises(UnsupportedError, match="its process ended with code 7: oh no"):
        engines.Engine("nnefc", tmp_path, 1, tmp_path / "inputs.npz")


def test_the_worker_imports_nothing_of_nnefc() -> None:
    source = Path(engines.WORKER).read_text()
    names = [line.split()[1] for line in source.splitlines() if line.strip().startswith(("import ", "from "))]
    assert not [n for n in names if n.split(".")[0] == "nnefc"]
    assert set(names) <= {
        *sys.stdlib_module_names,
        "numpy",
        "collections.abc",
        "onnxruntime",
        "openvino",
        "tract",
        "typing",
    }


def test_inputs_go_by_name_else_by_position() -> None:
    arrays = {"a": np.ones(1), "b": np.ones(2)}
    assert [x.size for _, x in matched(["b", "a"], arrays)] == [2, 1]
    assert [(n, x.size) for n, x in matched(["in.1", "in.2"], arrays)] == [("in.1", 1), ("in.2", 2)]
    with pytest.raises(ValueError, match="inputs x, but a, b are given"):
        matched(["x"], arrays)


def test_engines_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorded:
        def __init__(self, name: str):
            self.name = name

        def round(self, seconds: float, calls: int = 1) -> list[float]:
            order.append((self.name, calls))
            return [seconds] * calls

    order: list[tuple[str, int]] = []
    times = take_turns([Recorded("a"), Recorded("b")], 1.0, 3 * ROUNDS)  # type: ignore[list-item]
    assert [name for name, _ in order[:4]] == ["a", "b", "b", "a"] and len(order) == 2 * ROUNDS
    assert [len(t) for t in times] == [3 * ROUNDS] * 2 and {calls for _, calls in order} == {3}
    slow = take_turns([Recorded("a")], 1.0)  # type: ignore[list-item]
    assert len(slow[0]) == ROUNDS
    monkeypatch.setattr(Recorded, "round", lambda self, seconds, calls: [2 * seconds])
    assert len(take_turns([Recorded("a")], 1.0)[0]) == ROUNDS // 2  # type: ignore[list-item]


def test_answers_are_compared(tmp_path: Path) -> None:
    a, b, c = tmp_path / "a.npz", tmp_path / "b.npz", tmp_path / "c.npz"
    np.savez(a, np.array([1.0, 2.0]))
    np.savez(b, np.array([1.0, 2.5]))
    np.savez(c, np.array([1.0]))
    assert answers_apart(a, a) == 0.0
    assert answers_apart(b, a) == pytest.approx(0.25)
    assert answers_apart(c, a) is None


def test_machine() -> None:
    facts = machine()
    assert facts["cpus"] and str(facts["cpu"]) in machine_text(facts)
    assert versions(["numpy", "no-such-package"]) == {"nnefc": nnefc.__version__, "numpy": np.__version__}
