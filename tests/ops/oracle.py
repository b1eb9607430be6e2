"""Khronos' two NNEF interpreters as oracles, each in a process of its own, for the C++ one may abort.

``run("cpp" or "torch", cases)`` gives per case the outputs by name, or a string saying what the interpreter said.
As a script it is the worker process: ``oracle.py NAME FOLDER START``.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

Outcome = dict[str, np.ndarray] | str

# Compounds for which the C++ interpreter has no code of its own; it can run their parts.
COMPOUNDS = (
    "softabs moments max_pool_with_index rms_pool separable_conv separable_deconv local_response_normalization "
    "local_mean_normalization local_variance_normalization local_contrast_normalization l1_normalization "
    "l2_normalization batch_normalization prelu clamp nearest_downsample area_downsample nearest_upsample "
    "min_max_linear_quantize linear_quantize zero_point_linear_quantize logarithmic_quantize copy_n add_n "
    "avg_roi_align max_roi_align"
).split()
TORCH_COMPOUNDS = ["linear_quantize", "prelu"]
_NUMPY = {"scalar": np.float32, "integer": np.int32, "logical": np.bool_}
PACKAGES = {"cpp": ("nnef",), "torch": ("nnef_tools", "torch")}


def installed(oracle: str) -> bool:
    return all(map(find_spec, PACKAGES[oracle]))


def run(oracle: str, cases: Sequence[tuple[str, Mapping[str, np.ndarray]]]) -> list[Outcome]:
    """What the oracle makes of each (text of ``graph.nnef``, inputs by name)."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "cases").write_bytes(pickle.dumps([(text, dict(inputs)) for text, inputs in cases]))
        outcomes: list[Outcome] = []
        while len(outcomes) < len(cases):
            start = len(outcomes)
            command = [sys.executable, __file__, oracle, folder, str(start)]
            env = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, timeout=280, env=env)
            for i in range(start, len(cases)):
                result = root / str(i)
                if not result.exists():
                    break
                outcomes.append(pickle.loads(result.read_bytes()))
            if done.returncode != 0:
                if len(outcomes) == start and not (root / "ready").exists():
                    raise RuntimeError(done.stderr.decode()[-2000:])
                outcomes.append(f"the process ended with {done.returncode}")
        return outcomes


def _cpp(folder: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import nnef

    graph = nnef.load_graph(folder, lowered=COMPOUNDS, load_variables=False)
    arrays = [np.array(inputs[name], _NUMPY[graph.tensors[name].dtype], order="C") for name in graph.inputs]
    with nnef.Session(folder, lowered=COMPOUNDS) as session:
        return {name: np.array(a) for name, a in zip(graph.outputs, session(*arrays), strict=True)}


def _torch(folder: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    from nnef_tools.interpreter.pytorch import Interpreter

    interpreter = Interpreter(folder, decomposed=TORCH_COMPOUNDS)
    arrays = [np.array(inputs[t.name], order="C") for t in interpreter.input_details()]
    return {name: np.array(a) for name, a in interpreter(arrays).items()}


def _worker(oracle: str, folder: str, start: int) -> None:
    root = Path(folder)
    cases: list[Any] = pickle.loads((root / "cases").read_bytes())
    execute = {"cpp": _cpp, "torch": _torch}[oracle]
    (root / "ready").touch()
    model = root / "model"
    model.mkdir(exist_ok=True)
    for i in range(start, len(cases)):
        text, inputs = cases[i]
        (model / "graph.nnef").write_text(text)
        try:
            outcome: Outcome = execute(str(model), inputs)
        except Exception as error:  # whatever a foreign interpreter raises is its answer
            outcome = f"{type(error).__name__}: {error}"[:500]
        (root / f"{i}.part").write_bytes(pickle.dumps(outcome))
        (root / f"{i}.part").rename(root / str(i))


if __name__ == "__main__":
    _worker(sys.argv[1], sys.argv[2], int(sys.argv[3]))
