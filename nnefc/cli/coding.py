"""What the commands that quantize share: how tensors are coded, remedies, data."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nnefc.cli.common import UsageError, positive
from nnefc.quant.ranges import METHODS, PERCENTILE
from nnefc.quant.recipe import DEFAULT_METHOD
from nnefc.quant.scheme import SCHEMES

if TYPE_CHECKING:
    from nnefc.ir.graph import Graph
    from nnefc.quant import Recipe
    from nnefc.quant.refine import Refinement


def add_settings(command: argparse.ArgumentParser) -> None:
    """The options that say what is coded how; see :func:`recipe_from`."""
    command.add_argument("--scheme", choices=SCHEMES, help="what is coded how (default: int8)")
    command.add_argument("--method", choices=METHODS, help=f"how ranges are found (default: {DEFAULT_METHOD})")
    for flag, value, text in (
        ("--per-channel", True, "a scale for each output channel of weights (the default)"),
        ("--per-tensor", False, "one scale for all weights of a tensor"),
    ):
        command.add_argument(flag, action="store_const", const=value, dest="per_channel", help=text)
    command.add_argument("--bits", type=positive, metavar="N", help="bits of activations, 2 to 16")
    command.add_argument("--weight-bits", type=positive, metavar="N", help="bits of weights, 2 to 16")
    command.add_argument("--signed", action="store_true", default=None, help="signed codes for activations")
    command.add_argument("--symmetric", action="store_true", default=None, help="ranges of activations around 0")
    command.add_argument(
        "--percentile", type=float, metavar="P", help=f"what the method percentile keeps (default: {PERCENTILE})"
    )
    command.add_argument(
        "--exclude", metavar="NAME", nargs="+", default=[], help="operations that stay float: names, patterns or kinds"
    )
    command.add_argument("--only", metavar="NAME", nargs="+", default=[], help="all other operations stay float")
    command.add_argument("--recipe", metavar="FILE.toml", help="settings for each operation, in place of --scheme ...")


def add_remedies(command: argparse.ArgumentParser) -> None:
    """The options that make weights better; see :func:`refinement_from`."""
    command.add_argument("--equalize", action="store_true", help="scale channels of neighbouring layers to even ranges")
    command.add_argument(
        "--weights",
        choices=("minmax", "mse"),
        default="minmax",
        help="scales of weights: by the largest magnitude (the default) or the least squared error",
    )
    command.add_argument(
        "--adaround", action="store_true", help="learn from the data whether each weight is rounded up or down"
    )
    command.add_argument(
        "--correct-bias",
        action=argparse.BooleanOptionalAction,
        help="change biases so that layers keep their means over the data (the default where there are --data)",
    )


def refinement_from(args: argparse.Namespace) -> Refinement:
    """The remedies that the command line asks for."""
    from nnefc.quant.refine import Refinement

    correct = bool(args.data) if args.correct_bias is None else args.correct_bias
    return Refinement(args.equalize, args.weights == "mse", args.adaround, correct)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that the command line gives."""
    names = ("scheme", "method", "per_channel", "bits", "weight_bits", "signed", "symmetric", "percentile")
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def recipe_from(args: argparse.Namespace) -> Recipe:
    """The recipe of :func:`add_settings`. Raises UsageError and RecipeError."""
    from nnefc.quant import RecipeError, load_recipe, recipe_of, setting_of

    try:
        setting = setting_of(_settings(args))
    except RecipeError as error:
        raise UsageError(f"--{error.message.replace('_', '-', 1)}") from error
    base = load_recipe(args.recipe, setting) if args.recipe else None
    return recipe_of(setting, args.exclude, args.only, base)


def data_from(given: Sequence[str], graph: Graph, option: str = "--data") -> Any:
    """What ``--data`` says, for ``Samples``. Raises UsageError."""
    inputs = {v.name for v in graph.inputs}
    named = [text.partition("=") for text in given if text.partition("=")[0] in inputs and "=" in text]
    if not named:
        return list(given)
    if len(named) != len(given) or len({name for name, _, _ in named}) != len(named):
        raise UsageError(f"{option} gives either a NAME=PATH for each input, or paths alone")
    return {name: path for name, _, path in named}
