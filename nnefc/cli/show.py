"""``nnefc show``: a model as text, as read or after a pass."""

from __future__ import annotations

import argparse

from nnefc.cli.common import UsageError, add_model, emit, read_model

NAME = "show"
HELP = "print a model as typed NNEF text"
DESCRIPTION = "Print a model as typed NNEF text, which parses back, or as it is after a pass of the compiler."


def configure(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(command)
    command.add_argument("--after", metavar="PASS", help="the model after this pass (`list` names them all)")


def run(args: argparse.Namespace) -> int:
    """Print the text."""
    from nnefc.passes.pipeline import pass_names, text_after

    names = pass_names()
    if args.after not in (None, *names):
        raise UsageError(f"no pass {args.after!r}; the passes are, in order: {', '.join(names)}")
    graph, _ = read_model(args)
    text = text_after(graph, args.after)
    if args.json:
        emit({"after": args.after, "text": text})
    else:
        print(text, end="" if text.endswith("\n") else "\n")
    return 0
