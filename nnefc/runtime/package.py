"""Loading a compiled package: a folder with a manifest, a shared library and weights.

A package holds machine code, so load only what you trust. The checks here find accidents: another CPU, a missing, cut
or changed file.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import stat

import numpy as np

from .manifest import Manifest, PackageError, PlatformError, read
from .memory import aligned
from .model import Code, Model

_BLOCK = 1 << 20


def load(directory: str, threads: int | None = None, kind: type[Model] = Model) -> Model:
    """The model of the package in ``directory``.

    Checks the machine, the sizes of the library and the weights, and the library's checksum (:func:`verify` checks
    every byte). Raises PackageError, or PlatformError where the package is made for another machine. ``threads`` is as
    for :class:`Model`, and ``kind`` the class of the result.
    """
    directory = os.path.abspath(directory)
    _check_system()
    manifest = read(directory)
    _check_cpu(manifest)
    library = f"{manifest.name}.so"
    for name in (library, "weights.bin"):
        _check_size(directory, name, manifest.files[name].size)
    _check_sum(directory, library, manifest.files[library].sha256)
    weights = _map(os.path.join(directory, "weights.bin"), manifest.files["weights.bin"].size)
    path = _spelling(directory, library, manifest.files[library].sha256)
    try:
        handle = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as e:
        raise PackageError(f"{os.path.join(directory, library)} cannot be loaded: {e}") from e

    def address(symbol: str) -> int:
        try:
            function = getattr(handle, symbol)
        except AttributeError:
            raise PackageError(f"{os.path.join(directory, library)} lacks the function {symbol}") from None
        value = ctypes.cast(function, ctypes.c_void_p).value
        assert value is not None
        return value

    code = Code(manifest.name, manifest.entries, weights, manifest.state_size, manifest.state_init, address, handle)
    return kind(code, threads)


def verify(directory: str) -> Manifest:
    """Check every byte of every file that the manifest lists. Raises PackageError naming all that are at fault."""
    directory = os.path.abspath(directory)
    manifest = read(directory)
    faults = []
    for name, entry in sorted(manifest.files.items()):
        try:
            _check_size(directory, name, entry.size)
            _check_sum(directory, name, entry.sha256)
        except PackageError as e:
            faults.append(str(e))
    if faults:
        raise PackageError("\n".join(faults))
    return manifest


def _check_system() -> None:
    system = os.uname().sysname if hasattr(os, "uname") else os.name
    if system != "Linux":
        raise PlatformError(f"compiled packages run on Linux; this is {system}")


def _check_cpu(manifest: Manifest) -> None:
    """Raises PlatformError unless this machine has the architecture and every instruction set that is needed."""
    machine = os.uname().machine
    if machine != manifest.machine:
        raise PlatformError(f"{manifest.name} was compiled for {manifest.machine}; this machine is {machine}")
    if not manifest.cpu_flags:
        return
    present = _cpu_flags()
    lacking = [flag for flag in manifest.cpu_flags if flag not in present]
    if present and lacking:
        raise PlatformError(
            f"{manifest.name} was compiled for the CPU {manifest.cpu}; this CPU lacks {', '.join(lacking)}: compile "
            "the model again for this machine"
        )


def _cpu_flags() -> frozenset[str]:
    """The instruction sets of this CPU as Linux names them; empty if it does not say."""
    found = ""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() in ("flags", "Features", "isa"):
                    found = value.strip()
                    break
    except OSError:
        return frozenset()
    if found.startswith("rv"):
        letters, *extensions = found.split("_")
        return frozenset([*letters[4:].replace("g", "imafd"), *extensions])
    return frozenset(found.split())


def _check_size(directory: str, name: str, size: int) -> None:
    path = os.path.join(directory, name)
    try:
        found = os.stat(path)
    except OSError as e:
        raise PackageError(f"{path} is missing: {e.strerror}") from e
    if not stat.S_ISREG(found.st_mode):
        raise PackageError(f"{path} is no regular file")
    actual = found.st_size
    if actual != size:
        how = "cut short" if actual < size else "too long"
        raise PackageError(f"{path} is {how}: it has {actual} bytes, and the package needs {size}")


def _check_sum(directory: str, name: str, sha256: str) -> None:
    path = os.path.join(directory, name)
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as e:
        raise PackageError(f"{path} cannot be read: {e.strerror}") from e
    if digest.hexdigest() != sha256:
        raise PackageError(f"{path} is damaged: its checksum is wrong")


def _map(path: str, size: int) -> np.ndarray:
    """A file's bytes as a read-only array, mapped into memory."""
    if size == 0:
        return aligned(0)
    try:
        with open(path, "rb") as file:
            return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), np.uint8)
    except (OSError, ValueError) as e:
        raise PackageError(f"{path} cannot be mapped into memory: {e}") from e


def _spelling(directory: str, name: str, sha256: str) -> str:
    """A path of the library, spelled by its content.

    The loader takes a library whose path is spelled as that of a loaded one for that one, even if the file was
    replaced in between; differing contents must differ in spelling. Each ``/.`` or ``/`` stands for a bit.
    """
    bits = f"{int(sha256[:12], 16):048b}"
    return directory + "".join("/." if bit == "1" else "/" for bit in bits) + "/" + name
