"""The study of a real network on real labelled data, from the command line to the page."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from mnist import digits

import nnefc
from nnefc.cli import main
from nnefc.quant.ranges import METHODS

MODEL = Path(__file__).resolve().parents[2] / "examples" / "models" / "mnist_convsmall.nnef.tgz"
CALIBRATION, TEST = 200, 2000


@pytest.mark.conformance
@pytest.mark.timeout(900)
def test_the_study_of_a_digit_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = digits(tmp_path)
    scaled = (images / 255).astype(np.float32)
    test = slice(CALIBRATION, CALIBRATION + TEST)
    np.save(tmp_path / "x.npy", scaled[:CALIBRATION])
    np.savez(tmp_path / "test.npz", external1=scaled[test])
    np.save(tmp_path / "labels.npy", labels[test])
    data = ["--data", str(tmp_path / "x.npy"), "--test", str(tmp_path / "test.npz")]
    judged = ["--labels", str(tmp_path / "labels.npy"), "--metric", "top1", "--emulate", "saturating-avx2"]
    applied = tmp_path / "chosen.nnef.tgz"
    start = time.perf_counter()
    assert main(["study", str(MODEL), *data, *judged, "-o", str(tmp_path / "study"), "--apply", str(applied)]) == 0
    assert time.perf_counter() - start < 600
    assert "Take “" in capsys.readouterr().out
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    assert len(METHODS) >= 5 and {t["method"] for t in record["trials"][: len(METHODS)]} == set(METHODS)
    assert [row["name"] for row in record["layers"]] == ["conv1", "conv2", "conv3", "linear1", "linear2"]
    assert len(record["candidates"]) >= 1 + 5 + 20
    exact, measured = record["float"]["metric"], record["measured"]
    points = {p["name"]: p for p in (record["float"], *record["candidates"], *measured["candidates"])}
    assert points[measured["chosen"]]["metric"] >= exact - 0.001 and exact > 0.95
    assert points["int8"]["metric"] >= exact - 0.001 and points["int8"]["bytes"] < points["float"]["bytes"] / 3.5
    assert measured["seconds"]["int8"] < measured["seconds"]["float"]
    (engine,) = record["emulated"]
    assert engine["snr"] < engine["exact_snr"] - 10 and engine["shares"]["conv2"] > 0.01
    model = nnefc.compile(applied, execution="integer")
    answers = np.stack([model(image[None]).argmax() for image in scaled[test]])
    assert np.mean(answers == labels[test]) == pytest.approx(points[measured["chosen"]]["metric"], abs=1e-9)
