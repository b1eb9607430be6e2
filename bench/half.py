"""What half precision costs and spares: the options ``--weights`` and ``--precision`` beside single precision.

    python -m bench.half [NAME | MODEL ...] [--threads N] [--seconds S] [--json FILE]

Each network is compiled for each of KINDS; they take turns, and medians of their calls are compared. Prints a table
(Markdown): ms a call; ms in the kernels of fully connected layers, which read every weight once; MB of weights and of
the memory for tensors; and the SNR of the outputs in dB, against single precision, for normally distributed inputs.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import nnefc
from bench import zoo
from bench.networks import shared_folder, zoo_network
from bench.report import table

KINDS: dict[str, dict[str, str]] = {
    "f32": {},
    "f16 weights": {"weights": "f16"},
    "bf16 weights": {"weights": "bf16"},
    "f16": {"precision": "f16"},
    "f16, f32 weights": {"precision": "f16", "weights": "f32"},
    "bf16": {"precision": "bf16"},
}
"""The options of ``nnefc.compile`` by the names that the table has for them; others are compared to the first."""
NETWORKS = ("dnn", "vgg16", "resnet50", "mobilenet_v2", "densenet121", "ultraface_rfb320")
"""What is measured where nothing is named; real models, if there are any."""
CALLS = 5
"""Of each kind, at least."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.half", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="networks of the zoo, or files (default: some of both)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each network is measured (default: 6)")
    parser.add_argument("--json", type=Path, help="write all figures there")
    args = parser.parse_args(arguments)
    found = {}
    for name in args.names or NETWORKS:
        path = found_path(name)
        if path is None and args.names:
            parser.error(f"{name!r} is neither a file nor one of {', '.join(zoo.names())}")
        if path is not None:
            found[path.stem] = measured(path, args.threads, args.seconds)
            print("\n".join(table(rows(path.stem, found[path.stem]))), end="\n\n", flush=True)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    return 0


def found_path(name: str) -> Path | None:
    """The file of a network: itself, of the zoo, or a real model; None if there is none."""
    real = shared_folder() / "models" / name / f"{name}.onnx"
    if name in zoo.names():
        return zoo_network(name).path
    return next((p for p in (Path(name), real) if p.exists()), None)


def measured(path: Path, threads: int, seconds: float) -> dict[str, dict[str, Any]]:
    """The figures of a network by kind: times in seconds, sizes in bytes, ``snr`` None for the first and for equal
    outputs."""
    graph = nnefc.load(path)
    models = {kind: nnefc.compile(graph, threads=threads, **options) for kind, options in KINDS.items()}
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(p.shape).astype(p.dtype) for p in models["f32"].inputs]
    outputs = {kind: _flat(model(*inputs)) for kind, model in models.items()}
    times: dict[str, list[float]] = {kind: [] for kind in models}
    end = time.perf_counter() + seconds
    while len(times["f32"]) < CALLS or time.perf_counter() < end:
        for kind, model in models.items():
            model(*inputs)  # what the other kinds have left in the caches is not this one's
            start = time.perf_counter()
            model(*inputs)
            times[kind].append(time.perf_counter() - start)
    found: dict[str, dict[str, Any]] = {}
    for kind, model in models.items():
        plan = model._made().plan
        profile = nnefc.profile(graph, threads=threads, seconds=seconds / 12, **KINDS[kind])
        layers = [k.seconds for k in profile.kernels if k.family == "contract" and math.prod(k.shape[:-1]) == 1]
        found[kind] = {
            "seconds": float(np.median(times[kind])),
            "linear_seconds": sum(layers),
            "weights": plan.weights.nbytes,
            "tensors": plan.arena_size,
            "snr": _snr(outputs[kind], outputs["f32"]),
        }
    return found


def _flat(outputs: Any) -> np.ndarray:
    many = outputs if isinstance(outputs, tuple | list) else (outputs,)
    return np.concatenate([np.ravel(y).astype(np.float64) for y in many])


def _snr(found: np.ndarray, exact: np.ndarray) -> float | None:
    noise = float(np.square(found - exact).sum())
    return 10 * math.log10(float(np.square(exact).sum()) / noise) if noise else None


def rows(name: str, found: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The table of one network."""
    lines = [[name, "ms", "f32 / it", "linear layers, ms", "weights, MB", "tensors, MB", "SNR, dB"]]
    for kind, f in found.items():
        ratio = found["f32"]["seconds"] / f["seconds"]
        times = [f"{f['seconds'] * 1e3:.4g}", f"{ratio:.2f}", f"{f['linear_seconds'] * 1e3:.3g}"]
        sizes = [f"{f[what] / 1e6:.3g}" for what in ("weights", "tensors")]
        lines.append([kind, *times, *sizes, "" if f["snr"] is None else f"{f['snr']:.1f}"])
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
