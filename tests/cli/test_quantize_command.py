"""``nnefc quantize``: what it writes and prints, and what it refuses without writing anything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_commands import refused

import nnefc
from nnefc.formats.nnef import parse_graph
from nnefc.formats.nnef.tensor import tensor_of

TEXT = """version 1.0;

graph net(x, z) -> (y)
{
    x = external<scalar>(shape = [1, 2, 6, 6]);
    z = external<scalar>(shape = [1, 4]);
    w1 = variable<scalar>(shape = [4, 2, 3, 3], label = 'w1');
    c1 = conv(x, w1);
    r1 = relu(c1);
    m1 = mean_reduce(r1, axes = [2, 3]);
    f1 = reshape(m1, shape = [1, 4]);
    a1 = add(f1, z);
    s1 = softmax(a1);
    w2 = variable<scalar>(shape = [4, 3], label = 'w2');
    y = matmul(s1, w2);
}
"""
GENERATOR = np.random.default_rng(0)
X, Z = (GENERATOR.standard_normal(shape).astype(np.float32) for shape in ((7, 2, 6, 6), (7, 4)))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model ``net``, data for it, and data that do not fit."""
    folder = tmp_path_factory.mktemp("quantize")
    graph = parse_graph(TEXT)
    shapes = {"w1": (4, 2, 3, 3), "w2": (4, 3)}
    tensors = {n: tensor_of(GENERATOR.standard_normal(s).astype(np.float32)) for n, s in shapes.items()}
    nnefc.save(graph.replace(tensors=tensors), folder / "net.nnef.tgz")
    np.savez(folder / "data.npz", x=X, z=Z)
    np.save(folder / "x.npy", X)
    np.save(folder / "z.npy", Z)
    np.savez(folder / "nan.npz", x=np.where(np.arange(7)[:, None, None, None] == 4, np.nan, X).astype("f4"), z=Z)
    (folder / "recipe.toml").write_text('[default]\nmethod = "mse"\n[[rule]]\nop = "conv"\nscheme = "float"\n')
    (folder / "bad.toml").write_text('[[rule]]\nop = "conv"\n\nmethod = "magic"\n')
    (folder / "empty").mkdir()
    return folder


def test_what_is_written_is_valid_and_runs(guarded, files: Path, tmp_path: Path) -> None:
    for name in ("q.nnef.tgz", "q", "q.onnx"):
        reply = guarded("quantize", files / "net.nnef.tgz", "--data", files / "data.npz", "-o", tmp_path / name)
        assert (reply.code, reply.err) == (0, "")
        assert "seen in 7 calls, and 2 weights are coded" in reply.out
        assert "s1: softmax has no integer form" in reply.out
        assert name.endswith("onnx") or guarded("validate", tmp_path / name).code == 0
        inputs = [f"--input={k}={tmp_path / k}.npy" for k in "xz"]
        for k, array in (("x", X), ("z", Z)):
            np.save(tmp_path / f"{k}.npy", array[:1])
        reply = guarded("run", tmp_path / name, *inputs)
        assert (reply.code, reply.err) == (0, "")


def test_json_tells_all(guarded, files: Path, tmp_path: Path) -> None:
    given = (f"x={files / 'x.npy'}", f"z={files / 'z.npy'}")
    reply = guarded("quantize", files / "net.nnef.tgz", "--data", *given, "-o", tmp_path / "q.nnef", "--json")
    result = reply.json()
    rows = {t["name"]: t for t in result["tensors"]}
    assert set(rows) == {"x", "r1", "s1", "w1", "w2"}
    assert rows["x"]["observed"] == [float(X.min()), float(X.max())]
    assert rows["w1"]["bits"] == 8 and len(rows["w1"]["scale"]) == 4
    assert result["calls"] == 7
    # Both layers get a bias.
    assert result["parameter_bytes"] == {"before": 4 * 84, "after": 84 + 4 * (4 + 3)}
    assert {"name": "s1", "reason": "softmax has no integer form"} in result["floats"]


def test_settings_reach_the_file(guarded, files: Path, tmp_path: Path) -> None:
    options = "--scheme int4w --method percentile --percentile 99 --bits 7 --per-tensor --symmetric --signed".split()
    base = ("quantize", files / "net.nnef.tgz", "--data", files / "data.npz", "-o", tmp_path / "q.nnef")
    assert guarded(*base, *options, "--samples", 3).code == 0
    text = (tmp_path / "q.nnef" / "graph.quant").read_text()
    (x,) = [line for line in text.splitlines() if line.startswith('"x"')]
    assert "bits = 7, signed = true, symmetric = true" in x and "zero_point = 0" in x
    (w,) = [line for line in text.splitlines() if line.startswith('"w1"')]
    assert "bits = 4" in w and "[" not in w
    assert guarded(*base, "--exclude", "c?", "--json").json()["floats"][0] == {"name": "c1", "reason": "kept float"}
    assert guarded(*base, "--recipe", files / "recipe.toml").code == 0
    assert '"w1"' not in (tmp_path / "q.nnef" / "graph.quant").read_text()


def test_calibrations_are_kept_merged_and_used(guarded, files: Path, tmp_path: Path) -> None:
    model, whole, half = files / "net.nnef.tgz", tmp_path / "whole.json", tmp_path / "half.json"
    assert guarded("quantize", model, "--data", files / "data.npz", "--save-calibration", whole).code == 0
    reply = guarded("quantize", model, "--data", files / "data.npz", "--samples", 2, "--save-calibration", half)
    assert f"{half}: seen in 2 calls" in reply.out
    merged = tmp_path / "merged.json"
    assert guarded("quantize", model, "--calibration", whole, half, "--save-calibration", merged).code == 0
    assert json.loads(merged.read_text())["calls"] == 9
    for name, source in (("a.nnef", ("--data", files / "data.npz")), ("b.nnef", ("--calibration", whole))):
        assert guarded("quantize", model, *source, "-o", tmp_path / name).code == 0
    assert (tmp_path / "a.nnef" / "graph.quant").read_text() == (tmp_path / "b.nnef" / "graph.quant").read_text()


BAD: dict[str, tuple[list[str], int, list[str]]] = {
    "no data": ([], 3, ["there is neither data nor a calibration"]),
    "missing": (["--data", "absent.npz"], 3, ["absent.npz", "there is no such file or folder"]),
    "empty": (["--data", "empty"], 3, ["there are no .npy or .npz files in this folder"]),
    "one of two inputs": (["--data", "x.npy"], 3, ["one array for 2 inputs"]),
    "only one named": (["--data", "x=x.npy"], 3, ["there is nothing for the input 'z'"]),
    "named and not": (["--data", "x=x.npy", "z.npy"], 2, ["either a NAME=PATH for each input"]),
    "another shape": (["--data", "x=z.npy", "z=z.npy"], 3, ["'x' has the shape [7, 4]", "float32[1, 2, 6, 6]"]),
    "NaN": (["--data", "nan.npz"], 3, ["nan.npz", "'x' holds NaN in sample 5"]),
    "no data, no archive": (["--data", "recipe.toml"], 3, ["data are .npy or .npz files"]),
    "bits": (["--data", "data.npz", "--bits", "17"], 2, ["--bits: 17 is no whole number from 2 to 16"]),
    "weight bits": (["--data", "data.npz", "--weight-bits", "1"], 2, ["--weight-bits: 1 is no"]),
    "percentile": (["--data", "data.npz", "--percentile", "101"], 2, ["--percentile: 101.0"]),
    "an unknown name": (["--data", "data.npz", "--exclude", "conv9"], 3, ["that fits 'conv9'; did you mean 'conv'"]),
    "a bad recipe": (["--data", "data.npz", "--recipe", "bad.toml"], 3, ["bad.toml:4", "there is no 'magic'"]),
    "no recipe": (["--data", "data.npz", "--recipe", "no.toml"], 3, ["no.toml"]),
    "no calibration": (["--calibration", "recipe.toml"], 3, ["recipe.toml", "no calibration file"]),
    "both": (["--data", "data.npz", "--calibration", "c.json"], 2, ["--data and --calibration"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused_writes_nothing(case: str, guarded, files: Path, tmp_path: Path) -> None:
    arguments, code, said = BAD[case]
    names = {p.name for p in files.iterdir()} | {"absent.npz", "no.toml", "c.json"}

    def placed(argument: str) -> str:
        head, equals, tail = argument.rpartition("=")
        return f"{head}{equals}{files / tail}" if tail in names else argument

    output, kept = tmp_path / "q.nnef.tgz", tmp_path / "kept.json"
    more = [] if "--calibration" in arguments or not arguments else ["--save-calibration", kept]
    reply = guarded("quantize", files / "net.nnef.tgz", *map(placed, arguments), "-o", output, *more)
    refused(reply, code, *said)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused_first(guarded, files: Path, tmp_path: Path) -> None:
    base = ("quantize", files / "net.nnef.tgz", "--data", files / "data.npz")
    refused(guarded(*base), 2, "say -o OUT or --save-calibration")
    refused(guarded(*base, "-o", tmp_path / "q.pt"), 2, "does not tell a format")
    refused(guarded(*base, "-o", tmp_path / "none" / "q.onnx"), 2, "there is no folder")
    refused(guarded(*base, "-o", tmp_path / "q.onnx", "--scheme", "int3"), 2, "--scheme")


def test_calibrations_of_another_model_are_refused(guarded, files: Path, tmp_path: Path) -> None:
    kept = tmp_path / "c.json"
    guarded("quantize", files / "net.nnef.tgz", "--data", files / "data.npz", "--save-calibration", kept)
    record = json.loads(kept.read_text())
    kept.write_text(json.dumps(record | {"model": "0" * 64}))
    output = tmp_path / "q.onnx"
    refused(guarded("quantize", files / "net.nnef.tgz", "--calibration", kept, "-o", output), 3, "of another model")
    assert not output.exists()
