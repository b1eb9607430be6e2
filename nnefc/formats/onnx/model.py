"""Reads the ModelProto of an ONNX file, its initialisers left where they lie."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import PurePath

import onnx
from google.protobuf.message import DecodeError

from nnefc.errors import InvalidModelError, Location, UnsupportedError
from nnefc.formats.onnx import wire
from nnefc.formats.onnx.tensors import Weights, map_file

OLDEST, NEWEST = 1, onnx.defs.onnx_opset_version()
"""The opsets of ONNX's own domain that are read."""
OLDEST_IR = 3
Source = str | os.PathLike[str] | bytes | onnx.ModelProto


@dataclass(frozen=True)
class Model:
    """A parsed model. ``opsets`` has the version of each domain, ``""`` being ONNX's own."""

    proto: onnx.ModelProto
    weights: Weights
    opsets: dict[str, int]
    location: Location


def read(source: Source) -> Model:
    """The model in a file, in its bytes, or parsed already.

    Data beside the model is read only if it comes from a file. Raises InvalidModelError and UnsupportedError.
    """
    if isinstance(source, onnx.ModelProto):
        return _checked(source, Weights(None, "model.onnx"), Location("model.onnx"))
    if isinstance(source, bytes):
        return _parse(memoryview(source), Weights(None, "model.onnx", source), Location("model.onnx"))
    path = os.fspath(source)
    location = Location(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InvalidModelError("this is no regular file", location)
        data = map_file(descriptor)
    except OSError as error:
        raise InvalidModelError(f"cannot be read: {os.strerror(error.errno or 0)}", location) from None
    return _parse(memoryview(data), Weights(str(PurePath(path).parent), path, data), location)


def _parse(data: memoryview, weights: Weights, location: Location) -> Model:
    try:
        stripped, weights.ranges = wire.strip(data)
        if len(stripped) >= 2**31:
            raise UnsupportedError("the model has more than 2 GB beside its initialisers")
        proto = onnx.ModelProto.FromString(stripped)
    except (InvalidModelError, UnsupportedError) as error:
        raise error.at(location) from None
    except DecodeError as error:
        raise InvalidModelError(f"the file is no ONNX model: {error}", location) from None
    return _checked(proto, weights, location)


def _checked(proto: onnx.ModelProto, weights: Weights, location: Location) -> Model:
    """The model, if it has the versions that are read."""
    if not proto.HasField("graph"):
        raise InvalidModelError("the file is no ONNX model: it has no graph", location)
    if proto.ir_version <= 0:
        raise InvalidModelError("the file is no ONNX model: it has no IR version", location)
    if not OLDEST_IR <= proto.ir_version <= onnx.IR_VERSION:
        accepted = f"{OLDEST_IR} to {onnx.IR_VERSION} are read"
        raise UnsupportedError(f"the model has IR version {proto.ir_version}; {accepted}", location)
    opsets: dict[str, int] = {}
    for entry in proto.opset_import:
        if not isinstance(entry.domain, str):
            raise InvalidModelError("the name of a domain is no UTF-8 text", location)
        domain = normal_domain(entry.domain)
        if opsets.setdefault(domain, entry.version) != entry.version:
            raise InvalidModelError(f"the domain {entry.domain!r} is imported in two versions", location)
    if "" not in opsets:
        message = "the model imports no opset of ONNX's own operations"
        if any(not normal_domain(n.domain) for n in proto.graph.node):
            raise InvalidModelError(message, location)
    elif not OLDEST <= opsets[""] <= NEWEST:
        raise UnsupportedError(f"the model has opset {opsets['']}; {OLDEST} to {NEWEST} are read", location)
    return Model(proto, weights, opsets, location)


def normal_domain(domain: str) -> str:
    """The domain, ``""`` for ONNX's own, which has two names."""
    return "" if domain == "ai.onnx" else domain
