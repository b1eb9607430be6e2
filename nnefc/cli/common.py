"""What the commands share: arguments, plain tables, JSON, colours on a terminal."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from nnefc.codegen.options import EXECUTION, OPTIMIZE, PRECISION, WEIGHTS, Options
from nnefc.ir.encoding import EXECUTIONS
from nnefc.ir.graph import Graph
from nnefc.tools.arrays import read_any

Shapes = dict[str, tuple[int, ...]]


class UsageError(Exception):
    """The command line asks for something that does not exist or does not fit together (exit code 2)."""

    def __str__(self) -> str:
        return f"error: {self.args[0]}"

    @property
    def message(self) -> str:
        """What is wrong, without the leading ``error:``."""
        return str(self.args[0])


def shape_argument(text: str) -> tuple[str, tuple[int, ...]]:
    """``NAME=8,3,224,224`` as a name and a shape; nothing after ``=`` is rank 0."""
    name, equals, extents = text.rpartition("=")
    try:
        shape = tuple(int(e) for e in extents.split(",")) if extents else ()
    except ValueError:
        shape = (0,)
    if not equals or not name or any(e < 1 for e in shape):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=8,3,224,224")
    return name, shape


def constant_argument(text: str) -> tuple[str, str]:
    """``NAME=FILE.npy`` as a name and a path."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=FILE.npy")
    return name, path


def add_model(
    command: argparse.ArgumentParser, *, strict: bool = False, compiled: bool = False, several: bool = False
) -> None:
    """The arguments of every command that reads a model; ``several``: for several sets of shapes."""
    what = "a folder, graph.nnef, .nnef.tgz, .tar or .zip, or an .onnx file" + (
        ", or a compiled folder" if compiled else ""
    )
    command.add_argument("model", metavar="MODEL|DIR" if compiled else "MODEL", help=what)
    command.set_defaults(takes_compiled=compiled)
    add_reading(command, strict=strict, several=several)


def add_reading(command: argparse.ArgumentParser, *, strict: bool, several: bool = False) -> None:
    """The options that say how a model is read."""
    command.add_argument(
        "--strict",
        action=argparse.BooleanOptionalAction,
        default=strict,
        help="accept nothing beyond the letter of NNEF 1.0.5" + (" (the default)" if strict else ""),
    )
    command.add_argument(
        "--shape",
        metavar="NAME=N,C,...",
        type=shape_argument,
        action="append",
        default=[],
        dest="shapes",
        help="the shape of an input, in place of the file's, or SYMBOL=N in ONNX and tract's dialect; may be repeated"
        + ("; several for one name make a model for several sets of shapes" if several else ""),
    )
    command.add_argument(
        "--const",
        metavar="NAME=FILE.npy",
        type=constant_argument,
        action="append",
        default=[],
        dest="constants",
        help="the values of an ONNX input that must be known when the model is read; may be repeated",
    )


def add_threads(command: argparse.ArgumentParser) -> None:
    """The number of threads of a compiled model."""
    command.add_argument("--threads", type=positive, metavar="N", help="threads per call (default: one per free core)")


def add_target(command: argparse.ArgumentParser) -> None:
    """The machine that code is made for."""
    command.add_argument("--target", metavar="TRIPLE", default="host", help="the machine to run on (default: this)")
    command.add_argument("--cpu", metavar="NAME[+FEATURE]", help="its CPU (default: any of the triple)")


def add_options(command: argparse.ArgumentParser) -> None:
    """What code is made to be; see :func:`options_of`."""
    command.add_argument(
        "--optimize",
        choices=OPTIMIZE,
        default=OPTIMIZE[0],
        help="speed (the default), or size: weights take no more room than the parameters",
    )
    command.add_argument(
        "--weights",
        choices=WEIGHTS,
        default=WEIGHTS[0],
        help="the type in which weights are kept (default: f16 for those stored so and with --precision f16, else f32)",
    )
    command.add_argument(
        "--precision",
        choices=PRECISION,
        default=PRECISION[0],
        help="f16 keeps weights and tensors between layers in half precision (beyond 65504: infinite) and computes in "
        "f32 (the default); bf16 rounds what weights are multiplied by, too, and is faster on CPUs with AVX512-BF16",
    )
    add_execution(command)
    command.add_argument(
        "--fast-math", action="store_true", help="approximate exp, sigmoid, tanh and erf of f32 (about 13 bits)"
    )
    command.add_argument(
        "--tune", action="store_true", help="time several ways to do convolutions here, and keep what was found"
    )


def add_execution(command: argparse.ArgumentParser) -> None:
    """How quantized networks are computed."""
    command.add_argument(
        "--execution",
        choices=EXECUTIONS,
        default=EXECUTION,
        help="of a quantized network: integer, on codes of 8 bits wherever kernels can; float, every encoded tensor "
        f"pseudo-quantized; or ignore, as if computed tensors had no encoding (default: {EXECUTION})",
    )


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """The options of :func:`add_options` that ``nnefc.compile`` takes, those that are not the default."""
    plain, names = Options(), ("optimize", "fast_math", "tune", "weights", "precision", "execution")
    given = {name: getattr(args, name) for name in names}
    return {name: value for name, value in given.items() if value != getattr(plain, name)}


def target_of(args: argparse.Namespace) -> str:
    """The target of :func:`add_target` as ``Target.parse`` reads it."""
    return f"{args.target}:{args.cpu}" if args.cpu else str(args.target)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def positive_seconds(text: str) -> float:
    """A time of more than nothing and at most an hour."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 3600")
    return seconds


def is_compiled(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is a folder that ``nnefc compile`` wrote."""
    return (Path(path) / "manifest.json").is_file() and not (Path(path) / "graph.nnef").exists()


def read_model(args: argparse.Namespace) -> tuple[Graph, list[str]]:
    """The model that the command line names, and the notes on what it tolerated; these go to standard error too."""
    graphs, notes = _read(args, [shapes_of(args)])
    return graphs[0], notes


def read_entries(args: argparse.Namespace) -> tuple[list[Graph], list[str]]:
    """The model once for each set of shapes that the command line gives, and the notes on it as above."""
    return _read(args, shape_sets(args))


def _read(args: argparse.Namespace, sets: Sequence[Shapes]) -> tuple[list[Graph], list[str]]:
    from nnefc.api import load

    notes: list[str] = []
    constants = constants_of(args)
    graphs = [load(args.model, shapes=s, constants=constants, strict=args.strict, notes=notes) for s in sets]
    notes = list(dict.fromkeys(notes))
    for note in notes:
        print(note, file=sys.stderr)
    return graphs, notes


def shape_sets(args: argparse.Namespace) -> list[Shapes]:
    """The sets of shapes given with ``--shape``: set k has the k-th shape of each name, or the only one.

    Raises UsageError where names have other numbers of shapes, and for two equal sets.
    """
    given: dict[str, list[tuple[int, ...]]] = {}
    for name, shape in args.shapes:
        given.setdefault(name, []).append(shape)
    count = max(map(len, given.values()), default=1)
    for name, shapes in given.items():
        if len(shapes) not in (1, count):
            most = max(given, key=lambda n: len(given[n]))
            raise UsageError(
                f"--shape gives {most!r} {count} shapes and {name!r} {len(shapes)}; each name needs one for every set, "
                "or one for all"
            )
    sets = [{name: shapes[k % len(shapes)] for name, shapes in given.items()} for k in range(count)]
    for k, one in enumerate(sets):
        if one in sets[:k]:
            raise UsageError(f"--shape gives two equal sets: {_set_text(one)}")
    return sets


def _set_text(shapes: Shapes) -> str:
    return " ".join(f"{name}={','.join(map(str, shape))}" for name, shape in shapes.items())


def shapes_of(args: argparse.Namespace) -> Shapes:
    """The shapes given with ``--shape``. Raises UsageError if there are several sets."""
    sets = shape_sets(args)
    if len(sets) > 1:
        both = " and ".join(map(_set_text, sets[:2]))
        raise UsageError(f"--shape gives several sets, {both}; only `nnefc compile` takes more than one")
    return sets[0]


def constants_of(args: argparse.Namespace) -> dict[str, np.ndarray] | None:
    """The arrays given with ``--const``, or None. Raises UsageError if one input has two, or the model is not ONNX."""
    if args.constants and not os.fspath(args.model).lower().endswith(".onnx"):
        raise UsageError("--const binds inputs of ONNX models only")
    names = [name for name, _ in args.constants]
    if len(set(names)) != len(names):
        raise UsageError("--const gives one input two values")
    return {name: read_any(path) for name, path in args.constants} or None


def emit(result: dict[str, Any]) -> None:
    """Print a result as JSON; numbers that JSON lacks become their names."""
    json.dump(_plain(result), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def signature(values: Iterable[Any]) -> list[dict[str, Any]]:
    """Inputs or outputs of a graph for JSON: name, dtype, shape."""
    return [{"name": v.name, "dtype": str(v.type.dtype), "shape": list(v.type.shape)} for v in values]


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows as aligned columns, the first row being their titles; the columns ``right`` are aligned to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    sides = [str.rjust if i in right else str.ljust for i in range(len(widths))]
    lines = [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def size_text(count: int) -> str:
    """A number of bytes for people."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def error_text(text: str) -> str:
    """An error's text, its ``error:`` in red where standard error is a terminal."""
    return text.replace("error:", styled("error:", "1;31", sys.stderr), 1)


def styled(text: str, code: str, stream: TextIO) -> str:
    """``text`` in a style of the terminal; as it is where the stream is none, or NO_COLOR is set."""
    return f"\x1b[{code}m{text}\x1b[0m" if stream.isatty() and not os.environ.get("NO_COLOR") else text
