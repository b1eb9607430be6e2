"""Mutated texts, tensor files and archives: each ends in a result or in an error that names the fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parents[1] / "examples" / "models" / "mnist_convsmall.nnef.tgz"
MEMORY = 1 << 30


def fuzz(kind: str, seed: int, count: int, models: list[Path]) -> dict:
    """The fuzzer's report on mutants ``seed`` to ``seed + count - 1``, of which none may be a fault."""
    command = [sys.executable, str(HERE / "fuzzer.py"), kind, str(seed), str(count), *map(str, models)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1700)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    faults = "\n\n".join(f"mutant {number}: {what[:2000]}\n{trace}" for number, what, trace in report["faults"][:3])
    assert not report["faults"], f"{len(report['faults'])} faults\n{faults}"
    assert report["memory"] < MEMORY
    return report["outcomes"]


@pytest.mark.parametrize("kind, count", [("text", 600), ("data", 200), ("archive", 200), ("run", 60)])
def test_few(kind: str, count: int) -> None:
    outcomes = fuzz(kind, 0, count, [EXAMPLE])
    assert outcomes["ok"] and outcomes["InvalidModelError"]


@pytest.mark.conformance
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind, count", [("text", 10_000), ("data", 2000), ("archive", 2000), ("run", 600)])
def test_many(kind: str, count: int, shared: Path) -> None:
    models = sorted((shared / "models").glob("*/*.nnef.tgz"))
    fuzz(kind, 10_000, count, [m for m in models if not m.name.startswith("t2n_")])
