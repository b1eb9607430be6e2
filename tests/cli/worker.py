"""Runs command lines in one guarded process: a JSON list per line in, a JSON reply per line out."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import time
from pathlib import Path

from nnefc.cli import main


def peak_memory() -> int:
    """The most memory that this program has held, in bytes; ``ru_maxrss`` would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def answer(argv: list[str]) -> dict[str, object]:
    """Exit code, what was printed, seconds of CPU time, and the process's largest memory so far in bytes."""
    out, err = io.StringIO(), io.StringIO()
    start = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(argv)
        except SystemExit as exit_:
            code = exit_.code
    seconds = time.process_time() - start
    memory = peak_memory()
    return {"code": code, "out": out.getvalue(), "err": err.getvalue(), "seconds": seconds, "memory": memory}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
