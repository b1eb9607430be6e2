"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

os.environ["XDG_CACHE_HOME"] = str(ROOT / ".cache")
"""Compiled kernels are shared by all tests, and by the next run: entries are found by all that they are made from."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and oracles that lies beside the project; ``NNEFC_SHARED`` says where."""
    folder = Path(os.environ.get("NNEFC_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: set NNEFC_SHARED to the folder of real models")
    return folder
