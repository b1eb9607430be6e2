"""Compile time with a cold and a warm cache, and load time of the compiled folder, for the real models.

    python -m bench.compile_time [--shared DIR] [NAME ...]

Each figure is taken in a process of its own. Loading is compared with ``import numpy`` alone, best of several turns.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TURNS = 7


def models(shared: Path | None, names: Sequence[str]) -> list[Path]:
    """The archives of the real models in the folder beside the project, those of some names, or all."""
    folder = shared or Path(os.environ.get("NNEFC_SHARED", ROOT.parent / "shared"))
    found = [p for p in sorted(folder.glob("models/*/*.nnef.tgz")) if p.name == f"{p.parent.name}.nnef.tgz"]
    return [p for p in found if not names or p.parent.name in names]


def machine() -> str:
    """What this runs on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpus = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{cpus[0] if cpus else platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


def run(*command: str, cwd: Path = ROOT, **extra: str) -> float:
    """Seconds that a command takes. Raises CalledProcessError."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | extra
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=cwd, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def load_ms(folder: Path) -> tuple[float, float]:
    """Milliseconds to import NumPy, and to import a compiled folder after it: the least of several turns."""
    code = (
        "import time; a = time.perf_counter(); import numpy; b = time.perf_counter()\n"
        f"import {folder.name}; c = time.perf_counter(); print((b - a) * 1e3, (c - b) * 1e3)"
    )
    turns = []
    for _ in range(TURNS):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, check=True, cwd=folder.parent, stdout=subprocess.PIPE, text=True)
        turns.append([float(t) for t in done.stdout.split()])
    return min(t[0] for t in turns), min(t[1] for t in turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--shared", type=Path)
    args = parser.parse_args()
    print(machine())
    print(f"{'model':22}{'cold s':>8}{'warm s':>8}{'numpy ms':>10}{'load ms':>9}")
    for model in models(args.shared, args.names):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / model.parent.name
            command = (sys.executable, "-m", "nnefc", "compile", str(model), "-o", str(folder))
            cold = run(*command, XDG_CACHE_HOME=scratch)
            warm = run(*command, XDG_CACHE_HOME=scratch)
            numpy_ms, model_ms = load_ms(folder)
        print(f"{model.parent.name:22}{cold:8.2f}{warm:8.2f}{numpy_ms:10.1f}{model_ms:9.1f}", flush=True)


if __name__ == "__main__":
    main()
