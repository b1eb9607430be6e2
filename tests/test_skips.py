"""The list of what may be skipped is complete, and no longer than it must be."""

from __future__ import annotations

import ast
from pathlib import Path

import skips

TESTS = Path(__file__).resolve().parent


def test_tests_skip_what_is_listed_and_nothing_else() -> None:
    named: set[str] = set()
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                other = node.attr in ("skip", "skipif", "importorskip", "xfail") and path.name != "skips.py"
                assert not other, f"{path}:{node.lineno}: {node.attr} is not by tests/skips.py"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("skip", "need"):
                what = node.args[0]
                if path.name != "skips.py":
                    assert isinstance(what, ast.Constant) and isinstance(what.value, str), f"{path}:{node.lineno}"
                    named.add(what.value)
    assert named == set(skips.listed())
