"""Time of a call of the real models, compiled, and in ONNX Runtime: one thread each, in turns.

    python -m bench.latency [--shared DIR] [--seconds S] [NAME ...]

ONNX Runtime runs the ONNX form of the same network on the same recorded inputs. Figures are medians, in milliseconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import nnefc
from bench.compile_time import machine, models

ROUNDS = 5


def session(folder: Path) -> Callable[[], object]:
    """A call of ONNX Runtime on the recorded inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    opened = onnxruntime.InferenceSession(str(folder / f"{folder.name}.onnx"), options, ["CPUExecutionProvider"])
    with np.load(folder / "onnx_io.npz") as recorded:
        inputs = {value.name: recorded[value.name] for value in opened.get_inputs()}
    return lambda: opened.run(None, inputs)


def compiled(folder: Path) -> Callable[[], object]:
    """A call of the compiled network on the recorded inputs."""
    model = nnefc.compile(folder / f"{folder.name}.nnef.tgz", threads=1)
    with np.load(folder / "nnef_io.npz") as recorded:
        inputs = [recorded[port.name] for port in model.inputs]
    return lambda: model(*inputs)


def times(call: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of each call, for so long, after one that is not counted."""
    call()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        found.append((time.perf_counter() - start) * 1e3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each engine in each of the rounds")
    args = parser.parse_args()
    print(machine())
    print(f"{'model':22}{'nnefc ms':>10}{'ORT ms':>10}{'times':>8}")
    for path in models(args.shared, args.names):
        calls = [compiled(path.parent), session(path.parent)]
        found: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for call, taken in zip(calls, found, strict=True):
                taken += times(call, args.seconds)
        ours, theirs = (float(np.median(taken)) for taken in found)
        print(f"{path.parent.name:22}{ours:10.4f}{theirs:10.4f}{ours / theirs:8.2f}", flush=True)


if __name__ == "__main__":
    main()
