"""``nnefc study``: what it writes, and what it refuses before it writes anything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drawn_network import network
from layer_models import SMALL, drawn

import nnefc
from nnefc.cli import main
from nnefc.quant.diff import read_encodings

QUICK = ["--methods", "minmax", "--remedies", "--candidates", "1"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    graph = network(SMALL)
    nnefc.save(graph, tmp_path / "model.nnef.tgz")
    np.save(tmp_path / "x.npy", np.concatenate([s["x"] for s in drawn(graph, 8)]))
    np.save(tmp_path / "labels.npy", np.arange(8) % 4)
    return tmp_path


def test_a_study_is_written(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(model / "model.nnef.tgz"), "--data", str(model / "x.npy"), *QUICK]
    out, applied = model / "study", model / "int8.nnef.tgz"
    labels = ["--labels", str(model / "labels.npy"), "--metric", "top1", "--loss", "1"]
    more = ["--emulate", "saturating-avx2", "-o", str(out), "--apply", str(applied)]
    assert main(["study", *given, *labels, *more]) == 0
    said = capsys.readouterr().out
    assert "on the front" in said and "Take “" in said and str(out / "report.html") in said
    assert sorted(p.name for p in out.iterdir()) == [
        "layers.csv",
        "methods.csv",
        "networks.csv",
        "report.html",
        "study.json",
    ]
    record = json.loads((out / "study.json").read_text())
    assert record["metric"]["name"] == "top1" and record["labels"]["count"] == 8 and record["seed"] is None
    assert record["measured"]["chosen"] in {"float", *(c["name"] for c in record["candidates"])}
    assert nnefc.load(applied).name == "small"
    quant = model / "int8.quant"
    assert main(["study", *given, "-o", str(out), "--apply", str(quant), "--loss", "0", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["metric"]["name"] == "snr" == json.loads((out / "study.json").read_text())["metric"]["name"]
    assert printed["float"]["snr"] == "inf"
    if printed["measured"]["chosen"] == "int8":
        assert set(read_encodings(quant)) == {"x", "r1", "f1", "r2", "w1", "w2", "w3"}
    assert not [p for p in model.iterdir() if p.name.startswith(".")]


def test_random_data_are_drawn_from_a_seed(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hashes = []
    for seed in ("1", "1", "2"):
        assert main(["study", str(model / "model.nnef.tgz"), "--random", "3", "--seed", seed, *QUICK, "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert record["seed"] == int(seed) and record["data"]["calls"] == 3
        hashes.append(record["data"]["sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ([], 2, "give either --data or --random"),
        (["--data", "x.npy", "--random", "3"], 2, "give either --data or --random"),
        (["--data", "none.npy"], 3, "no such file"),
        (["--data", "labels.npy"], 3, "labels.npy"),
        (["--data", "x.npy", "--metric", "top1"], 2, "--metric top1 needs --labels"),
        (["--data", "x.npy", "--metric", "top1", "--labels", "none.npy"], 3, "none.npy"),
        (["--data", "x.npy", "--metric", "top1", "--labels", "x.npy"], 3, "labels are whole numbers"),
        (["--data", "x.npy", "--metric", "top1", "--labels", "labels.npy", "--test-samples", "3"], 3, "8 labels for 3"),
        (["--data", "x.npy", "--metric", "f1"], 3, "there is no metric 'f1'"),
        (["--data", "x.npy", "--metric", "none.py:f"], 3, "no such file to take a metric from"),
        (["--data", "x.npy", "--metric", "bad.py:f"], 3, "cannot be run: SyntaxError"),
        (["--data", "x.npy", "--exclude", "l9"], 3, "fits 'l9'"),
        (["--data", "x.npy", "--only", "l9"], 3, "fits 'l9'"),
        (["--data", "x.npy", "--method", "mse", "--methods", "mse"], 2, "both say how ranges are found"),
        (["--data", "x.npy", "--seed", "-1"], 2, "--seed must not be negative"),
        (["--data", "x.npy", "--recipe", "none.toml"], 3, "none.toml"),
        (["--data", "x.npy", "--bits", "40"], 2, "40"),
        (["--data", "x.npy", "--apply", "no/where.nnef.tgz"], 2, "there is no folder"),
        (["--data", "x.npy", "-o", "x.npy"], 2, "exists and is no folder"),
        (["--data", "x.npy", "-o", "."], 2, "is no part of a study"),
    ],
)
def test_what_does_not_fit_is_refused(
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(model)
    (model / "bad.py").write_text("def f(:")
    before = sorted(p.name for p in model.rglob("*"))
    extra = [] if "-o" in given else ["-o", "study"]
    methods = [] if "--methods" in given else ["--methods", "minmax"] if "--method" not in given else []
    assert main(["study", "model.nnef.tgz", *given, *methods, *extra]) == code
    assert message in capsys.readouterr().err
    assert [n for n in sorted(p.name for p in model.rglob("*")) if n not in before] == []


def test_remedies_of_a_single_quantization(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["quantize", str(model / "model.nnef.tgz"), "--data", str(model / "x.npy"), "--bits", "8", "-o"]
    written = {}
    for name, options in {
        "plain": ["--no-correct-bias"],
        "equalize": ["--equalize"],
        "mse": ["--weights", "mse", "--weight-bits", "4"],
        "adaround": ["--adaround", "--weight-bits", "4"],
        "correct": [],
    }.items():
        assert main([*given, str(model / f"{name}.nnef.tgz"), *options]) == 0
        written[name] = nnefc.load(model / f"{name}.nnef.tgz")
    assert len({hash(str({k: t.data.tobytes() for k, t in g.tensors.items()})) for g in written.values()}) == 5
    capsys.readouterr()
    only = [given[0], given[1], "-o", str(model / "none.nnef.tgz"), "--calibration", "ranges.json", "--adaround"]
    assert main(only) == 2 and "--adaround needs --data" in capsys.readouterr().err
    assert not (model / "none.nnef.tgz").exists()
