"""``nnefc compile``: write a model as an importable package of machine code."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from nnefc.cli.common import (
    UsageError,
    add_model,
    add_target,
    emit,
    is_compiled,
    read_entries,
    signature,
    size_text,
    target_of,
)

NAME = "compile"
HELP = "compile a model into an importable Python package"
DESCRIPTION = """\
Compile a model into a folder that is an importable Python package, which needs NumPy and nothing else. Where --shape
gives a name several shapes, the package has as many entries over the same weights, and the inputs' shapes choose: entry
k has the k-th shape of each name, and a name with one shape has it in all."""


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(command, several=True)
    command.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="the folder to write; its name is the package's"
    )
    add_target(command)


def run(args: argparse.Namespace) -> int:
    """Compile, write the folder and say what was written."""
    from nnefc.api import compile as compile_model

    _check_output(args.output)
    graphs, notes = read_entries(args)
    if len({tuple(v.type.shape for v in graph.inputs) for graph in graphs}) < len(graphs):
        raise UsageError("two of the sets that --shape gives mean the same shapes of all inputs")
    start = time.perf_counter()
    model = compile_model(graphs, target=target_of(args))
    try:
        model.save(args.output)
    except FileExistsError as error:
        raise UsageError(str(error)) from error
    seconds = time.perf_counter() - start
    files = {p.name: p.stat().st_size for p in sorted(Path(args.output).iterdir()) if p.is_file()}
    if args.json:
        emit(
            {
                "output": args.output,
                "target": str(model.target),
                "seconds": seconds,
                "files": files,
                "entries": [{"inputs": signature(g.inputs), "outputs": signature(g.outputs)} for g in graphs],
                "notes": notes,
            }
        )
        return 0
    print(f"{args.output}: compiled for {model.target} in {seconds:.1f} s")
    width = max(map(len, files))
    for name, size in files.items():
        print(f"  {name:{width}}  {size_text(size)}")
    for entry in model.entries if len(graphs) > 1 else ():
        print(f"  takes {entry}")
    return 0


def _check_output(output: str) -> None:
    """Refuse, before any work, a folder whose name is no package's or that holds something else."""
    from nnefc.codegen.artefact import package_name

    path = Path(output)
    try:
        package_name(path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if path.exists() and not (is_compiled(path) or (path.is_dir() and not any(path.iterdir()))):
        raise UsageError(f"{output} exists and is not a folder that `nnefc compile` wrote")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {path.absolute().parent}")
