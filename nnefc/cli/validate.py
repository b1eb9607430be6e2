"""``nnefc validate``: whether a model, or a compiled folder, is what it should be."""

from __future__ import annotations

import argparse

from nnefc.cli.common import add_model, emit, is_compiled, read_model, signature, size_text

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
    print(f"{args.model}: valid, with {len(graph.ops)} operations and {size_text(stored)} of stored tensors")
    for what, values in (("input", graph.inputs), ("output", graph.outputs)):
        for value in values:
            print(f"  {what:6} {value.name}: {value.type}")
    return 0


def _validate_compiled(args: argparse.Namespace) -> int:
    from nnefc.codegen.artefact import verify_package

    verify_package(args.model)
    if args.json:
        emit({"valid": True, "compiled": True})
    else:
        print(f"{args.model}: whole; every file has the size and the checksum of its manifest")
    return 0
