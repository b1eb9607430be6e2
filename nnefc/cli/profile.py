"""``nnefc profile``: where the time of a call goes, kernel by kernel, beside what the machine can do."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnefc.cli.common import (
    UsageError,
    add_model,
    add_options,
    add_threads,
    emit,
    options_of,
    positive_seconds,
    read_model,
    table,
)
from nnefc.cli.inputs import add_inputs, given_inputs
from nnefc.errors import InvalidModelError
from nnefc.files import write_text

if TYPE_CHECKING:
    from nnefc.tools.profile import Kernel, Profile

NAME = "profile"
HELP = "measure each kernel of a model, beside the machine's peaks"
DESCRIPTION = """\
Compile a model for this machine, measure every kernel where it runs, and show time, GFLOP/s and GB/s beside the peaks
that the machine was measured to reach."""
TITLE_WIDTH = 56


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(command)
    add_inputs(command)
    command.add_argument("--seconds", metavar="S", type=positive_seconds, default=2.0, help="run so long (default: 2)")
    command.add_argument("--top", metavar="N", type=int, default=40, help="list so many kernels (default: 40; 0: all)")
    command.add_argument("--in-order", action="store_true", help="list them as they run, not by time")
    command.add_argument("--html", metavar="FILE", help="write a page with the roofline plot and the table of all")
    command.add_argument("--svg", metavar="FILE", help="write the roofline plot alone")
    add_options(command)
    add_threads(command)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from nnefc.tools.profile import profile

    if args.top < 0:
        raise UsageError("--top must not be negative")
    for path in filter(None, (args.html, args.svg)):
        if not Path(path).absolute().parent.is_dir():
            raise UsageError(f"there is no folder {Path(path).absolute().parent}")
    graph, _ = read_model(args)
    given = given_inputs(args, {v.name: v.type for v in graph.inputs})
    try:
        result = profile(graph, given, threads=args.threads, seconds=args.seconds, **options_of(args))
    except ValueError as error:
        raise InvalidModelError(f"the model cannot work on these inputs: {error}") from error
    result = replace(result, name=Path(args.model).name.split(".")[0] or result.name)
    _write(args, result)
    if args.json:
        emit(result.record())
    else:
        print(_text(result, args.top, args.in_order))
        for path in filter(None, (args.html, args.svg)):
            print(f"written: {path}")
    return 0


def _write(args: argparse.Namespace, result: Profile) -> None:
    from nnefc.tools.roofline import page, svg

    for path, make in ((args.html, page), (args.svg, svg)):
        if path:
            write_text(path, make(result))


def _text(result: Profile, top: int, in_order: bool) -> str:
    total = result.kernel_seconds
    kernels = list(enumerate(result.kernels, 1))
    ranked = sorted(kernels, key=lambda pair: -pair[1].seconds)[: top or None]
    shown = sorted(ranked) if in_order else ranked
    rows = [["#", "layer", "kernel", "us", "share", "GFLOP/s", "GB/s", "of possible"]]
    rows += [[str(n), *_row(kernel, total)] for n, kernel in shown]
    rest = [k.seconds for n, k in kernels if (n, k) not in shown]
    lines = [table(rows, right=(0, 3, 4, 5, 6, 7))]
    if rest:
        lines.append(f"and {len(rest)} more: {sum(rest) * 1e6:.1f} us, {sum(rest) / total:.1%}")
    peaks = result.peaks
    threads = f"{peaks.threads} threads" if peaks.threads > 1 else "1 thread"
    levels = ", ".join(f"{v.name} {v.bandwidth:.0f}" for v in peaks.levels)
    flops = sum(k.cost.flops for k in result.kernels)
    lines += [
        "",
        f"{result.name}: {result.seconds * 1e3:.4g} ms a call, of it {total * 1e3:.4g} ms in {len(kernels)} kernels "
        f"({flops / total * 1e-9:.1f} GFLOP/s); medians of {result.runs} runs, {threads}",
        f"measured peaks: {peaks.gflops:.1f} GFLOP/s, {peaks.gops:.1f} GOP/s on 8-bit codes, "
        f"{peaks.bf16_gflops:.1f} GFLOP/s on pairs of bf16; reading, GB/s: {levels}",
        f"{result.machine['cpu']}, compiled for {result.target}",
    ]
    return "\n".join(lines)


def _row(kernel: Kernel, total: float) -> list[str]:
    title = kernel.title
    if len(title) > TITLE_WIDTH:
        title = f"{title[: TITLE_WIDTH // 2 - 2]}...{title[-TITLE_WIDTH // 2 + 1 :]}"
    return [
        title,
        kernel.kernel,
        f"{kernel.seconds * 1e6:.1f}",
        f"{kernel.seconds / total:.1%}",
        f"{kernel.gflops:.1f}",
        f"{kernel.bandwidth:.1f}",
        f"{kernel.limit / kernel.seconds:.0%}",
    ]
