"""``nnefc`` on networks that are valid but larger than the machine: exit code 4, before memory is taken."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_texts import flat

ROOT = Path(__file__).resolve().parents[2]
ADDRESS_SPACE = 6 << 30
LARGE_INPUT = flat("y = relu(x);", "[1,3,100000,100000]")
LARGE_INSIDE = flat(
    "t = tile(x, repeats = [1,1,65536,65536]); s = softmax(t, axes = [2]); y = sum_reduce(s, axes = [2,3]);",
    "[1,1,1,16]",
)


def nnefc(*arguments: object) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))

    command = [sys.executable, "-m", "nnefc", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, preexec_fn=limit)


@pytest.mark.parametrize("text", [LARGE_INPUT, LARGE_INSIDE], ids=["input", "inside"])
def test_a_network_larger_than_the_machine(tmp_path: Path, text: str) -> None:
    model = tmp_path / "graph.nnef"
    model.write_text(text)
    assert nnefc("validate", model).returncode == 0
    assert nnefc("show", model, "--after", "fuse").returncode == 0
    done = nnefc("run", model, "--random", 1)
    assert done.returncode == 4, done.stderr
    assert "bytes of memory" in done.stderr and "Traceback" not in done.stderr
    folder = tmp_path / "net"
    assert nnefc("compile", model, "-o", folder).returncode == 0
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 1 << 20
    done = nnefc("run", folder, "--random", 1)
    assert done.returncode == 4 and "a call of net takes" in done.stderr


def test_the_reference_stays_within_memory(tmp_path: Path) -> None:
    model = tmp_path / "graph.nnef"
    model.write_text(LARGE_INSIDE)
    done = nnefc("run", model, "--random", 1, "--reference")
    assert done.returncode == 4, done.stderr
    assert "graph.nnef:6:9: error: not enough memory for the result of tile" in done.stderr
