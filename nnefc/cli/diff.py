"""``nnefc diff``: how two models, or two ``graph.quant`` files, code their tensors, side by side."""

from __future__ import annotations

import argparse
from collections import Counter

from nnefc.cli.common import emit, table

NAME = "diff"
HELP = "show how two models, or two graph.quant files, are quantized, side by side"
DESCRIPTION = """\
Show what two `graph.quant` say of each tensor. A and B are .quant files, or models with one: folders, archives, or
quantized .onnx files. The exit code is 1 where they differ."""


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument("first", metavar="A", help="a .quant file, or a model")
    command.add_argument("second", metavar="B", help="another")
    command.add_argument("--all", action="store_true", help="show the tensors on which they agree, too")


def run(args: argparse.Namespace) -> int:
    """Print the differences; 1 if there are any."""
    from nnefc.quant.diff import describe, diff, read_encodings

    found = diff(read_encodings(args.first), read_encodings(args.second))
    counts = Counter(d.status for d in found)
    equal = counts["same"] == len(found)
    if args.json:
        emit({"equal": equal, "counts": dict(counts), "tensors": [d.record() for d in found]})
        return 0 if equal else 1
    shown = [d for d in found if args.all or d.status != "same"]
    if shown:
        rows = [["tensor", "", "A", "B", "change"]]
        for d in shown:
            sides = ["-" if e is None else describe(e) for e in (d.first, d.second)]
            rows.append([d.name, d.status, *sides, d.change])
        print(table(rows))
        print()
    said = ", ".join(f"{counts[s]} {s}" for s in ("same", "changed", "added", "removed") if counts[s])
    print(f"{len(found)} coded tensors: {said}" if found else "neither codes any tensor")
    return 0 if equal else 1
