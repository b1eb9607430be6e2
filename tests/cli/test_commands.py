"""Each command on small models: what it prints, what it writes, and its exit code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bad_files import DATA, TEXT, folder, header
from harness import ROOT, Reply

TOLERATED = "version 1.0;\ngraph G(x) -> (y) { x = external(shape = [1, 4]); y = reshape(x, [4, 1]); }\n"
TWO = (
    "version 1.0;\ngraph Two(a, i) -> (s, picked)\n{\n    a = external<scalar>(shape = [4, 3]);\n"
    "    i = external<integer>(shape = [2]);\n    s = mul(a, 2.0);\n    picked = gather(a, i);\n}\n"
)
X = np.array([[1, 2, 3, 4]], np.float32)
W = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear layer with its weights, in a folder."""
    return folder(header() + DATA)(tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="module")
def x_npy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "x.npy"
    np.save(path, X)
    return path


@pytest.fixture(scope="module")
def compiled(model: Path, guarded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The linear layer, compiled by the command line."""
    path = tmp_path_factory.mktemp("compiled") / "linear"
    reply = guarded("compile", model, "-o", path)
    assert reply.code == 0, reply.err
    return path


def text_model(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "graph.nnef"
    path.write_text(text)
    return path


def refused(reply: Reply, code: int, *fragments: str) -> None:
    assert reply.code == code, (reply.code, reply.out, reply.err)
    assert "error: " in reply.err and "Traceback" not in reply.err
    for fragment in fragments:
        assert fragment in reply.err


class TestValidate:
    def test_a_good_model(self, guarded, model: Path) -> None:
        reply = guarded("validate", model)
        assert (reply.code, reply.err) == (0, "")
        assert "valid" in reply.out and "x: f32[1,4]" in reply.out and "y: f32[1,3]" in reply.out
        result = guarded("validate", model, "--json").json()
        assert result["valid"] and result["inputs"] == [{"name": "x", "dtype": "f32", "shape": [1, 4]}]
        assert result["outputs"] == [{"name": "y", "dtype": "f32", "shape": [1, 3]}]

    def test_strict_is_the_default_here(self, guarded, tmp_path: Path) -> None:
        path = text_model(tmp_path, TOLERATED)
        refused(guarded("validate", path), 3, f"{path}:2:")
        reply = guarded("validate", path, "--no-strict")
        assert reply.code == 0 and "note: " in reply.err
        assert len(guarded("validate", path, "--no-strict", "--json").json()["notes"]) == 1

    def test_an_error_as_json(self, guarded, tmp_path: Path) -> None:
        path = text_model(tmp_path, TOLERATED.replace("reshape", "rehsape"))
        reply = guarded("validate", path, "--json")
        error = reply.json()["error"]
        assert reply.code == reply.json()["exit_code"] == 3
        assert (error["type"], error["file"], error["line"]) == ("InvalidModelError", str(path), 2)
        assert error["column"] > 0 and "rehsape" in error["message"]

    @pytest.mark.parametrize("command", ["show", "inspect", "profile", "convert", "compare"])
    def test_a_compiled_folder_is_no_model(self, guarded, compiled: Path, command: str) -> None:
        more = {"convert": ["net.onnx"], "compare": ["reference"]}.get(command, [])
        refused(guarded(command, compiled, *more), 2, "is a compiled folder", f"{command} needs the model itself")

    def test_shapes(self, guarded, model: Path) -> None:
        reply = guarded("validate", model, "--shape", "x=7,4")
        assert reply.code == 0 and "y: f32[7,3]" in reply.out
        refused(guarded("validate", model, "--shape", "x=7,5"), 3, "graph.nnef:6:")
        refused(guarded("validate", model, "--shape", "z=7,5"), 3, "'z'", "x")
        refused(guarded("validate", model, "--shape", "x=1,4", "--shape", "x=2,4"), 2, "x=1,4 and x=2,4", "compile")

    def test_a_compiled_folder(self, guarded, compiled: Path, tmp_path: Path) -> None:
        assert guarded("validate", compiled).code == 0
        assert guarded("validate", compiled, "--json").json()["valid"]
        for name in ("weights.bin", "linear.so", "__init__.py", "manifest.json"):
            damaged = tmp_path / name.split(".")[0]
            shutil.copytree(compiled, damaged)
            content = bytearray((damaged / name).read_bytes())
            content[len(content) // 2] ^= 1
            (damaged / name).write_bytes(content)
            refused(guarded("validate", damaged), 3, name)


class TestShow:
    def test_what_prints_parses(self, guarded, model: Path, tmp_path: Path) -> None:
        shown = guarded("show", model)
        assert shown.code == 0 and "y: f32[1,3] = linear(x, w" in shown.out
        again = guarded("show", text_model(tmp_path, shown.out))
        assert (again.code, again.out) == (0, shown.out)

    def test_after_each_pass(self, guarded, model: Path) -> None:
        reply = guarded("show", model, "--after", "nonsense")
        refused(reply, 2, "nonsense", "load", "lower")
        names = reply.err.strip().rpartition(": ")[2].split(", ")
        assert len(names) > 2
        for name in names:
            shown = guarded("show", model, "--after", name)
            assert shown.code == 0 and "G" in shown.out
            assert guarded("show", model, "--after", name, "--json").json() == {"after": name, "text": shown.out}


class TestCompile:
    def test_sizes_are_told(self, guarded, model: Path, tmp_path: Path) -> None:
        text = guarded("compile", model, "-o", tmp_path / "net").out
        assert re.search(r"^library [\d.]+ kB, weights \d+ bytes, \d\.\d\d times the parameters$", text, re.MULTILINE)

    def test_what_is_written(self, compiled: Path) -> None:
        names = {p.name for p in compiled.iterdir()}
        assert {"__init__.py", "linear.so", "linear.h", "weights.bin", "manifest.json"} <= names

    def test_the_package_needs_numpy_alone(self, compiled: Path, tmp_path: Path) -> None:
        for name in ("numba", "llvmlite", "nnefc", "lark", "onnx", "rich"):
            (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} must not be imported')\n")
        code = (
            "import numpy, linear; x = numpy.array([[1, 2, 3, 4]], numpy.float32); y = linear(x)\n"
            "assert y.tolist() == [[20.0, 60.0, 100.0]], y\n"
        )
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{compiled.parent}"}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path)

    def test_json(self, guarded, model: Path, tmp_path: Path) -> None:
        reply = guarded("compile", model, "-o", tmp_path / "net", "--json")
        result = reply.json()
        assert reply.code == 0 and result["output"] == str(tmp_path / "net")
        assert result["files"]["weights.bin"] >= W.nbytes and result["seconds"] > 0
        assert result["weights_bytes"] == result["files"]["weights.bin"] and result["parameter_bytes"] == W.nbytes
        assert result["library_bytes"] == result["files"]["net.so"]
        ports = {"inputs": [{"name": "x", "dtype": "f32", "shape": [1, 4]}]}
        assert result["entries"] == [{**ports, "outputs": [{"name": "y", "dtype": "f32", "shape": [1, 3]}]}]

    def test_bytes_are_reproducible(self, guarded, model: Path, compiled: Path, tmp_path: Path) -> None:
        assert guarded("compile", model, "-o", tmp_path / "linear").code == 0
        for path in compiled.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.read_bytes() == (tmp_path / "linear" / path.relative_to(compiled)).read_bytes(), path

    def test_shape(self, guarded, model: Path, tmp_path: Path) -> None:
        assert guarded("compile", model, "-o", tmp_path / "wide", "--shape", "x=9,4").code == 0
        reply = guarded("run", tmp_path / "wide", "--random", 0, "--json")
        assert reply.json()["outputs"]["y"]["shape"] == [9, 3]

    def test_several_sets_of_shapes(self, guarded, model: Path, tmp_path: Path) -> None:
        folder = tmp_path / "wide"
        shapes = ("--shape", "x=1,4", "--shape", "x=9,4")
        reply = guarded("compile", model, "-o", folder, *shapes)
        assert reply.code == 0 and "takes (x: float32[9, 4]) -> (y: float32[9, 3])" in reply.out
        assert "takes (x: float32[9, 4]) -> (y: float32[9, 3])" in guarded("validate", folder).out
        entries = guarded("validate", folder, "--json").json()["entries"]
        assert [e["inputs"][0]["shape"] for e in entries] == [[1, 4], [9, 4]]
        for extent, options in ((1, ()), (9, ("--shape", "x=9,4"))):
            reply = guarded("run", folder, "--random", 0, *options, "--json")
            assert reply.json()["outputs"]["y"]["shape"] == [extent, 3]
        np.save(tmp_path / "x.npy", np.ones((9, 4), np.float32))
        np.savez(tmp_path / "x.npz", x=np.ones((9, 4), np.float32))
        for given in (f"x={tmp_path / 'x.npy'}", tmp_path / "x.npz"):
            assert guarded("run", folder, "--input", given, "--json").json()["outputs"]["y"]["shape"] == [9, 3]
        takes = "it takes (x: float32[1, 4]) or (x: float32[9, 4])"
        for shape in ("x=2,4", "z=9,4"):
            refused(guarded("run", folder, "--random", 0, "--shape", shape), 2, "--shape asks for", takes)
        np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
        refused(guarded("run", folder, "--input", f"x={tmp_path / 'x.npy'}"), 3, "arrays given", takes)

    def test_sets_of_shapes_that_do_not_go_together(self, guarded, model: Path, tmp_path: Path) -> None:
        arguments = ("compile", model, "-o", tmp_path / "wide", "--shape", "x=1,4", "--shape")
        refused(guarded(*arguments, "x=1,4"), 2, "two equal sets: x=1,4")
        refused(
            guarded(*arguments, "x=2,4", "--shape", "x=3,4", "--shape", "z=1", "--shape", "z=2"), 2, "'x' 3", "'z' 2"
        )
        refused(guarded(*arguments, "x=1,5"), 3, "graph.nnef:6:")
        assert not (tmp_path / "wide").exists()

    def test_another_machine(self, guarded, model: Path, tmp_path: Path) -> None:
        path = tmp_path / "arm"
        reply = guarded("compile", model, "-o", path, "--target", "aarch64-unknown-linux-gnu", "--cpu", "cortex-a72")
        assert reply.code == 0, reply.err
        assert "aarch64" in reply.out and guarded("validate", path).code == 0
        refused(guarded("run", path, "--random", 0), 4, "aarch64")

    @pytest.mark.parametrize(
        ("arguments", "fragments"),
        [
            (["--target", "z80-unknown-linux-gnu"], ["z80", "x86_64"]),
            (["--target", "aarch64-unknown-linux-gnu", "--cpu", "cortex-a00"], ["cortex-a00"]),
            (["--cpu", "znver99"], ["znver99"]),
            (["--cpu", "znver4+warp"], ["warp"]),
        ],
        ids=lambda value: " ".join(value),
    )
    def test_unsupported_targets(self, guarded, model: Path, tmp_path: Path, arguments: list, fragments: list) -> None:
        refused(guarded("compile", model, "-o", tmp_path / "net", *arguments), 4, *fragments)
        assert not (tmp_path / "net").exists()

    def test_outputs_that_cannot_be(self, guarded, model: Path, tmp_path: Path) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "precious.txt").write_text("mine")
        (tmp_path / "file").write_text("mine")
        for name in ("full", "file", "no/such/parent", "not-a-name", "numpy", "class"):
            refused(guarded("compile", model, "-o", tmp_path / name), 2, name.split("/")[0])
        assert (tmp_path / "full" / "precious.txt").read_text() == "mine"

    def test_a_package_is_replaced(self, guarded, model: Path, tmp_path: Path) -> None:
        for shape in ("x=2,4", "x=3,4"):
            assert guarded("compile", model, "-o", tmp_path / "net", "--shape", shape).code == 0
        assert guarded("run", tmp_path / "net", "--random", 0, "--json").json()["outputs"]["y"]["shape"] == [3, 3]

    def test_a_missing_tensor_file(self, guarded, tmp_path: Path) -> None:
        path = text_model(tmp_path, TEXT % "w")
        refused(guarded("compile", path, "-o", tmp_path / "net"), 3, "w")


class TestRun:
    def test_the_three_ways_agree(self, guarded, model: Path, compiled: Path, x_npy: Path, tmp_path: Path) -> None:
        for number, arguments in enumerate([[model], [compiled], [model, "--reference"]]):
            output = tmp_path / f"{number}.npz"
            reply = guarded("run", *arguments, "--input", f"x={x_npy}", "--output", output)
            assert reply.code == 0 and "y: float32[1, 3]  20 60 100" in reply.out and str(output) in reply.out
            with np.load(output) as stored:
                np.testing.assert_array_equal(stored["y"], X @ W.T)

    def test_json(self, guarded, compiled: Path, x_npy: Path) -> None:
        result = guarded("run", compiled, "--input", f"x={x_npy}", "--repeat", 3, "--json").json()
        y = {
            "dtype": "float32",
            "shape": [1, 3],
            "min": 20.0,
            "max": 100.0,
            "mean": 60.0,
            "values": [20.0, 60.0, 100.0],
        }
        assert result["outputs"] == {"y": y} and result["median_ms"] > 0

    def test_expected_answers(self, guarded, model: Path, tmp_path: Path) -> None:
        good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
        np.savez(good, x=X, y=X @ W.T)
        np.savez(bad, x=X, y=X @ W.T + np.array([0, 0, 0.02], np.float32))
        reply = guarded("run", model, "--input", good, "--expect", good)
        assert reply.code == 0 and "y: as expected" in reply.out
        reply = guarded("run", model, "--input", good, "--expect", bad)
        assert reply.code == 1 and "y: NOT as expected" in reply.out
        assert guarded("run", model, "--input", good, "--expect", bad, "--tolerance", "1e-3").code == 0
        np.savez(bad, x=X, z=X)
        refused(guarded("run", model, "--input", good, "--expect", bad), 2, "x, z", "y: f32[1,3]")

    def test_several_inputs_and_outputs(self, guarded, tmp_path: Path) -> None:
        path, data = text_model(tmp_path, TWO), tmp_path / "in.npz"
        a, i = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([2, 0])
        np.savez(data, a=a, i=i)
        for more in ([], ["--reference"]):
            outputs = guarded("run", path, "--input", data, "--json", *more).json()["outputs"]
            assert outputs["s"]["values"] == (a * 2).ravel().tolist()
            assert outputs["picked"]["values"] == a[i].ravel().tolist()
        np.savez(data, a=a, i=np.array([2, 4]))
        for more in ([], ["--reference"]):
            refused(guarded("run", path, "--input", data, *more), 3, "index")

    def test_random_inputs_repeat(self, guarded, model: Path) -> None:
        replies = [guarded("run", model, "--random", seed).out for seed in (1, 1, 2)]
        assert replies[0] == replies[1] != replies[2]

    def test_wrong_data(self, guarded, model: Path, compiled: Path, tmp_path: Path) -> None:
        np.save(tmp_path / "wide.npy", X.astype(np.float64))
        np.save(tmp_path / "long.npy", X.T)
        for what in (model, compiled):
            refused(guarded("run", what, "--input", f"x={tmp_path}/wide.npy"), 3, "float64", "float32")
            refused(guarded("run", what, "--input", f"x={tmp_path}/long.npy"), 3, "[4, 1]", "[1, 4]")
            refused(guarded("run", what, "--input", f"x={tmp_path}/absent.npy"), 3, "absent.npy")

    def test_wrong_use(self, guarded, model: Path, compiled: Path, x_npy: Path) -> None:
        refused(guarded("run", model), 2, "x: f32[1,4]")
        refused(guarded("run", model, "--input", f"q={x_npy}"), 2, "'q'", "x: f32[1,4]")
        refused(guarded("run", compiled, "--reference", "--random", 0), 2, "--reference")
        refused(guarded("run", compiled, "--fast-math", "--random", 0), 2, "--fast-math")
        refused(guarded("run", compiled, "--weights", "f16", "--random", 0), 2, "--weights")
        refused(guarded("run", compiled, "--precision", "bf16", "--random", 0), 2, "--precision")
        refused(guarded("run", model, "--reference", "--precision", "bf16", "--random", 0), 2, "f32 or f16")
        refused(guarded("run", model, "--precision", "f8", "--random", 0), 2, "'f8'", "bf16")
        refused(guarded("show", model, "--precision", "bf16"), 2, "--precision", "--after select")
        refused(guarded("run", compiled, "--shape", "x=2,4", "--random", 0), 2, "--shape")

    def test_an_output_that_cannot_be_written(self, guarded, model: Path, tmp_path: Path) -> None:
        refused(guarded("run", model, "--random", 0, "--output", tmp_path / "no" / "y.npz"), 4, "y.npz")


def test_no_linker(cli, model: Path, tmp_path: Path) -> None:
    """Where neither cc nor ziglang is to be had, the error says what to install."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['ziglang'] = None\n")
    reply = cli("compile", model, "-o", tmp_path / "net", PATH="/nowhere", PYTHONPATH=f"{tmp_path}:{ROOT}")
    refused(reply, 4, "cc", "ziglang")
