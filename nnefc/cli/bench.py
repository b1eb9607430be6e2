"""``nnefc bench``: how long a call takes, compiled and in other engines."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nnefc.cli.common import (
    UsageError,
    add_model,
    add_options,
    add_threads,
    constants_of,
    emit,
    is_compiled,
    options_of,
    positive,
    positive_seconds,
    read_model,
    shapes_of,
    size_text,
    table,
)
from nnefc.cli.inputs import add_inputs, chosen_entry, given_inputs
from nnefc.tools.compare import complete

if TYPE_CHECKING:
    from nnefc.tools.bench import Benchmark

NAME = "bench"
HELP = "time a model, also against other engines"
DESCRIPTION = """\
Time calls of a model, compiled, or of a compiled folder, and of the same network in ONNX Runtime, OpenVINO and tract.
Each engine runs in a process of its own, and they take turns. A ratio above 1 says that nnefc is faster."""


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(command, compiled=True)
    add_inputs(command)
    command.add_argument("--compare", metavar="ENGINE,...", default="", help="also time these, of ort, openvino, tract")
    command.add_argument(
        "--seconds", metavar="S", type=positive_seconds, default=2.0, help="time each engine so long (default: 2)"
    )
    command.add_argument("--runs", metavar="N", type=positive, help="and at least so many calls")
    add_options(command)
    add_threads(command)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from nnefc.tools.bench import bench

    peers = [name.strip() for name in args.compare.split(",") if name.strip()]
    if len(set(peers)) != len(peers):
        raise UsageError("--compare names an engine twice")
    common: dict[str, Any] = {"compare": peers, "threads": args.threads, "seconds": args.seconds, "runs": args.runs}
    try:
        if is_compiled(args.model):
            result = bench(args.model, _inputs_of_folder(args), **common)
        else:
            graph, _ = read_model(args)
            given = given_inputs(args, {v.name: v.type for v in graph.inputs})
            read: dict[str, Any] = {"shapes": shapes_of(args), "constants": constants_of(args)}
            result = bench(args.model, given, **options_of(args), **read, **common)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if args.json:
        emit(result.record())
    else:
        print(_text(result))
    return 0


def _inputs_of_folder(args: argparse.Namespace) -> dict[str, Any]:
    from nnefc.api import load_compiled

    if args.constants or options_of(args):
        options = "--const, --optimize, --weights, --precision, --execution, --fast-math and --tune"
        raise UsageError(f"{options} need the model, not a compiled folder")
    types = chosen_entry(args, load_compiled(args.model))[1]
    return complete(given_inputs(args, types), types, 0)


def _text(result: Benchmark) -> str:
    from nnefc.tools.bench import engine_title

    rows = [["engine", "version", "threads", "median ms", "p90", "min", "calls", "ratio", "load ms", "memory", "error"]]
    for t in result.timings:
        times = [_ms(t.median), _ms(t.p90), _ms(t.least), str(len(t.times))]
        error = "" if t.engine == "nnefc" else "not comparable" if t.error is None else f"{t.error:.1e}"
        more = [f"{result.ratio(t):.2f}", f"{t.load_seconds * 1e3:.1f}", size_text(t.peak_memory), error]
        rows.append([engine_title(t.engine), t.version, str(t.threads), *times, *more])
    lines = [table(rows, right=range(2, len(rows[0])))]
    lines += [f"{engine_title(name)}: {why}" for name, why in result.skipped.items()]
    facts = result.machine
    return "\n".join([*lines, "", f"{facts['cpu']}, {facts['cpus']} CPUs, {facts['system']}"])


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.4g}"
