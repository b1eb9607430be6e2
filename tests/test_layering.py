"""Imports run one way through the layers, the runtime of a compiled package needs nothing of nnefc, and modules of
tests do not hide each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "nnefc"
LAYERS = [
    "errors",
    "files",
    "ir",
    "ops",
    "formats",
    "passes",
    "codegen",
    "progress",
    "api",
    "tools",
    "quant",
    "cli",
    "__main__",
]
RUNTIME_MAY = {"numpy", "ctypes", "__future__"}


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[str, int]]:
    """Every module that a syntax tree imports, at whatever depth, as absolute dotted names with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, base]) if base else ".".join(parts)
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "nnefc" else [base]
            yield from ((name, node.lineno) for name in names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value, node.lineno


def imports_of(path: Path) -> list[tuple[str, int]]:
    module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    return list(imported(ast.parse(path.read_text()), module, path.name == "__init__.py"))


def fault(layer: str, name: str) -> str | None:
    """Why a module of ``layer`` may not import ``name``, or None if it may."""
    parts = name.split(".")
    if parts[0] != "nnefc" or (len(parts) > 1 and parts[1] in (layer, "__version__")):
        return None
    target = parts[1] if len(parts) > 1 else "api"
    if target == "runtime":
        return None if LAYERS.index(layer) >= LAYERS.index("codegen") else "runtime stands above the graph layers"
    if target not in LAYERS:
        return f"nnefc.{target} is in no layer"
    return None if LAYERS.index(target) < LAYERS.index(layer) else f"{layer} stands below {target}"


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    layer = parts[0].removesuffix(".py")
    if layer in ("runtime", "__init__"):
        return
    assert layer in LAYERS, f"give nnefc/{parts[0]} a place in LAYERS"
    faults = [f"{path.name}:{line}: {name}: {why}" for name, line in imports_of(path) if (why := fault(layer, name))]
    assert not faults, "\n".join(faults)


def test_runtime_needs_only_numpy_and_the_standard_library() -> None:
    import sys

    allowed = RUNTIME_MAY | set(sys.stdlib_module_names)
    faults = []
    for path in sorted((PACKAGE / "runtime").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 0 or isinstance(node, ast.Import):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                faults += [f"{path.name}:{node.lineno}: {n}" for n in names if n.split(".")[0] not in allowed]
            elif isinstance(node, ast.ImportFrom) and node.level > 1:
                faults.append(f"{path.name}:{node.lineno}: a relative import that leaves the folder")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("layer", "source", "allowed"),
    [
        ("ir", "from nnefc.ops import primitive", False),
        ("ir", "def f():\n    import nnefc.codegen.select", False),
        ("passes", "if TYPE_CHECKING:\n    from nnefc.api import compile", False),
        ("codegen", "import importlib\nimportlib.import_module('nnefc.cli')", False),
        ("ops", "import nnefc", False),
        ("cli", "from nnefc import __version__", True),
        ("quant", "from nnefc.api import compile", True),
        ("formats", "from nnefc.runtime import Model", False),
        ("codegen", "from nnefc.runtime import Model\nfrom nnefc.ir.graph import Graph\nimport numpy", True),
    ],
)
def test_the_check_itself(layer: str, source: str, allowed: bool) -> None:
    found = [fault(layer, name) for name, _ in imported(ast.parse(source), f"nnefc.{layer}.x", False)]
    assert (not any(found)) is allowed


def test_modules_of_tests_have_names_of_their_own() -> None:
    """They are imported by these alone, whatever their folders."""
    stems = [path.stem for path in Path(__file__).parent.rglob("*.py") if path.stem not in ("conftest", "__init__")]
    assert sorted(stems) == sorted(set(stems))
