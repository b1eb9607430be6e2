"""Whole networks as they run: any number of threads gives the same bits; a compiled folder starts fast and small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import nnefc
from bench import zoo

MEASURE = """
import json, os, sys, time
import numpy

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024

engine, path = sys.argv[1:]
x = numpy.zeros((1, 3, 224, 224), numpy.float32)
before, times = peak(), [time.process_time()]
if engine == "nnefc":
    sys.path.insert(0, os.path.dirname(path))
    package = __import__(os.path.basename(path))
    package.model.threads = 1
    call = lambda: package(x)
else:
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    call = lambda: session.run(None, {name: x})
for _ in range(8):
    call()
    times.append(time.process_time())
later = min(b - a for a, b in zip(times[1:], times[2:]))
print(json.dumps({"first": times[1] - times[0], "later": later, "peak": peak(), "before": before}))
"""


def network(folder: Path, name: str) -> Path:
    """A file of a network of the zoo with weights."""
    path = folder / f"{name}.onnx"
    onnx.save(zoo.filled(name), path)
    return path


def measured(engine: str, path: Path) -> dict[str, float]:
    """Seconds of CPU and bytes of a fresh process that loads a network and runs it."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, engine, str(path)],
        env=os.environ | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


HEAVY = ("mobilenet_v3_small", "squeezenet1_1", "resnet18", "shufflenet_v2_x1_0")


@pytest.mark.parametrize("name", ["lenet1", "dnn", *(pytest.param(n, marks=pytest.mark.conformance) for n in HEAVY)])
def test_any_number_of_threads_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    model = nnefc.compile(network(tmp_path, name), threads=1)
    x = np.random.default_rng(1).standard_normal(model.inputs[0].shape).astype(np.float32)
    alone = model(x)
    for threads in (2, 3, 5):
        model.threads = threads
        for _ in range(3):
            np.testing.assert_array_equal(model(x), alone)


@pytest.mark.conformance
def test_a_folder_of_resnet50_starts_fast_and_takes_less_memory_than_a_runtime(tmp_path: Path) -> None:
    source, folder = network(tmp_path, "resnet50"), tmp_path / "compiled"
    nnefc.compile(source).save(folder)
    runs = [measured("nnefc", folder) for _ in range(5)]
    assert min(run["first"] - 1.2 * run["later"] for run in runs) < 0.05
    manifest = json.loads((folder / "manifest.json").read_text())
    stored = manifest["files"]["weights.bin"]["size"]
    arena = max(entry["arena"] for entry in manifest["entries"])
    assert max(run["peak"] - run["before"] for run in runs) < 1.05 * (stored + arena) + (16 << 20)
    assert max(run["peak"] for run in runs) <= measured("onnxruntime", source)["peak"]
