"""``nnefc compare``: two models on the same inputs, output by output and layer by layer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from nnefc.cli.common import (
    UsageError,
    add_execution,
    add_model,
    add_threads,
    constants_of,
    emit,
    read_model,
    shapes_of,
    table,
)
from nnefc.cli.inputs import add_inputs, given_inputs
from nnefc.errors import InvalidModelError

if TYPE_CHECKING:
    from nnefc.tools.compare import Comparison, Difference

NAME = "compare"
HELP = "compare two models, or a model with ONNX Runtime or the NumPy meaning"
DESCRIPTION = """\
Feed two models the same inputs and show how far their outputs, and then the tensors in between, are apart. The second
may be `ort`, the same model in ONNX Runtime, or `reference`, the NumPy meaning of its operations."""


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(command)
    command.add_argument("other", metavar="MODEL|ort|reference", help="what to compare it with")
    add_inputs(command)
    command.add_argument(
        "--random", metavar="SEED", type=int, default=0, help="what random inputs are made from (default: 0)"
    )
    command.add_argument(
        "--tolerance",
        metavar="T",
        type=float,
        default=1e-4,
        help="the difference allowed, relative to the largest magnitude of each tensor (default: 1e-4)",
    )
    command.add_argument("--outputs-only", action="store_true", help="leave out the tensors in between")
    add_threads(command)
    add_execution(command)


def run(args: argparse.Namespace) -> int:
    """Print the differences; 1 if an output differs by more than the tolerance."""
    from nnefc.tools import MismatchError, compare

    if args.random < 0 or not args.tolerance >= 0:
        raise UsageError("--random and --tolerance must not be negative")
    graph, _ = read_model(args)
    given = given_inputs(args, {v.name: v.type for v in graph.inputs})
    try:
        result = compare(
            args.model if args.other == "ort" else graph,
            args.other,
            given,
            tolerance=args.tolerance,
            layers=not args.outputs_only,
            seed=args.random,
            shapes=shapes_of(args),
            constants=constants_of(args),
            strict=args.strict,
            threads=args.threads,
            execution=args.execution,
        )
    except MismatchError as error:
        raise InvalidModelError(f"the comparison failed: {error}") from error
    if args.json:
        emit(_record(result))
    else:
        print(_text(result, args.tolerance))
    return 0 if result.equal else 1


def _record(result: Comparison) -> dict[str, object]:
    return {
        "equal": result.equal,
        "first_divergence": None if result.first is None else result.first.name,
        "outputs": [asdict(d) for d in result.outputs],
        "layers": [asdict(d) for d in result.layers],
        "unmatched": result.unmatched,
    }


def _text(result: Comparison, tolerance: float) -> str:
    parts = ["outputs", _table(result.outputs)]
    if result.layers:
        parts += ["", "layers", _table(result.layers)]
    if result.unmatched:
        parts.append(f"{result.unmatched} tensors in between have no counterpart of their name")
    parts.append("")
    if result.first is not None:
        parts.append(f"the first divergence is at {result.first.name!r}")
    verdict = "equal" if result.equal else "NOT equal"
    return "\n".join([*parts, f"the outputs are {verdict} within {tolerance:g} of their largest magnitude"])


def _table(differences: Sequence[Difference]) -> str:
    rows = [["tensor", "type", "max abs", "relative", "SNR dB", "cosine", ""]]
    for d in differences:
        name = d.name if d.name == d.other else f"{d.name} ({d.other})"
        if d.shapes is not None:
            rows.append([name, d.dtype, f"shapes {list(d.shapes[0])} and {list(d.shapes[1])}", "", "", "", "differs"])
            continue
        numbers = [f"{d.max_abs:.3g}", f"{d.max_rel:.3g}", f"{d.snr:.1f}", f"{d.cosine:.9f}"]
        rows.append([name, d.dtype, *numbers, "" if d.equal else "differs"])
    return table([row[:-1] for row in rows] if all(d.equal for d in differences) else rows)
