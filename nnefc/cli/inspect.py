"""``nnefc inspect``: what a model is made of and what it costs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from nnefc.cli.common import add_model, constants_of, emit, shapes_of, size_text, table

NAME = "inspect"
HELP = "show what a model is made of and what it costs"
UNKNOWN = "not known"
DESCRIPTION = "Show a model's operations, parameters, multiplications, memory, element types and what it needs."


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(command)


def run(args: argparse.Namespace) -> int:
    """Print the record."""
    from nnefc.tools.inspect import inspect

    record = inspect(args.model, shapes=shapes_of(args), constants=constants_of(args), strict=args.strict)
    if args.json:
        emit(record)
        return 0
    for note in record["notes"]:
        print(note, file=sys.stderr)
    print(_text(record))
    return 0


def _text(record: dict[str, Any]) -> str:
    rows = [["what", "value"], ["name", record["name"]], ["format", _format(record)]]
    for what in ("inputs", "outputs"):
        rows += [[what.removesuffix("s"), f"{p['name']}: {p['dtype']}{_shape(p['shape'])}"] for p in record[what]]
    for name, dims in record["free_dimensions"].items():
        rows.append(["free", f"{name}: " + ", ".join(f"dimension {d} ({s})" for d, s in dims.items())])
    memory = record["activations"]
    rows += [
        ["parameters", f"{record['parameters']:,} ({size_text(record['parameter_bytes'])})"],
        ["multiplications", _number(record["macs"])],
        ["activations", UNKNOWN if memory["sum"] is None else f"{size_text(memory['sum'])} in all"],
        ["working memory", _memory(memory)],
        ["element types", _counts(record["tensors"])],
        ["quantization", _counts(record["quantization"])],
        *([["on integers", _on_integers(record)]] if record["on_integers"] is not None else []),
        ["as NNEF", _needs(record)],
    ]
    operations = [["operation", "number"], *([k, str(n)] for k, n in record["operations"].items())]
    return f"{table(rows)}\n\n{table(operations)}"


def _format(record: dict[str, Any]) -> str:
    if record["opset"] is None:
        return str(record["format"])
    opsets = ", ".join(f"{domain} {version}" for domain, version in record["opset"].items())
    by = f", by {record['producer']}" if record["producer"] else ""
    return f"{record['format']}, opset {opsets}, IR {record['ir_version']}{by}"


def _counts(counts: dict[str, int] | None) -> str:
    return UNKNOWN if counts is None else ", ".join(f"{k} x {n}" for k, n in counts.items()) or "none"


def _on_integers(record: dict[str, Any]) -> str:
    count = record["on_integers"]
    share = f" ({count / record['macs']:.2%})" if record["macs"] else ""
    return f"{count:,} multiplications{share}"


def _needs(record: dict[str, Any]) -> str:
    if record["plain"] is None:
        return UNKNOWN
    if record["plain"]:
        return "plain Khronos NNEF"
    beyond = f", for {', '.join(record['beyond'])}" if record["beyond"] else ""
    return f"with {', '.join(record['extensions'])}{beyond}"


def _number(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def _memory(memory: dict[str, int | None]) -> str:
    if memory["arena"] is None or memory["live"] is None:
        return UNKNOWN
    return f"{size_text(memory['arena'])} (alive at once: {size_text(memory['live'])})"


def _shape(shape: list[int | str] | None) -> str:
    return "[...]" if shape is None else f"[{','.join(map(str, shape))}]"
