"""The arrays that a model is fed with: from files that the command line names, or made up."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np

from nnefc.cli.common import UsageError
from nnefc.cli.data import read_npy, read_npz
from nnefc.ir.types import TensorType

Arrays = dict[str, np.ndarray]


def add_inputs(command: argparse.ArgumentParser) -> None:
    """The options that say what a model is fed with."""
    command.add_argument(
        "--input",
        metavar="NAME=FILE.npy",
        action="append",
        default=[],
        dest="inputs",
        help="an input; or FILE.npz alone, which holds inputs under their names; may be repeated",
    )


def given_inputs(args: argparse.Namespace, types: Mapping[str, TensorType]) -> Arrays:
    """The inputs that the command line gives. Raises UsageError for a name that is no input, or given twice."""
    arrays: Arrays = {}
    named = [text.partition("=")[0] for text in args.inputs if "=" in text]
    if len(set(named)) != len(named):
        raise UsageError(f"--input gives {max(named, key=named.count)!r} twice")
    for text in args.inputs:
        name, equals, path = text.partition("=")
        if equals and name in types:
            arrays[name] = read_npy(path, name, types[name])
        elif not equals:
            arrays |= read_npz(text, types)
        else:
            raise UsageError(f"the model has no input {name!r}; its inputs are {listed(types)}")
    return arrays


def listed(types: Mapping[str, TensorType]) -> str:
    """Names and types for a message."""
    return ", ".join(f"{name}: {type_}" for name, type_ in types.items()) or "none"
