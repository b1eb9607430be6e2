"""Texts made to take time or memory without end are refused soon; large but honest ones are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nnef_bombs import ACCEPTED, REFUSED

HERE = Path(__file__).parent
SECONDS = 8.0
MEMORY = 1 << 30

Verdicts = dict[str, tuple[str, float, int]]


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    """What a process of its own says of every text, the CPU seconds it took, and the most memory so far."""
    command = [sys.executable, str(HERE / "nnef_bombs.py")]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return {
        name: (found, seconds, memory) for name, found, seconds, memory in map(json.loads, done.stdout.splitlines())
    }


@pytest.mark.parametrize("name", [*REFUSED, *ACCEPTED])
def test_bounded(verdicts: Verdicts, name: str) -> None:
    found, seconds, memory = verdicts[name]
    if name in ACCEPTED:
        assert found == "accepted"
    else:
        assert REFUSED[name][1] in found and found != "accepted"
    assert seconds < SECONDS
    assert memory < MEMORY
