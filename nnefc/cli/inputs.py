"""The arrays that a model is fed with: from files that the command line names, or made up."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np

from nnefc.cli.common import UsageError, shapes_of
from nnefc.errors import InvalidModelError
from nnefc.ir.types import DType, TensorType
from nnefc.runtime import Model, Port
from nnefc.tools.arrays import npy_shape, npz_shapes, read_npy, read_npz
from nnefc.tools.compare import fitting

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


def chosen_entry(args: argparse.Namespace, model: Model) -> tuple[int, dict[str, TensorType]]:
    """The first entry of a compiled model that has the shapes given with ``--shape`` and by the files of ``--input``:
    its number and the types of its inputs.

    Raises UsageError if none has the former, InvalidModelError if none has all.
    """
    wanted = shapes_of(args)
    if fitting(model.entries, wanted) is None:
        raise UsageError(f"no entry of {args.model} has the inputs that --shape asks for; {_entries_text(model)}")
    found = fitting(model.entries, {**_file_shapes(args, model), **wanted}) if len(model.entries) > 1 else 0
    if found is None:
        raise InvalidModelError(f"no entry of {args.model} has the shapes of the arrays given; {_entries_text(model)}")
    return found, types_of(model.entries[found].inputs)


def _file_shapes(args: argparse.Namespace, model: Model) -> dict[str, tuple[int, ...]]:
    names = [port.name for port in model.inputs]
    shapes: dict[str, tuple[int, ...]] = {}
    for text in args.inputs:
        name, equals, path = text.partition("=")
        if equals and name in names:
            shapes[name] = npy_shape(path)
        elif not equals:
            shapes |= npz_shapes(text, names)
    return shapes


def _entries_text(model: Model) -> str:
    return "it takes " + " or ".join(f"({', '.join(map(str, entry.inputs))})" for entry in model.entries)


def types_of(ports: Sequence[Port]) -> dict[str, TensorType]:
    """The types of inputs or outputs by name."""
    return {port.name: TensorType(DType.of(port.dtype), port.shape) for port in ports}


def listed(types: Mapping[str, TensorType]) -> str:
    """Names and types for a message."""
    return ", ".join(f"{name}: {type_}" for name, type_ in types.items()) or "none"
