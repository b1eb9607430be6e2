"""Trained networks on real digits: what 8 bits cost, and what a calibration of 10,000 images takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mnist import digits

import nnefc
from nnefc.quant import quantize

ROOT = Path(__file__).resolve().parents[2]
ALLOWED_POINTS, ALLOWED_BYTES = 0.1, 300 << 20
NETWORKS = {
    "mnist_convsmall/mnist_convsmall.nnef.tgz": 1 / 255,
    "mnist_cntk/mnist_cntk.onnx": 1.0,
}
"""Trained networks, and what their pixels are multiplied by."""


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    return digits(tmp_path_factory.mktemp("mnist"))


def right(model: nnefc.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose label the model gives the highest score, in per cent."""
    hits = sum(int(np.argmax(model(image[None]))) == label for image, label in zip(images, labels, strict=True))
    return 100 * hits / len(labels)


@pytest.mark.parametrize("name", NETWORKS)
def test_int8_loses_a_tenth_of_a_point_at_most(name: str, labelled, shared: Path, tell) -> None:
    """With default settings, calibrated with the first 500 images, on all others."""
    images, labels = labelled[0] * np.float32(NETWORKS[name]), labelled[1]
    graph = nnefc.load(shared / "models" / name)
    coded = quantize(graph, images[:500])
    notes: list[str] = []
    before, after = nnefc.compile(graph), nnefc.compile(coded, execution="integer", notes=notes)
    assert notes == []
    scores = [right(model, images[500:], labels[500:]) for model in (before, after)]
    tell(f"{name}: {scores[0]:.2f} % of {len(labels) - 500} digits right in fp32, {scores[1]:.2f} % in int8")
    assert scores[1] >= scores[0] - ALLOWED_POINTS


MEASURE = """
import json, sys
import nnefc
from nnefc.quant import calibrate, prepare

def memory(what):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(what))

graph = prepare(nnefc.load(sys.argv[1]))
model = nnefc.compile(graph, threads=1)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak is counted anew
before = memory("VmRSS")
calls = calibrate(graph, sys.argv[2], threads=1).calls
print(json.dumps([calls, memory("VmHWM") - before]))
"""


@pytest.mark.parametrize("name", NETWORKS)
def test_memory_does_not_grow_with_the_number_of_images(name: str, shared: Path, tmp_path: Path, tell) -> None:
    """10,000 images take less than 300 MB above the compiled model, and hardly more than a tenth of them."""
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 1, 28, 28), np.uint8)
    images = pixels * np.float32(NETWORKS[name])
    taken = {}
    for count in (1000, 10_000):
        path = tmp_path / f"{count}.npy"
        np.save(path, images[:count])
        command = [sys.executable, "-c", MEASURE, str(shared / "models" / name), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
        assert done.returncode == 0, done.stderr
        calls, taken[count] = json.loads(done.stdout)
        assert calls == count
    tell(f"{name}: calibration with 10,000 images takes {taken[10_000] / 1e6:.1f} MB above the model")
    assert taken[10_000] < ALLOWED_BYTES
    assert taken[10_000] < taken[1000] + (16 << 20)
