"""``nnefc validate``: whether a model, or a compiled folder, is what it should be."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from nnefc.cli.common import add_model, emit, is_compiled, read_model, signature, size_text
from nnefc.ir.graph import Graph
from nnefc.ir.types import DType
from nnefc.ops.evaluate import variable_values
from nnefc.runtime import Port

NAME = "validate"
HELP = "check a model, or every byte of a compiled folder"
DESCRIPTION = "Check that a model is correct NNEF 1.0.5, or that a compiled folder is whole, byte by byte."


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(command, strict=True, compiled=True)


def run(args: argparse.Namespace) -> int:
    """Print what was found; an invalid file raises InvalidModelError."""
    return _validate_compiled(args) if is_compiled(args.model) else _validate_model(args)


def _validate_model(args: argparse.Namespace) -> int:
    graph, notes = read_model(args)
    if not _is_bare(args.model):
        _check_variables(graph)
    stored = sum(tensor.data.nbytes for tensor in graph.tensors.values())
    if args.json:
        emit(
            {
                "valid": True,
                "name": graph.name,
                "operations": len(graph.ops),
                "variables": len(graph.tensors),
                "inputs": signature(graph.inputs),
                "outputs": signature(graph.outputs),
                "notes": notes,
            }
        )
        return 0
    count = f"{len(graph.ops)} operation{'s' if len(graph.ops) != 1 else ''}"
    print(f"{args.model}: valid, with {count} and {size_text(stored)} of stored tensors")
    for what, values in (("input", graph.inputs), ("output", graph.outputs)):
        for value in values:
            print(f"  {what:6} {value.name}: {value.type}")
    return 0


def _is_bare(path: str) -> bool:
    """Whether ``path`` is a ``graph.nnef`` alone, whose variables have no values."""
    return Path(path).is_file() and Path(path).suffix == ".nnef"


def _check_variables(graph: Graph) -> None:
    """Raises InvalidModelError if a variable has no stored values."""
    for op in graph.ops:
        if op.kind == "variable" and op.attrs["label"] not in graph.tensors:
            variable_values(graph, op)


def _validate_compiled(args: argparse.Namespace) -> int:
    from nnefc.codegen.artefact import verify_package

    entries = verify_package(args.model).entries
    if args.json:
        sides = [{"inputs": _ports(entry.inputs), "outputs": _ports(entry.outputs)} for entry in entries]
        emit({"valid": True, "compiled": True, "entries": sides})
    else:
        print(f"{args.model}: whole; every file has the size and the checksum of its manifest")
        for entry in entries:
            print(f"  takes {entry}")
    return 0


def _ports(ports: Sequence[Port]) -> list[dict[str, object]]:
    return [{"name": p.name, "dtype": str(DType.of(p.dtype)), "shape": list(p.shape)} for p in ports]
