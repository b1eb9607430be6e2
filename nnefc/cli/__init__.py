"""The command line. Exit codes: 0 ok, 1 a comparison failed, 2 usage, 3 an input file is invalid, 4 not supported, 5 a
fault of nnefc itself, 130 interrupted, 141 nobody reads the output."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from nnefc import __version__
from nnefc.cli import (
    bench,
    compare,
    compiling,
    convert,
    diff,
    inspect,
    ops,
    profile,
    quantize,
    running,
    show,
    study,
    validate,
)
from nnefc.cli.common import UsageError, emit, error_text, is_compiled
from nnefc.errors import NnefcError

EXIT_USAGE, EXIT_UNSUPPORTED, EXIT_FAULT, EXIT_INTERRUPT, EXIT_PIPE = 2, 4, 5, 130, 141
COMMANDS = (validate, show, inspect, convert, compiling, running, compare, bench, profile, quantize, study, diff, ops)

DESCRIPTION = "Compile NNEF and ONNX neural networks to machine code, ahead of time."
EPILOG = """\
examples:
  nnefc validate model.nnef.tgz                        is it correct NNEF?
  nnefc compile model.nnef.tgz -o net                  write the Python package `net`
  nnefc run net --input x=x.npy --output y.npz         let it answer
  nnefc run model.nnef.tgz --input x=x.npy             compile in memory, then let it answer
  nnefc convert model.onnx model.nnef.tgz              the same network as NNEF; says whether it is plain
  nnefc compare model.onnx ort                         layer by layer with ONNX Runtime
  nnefc bench model.onnx --compare ort,openvino        how fast, and how fast are others?
  nnefc profile model.onnx --html profile.html         which kernel takes how long, and what would be possible?
  nnefc quantize model.onnx --data x.npy -o q.nnef.tgz 8-bit codes, with the ranges that samples show
  nnefc study model.onnx --data x.npy -o study         which method, where does it lose, what stays in float?
  nnefc diff a.nnef.tgz b.nnef.tgz                     how are two models quantized?

exit codes:
  0 ok   1 a comparison failed   2 usage   3 a model or data file is invalid
  4 something in it, or on this machine, is not supported   5 a fault of nnefc itself
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="nnefc", description=DESCRIPTION, epilog=EPILOG, formatter_class=formatter)
    top.add_argument("--version", action="version", version=f"nnefc {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        command = commands.add_parser(module.NAME, help=module.HELP, description=module.DESCRIPTION)
        module.configure(command)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        command.add_argument("--debug", action="store_true", help="show the Python traceback of an error")
        command.set_defaults(run=module.run, command=module.NAME)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. ``argv`` is without the program's name; None takes sys.argv's."""
    args = parser().parse_args(argv)
    try:
        _check_model(args)
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except KeyboardInterrupt:
        print("nnefc: interrupted", file=sys.stderr)
        return EXIT_INTERRUPT
    except UsageError as error:
        return _fail(args, error, str(error), EXIT_USAGE)
    except NnefcError as error:
        return _fail(args, error, str(error), error.exit_code)
    except MemoryError as error:
        return _fail(args, error, f"error: {error}" if error.args else "error: out of memory", EXIT_UNSUPPORTED)
    except OSError as error:
        return _fail(args, error, f"error: {error}", EXIT_UNSUPPORTED)
    except Exception as error:
        text = f"error: internal fault: {type(error).__name__}: {error}"
        hint = "\nThis is a fault of nnefc, not of the model. Please report it, with the output of --debug."
        return _fail(args, error, text + hint, EXIT_FAULT)


def _check_model(args: argparse.Namespace) -> None:
    """Raises UsageError for a compiled folder where a model is wanted."""
    if not getattr(args, "takes_compiled", True) and is_compiled(args.model):
        raise UsageError(f"{args.model} is a compiled folder; {args.command} needs the model itself")


def _fail(args: argparse.Namespace, error: BaseException, text: str, code: int) -> int:
    if args.debug:
        traceback.print_exception(error)
    if args.json:
        place = {name: getattr(error, name, None) for name in ("file", "line", "column")}
        message = getattr(error, "message", str(error))
        emit({"error": {"type": type(error).__name__, "message": message, **place}, "exit_code": code})
    print(error_text(text), file=sys.stderr)
    return code
