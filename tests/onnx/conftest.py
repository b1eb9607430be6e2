"""The guarded process of the command line's tests, for bad files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).resolve().parents[1] / name) for name in ("cli", "ops")]


@pytest.fixture(scope="session")
def guarded() -> Iterator:
    """Runs command lines in one process of bounded memory."""
    from harness import Guarded

    process = Guarded()
    yield process
    process.close()


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where packages are downloaded to, once each."""
    return tmp_path_factory.mktemp("packages")
