"""``nnefc bench``, ``nnefc profile`` and ``show --after select``: what they print and write, and their errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bad_files import DATA, folder, header
from test_commands import refused


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear layer with its weights, in a folder."""
    return folder(header() + DATA)(tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="module")
def compiled(model: Path, guarded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "linear"
    assert guarded("compile", model, "-o", path).code == 0
    return path


class TestBench:
    def test_a_model_and_a_folder(self, guarded, model: Path, compiled: Path) -> None:
        for path in (model, compiled):
            reply = guarded("bench", path, "--seconds", 0.05, "--threads", 1)
            assert (reply.code, reply.err) == (0, "")
            assert "median ms" in reply.out and "nnefc" in reply.out and "ratio" in reply.out

    def test_json_and_runs(self, guarded, model: Path, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.ones((1, 4), np.float32))
        given = ("--input", f"x={tmp_path / 'x.npy'}")
        result = guarded("bench", model, "--seconds", 0.01, "--runs", 40, "--json", *given).json()
        (ours,) = result["engines"]
        assert ours["calls"] >= 40 and 0 < ours["min"] <= ours["median"] <= ours["p90"] and ours["ratio"] == 1.0
        assert result["machine"]["cpus"] >= 1

    def test_a_peer(self, guarded, model: Path) -> None:
        reply = guarded("bench", model, "--seconds", 0.05, "--threads", 1, "--compare", "ort")
        assert (reply.code, reply.err) == (0, "") and "ONNX Runtime" in reply.out

    def test_errors(self, guarded, model: Path, compiled: Path, tmp_path: Path) -> None:
        refused(guarded("bench", model, "--compare", "tvm"), 2, "no peer 'tvm'", "ort, openvino, tract")
        refused(guarded("bench", model, "--compare", "ort,ort"), 2, "twice")
        refused(guarded("bench", tmp_path / "absent"), 3, "absent")
        refused(guarded("bench", model, "--input", "z=z.npy"), 2, "'z'")
        refused(guarded("bench", compiled, "--shape", "x=2,4"), 2, "--shape")
        for name, value in (("--seconds", "0"), ("--seconds", "x"), ("--threads", "0"), ("--runs", "-1")):
            reply = guarded("bench", model, name, value)
            assert reply.code == 2 and name in reply.err
        refused(guarded("bench", compiled, "--compare", "ort"), 2, "compiled folder")

    def test_a_peer_that_is_not_installed(self, cli, model: Path, tmp_path: Path) -> None:
        hiding = tmp_path / "sitecustomize.py"
        hiding.write_text(
            "import importlib.util as u\nfind = u.find_spec\n"
            "u.find_spec = lambda name, *rest: None if name == 'openvino' else find(name, *rest)\n"
        )
        root = Path(__file__).resolve().parents[2]
        reply = cli("bench", model, "--compare", "openvino", PYTHONPATH=f"{tmp_path}:{root}")
        refused(reply, 4, "OpenVINO is not installed: pip install openvino")


class TestProfile:
    def test_table(self, guarded, model: Path) -> None:
        reply = guarded("profile", model, "--seconds", 0.05, "--threads", 1)
        assert (reply.code, reply.err) == (0, "")
        for wanted in ("layer", "GFLOP/s", "of possible", "measured peaks", "1 thread", "contract"):
            assert wanted in reply.out

    def test_files_and_json(self, guarded, model: Path, tmp_path: Path) -> None:
        files = ("--html", tmp_path / "p.html", "--svg", tmp_path / "p.svg")
        reply = guarded("profile", model, "--seconds", 0.02, "--json", "--top", 1, *files)
        result = reply.json()
        assert reply.code == 0 and result["kernels"][0]["names"] and result["peaks"]["gflops"] > 0
        assert (tmp_path / "p.html").read_text().startswith("<!DOCTYPE html>")
        assert (tmp_path / "p.svg").read_text().startswith("<svg ")
        assert json.dumps(result["kernels"][0]["title"]) in (tmp_path / "p.html").read_text()

    def test_errors(self, guarded, model: Path, compiled: Path, tmp_path: Path) -> None:
        refused(guarded("profile", compiled), 2, "compiled folder")
        refused(guarded("profile", model, "--html", tmp_path / "no" / "p.html"), 2, "no folder")
        refused(guarded("profile", model, "--top", "-1"), 2, "--top")
        refused(guarded("profile", tmp_path / "absent"), 3, "absent")
        assert guarded("profile", model, "--seconds", "nan").code == 2


class TestSelect:
    def test_the_choice_is_shown(self, guarded, model: Path) -> None:
        reply = guarded("show", model, "--after", "select")
        assert (reply.code, reply.err) == (0, "")
        for wanted in ("plan G for ", "launches 1", " = contract(", "by contract ", "1 unit", "expected ", "GB/s"):
            assert wanted in reply.out
        assert guarded("show", model, "--after", "select", "--json").json() == {"after": "select", "text": reply.out}

    def test_for_size(self, guarded, tmp_path: Path) -> None:
        wide = "w = constant(shape = [64, 64, 3, 3], value = [0.5]); y = conv(x, w)"
        text = f"version 1.0;\ngraph Wide(x) -> (y) {{ x = external(shape = [1, 64, 28, 28]); {wide}; }}\n"
        (tmp_path / "graph.nnef").write_text(text)
        speed, size = (guarded("show", tmp_path, "--after", "select", "--optimize", o).out for o in ("speed", "size"))
        assert "by winograd F4 " in speed and "by contract " in size and "winograd" not in size
        results = [
            guarded("compile", tmp_path, "-o", tmp_path / o, "--optimize", o, "--json") for o in ("speed", "size")
        ]
        sizes = [r.json()["weights_bytes"] for r in results]
        assert sizes[1] == 64 * 64 * 9 * 4 < sizes[0] == 64 * 64 * 36 * 4
        assert guarded("compile", tmp_path, "-o", tmp_path / "x", "--optimize", "beauty").code == 2

    def test_for_another_target(self, guarded, model: Path) -> None:
        arm = ("--target", "aarch64-unknown-linux-gnu", "--cpu", "cortex-a72")
        reply = guarded("show", model, "--after", "select", *arm)
        assert reply.code == 0 and "aarch64-unknown-linux-gnu:cortex-a72" in reply.out and "x4 f32" in reply.out
        for arguments in (("--cpu", "cortex-a72"), ("--optimize", "size"), ("--after", "fuse", "--target", "x")):
            refused(guarded("show", model, *arguments), 2, "--after select")
        refused(guarded("show", model, "--after", "select", "--cpu", "znver99"), 4, "znver99")
