"""tract, where it is installed: it reads the NNEF that we write, and gives what we give."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skips import skip
from test_tract_exports import SYMBOLS, assert_close, graph_of, recorded
from tract_models import EXPORTS, answers

from nnefc.formats.nnef import parse_graph, save
from nnefc.ir.graph import Graph

if importlib.util.find_spec("tract") is None:
    skip("tract's own engine")
WORKER = Path(__file__).with_name("tract_worker.py")
AS_EXPORTED = ("attention", "cnn", "deconv", "dyncnn", "gather", "grid", "scatter", "topk", "up", "upcubic")
SOURCES = """
x = external(shape = [1, 4, 8, 8]);
w = variable(shape = [6, 4, 3, 3], label = 'w');
b = variable(shape = [1, 6], label = 'b');
"""
PLAIN = {
    "conv": "y = relu(conv(x, w, b, padding = [(1, 1), (1, 1)], stride = [2, 2]));",
    "pool": "y = avg_pool(x, size = [1, 1, 2, 2], padding = [(0, 0), (0, 0), (0, 1), (1, 0)], border = 'ignore');",
    "softmax": "y = softmax(reshape(x, shape = [4, 64]), axes = [1]);",
    "moves": "y = transpose(slice(concat([x, x], axis = 1), axes = [1], begin = [2], end = [7]), axes = [0, 2, 3, 1]);",
    "reduce": "y = mean_reduce(x, axes = [2, 3]) + max_reduce(x * 2.0, axes = [2, 3]);",
    "elementwise": "y = select(x > 0.0, tanh(x), exp(x) - sqrt(abs(x)));",
    "matmul": "y = matmul(x, x, transposeB = true);",
}


def run(folder: Path, model: Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What tract gives."""
    np.savez(folder / "inputs.npz", **inputs)
    command = [sys.executable, str(WORKER), str(model), str(folder / "inputs.npz"), str(folder / "outputs.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "outputs.npz") as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]


@pytest.mark.parametrize("name", AS_EXPORTED)
def test_exports_mean_what_they_mean_in_tract(name: str, tmp_path: Path) -> None:
    inputs = recorded(EXPORTS / f"{name}.npz", "x")
    ours = answers(graph_of(name), inputs)
    for got, wanted in zip(ours, run(tmp_path, EXPORTS / f"{name}.nnef.tgz", inputs), strict=True):
        assert_close(got, wanted)


def plain(body: str) -> tuple[Graph, dict[str, np.ndarray]]:
    """A graph with stored values, and an input for it."""
    from nnefc.formats.nnef.dialect import TOLERANT
    from nnefc.ir.graph import Tensor

    draw = np.random.default_rng(1)
    stored = {"w": draw.normal(size=(6, 4, 3, 3)), "b": draw.normal(size=(1, 6))}
    text = f"version 1.0;\ngraph g(x) -> (y)\n{{{SOURCES}{body}\n}}\n"
    graph = parse_graph(
        text, dialect=TOLERANT, read_tensor=lambda label, _: Tensor(stored[label].astype("f4"), "float", 32)
    )
    return graph, {"x": draw.normal(size=(1, 4, 8, 8)).astype("f4")}


@pytest.mark.parametrize("name", PLAIN)
def test_written_nnef(name: str, tmp_path: Path) -> None:
    graph, inputs = plain(PLAIN[name])
    save(graph, tmp_path / "model.nnef.tgz")
    (got,) = run(tmp_path, tmp_path / "model.nnef.tgz", inputs)
    assert_close(got, answers(graph, inputs)[0])


@pytest.mark.parametrize("name", ["dyncnn", "masked", "trilu", "unfold"])
def test_exports_written_again(name: str, tmp_path: Path) -> None:
    inputs = recorded(EXPORTS / f"{name}.npz", "x")
    graph = graph_of(name)
    assert bool(SYMBOLS.get(name)) == (name == "dyncnn")
    save(graph, tmp_path / "model.nnef.tgz")
    for got, wanted in zip(run(tmp_path, tmp_path / "model.nnef.tgz", inputs), answers(graph, inputs), strict=True):
        assert_close(got, wanted)
