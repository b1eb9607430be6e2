"""``nnefc show``: a model as text, as read or after a pass."""

from __future__ import annotations

import argparse

from nnefc.cli.common import UsageError, add_model, add_options, add_target, emit, options_of, read_model, target_of
from nnefc.codegen.options import Options
from nnefc.ir.graph import Graph

NAME = "show"
HELP = "print a model as typed NNEF text"
DESCRIPTION = """\
Print a model as typed NNEF text, which parses back, or as it is after a pass of the compiler. After `select`: each call
with the kernel chosen for the target, its tile and work units, and the time and rate expected by the cost rule."""
SELECT = "select"


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(command)
    command.add_argument("--after", metavar="PASS", help="the model after this pass (`list` names them all)")
    add_target(command)
    add_options(command)


def run(args: argparse.Namespace) -> int:
    """Print the text."""
    from nnefc.passes.pipeline import pass_names, text_after

    names = (*pass_names(), SELECT)
    if args.after not in (None, *names):
        raise UsageError(f"no pass {args.after!r}; the passes are, in order: {', '.join(names)}")
    if args.after != SELECT and (args.target != "host" or args.cpu or options_of(args).keys() - {"execution"}):
        options = "--target, --cpu, --optimize, --weights, --precision, --fast-math and --tune"
        raise UsageError(f"{options} are for --after select: no other pass depends on them")
    graph, _ = read_model(args)
    text = _selected(graph, args) if args.after == SELECT else text_after(graph, args.after, execution=args.execution)
    if args.json:
        emit({"after": args.after, "text": text})
    else:
        print(text, end="" if text.endswith("\n") else "\n")
    return 0


def _selected(graph: Graph, args: argparse.Namespace) -> str:
    """The launches for a target."""
    from nnefc.codegen.plan_text import format_plan
    from nnefc.codegen.precision import lowered
    from nnefc.codegen.schedule import plan
    from nnefc.codegen.tune import tune
    from nnefc.codegen.ways import RULES

    options = Options(target=target_of(args), **options_of(args))
    program = lowered(graph, options)
    ways = tune([program], options.cpu, small=options.small) if options.tune else RULES
    return format_plan(program.name, plan(program, options.cpu, small=options.small, ways=ways), options.cpu)
