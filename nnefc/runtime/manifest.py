"""The manifest of a compiled package: what manifest.json says, read with the care that an unknown file needs."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from typing import Any, NamedTuple

import numpy as np

from .memory import Entry, Port

FORMAT = 2
"""The version of the package format that this code writes and reads."""

FILE = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 24
MAX_BYTES = 1 << 47
"""The most bytes that anything in a package may claim to take."""

DTYPES = frozenset(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)) | {
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "bool",
}
"""The element types of inputs and outputs, in NumPy's names (bfloat16 is that of the package ml_dtypes)."""


class PackageError(ImportError):
    """A compiled package is damaged, incomplete or of an unknown format."""


class PlatformError(PackageError):
    """A compiled package is whole, but made for another system or CPU."""


class File(NamedTuple):
    """A file of a package: its size in bytes and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


class Manifest(NamedTuple):
    """What manifest.json says; sizes are in bytes and fields are as in ``Code``."""

    name: str
    entries: tuple[Entry, ...]
    machine: str
    cpu: str
    cpu_flags: tuple[str, ...]
    state_size: int
    state_init: int
    files: dict[str, File]


def encode(content: dict[str, Any]) -> bytes:
    """The bytes of manifest.json: ``content`` with sorted keys, and under ``sha256`` the checksum of all the rest."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return _text({**rest, "sha256": hashlib.sha256(_text(rest)).hexdigest()})


def _text(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def read(directory: str) -> Manifest:
    """The manifest of the package in ``directory``. Raises PackageError if it is missing, damaged or unknown."""
    path = os.path.join(directory, FILE)
    if not os.path.isfile(path):
        raise PackageError(f"{directory} is no compiled package: it has no {FILE}")
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as e:
        raise PackageError(f"{path} cannot be read: {e.strerror}") from e
    if len(data) > MAX_MANIFEST_BYTES:
        raise PackageError(f"{path} is damaged: it is larger than {MAX_MANIFEST_BYTES} bytes")
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise PackageError(
                f"{path} has package format {content['format']!r}; this version reads format {FORMAT}: compile the "
                "model again"
            )
        if encode(content) != data:
            raise ValueError("its checksum is wrong")
        return _manifest(content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        reason = f"{e.args[0]!r} is missing" if isinstance(e, KeyError) else str(e)
        raise PackageError(f"{path} is damaged: {reason}") from e


def _manifest(content: dict[str, Any]) -> Manifest:
    target, state = content["target"], content["state"]
    manifest = Manifest(
        name=_matching(content["name"], r"[A-Za-z_][A-Za-z0-9_]*"),
        entries=tuple(_entry(e) for e in content["entries"]),
        machine=_matching(target["machine"], r"[a-z0-9_]+"),
        cpu=_matching(target["cpu"], r"[\w.+-]+"),
        cpu_flags=tuple(_matching(flag, r"[a-z0-9_.]+") for flag in target["cpu_flags"]),
        state_size=_size(state["size"]),
        state_init=_size(state["init"]),
        files={_path(name): _file(entry) for name, entry in content["files"].items()},
    )
    _check_entries(manifest.entries)
    for name in ("weights.bin", f"{manifest.name}.so"):
        if name not in manifest.files:
            raise ValueError(f"it lists no {name}")
    if manifest.state_init + manifest.state_size > manifest.files["weights.bin"].size:
        raise ValueError("the initial state lies outside weights.bin")
    return manifest


def _check_entries(entries: tuple[Entry, ...]) -> None:
    """Raises ValueError unless there are entries of the same ports, each of other input shapes."""
    if not entries:
        raise ValueError("it lists no entry")
    if not entries[0].outputs:
        raise ValueError("it names no output")
    if len({(_kinds(entry.inputs), _kinds(entry.outputs)) for entry in entries}) > 1:
        raise ValueError("its entries differ in more than shapes")
    if len({entry.shapes for entry in entries}) != len(entries):
        raise ValueError("two entries take the same shapes")


def _kinds(ports: tuple[Port, ...]) -> tuple[tuple[str, np.dtype[Any]], ...]:
    return tuple((port.name, port.dtype) for port in ports)


def _matching(value: Any, pattern: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise ValueError(f"{value!r:.80} is not a valid name")
    return value


def _path(name: str) -> str:
    """A file's path in the package: at most one folder deep, of plain names, so that it cannot leave the package."""
    return _matching(name, r"(\w[\w.-]*/)?\w[\w.-]*")


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_BYTES:
        raise ValueError(f"{value!r:.80} is not a valid size")
    return value


def _file(value: Any) -> File:
    return File(_size(value["size"]), _matching(value["sha256"], r"[0-9a-f]{64}"))


def _entry(value: Any) -> Entry:
    inputs, outputs = (tuple(_port(p) for p in value[side]) for side in ("inputs", "outputs"))
    return Entry(inputs, outputs, _size(value["arena"]), _size(value["max_threads"]))


def _element_type(name: str) -> np.dtype[Any]:
    """The NumPy type; bfloat16 is its bits, uint16, unless the package ml_dtypes was imported before."""
    try:
        return np.dtype(name)
    except TypeError:
        return np.dtype(np.uint16)


def _port(value: Any) -> Port:
    name, dtype, shape = value["name"], value["dtype"], value["shape"]
    if not isinstance(name, str) or not isinstance(shape, list) or dtype not in DTYPES:
        raise ValueError(f"{value!r:.80} does not describe a tensor")
    port = Port(name, _element_type(dtype), tuple(_size(extent) for extent in shape))
    _size(math.prod(port.shape) * port.dtype.itemsize)
    return port
