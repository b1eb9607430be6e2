"""``python -m bench --int8`` and ``python -m bench.accuracy``: what they count, draw, rewrite and report."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from skips import skip

from bench import accuracy, int8, networks, quantized, zoo
from bench.quantized import feeds
from bench.report import means
from nnefc.errors import UnsupportedError
from nnefc.formats.nnef import parse_graph

bench_main = importlib.import_module("bench.__main__")

NETWORK = """version 1.0;
graph net(x) -> (y)
{
    x = external(shape = [1, 8, 6, 6]);
    w = constant(shape = [16, 8, 1, 1], value = [0.5]);
    y = conv(x, w);
}
"""


def test_signal_to_noise(tmp_path: Path) -> None:
    exact = np.array([3.0, 4.0], np.float32)
    np.savez(tmp_path / "a.npz", exact)
    np.savez(tmp_path / "b.npz", exact + np.array([0.3, -0.4], np.float32))
    np.savez(tmp_path / "c.npz", exact[:1])
    assert int8.snr(tmp_path / "b.npz", tmp_path / "a.npz") == pytest.approx(20.0, abs=1e-4)
    assert int8.snr(tmp_path / "a.npz", tmp_path / "a.npz") is None
    assert int8.snr(tmp_path / "c.npz", tmp_path / "a.npz") is None
    assert accuracy.snr(exact * 1.1, exact) == pytest.approx(20.0, abs=1e-4)
    assert accuracy.snr(exact, exact) == np.inf


def record() -> dict:
    found = {"int8": {"median": 1e-3, "snr": 30.0}, "f32": {"median": 3e-3, "snr": None}, "ort": {"median": 2e-3}}
    run = {"threads": 1, "engines": found, **int8._ratios(found)}
    network = {"name": "net", "group": "zoo", "runs": [run], "integer": 0.995, "skipped": {"openvino": "it cannot"}}
    machine = {"cpu": "CPU", "cpus": 2, "system": "Linux", "python": "3"}
    whole = {"machine": machine, "versions": {"nnefc": "1"}, "date": "today", "threads": [1], "networks": [network]}
    return whole | {"means": {what: means([network], what) for what in int8.FIGURES}}


def test_the_report() -> None:
    found = record()
    assert [found["means"][what]["zoo-1"] for what in ("ratio", "gain")] == pytest.approx([2.0, 3.0])
    text = int8.markdown(found)
    for wanted in (
        "CPU, 2 CPUs",
        "| net ",
        "2.00",
        "3.00",
        "99.5%",
        "30.0",
        "ratio zoo 2.00; to f32 zoo 3.00",
        "net: it cannot",
        "today",
    ):
        assert wanted in text


def test_samples_are_calls() -> None:
    samples = int8.drawn(parse_graph(NETWORK), 3)
    assert samples["x"].shape == (3, 1, 8, 6, 6)
    calls = list(feeds(samples))
    assert len(calls) == 3 and calls[1]["x"] is not None
    np.testing.assert_array_equal(calls[1]["x"], samples["x"][1])
    assert not np.array_equal(int8.drawn(parse_graph(NETWORK), 3, 1)["x"], samples["x"])


def test_rescaling_changes_no_function() -> None:
    model = zoo.filled("squeezenet1_1")
    changed = accuracy.rescaled(model, 3)
    weights = {t.name: t for t in model.graph.initializer}
    touched = [t.name for t in changed.graph.initializer if t.raw_data != weights[t.name].raw_data]
    assert len(touched) > 20
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    found = [onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x})[0] for m in (model, changed)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5 * np.abs(found[0]).max())


def test_what_was_quantized_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "QUANTIZED", tmp_path / "kept")
    onnx.save(zoo.filled("lenet1"), tmp_path / "lenet1.onnx")
    samples = {"x": np.random.default_rng(0).standard_normal((2, 1, 1, 28, 28)).astype(np.float32)}
    path = quantized.quantized(tmp_path / "lenet1.onnx", "ort-minmax", samples)
    kinds = [n.op_type for n in onnx.load(path).graph.node]
    assert kinds.count("Conv") and "QuantizeLinear" in kinds and "DequantizeLinear" in kinds
    monkeypatch.setattr(subprocess, "run", None)
    assert quantized.quantized(tmp_path / "lenet1.onnx", "ort-minmax", samples) == path


def test_what_cannot_be_quantized_is_said_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "QUANTIZED", tmp_path / "kept")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    for _ in range(2):
        with pytest.raises(UnsupportedError, match=r"ort-minmax cannot quantize bad\.onnx"):
            quantized.quantized(tmp_path / "bad.onnx", "ort-minmax", {"x": np.zeros((1, 1), np.float32)})
        monkeypatch.setattr(subprocess, "run", None)


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "FILLED", tmp_path / "zoo")
    monkeypatch.setattr(int8, "PEERS", {})
    options = ["--int8", "--seconds", "0.02", "--threads", "1,2", "--output", str(tmp_path)]
    assert bench_main.main(["lenet1", *options]) == 0
    (network,) = json.loads((tmp_path / "int8.json").read_text())["networks"]
    assert network["integer"] > 0.99 and network["int8_weights"] < network["f32_weights"]
    assert [run["threads"] for run in network["runs"]] == [1, 2]
    assert all(run["engines"]["int8"]["snr"] > 20 and run["ratio"] is None for run in network["runs"])
    assert "lenet1" in (tmp_path / "int8.md").read_text() and "lenet1" in capsys.readouterr().out


@pytest.mark.conformance
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", accuracy.subjects(Path()))
def test_int8_is_as_exact_as_that_of_others(name: str, shared: Path) -> None:
    """At default settings, calibrated on the same samples and judged on others."""
    needed = ["nncf", "openvino", "sklearn", "PIL", *["efficientnet_lite_pytorch"] * (name == "efficientnet_lite0")]
    if not all(map(importlib.util.find_spec, needed)):
        skip("int8 beside ONNX Runtime's and NNCF's")
    found = accuracy.judged(accuracy.subjects(shared)[name](), accuracy.CALIBRATE, accuracy.JUDGE)
    assert set(found) == {"nnefc", *accuracy.KINDS}
    assert found["nnefc"] >= max(found.values())
