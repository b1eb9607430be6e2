"""A run over several networks: where and with what it was taken, one network after another, and its two files."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.networks import Network
from nnefc.errors import NnefcError
from nnefc.tools.engines import version
from nnefc.tools.machine import machine

Record = dict[str, Any]


def begun(engines: Iterable[str], threads: Sequence[int]) -> Record:
    """The machine, the engines' versions, the date and the numbers of threads; ``networks`` are still to come."""
    return {
        "machine": machine(),
        "versions": {name: version(name) for name in engines},
        "date": time.strftime("%Y-%m-%d"),
        "threads": list(threads),
        "networks": [],
    }


def measured(
    record: Record,
    networks: Iterable[Network],
    measure: Callable[[Network, Path], Record],
    line: Callable[[Record, Record], str],
) -> int:
    """Adds what ``measure`` finds out about each network, with a folder for its files, and prints a ``line`` about each
    of its runs meanwhile. Returns how many networks cannot be measured."""
    faults = 0
    for network in networks:
        with tempfile.TemporaryDirectory(prefix="nnefc-bench-") as folder:
            try:
                found = measure(network, Path(folder))
            except NnefcError as error:
                print(f"{network.name}: {error.message}", file=sys.stderr, flush=True)
                faults += 1
                continue
        record["networks"].append(found)
        for run in found["runs"]:
            print(line(found, run), file=sys.stderr, flush=True)
    return faults


def written(record: Record, text: str, folder: Path, name: str) -> None:
    """Print the report, and write it to ``NAME.md`` and all figures to ``NAME.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / f"{name}.md").write_text(text)
    print(text)
    print(f"written: {folder / f'{name}.md'}, {folder / f'{name}.json'}", file=sys.stderr)
