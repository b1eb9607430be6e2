"""Texts that ask for absurd memory, time or geometry: they compile, or end in a clear error, soon and in little memory.

Only what comes before kernels are compiled is done: reading, lowering, the passes, selection and placement.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile_crowds import TEXTS

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30.0
MEMORY = 1 << 30
Ask = Callable[[str], dict]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """A function that has a text planned by a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("planner.py"))]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    processes = [start()]

    def asked(text: str) -> dict:
        if processes[-1].poll() is not None:
            processes.append(start())
        process = processes[-1]
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(text) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"the process ended with code {process.wait()}"
        return json.loads(line)

    yield asked
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", TEXTS)
def test_text(ask: Ask, name: str) -> None:
    text, code, fragment = TEXTS[name]
    reply = ask(text)
    assert reply["code"] == code, reply
    assert fragment in reply["message"]
    assert reply["seconds"] < SECONDS
    assert reply["memory"] < MEMORY
    if code and "for 'x'" not in reply["message"]:
        assert re.match(r"graph\.nnef:\d+:\d+: error: \S", reply["message"]), reply["message"]
        assert len(reply["message"]) < 2000
