"""What may be skipped: tests skip by these functions alone, and only what docs/testing.md lists, with its reason."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "testing.md"


@cache
def listed() -> dict[str, str]:
    """What may be skipped, and when, by the table in docs/testing.md."""
    lines = PAGE.read_text(encoding="utf-8").partition("## What may be skipped")[2].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {what: when for what, when, _ in rows[2:]}


def skip(what: str, detail: str = "") -> NoReturn:
    """Skip the test, or the file: ``what`` cannot be done here. Raises KeyError for what is not listed."""
    pytest.skip(f"{what}: {listed()[what]} {detail}".rstrip(), allow_module_level=True)


def need(what: str, package: str, *more: str) -> Any:
    """The first of the packages, imported. Skips where one of them is not installed."""
    if not all(map(find_spec, (package, *more))):
        skip(what)
    return import_module(package)
