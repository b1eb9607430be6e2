"""``nnefc study``: how a model is best quantized, with the numbers that say so."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnefc.cli.coding import add_settings, data_from, recipe_from
from nnefc.cli.common import (
    UsageError,
    add_model,
    add_threads,
    emit,
    positive,
    read_model,
    size_text,
    table,
)
from nnefc.files import whole_folder, write_text
from nnefc.quant.ranges import METHODS
from nnefc.quant.scheme import SCHEMES

if TYPE_CHECKING:
    from nnefc.ir.graph import Graph
    from nnefc.quant.result import Study

NAME = "study"
HELP = "find out how a model is best quantized, and write a report"
DESCRIPTION = """\
Compare ways to quantize a model, find the layers where it loses, and search mixed precision for the networks that none
beats in metric, measured time and bytes. DIR gets study.json, tables as CSV and report.html, a page that needs nothing
else.

examples:
  nnefc study model.onnx --data images.npy -o study
  nnefc study model.onnx --data images.npy --labels labels.npy --metric top1 -o study --apply model_int8.nnef.tgz
  nnefc study model.onnx --data train.npz --test test.npz --metric score.py:accuracy --emulate saturating-avx2
"""
FILES = ("study.json", "methods.csv", "layers.csv", "networks.csv", "report.html")
"""What a study writes."""
REMEDIES = ("equalize", "mse", "adaround", "correct")
ENGINES = ("saturating-avx2",)


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    add_model(command)
    _add_data(command)
    command.add_argument(
        "--metric", metavar="M", default="snr", help="snr (the default), cosine, top1, or FILE.py:FUNCTION"
    )
    command.add_argument("-o", "--output", metavar="DIR", help="the folder for the report")
    command.add_argument(
        "--apply", metavar="OUT", help="write the chosen network: a model, or its graph.quant (.quant)"
    )
    command.add_argument(
        "--methods", nargs="+", choices=METHODS, metavar="M", help=f"methods to compare (default: {', '.join(METHODS)})"
    )
    command.add_argument(
        "--remedies",
        nargs="*",
        choices=REMEDIES,
        metavar="R",
        default=list(REMEDIES),
        help=f"remedies to try on the best method (default: {', '.join(REMEDIES)})",
    )
    command.add_argument(
        "--mix", nargs="*", choices=SCHEMES, metavar="S", default=["float"], help="schemes for layers (default: float)"
    )
    command.add_argument(
        "--candidates", type=positive, metavar="N", default=32, help="most combinations of layers to try (default: 32)"
    )
    command.add_argument(
        "--loss", type=float, metavar="X", help="how much of the metric the chosen network may lose at most"
    )
    command.add_argument(
        "--emulate", nargs="+", choices=ENGINES, metavar="ENGINE", default=[], help="what another engine would lose"
    )
    add_settings(command)
    command.add_argument(
        "--execution",
        choices=("integer", "float"),
        default="integer",
        help="what is studied: codes as kernels compute on them (the default), or pseudo-quantized floats",
    )
    add_threads(command)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data", metavar="PATH", nargs="+", default=[], help="samples to calibrate with; NAME=PATH for several inputs"
    )
    command.add_argument("--test", metavar="PATH", nargs="+", help="samples to judge with (default: those of --data)")
    command.add_argument("--labels", metavar="FILE", help="labels of the test samples: .npy, or .npz with `labels`")
    command.add_argument("--random", metavar="N", type=positive, help="N random calls in place of --data")
    command.add_argument("--seed", metavar="N", type=int, default=0, help="what --random is drawn from (default: 0)")
    command.add_argument("--samples", metavar="N", type=positive, help="calibrate with at most N calls' worth of data")
    command.add_argument("--test-samples", metavar="N", type=positive, help="judge with at most N calls' worth")


def run(args: argparse.Namespace) -> int:
    """Study the model, write what was found, and say the gist of it."""
    from nnefc.quant.study import study

    _check(args)
    recipe = recipe_from(args)
    graph, _ = read_model(args)
    data = data_from(args.data, graph) if args.data else _drawn(args, graph)
    facts = {"file": Path(os.path.abspath(args.model)).name, "seed": args.seed if args.random else None}
    result = study(
        graph,
        data,
        test=None if args.test is None else data_from(args.test, graph, "--test"),
        labels=args.labels,
        metric=args.metric,
        methods=[args.method] if args.method else args.methods,
        remedies=args.remedies,
        recipe=recipe,
        schemes=args.mix,
        loss=args.loss,
        candidates=args.candidates,
        engines=args.emulate,
        limit=args.samples,
        test_limit=args.test_samples,
        threads=args.threads,
        execution=args.execution,
        facts=facts,
    )
    record = result.record()
    if args.output:
        _write(record, Path(args.output))
    if args.apply:
        _apply(result, args.apply)
    if args.json:
        from nnefc.quant.report import plain

        emit(plain(record))
    else:
        print(_text(record, args))
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse, before any work, what does not fit together."""
    if bool(args.data) == bool(args.random):
        raise UsageError("a study needs samples: give either --data or --random")
    if args.seed < 0:
        raise UsageError("--seed must not be negative")
    if args.method and args.methods:
        raise UsageError("--method and --methods both say how ranges are found: give one")
    if args.metric == "top1" and not args.labels:
        raise UsageError("--metric top1 needs --labels")
    if args.apply and not args.apply.lower().endswith(".quant"):
        from nnefc.tools.convert import format_of

        try:
            format_of(args.apply)
        except ValueError as error:
            raise UsageError(str(error)) from error
    for path in (args.output, args.apply):
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise UsageError(f"there is no folder {Path(path).absolute().parent}")
    if args.output:
        _check_replaceable(Path(args.output))


def _check_replaceable(folder: Path) -> None:
    """Raises UsageError unless a folder does not exist, is empty, or holds a study alone."""
    if folder.is_dir():
        others = sorted(p.name for p in folder.iterdir() if p.name not in FILES)
        if others:
            raise UsageError(f"{folder} holds {others[0]!r}, which is no part of a study; name another folder")
    elif os.path.lexists(folder):
        raise UsageError(f"{folder} exists and is no folder")


def _drawn(args: argparse.Namespace, graph: Graph) -> dict[str, np.ndarray]:
    """Random inputs for so many calls."""
    from nnefc.tools.compare import random

    generator = np.random.default_rng(args.seed)
    types = {v.name: v.type for v in graph.inputs}
    calls = [{name: random(generator, type_) for name, type_ in types.items()} for _ in range(args.random)]
    return {name: np.stack([call[name] for call in calls]) for name in types}


def _write(record: dict[str, Any], folder: Path) -> None:
    """Write the files of a study; the folder appears whole or not at all."""
    import json

    from nnefc.quant.report import page, plain, tables

    files = {"study.json": json.dumps(plain(record), indent=2) + "\n", **tables(record), "report.html": page(record)}
    _check_replaceable(folder)
    with whole_folder(folder) as made:
        for name, content in files.items():
            (made / name).write_text(content, encoding="utf-8")


def _apply(result: Study, path: str) -> None:
    """Write the chosen network, or what it says of its tensors."""
    if path.lower().endswith(".quant"):
        from nnefc.formats.nnef import quantfile
        from nnefc.quant.diff import encodings

        write_text(path, quantfile.format(encodings(result.graph)))
        return
    from nnefc.tools.convert import convert

    for note in convert(result.graph, path).notes:
        print(note, file=sys.stderr)


def _text(record: dict[str, Any], args: argparse.Namespace) -> str:
    from nnefc.quant.plots import number
    from nnefc.quant.report import advice, brief, points

    measured, by_name = record["measured"], {p["name"]: p for p in points(record)}
    named = record["metric"]["name"]
    heads = ["SNR dB"] if named == "snr" else [named, "SNR dB"]

    def scores(row: Mapping[str, Any]) -> list[str]:
        return [number(row["metric"]), number(row["snr"])][-len(heads) :]

    rows = [["method", *heads, "parameters"]]
    rows += [[t["name"], *scores(t), size_text(t["bytes"])] for t in record["trials"]]
    parts = [table(rows, right=range(1, len(rows[0])))]
    if record["layers"]:
        parts.append(table(_layers(record["layers"]), right=(2, 3, 4, 5, 6)))
    rows = [["on the front", *heads, "us a call", "parameters"]]
    for name in measured["front"]:
        p, seconds = by_name[name], f"{measured['seconds'][name] * 1e6:.2f}"
        rows.append([brief(record, p), *scores(p), seconds, size_text(p["bytes"])])
    parts += [table(rows, right=range(1, len(rows[0]))), "\n".join(advice(record))]
    if args.output:
        parts.append(f"the report is {Path(args.output) / 'report.html'}")
    return "\n\n".join(parts)


def _layers(rows: Sequence[dict[str, Any]], most: int = 12) -> list[list[str]]:
    """The layers that lose most, as rows of a table."""
    from nnefc.quant.plots import ERRORS, number, shorter

    shown = [["layer", "kind", *(f"{cause} dB" for cause in ERRORS), "back dB"]]
    for row in sorted(rows, key=lambda r: r["own"])[:most]:
        back = row.get("recovered_snr")
        said = [number(row[cause]) for cause in ERRORS]
        shown.append([shorter(row["name"]), row["kind"], *said, "" if back is None else f"{back:+.2f}"])
    return shown
