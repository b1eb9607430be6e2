"""What ONNX Runtime makes of models: many in one process, which is started again after a crash."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

WORKER = Path(__file__).with_name("ort_worker.py")
Answer = list[np.ndarray] | str
"""The outputs in order, or what the run-time said."""


def run(models: Iterable[tuple[bytes, Mapping[str, np.ndarray]]]) -> list[Answer]:
    """The answers to (model, inputs by name)."""
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), 0
        for count, (model, inputs) in enumerate(models, 1):
            (folder / f"{count - 1}.onnx").write_bytes(model)
            np.savez(folder / f"{count - 1}.npz", **inputs)
        answers: list[Answer] = []
        while len(answers) < count:
            start = len(answers)
            done = subprocess.run([sys.executable, WORKER, name, str(start)], capture_output=True, timeout=280)
            while len(answers) < count and (answer := _answer(folder, len(answers))) is not None:
                answers.append(answer)
            if done.returncode and len(answers) == start and not (folder / "ready").exists():
                raise RuntimeError(done.stderr.decode()[-2000:])
            if done.returncode:
                answers.append(f"the process ended with {done.returncode}")
        return answers


def _answer(folder: Path, i: int) -> Answer | None:
    if (folder / f"{i}.error").exists():
        return (folder / f"{i}.error").read_text()
    if not (folder / f"{i}.answer.npz").exists():
        return None
    with np.load(folder / f"{i}.answer.npz") as found:
        return [found[str(k)] for k in range(len(found.files))]


def difference(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], tolerance: float = 1e-5) -> str | None:
    """How the answers differ from what was wanted, or None: floats by more than ``tolerance`` relative to the element
    and to the largest one, all else at all."""
    for k, (a, b) in enumerate(zip(got, wanted, strict=True)):
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"output {k} is {a.dtype}{list(a.shape)}, wanted {b.dtype}{list(b.shape)}"
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return f"output {k} differs in {np.count_nonzero(a != b)} elements"
            continue
        largest = float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0))
        if not np.allclose(a, b, rtol=tolerance, atol=tolerance * largest, equal_nan=True):
            return f"output {k} differs by {np.nanmax(np.abs(a - b))}, the largest element is {largest}"
    return None
