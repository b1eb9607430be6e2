"""``nnefc convert``: a model in another format."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from nnefc.cli.common import UsageError, add_model, constants_of, emit, positive, shapes_of

NAME = "convert"
HELP = "write a model as NNEF or as ONNX"
DESCRIPTION = "Read a model and write it as NNEF (a folder or an archive) or as ONNX, as the name of OUT says."
SHOWN = 8


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(command)
    command.add_argument("output", metavar="OUT", help="a folder, or a file .nnef.tgz, .tar, .zip or .onnx")
    command.add_argument("--to", choices=("nnef", "onnx"), help="the format, where the name of OUT does not say")
    command.add_argument(
        "--plain", action="store_true", help="write our operations as the standard ones that they are made of"
    )
    command.add_argument("--opset", type=positive, metavar="N", help="the opset of an ONNX model")


def run(args: argparse.Namespace) -> int:
    """Convert, and say what was written."""
    from nnefc.tools.convert import convert, format_of

    try:
        to = args.to or format_of(args.output)
    except ValueError as error:
        raise UsageError(f"{error}; or say --to nnef or --to onnx") from error
    if args.opset is not None:
        _check_opset(to, args.opset)
    shapes, constants = shapes_of(args), constants_of(args)
    if args.plain and to == "onnx":
        raise UsageError("--plain is for NNEF")
    made = convert(
        args.model,
        args.output,
        to=to,
        shapes=shapes,
        constants=constants,
        strict=args.strict,
        opset=args.opset,
        plain=args.plain,
    )
    for note in made.notes:
        print(note, file=sys.stderr)
    if args.json:
        emit(asdict(made) | {"plain": made.plain})
        return 0
    count = f"{made.operations} operation{'s' if made.operations != 1 else ''}"
    if made.format == "onnx":
        print(f"{made.path}: ONNX, opset {made.opset}, {count}")
    elif made.plain:
        print(f"{made.path}: plain Khronos NNEF, {count}")
    else:
        print(f"{made.path}: NNEF with {', '.join(made.extensions)}, {count}")
        if made.beyond:
            more = f" and {len(made.beyond) - SHOWN} more" if len(made.beyond) > SHOWN else ""
            print(f"  not plain Khronos NNEF because of: {', '.join(made.beyond[:SHOWN])}{more}")
    return 0


def _check_opset(to: str, opset: int) -> None:
    """Raises UsageError for an opset that cannot be written."""
    from nnefc.formats.onnx.write import opsets

    if to != "onnx":
        raise UsageError("--opset is for ONNX")
    oldest, newest = opsets()
    if not oldest <= opset <= newest:
        raise UsageError(f"opset {opset} cannot be written; it must be {oldest} to {newest}")
