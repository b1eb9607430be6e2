"""Reading a network of 550 MB: memory and time, against ONNX Runtime in the same run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import pytest

from nnefc.formats.onnx import load
from nnefc.ops.evaluate import evaluate

MEASURE = """
import json, re, sys, threading, time
from pathlib import Path

peak, done = 0, threading.Event()

def watch():
    global peak
    while not done.is_set():
        peak = max(peak, int(re.search(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)
        time.sleep(0.002)

if sys.argv[1] == "nnefc":
    from nnefc.formats.onnx import load as read
else:
    from onnxruntime import InferenceSession
    read = lambda path: InferenceSession(path, providers=["CPUExecutionProvider"])
watcher = threading.Thread(target=watch)
watcher.start()
start = time.perf_counter()
kept = read(sys.argv[2])
seconds = time.perf_counter() - start
done.set()
watcher.join()
print(json.dumps({"peak": peak, "seconds": seconds}))
"""


def measured(reader: str, path: Path) -> dict[str, float]:
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", MEASURE, reader, str(path)]
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


@pytest.mark.conformance
def test_vgg16_is_read_without_copies(shared: Path, tmp_path: Path, tell: Callable[[str], None]) -> None:
    path = tmp_path / "vgg16.onnx"
    subprocess.run([sys.executable, str(shared / "tools" / "zoo.py"), "vgg16", str(path)], check=True)
    size = path.stat().st_size
    assert size > 500 << 20
    ours, theirs = measured("nnefc", path), measured("onnxruntime", path)
    tell(
        f"reading {size >> 20} MB: nnefc {ours['seconds']:.2f} s with {ours['peak'] >> 20} MB of its own, ONNX Runtime "
        f"{theirs['seconds']:.2f} s with {theirs['peak'] >> 20} MB"
    )
    assert ours["peak"] <= 1.3 * size
    assert ours["seconds"] <= 2 * theirs["seconds"]


@pytest.mark.conformance
def test_external_data_beyond_two_gigabytes_is_read_without_copies(tmp_path: Path) -> None:
    """The last row of a table of 2.25 GB (a sparse file); a message of protocol buffers ends at 2 GB."""
    rows, width = 9 << 16, 1024
    size = 4 * rows * width
    with open(tmp_path / "table.bin", "wb") as file:
        file.seek(size - 4 * width)
        file.write(np.arange(width, dtype=np.float32).tobytes())
    table = onnx.TensorProto(name="table", data_type=onnx.TensorProto.FLOAT, dims=[rows, width])
    table.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "table.bin"), ("offset", "0"), ("length", str(size))):
        table.external_data.add(key=key, value=value)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gather", ["table", "i"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("i", onnx.TensorProto.INT64, [2])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, width])],
        [table],
    )
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)]), path)
    assert measured("nnefc", path)["peak"] < 0.1 * size
    found = evaluate(load(path), {"i": np.array([0, rows - 1])})["y"]
    assert np.array_equal(found, [np.zeros(width), np.arange(width)])
