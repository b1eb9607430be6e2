"""Native code never leaves its buffers: compiled cases between guard pages, on drawn and on extreme inputs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "ops"))

from test_compiled import FAMILIES, few  # noqa: E402

FEW = 2


def run(family: str, first: int, last: int, count: int, shift: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "guarded.py"), family, *map(str, (first, last, count, shift))]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)


def first_fault(family: str, first: int, last: int, count: int) -> int:
    """The number of a case that faults on its own, among those that fault together."""
    while last - first > 1:
        middle = (first + last) // 2
        first, last = (first, middle) if run(family, first, middle, count).returncode < 0 else (middle, last)
    return first


def check(family: str, count: int) -> None:
    cases = few(FAMILIES[family], count) if count else FAMILIES[family]
    for first in range(0, len(cases), 200):
        last = min(first + 200, len(cases))
        done = run(family, first, last, count)
        if done.returncode < 0:
            case = cases[first_fault(family, first, last, count)]
            pytest.fail(f"{signal.strsignal(-done.returncode)} at {case}")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("family", FAMILIES)
def test_few(family: str) -> None:
    check(family, FEW)


@pytest.mark.conformance
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", FAMILIES)
def test_all(family: str) -> None:
    check(family, 0)


@pytest.mark.parametrize("family", ["reductions", "convolutions", "movements"])
def test_the_guards_notice_a_single_element(family: str) -> None:
    assert run(family, 0, 1, FEW).returncode == 0
    assert run(family, 0, 1, FEW, shift=1).returncode == -signal.SIGSEGV
