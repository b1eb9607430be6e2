"""ONNX Runtime in a process of its own: ``python ort_worker.py FOLDER START`` answers the cases from START on.

A case ``I.onnx`` has the inputs ``I.npz``; its answer is ``I.answer.npz``, or ``I.error``, the text of what was raised.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main(folder: Path, start: int) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    count = sum(1 for _ in folder.glob("*.onnx"))
    (folder / "ready").touch()
    for i in range(start, count):
        try:
            model = str(folder / f"{i}.onnx")
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            with np.load(folder / f"{i}.npz") as inputs:
                results = session.run(None, dict(inputs))
            np.savez(folder / f"{i}.answer.npz", **{f"{k}": r for k, r in enumerate(results)})
        except Exception as error:  # whatever the run-time raises is its answer
            (folder / f"{i}.error").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
