"""Running the command line in a process of its own, or in a guarded one that many cases share."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIME_LIMIT = 60.0


@dataclass(frozen=True)
class Reply:
    """What a command line did. ``seconds`` (of CPU time) and ``memory`` (bytes) are 0 where they were not measured."""

    code: int
    out: str
    err: str
    seconds: float = 0.0
    memory: int = 0

    def json(self) -> dict:
        """The result that was printed."""
        return json.loads(self.out)


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100"}


def in_process_of_its_own(*args: object, cwd: Path | None = None, **extra: str) -> Reply:
    """Runs ``nnefc ARGUMENTS``; ``extra`` are environment variables."""
    command = [sys.executable, "-m", "nnefc", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, env=environment() | extra)
    return Reply(done.returncode, done.stdout, done.stderr)


class Guarded:
    """A process with 4 GB of address space in which command lines run one after the other, 60 s at most each."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, *args: object) -> Reply:
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, str(Path(__file__).with_name("worker.py"))]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment())
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([str(a) for a in args]) + "\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], TIME_LIMIT)[0]:
            self.close()
            pytest.fail(f"no answer within {TIME_LIMIT} s")
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"the process died with code {self.process.wait()}")
        return Reply(**json.loads(line))

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
