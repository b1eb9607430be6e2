"""Bars are drawn on terminals alone, one below the other."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

SCRIPT = """
import time
from nnefc.progress import bar
with bar("outer work") as outer:
    outer(1, 4)
    for _ in range(2):
        with bar("inner work") as inner:
            inner(2, 3)
            time.sleep(0.3)
print("done")
"""


def test_nested_bars_share_a_terminal() -> None:
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT], stdin=slave, stdout=subprocess.PIPE, stderr=slave, env=environment, check=False
    )
    os.close(slave)
    drawn = os.read(master, 1 << 16).decode()
    os.close(master)
    assert process.returncode == 0 and process.stdout == b"done\n"
    assert "outer work" in drawn and "1/4" in drawn and "inner work" in drawn and "2/3" in drawn
    assert "\x1b[1A" in drawn, "the second bar takes a line of its own"


def test_nothing_is_drawn_elsewhere() -> None:
    process = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (0, b"done\n", b"")
