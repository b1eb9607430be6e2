"""What a measurement was taken on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path


def machine() -> dict[str, str | int]:
    """The CPU's name, how many CPUs this process may use, the system and the interpreter."""
    return {
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def machine_text(facts: Mapping[str, str | int]) -> str:
    """What :func:`machine` says, in one line."""
    return f"{facts['cpu']}, {facts['cpus']} CPUs, {facts['system']}, Python {facts['python']}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of nnefc and of the packages that are installed."""
    from nnefc import __version__

    found = {"nnefc": __version__}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
