"""``nnefc compile``: write a model as an importable package of machine code."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnefc.cli.common import (
    UsageError,
    add_model,
    add_options,
    add_target,
    emit,
    is_compiled,
    options_of,
    read_entries,
    signature,
    size_text,
    target_of,
)
from nnefc.codegen.options import Options
from nnefc.ir.graph import Graph

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
    add_options(command)


def run(args: argparse.Namespace) -> int:
    """Compile, write the folder and say what was written."""
    from nnefc.api import build
    from nnefc.codegen.artefact import write_package

    _check_output(args.output)
    graphs, notes = read_entries(args)
    if len({tuple(v.type.shape for v in graph.inputs) for graph in graphs}) < len(graphs):
        raise UsageError("two of the sets that --shape gives mean the same shapes of all inputs")
    start = time.perf_counter()
    found: list[str] = []
    artefact = build(graphs, Options(target=target_of(args), **options_of(args)), found)
    for note in found:
        print(note, file=sys.stderr)
    try:
        write_package(artefact, args.output)
    except FileExistsError as error:
        raise UsageError(str(error)) from error
    seconds = time.perf_counter() - start
    record = {
        "output": args.output,
        "target": str(artefact.target),
        "seconds": seconds,
        **_sizes(Path(args.output), graphs),
        "entries": [{"inputs": signature(g.inputs), "outputs": signature(g.outputs)} for g in graphs],
        "execution": dict(artefact.execution),
        "notes": notes + found,
    }
    if args.json:
        emit(record)
    else:
        print(_text(record, [str(entry) for entry in artefact.entries if len(graphs) > 1]))
    return 0


def _sizes(folder: Path, graphs: Sequence[Graph]) -> dict[str, Any]:
    """The bytes of each file, of the library, of the weights, and of the parameters that the network stores."""
    files = {p.name: p.stat().st_size for p in sorted(folder.iterdir()) if p.is_file()}
    parameters = max(sum(t.data.nbytes for t in g.tensors.values()) for g in graphs)
    library, weights = files[f"{folder.absolute().name}.so"], files["weights.bin"]
    return {"files": files, "library_bytes": library, "weights_bytes": weights, "parameter_bytes": parameters}


def _text(record: dict[str, Any], entries: Sequence[str]) -> str:
    lines = [f"{record['output']}: compiled for {record['target']} in {record['seconds']:.1f} s"]
    width = max(map(len, record["files"]))
    lines += [f"  {name:{width}}  {size_text(size)}" for name, size in record["files"].items()]
    library, weights, parameters = (record[f"{what}_bytes"] for what in ("library", "weights", "parameter"))
    times = f", {weights / parameters:.2f} times the parameters" if parameters else ""
    lines.append(f"library {size_text(library)}, weights {size_text(weights)}{times}")
    if record["execution"]:
        lines.append(_execution_text(record["execution"]))
    return "\n".join([*lines, *(f"takes {entry}" for entry in entries)])


def _execution_text(execution: dict[str, Any]) -> str:
    share = execution["on_integers"] / max(execution["multiply_adds"], 1)
    line = f"execution {execution['mode']}: {share:.2%} of the multiply-adds run on integers"
    return f"{line}; in float: {', '.join(execution['islands'])}" if execution["islands"] else line


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
