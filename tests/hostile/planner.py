"""Reads, lowers and schedules texts in one guarded process: a JSON text per line in, a JSON reply per line out."""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from pathlib import Path

from nnefc.codegen.schedule import plan
from nnefc.codegen.target import Target
from nnefc.errors import NnefcError
from nnefc.formats.nnef import parse_graph
from nnefc.formats.nnef.dialect import TOLERANT
from nnefc.passes import pipeline

ADDRESS_SPACE = 4 << 30
CPU_SECONDS = 60


def peak() -> int:
    """The largest memory in bytes since it was last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def answer(text: str, target: Target) -> dict[str, object]:
    """The exit code that a text ends with, its message, seconds of CPU time and memory in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    start = time.process_time()
    code, message = 0, ""
    try:
        plan(pipeline.run(parse_graph(text, dialect=TOLERANT)), target)
    except NnefcError as error:
        code, message = error.exit_code, str(error)
    signal.setitimer(signal.ITIMER_PROF, 0)
    return {"code": code, "message": message, "seconds": time.process_time() - start, "memory": peak()}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    target = Target.host()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), target)), flush=True)


if __name__ == "__main__":
    main()
