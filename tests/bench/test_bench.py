"""``python -m bench``: its networks, its bounds, its report, and a run of one network."""

from __future__ import annotations

import importlib
import json
import runpy
from pathlib import Path

import numpy as np
import onnx
import pytest

import nnefc
from bench import networks, zoo
from bench.bound import F2, F4, Work, saving, work
from bench.report import geometric_mean, markdown, means
from nnefc.codegen.schedule import plan
from nnefc.codegen.target import Target
from nnefc.formats.nnef import parse_graph
from nnefc.passes import pipeline
from nnefc.tools.peaks import Level, Peaks

bench_main = importlib.import_module("bench.__main__")

SMALL = ("lenet1", "dnn", "mobilenet_v3_small", "shufflenet_v2_x1_0", "squeezenet1_1")
CONV = """version 1.0;
graph g(x) -> (y)
{{
    x = external(shape = [1, 8, {size}, {size}]);
    w = constant(shape = [16, {inner}, {taps}, {taps}], value = [0.5]);
    y = conv(x, w, stride = [{step}, {step}], groups = {groups});
}}
"""


def saved(size: int = 28, taps: int = 3, step: int = 1, groups: int = 1) -> float:
    """By how much the products of a convolution may be fewer."""
    text = CONV.format(size=size, taps=taps, step=step, groups=groups, inner=8 // (groups or 8))
    calls = pipeline.run(parse_graph(text), after="lower").calls
    return max(map(saving, calls))


def test_the_zoo_is_small_and_whole() -> None:
    assert len(zoo.names()) == 12
    assert sum(p.stat().st_size for p in zoo.FOLDER.iterdir()) < 1_000_000


@pytest.mark.parametrize("name", SMALL)
def test_filling_is_what_it_was(name: str, shared: Path) -> None:
    """Networks are equal to those that the figures of others were measured on, byte for byte."""
    theirs = runpy.run_path(str(shared / "tools" / "zoo.py"))["fill"](name, 3)
    assert zoo.filled(name, 3).SerializeToString() == theirs.SerializeToString()


def test_every_weight_is_filled() -> None:
    model = zoo.filled("lenet1")
    onnx.checker.check_model(model, full_check=True)
    arrays = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer]
    assert all(np.isfinite(a).all() for a in arrays)
    assert not np.array_equal(arrays[0], onnx.numpy_helper.to_array(zoo.filled("lenet1", 1).graph.initializer[0]))
    with pytest.raises(FileNotFoundError):
        zoo.filled("lenet9")


@pytest.mark.parametrize("name", SMALL)
def test_weights_for_size_are_hardly_larger_than_the_parameters(name: str, tmp_path: Path) -> None:
    onnx.save(zoo.filled(name), tmp_path / "net.onnx")
    graph = nnefc.load(tmp_path / "net.onnx")
    parameters = sum(t.data.nbytes for t in graph.tensors.values())
    for target in ("host", "x86_64-unknown-linux-gnu:x86-64-v3"):
        assert plan(pipeline.run(graph), Target.parse(target), small=True).weights.nbytes <= 1.02 * parameters


def test_filled_networks_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "FILLED", tmp_path / "zoo")
    first = networks.zoo_network("lenet1")
    monkeypatch.setattr(zoo, "filled", None)
    assert networks.zoo_network("lenet1") == first and first.path.is_file()


def test_real_models_get_their_recorded_inputs(shared: Path) -> None:
    found = {n.name: n for n in networks.real_models(shared)}
    graph = nnefc.load(found["mnist_convsmall"].path)
    (array,) = networks.recorded_inputs(found["mnist_convsmall"], graph).values()
    assert array.shape == (1, 1, 28, 28)
    assert networks.recorded_inputs(networks.Network("x", found["mnist_convsmall"].path, "zoo"), graph) == {}


def test_what_winograd_saves() -> None:
    assert saved() == F4
    assert saved(size=7) == F2
    assert saved(step=2) == saved(taps=1) == saved(taps=5) == 1.0
    assert saved(groups=2) == F4
    assert saved(groups=0) == 1.0  # depthwise


def test_the_bound_is_the_larger_of_two() -> None:
    peaks = Peaks(1, 100.0, (Level("L1", 1000, 200.0), Level("memory", 0, 10.0)), 400.0, 200.0)
    assert Work(2000, 1000.0, 10).seconds(peaks, 100) == pytest.approx(1e-8)
    assert Work(2000, 1000.0, 4000).seconds(peaks, 100) == pytest.approx(2e-8)
    assert Work(2000, 1000.0, 4000).seconds(peaks, 5000) == pytest.approx(4e-7)
    needed = work(parse_graph(CONV.format(size=10, taps=3, step=1, groups=1, inner=8)))
    assert needed.flops == 2 * 16 * 8 * 9 * 100 and needed.reduced == needed.flops / F4
    assert needed.bytes == 4 * (8 * 100 + 16 * 100)


def record() -> dict:
    entry = {"median": 2e-3, "p90": 3e-3, "min": 1e-3, "calls": 9, "load": 0.1, "first": 0.2, "peak_memory": 5_000_000}
    bound = {"bound": 1e-3}
    runs = [
        {"threads": 1, "engines": {"nnefc": entry | {"error": 1e-6}, "ort": entry}, "share": 0.5, "ratio": 2} | bound,
        {"threads": 2, "engines": {"nnefc": entry, "ort": {"skipped": "why"}}, "share": 0.8, "ratio": None} | bound,
    ]
    sizes = {"warm_seconds": 1.5, "weights_bytes": 10**6}
    networks = [{"name": "net", "group": "zoo", "gflop": 0.5, "runs": runs} | sizes]
    return {
        "machine": {"cpu": "CPU", "cpus": 2, "system": "Linux", "python": "3"},
        "versions": {"nnefc": "1", "ort": "2"},
        "date": "today",
        "engines": ["nnefc", "ort"],
        "peaks": [{"threads": 1, "gflops": 100.0, "levels": [{"name": "L1", "size": 1, "bandwidth": 5.0}]}],
        "networks": networks,
        "means": means(networks, "ratio"),
        "threads": [1, 2],
    }


def test_the_report() -> None:
    found = record()
    assert found["means"] == {"zoo-1": 2.0}
    text = markdown(found)
    for wanted in (
        "CPU, 2 CPUs",
        "ONNX Runtime 2",
        "| net ",
        "2.00",
        "50% *",
        "80% |",
        "zoo 2.00",
        "1.0e-06",
        "## 2 threads",
    ):
        assert wanted in text
    found["networks"][0]["same_for_all_threads"] = False
    assert "NOT the same for all numbers of threads: net" in markdown(found)
    assert geometric_mean([]) is None and geometric_mean([1.0, 4.0]) == pytest.approx(2.0)


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "FILLED", tmp_path / "zoo")
    options = ["--quick", "--seconds", "0.02", "--engines", "nnefc", "--threads", "1,2", "--output", str(tmp_path)]
    assert bench_main.main(["lenet1", *options]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())
    (network,) = found["networks"]
    assert network["same_for_all_threads"] and network["weights_bytes"] > 0 and network["library_bytes"] > 0
    assert [run["threads"] for run in network["runs"]] == [1, 2]
    assert all(0 < run["share"] < 5 and run["ratio"] is None for run in network["runs"])
    assert "lenet1" in (tmp_path / "bench.md").read_text() and "lenet1" in capsys.readouterr().out


def test_wrong_command_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, said in (
        (["lenet9", "--shared", str(tmp_path)], "no network lenet9"),
        (["--threads", "0"], "no list of numbers"),
        (["--threads", "1,x"], "no list of numbers"),
    ):
        with pytest.raises(SystemExit) as ended:
            bench_main.main(arguments)
        assert ended.value.code == 2 and said in capsys.readouterr().err
    assert bench_main.main(["--engines", "tvm"]) == 2
    assert "no peer 'tvm'" in capsys.readouterr().err
