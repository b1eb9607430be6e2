"""``nnefc quantize``: a model with 8-bit codes, or other ones, from data."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnefc.cli.coding import add_remedies, add_settings, data_from, recipe_from, refinement_from
from nnefc.cli.common import UsageError, add_model, add_threads, emit, positive, read_model, size_text, table

if TYPE_CHECKING:
    from nnefc.ir.graph import Graph
    from nnefc.quant import Calibration, Quantization, Recipe

NAME = "quantize"
HELP = "quantize a model with the ranges that data show"
DESCRIPTION = """\
Quantize a model after training. The model is compiled and run once over the data, and its weights and the tensors
between its operations are given codes; OUT says so in its graph.quant (NNEF), or with QDQ pairs (ONNX).

PATH is a folder of .npy files, an .npy file, or an .npz file that holds arrays under the inputs' names; the leading
dimension counts samples.

examples:
  nnefc quantize model.onnx --data images.npy -o model_int8.nnef.tgz
  nnefc quantize model.onnx --data samples/ --method entropy --exclude softmax 'head_*' -o model_int8.onnx
  nnefc quantize model.onnx --data images.npy --save-calibration ranges.json
  nnefc quantize model.onnx --calibration ranges.json --scheme int4w -o model_int4w.nnef.tgz
"""
SHOWN = 40


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    add_model(command)
    _add_data(command)
    command.add_argument("-o", "--output", metavar="OUT", help="a folder, or a file .nnef.tgz, .tar, .zip or .onnx")
    add_settings(command)
    add_remedies(command)
    add_threads(command)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data", metavar="PATH", nargs="+", default=[], help="samples; NAME=PATH for one of several inputs"
    )
    command.add_argument("--samples", metavar="N", type=positive, help="use at most N calls' worth of the data")
    command.add_argument(
        "--calibration", metavar="FILE", nargs="+", default=[], help="what --save-calibration wrote; several are merged"
    )
    command.add_argument("--save-calibration", metavar="FILE", help="keep what was seen of the data")


def run(args: argparse.Namespace) -> int:
    """Calibrate, quantize, write, and say what is coded how."""
    from nnefc.quant import prepare

    _check(args)
    recipe = recipe_from(args)
    graph, notes = read_model(args)
    prepared = prepare(graph)
    recipe.settings(prepared)
    anew = args.equalize and not args.save_calibration
    calibration = None if anew else _calibration(args, prepared)
    if args.save_calibration and calibration is not None:
        calibration.save(args.save_calibration)
    if args.output is None:
        return _told(args, {"calibration": args.save_calibration, "calls": calibration.calls if calibration else 0})
    result, calibration = _quantized(args, prepared, recipe, calibration)
    if args.calibration and args.correct_bias is None:
        notes.append(
            "biases stay as they are: what corrects them are samples (--data), of which a calibration has none"
        )
        print(notes[-1], file=sys.stderr)
    notes += _write(result.graph, args.output)
    record = _record(args, graph, result, calibration, notes)
    if args.json:
        emit(record)
    else:
        print(_text(record))
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse, before any work, what does not fit together."""
    from nnefc.tools.convert import format_of

    if args.output is None and args.save_calibration is None:
        raise UsageError("nothing is to be written: say -o OUT or --save-calibration FILE")
    if args.output is not None:
        try:
            format_of(args.output)
        except ValueError as error:
            raise UsageError(str(error)) from error
    if args.data and args.calibration:
        raise UsageError("--data and --calibration both say what ranges tensors have: give one, or merge calibrations")
    wanting = {"--equalize": args.equalize, "--adaround": args.adaround, "--correct-bias": args.correct_bias}
    for option, given in wanting.items():
        if given and not args.data:
            raise UsageError(f"{option} needs --data: ranges alone do not say what layers make of samples")
    for path in (args.output, args.save_calibration):
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise UsageError(f"there is no folder {Path(path).absolute().parent}")


def _quantized(
    args: argparse.Namespace, prepared: Graph, recipe: Recipe, calibration: Calibration | None
) -> tuple[Quantization, Calibration | None]:
    """The result, with the remedies asked for, and the calibration that it rests on."""
    from nnefc.quant import Samples, calibrate, quantized
    from nnefc.quant.refine import Refinement, refined

    refinement = refinement_from(args)
    if refinement == Refinement():
        return quantized(prepared, recipe, calibration), calibration
    data = data_from(args.data, prepared) if args.data else None

    def observe(graph: Graph) -> Calibration:
        nonlocal calibration
        if graph is not prepared or calibration is None:
            if data is None:
                raise UsageError("there are neither --data nor a --calibration to find the ranges of tensors with")
            calibration = calibrate(graph, data, limit=args.samples, threads=args.threads)
        return calibration

    # Without data nothing is asked for that reads samples.
    samples = Samples(data, prepared.inputs, limit=args.samples) if data is not None else ()
    return refined(prepared, recipe, refinement, observe, samples, threads=args.threads)[1], calibration


def _calibration(args: argparse.Namespace, prepared: Graph) -> Calibration | None:
    """The calibration that files or data give; None where there are neither."""
    from nnefc.quant import Calibration, calibrate

    if args.calibration:
        first, *more = (Calibration.load(path) for path in args.calibration)
        for later in more:
            first = first.merged(later)
        first.check(prepared)
        return first
    if not args.data:
        if args.save_calibration:
            raise UsageError("--save-calibration needs --data, or several --calibration to merge")
        return None
    return calibrate(prepared, data_from(args.data, prepared), limit=args.samples, threads=args.threads)


def _write(graph: Graph, output: str) -> list[str]:
    """Write the model. Gives notes, which go to standard error too."""
    from nnefc.tools.convert import convert

    notes = list(convert(graph, output).notes)
    for note in notes:
        print(note, file=sys.stderr)
    return notes


def _told(args: argparse.Namespace, record: dict[str, Any]) -> int:
    if args.json:
        emit(record)
    else:
        print(f"{record['calibration']}: seen in {record['calls']} calls of the model")
    return 0


def _record(
    args: argparse.Namespace, graph: Graph, result: Quantization, calibration: Calibration | None, notes: list[str]
) -> dict[str, Any]:
    rows = [
        {
            "name": t.name,
            "kind": t.kind,
            "shares": list(t.others),
            "method": t.method,
            "observed": list(t.observed),
            "range": list(t.range),
            "algorithm": t.encoding.algorithm,
            **dict(t.encoding.parameters),
        }
        for t in result.tensors
    ]
    before, after = (sum(_bytes(t) for t in g.tensors.values()) for g in (graph, result.graph))
    return {
        "output": args.output,
        "file_bytes": _size(Path(args.output)),
        "parameter_bytes": {"before": before, "after": after},
        "calls": calibration.calls if calibration is not None else 0,
        "remedies": list(refinement_from(args).names),
        "tensors": rows,
        "floats": [{"name": name, "reason": reason} for name, reason in result.floats.items()],
        "notes": notes,
    }


def _bytes(tensor: Any) -> int:
    return int(tensor.data.size * tensor.bits + 7) // 8


def _size(path: Path) -> int:
    """The bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(os.path.getsize(p) for p in files if p.is_file())


def _text(record: dict[str, Any]) -> str:
    before, after = (record["parameter_bytes"][k] for k in ("before", "after"))
    activations, weights = ([t for t in record["tensors"] if t["kind"] == k] for k in ("activation", "weights"))
    coded = sum(1 + len(t["shares"]) for t in activations)
    calls = f", seen in {record['calls']} calls" if record["calls"] else ""
    lines = [
        f"{record['output']}: {coded} activations{calls}, and {len(weights)} weights are coded; parameters "
        f"{size_text(before)} -> {size_text(after)}"
    ]
    if record["remedies"]:
        lines[0] += f"; {', '.join(record['remedies'])}"
    lines += ["", *_listing(activations), *_listing(weights)] if record["tensors"] else []
    if record["floats"]:
        lines += ["stays float:", *(f"  {f['name']}: {f['reason']}" for f in record["floats"][:SHOWN])]
        lines += [f"  and {len(record['floats']) - SHOWN} more"] if len(record["floats"]) > SHOWN else []
    return "\n".join(lines).rstrip()


def _listing(tensors: list[dict[str, Any]]) -> list[str]:
    """A table of tensors."""
    if not tensors:
        return []
    activations = tensors[0]["kind"] == "activation"
    last = ("zero", "shared by") if activations else ("scales",)
    rows = [["activation" if activations else "weights", "observed", "coded range", "step", "bits", "method", *last]]
    for t in tensors[:SHOWN]:
        scale, count = _scale(t)
        ends = (f"{t['observed'][0]:.4g} .. {t['observed'][1]:.4g}", f"{t['range'][0]:.4g} .. {t['range'][1]:.4g}")
        others = t["shares"]
        more = f" and {len(others) - 2} more" if len(others) > 2 else ""
        tail = (str(t.get("zero_point", "-")), ", ".join(others[:2]) + more) if activations else (str(count),)
        rows.append([t["name"], *ends, scale, str(t["bits"]), t["method"], *tail])
    lines = table(rows, right=(4, 6)).splitlines()
    if len(tensors) > SHOWN:
        lines.append(f"and {len(tensors) - SHOWN} more (--json lists all)")
    return [*lines, ""]


def _scale(t: dict[str, Any]) -> tuple[str, int]:
    """The step, or the range of steps, of a tensor's codes for people, and how many there are."""
    import numpy as np

    values = np.asarray(t.get("scale", t.get("max"))).reshape(-1)
    low, high = float(values.min()), float(values.max())
    if "scale" not in t:
        return "powers of 2", values.size
    return (f"{low:.4g}" if low == high else f"{low:.3g} .. {high:.3g}"), values.size
