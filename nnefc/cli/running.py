"""``nnefc run``: feed a model, compiled or not, and print or store its answers."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from nnefc.cli.common import (
    UsageError,
    add_model,
    add_options,
    add_threads,
    emit,
    is_compiled,
    options_of,
    positive,
    read_model,
)
from nnefc.cli.inputs import add_inputs, chosen_entry, given_inputs, listed, types_of
from nnefc.codegen.options import PRECISION
from nnefc.errors import InvalidModelError
from nnefc.ir.types import TensorType
from nnefc.runtime import Model
from nnefc.runtime.memory import available_memory, require_memory
from nnefc.tools.arrays import npz_names, read_npz, write_npz
from nnefc.tools.compare import complete

NAME = "run"
HELP = "feed a model and print or store its answers"
DESCRIPTION = "Feed a model, or a folder that `nnefc compile` wrote, with arrays, and print or store its answers."
Arrays = dict[str, np.ndarray]
Types = dict[str, TensorType]
Call = Callable[[Arrays], Arrays]

SHOWN = 10
LISTED = 4096


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(command, compiled=True)
    add_inputs(command)
    command.add_argument("--random", metavar="SEED", type=int, help="fill the inputs not given with random numbers")
    command.add_argument("--output", metavar="FILE.npz", help="store the answers here")
    command.add_argument("--expect", metavar="FILE.npz", help="compare the answers with these; exit 1 if they differ")
    command.add_argument(
        "--tolerance",
        metavar="T",
        type=float,
        default=1e-4,
        help="what --expect allows, relative to the largest magnitude of each expected array (default: 1e-4)",
    )
    command.add_argument(
        "--absolute", metavar="A", type=float, default=0.0, help="what --expect allows besides, in itself (default: 0)"
    )
    command.add_argument("--reference", action="store_true", help="compute with the NumPy meaning of the operations")
    command.add_argument("--repeat", metavar="N", type=positive, help="call N times more and print the median time")
    add_threads(command)
    add_options(command)


def run(args: argparse.Namespace) -> int:
    """Call the model once and print or store what it answers; 1 if that is not what was expected."""
    call, inputs, outputs = _callable(args)
    sizes = sum(t.volume * t.dtype.size for t in (*inputs.values(), *outputs.values()))
    require_memory(sizes, "holding the inputs and outputs")
    arrays = _inputs(args, inputs)
    try:
        with _within_memory() if args.reference else nullcontext():
            answers = call(arrays)
    except ValueError as error:
        raise InvalidModelError(f"the model cannot work on these inputs: {error}") from error
    report: dict[str, Any] = {"outputs": {name: _summary(array) for name, array in answers.items()}}
    if args.repeat:
        report["median_ms"] = _median_ms(lambda: call(arrays), args.repeat)
    if args.output:
        write_npz(args.output, answers)
        report["stored"] = args.output
    if args.expect:
        report["compared"] = _compare(args, answers, outputs)
    if args.json:
        emit(report)
    else:
        _print(report)
    return 0 if all(c["equal"] for c in report.get("compared", {}).values()) else 1


@contextmanager
def _within_memory() -> Iterator[None]:
    """Allocations beyond what the system has fail with MemoryError, where the system itself would end the process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    limit = taken + available_memory()
    resource.setrlimit(resource.RLIMIT_AS, (limit if soft == resource.RLIM_INFINITY else min(soft, limit), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _callable(args: argparse.Namespace) -> tuple[Call, Types, Types]:
    """A function from named inputs to named outputs, and the types of both."""
    from nnefc import api

    if is_compiled(args.model):
        if args.reference or args.constants or options_of(args):
            options = "--reference, --const, --optimize, --weights, --precision, --execution, --fast-math and --tune"
            raise UsageError(f"{options} need the model itself, no folder")
        model = api.load_compiled(args.model, threads=args.threads)
        entry, taken = chosen_entry(args, model)
        model.require_memory(entry)
        return _named(model), taken, types_of(model.entries[entry].outputs)
    graph, _ = read_model(args)
    inputs, outputs = ({v.name: v.type for v in values} for values in (graph.inputs, graph.outputs))
    if args.reference:
        if args.precision not in PRECISION[:2]:
            raise UsageError(f"--reference has --precision {' or '.join(PRECISION[:2])}: others depend on the target")
        asked = {"execution": args.execution, "precision": args.precision}
        return lambda arrays: api.evaluate(graph, arrays, **asked), inputs, outputs
    compiled = api.compile(graph, threads=args.threads, **options_of(args))
    compiled.require_memory()
    return _named(compiled), inputs, outputs


def _named(model: Model) -> Call:
    """The model as a function of named inputs that gives named outputs."""

    def call(arrays: Arrays) -> Arrays:
        result = model(*(arrays[port.name] for port in model.inputs))
        names = [port.name for port in model.outputs]
        return dict(zip(names, result if len(names) > 1 else [result], strict=True))

    return call


def _inputs(args: argparse.Namespace, types: Types) -> Arrays:
    arrays = given_inputs(args, types)
    missing = [name for name in types if name not in arrays]
    if missing and args.random is None:
        wanted = listed({name: types[name] for name in missing})
        raise UsageError(f"no --input for {wanted}; --random SEED makes some up")
    return complete(arrays, types, args.random or 0)


def _summary(array: np.ndarray) -> dict[str, Any]:
    numbers = array.astype(np.float64).ravel()
    summary: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if numbers.size:
        summary |= {"min": float(numbers.min()), "max": float(numbers.max()), "mean": float(numbers.mean())}
    if array.size <= LISTED:
        summary["values"] = array.ravel().tolist()
    return summary


def _compare(args: argparse.Namespace, answers: Arrays, types: Types) -> dict[str, dict[str, Any]]:
    """The largest difference of each expected answer, relative to its largest magnitude (floats), or exactly."""
    expected = read_npz(args.expect, {name: types[name] for name in answers})
    if not expected:
        held = ", ".join(npz_names(args.expect)) or "nothing"
        raise UsageError(f"{args.expect} holds {held}; the answers are {listed(types)}")
    return {name: _difference(answers[name], array, args) for name, array in expected.items()}


def _difference(answer: np.ndarray, expected: np.ndarray, args: argparse.Namespace) -> dict[str, Any]:
    if expected.dtype.kind != "f":
        wrong = int(np.count_nonzero(answer != expected))
        return {"equal": not wrong, "different": wrong}
    with np.errstate(all="ignore"):
        same = (answer == expected) | (np.isnan(answer) & np.isnan(expected))
        apart = np.where(same, 0.0, np.abs(answer.astype(np.float64) - expected))
    finite = np.abs(expected[np.isfinite(expected)].astype(np.float64))
    worst, largest = float(apart.max(initial=0.0)), float(finite.max(initial=0.0))
    equal = bool(worst <= args.tolerance * largest + args.absolute)
    return {"equal": equal, "difference": worst, "allowed": args.tolerance * largest + args.absolute}


def _median_ms(call: Callable[[], object], count: int) -> float:
    """The median time of ``count`` calls in milliseconds."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e3)


def _print(report: dict[str, Any]) -> None:
    for name, summary in report["outputs"].items():
        numbers = summary.get("values", [])
        shown = " ".join(f"{v:.6g}" if isinstance(v, float) else str(v).lower() for v in numbers[:SHOWN])
        print(f"{name}: {summary['dtype']}{summary['shape']}  {shown}{' ...' if len(numbers) > SHOWN else ''}".rstrip())
        if "min" in summary and not numbers:
            print(f"  from {summary['min']:.6g} to {summary['max']:.6g}, mean {summary['mean']:.6g}")
    for name, result in report.get("compared", {}).items():
        verdict = "as expected" if result["equal"] else "NOT as expected"
        measure = (
            f"{result['different']} elements differ"
            if "different" in result
            else f"largest difference {result['difference']:.3g}, allowed {result['allowed']:.3g}"
        )
        print(f"{name}: {verdict} ({measure})")
    if "median_ms" in report:
        print(f"median time of a call: {report['median_ms']:.4f} ms")
    if "stored" in report:
        print(f"answers stored in {report['stored']}")
