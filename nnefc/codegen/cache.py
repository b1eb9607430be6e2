"""Compiled kernels on disk, found by the content of everything that they are made from."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
from pathlib import Path

from nnefc.codegen.objectfile import KernelObject
from nnefc.codegen.spec import KernelSpec
from nnefc.codegen.target import Target
from nnefc.files import whole_file

FORMAT = 1
"""The version of the entries' own format, and of what is not seen in the sources hashed."""

LIMIT = 512 << 20
"""Bytes that the entries may take; beyond it the least recently used are removed."""

_MAGIC = b"nnefc-kernel\n"
_PACKAGE = Path(__file__).resolve().parent.parent


def default_directory() -> Path:
    """Where kernels are cached: ``nnefc/kernels`` under ``$XDG_CACHE_HOME``, or ``~/.cache`` where that is not set."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()
    return root / "nnefc" / "kernels"


def symbol(spec: KernelSpec, target: Target) -> str:
    """The name of a kernel's function, the same in every process: ``nnefc_FAMILY_HASH``."""
    return f"nnefc_{spec.family}_{hashlib.sha256(_identity(spec, target).encode()).hexdigest()[:16]}"


def key(spec: KernelSpec, target: Target) -> str:
    """The name of a kernel's entry: a hash of the spec, the target, the sources and the versions that make it."""
    parts = [_identity(spec, target), versions(), sources()]
    source = inspect.getsourcefile(type(spec))
    if source is not None and not Path(source).resolve().is_relative_to(_PACKAGE / "codegen"):
        parts.append(_digest(Path(source)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _identity(spec: KernelSpec, target: Target) -> str:
    return f"{type(spec).__module__}:{spec!r}\n{target.key}"


@functools.cache
def versions() -> str:
    """The versions of what makes kernels."""
    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("numba", "llvmlite")]
    return ", ".join([f"format {FORMAT}", f"python {platform.python_version()}", *packages])


@functools.cache
def sources() -> str:
    """A hash of every source file that takes part in making a kernel, as they are when this is first called."""
    shared = [_PACKAGE / "ir" / name for name in ("coarse.py", "expr.py", "sequential.py", "types.py", "window.py")]
    files = sorted((_PACKAGE / "codegen").rglob("*.py")) + shared
    return "\n".join(f"{file.relative_to(_PACKAGE)} {_digest(file)}" for file in files)


@functools.cache
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class KernelCache:
    """A folder of entries, for several processes at once: entries are written whole, and checked when read.

    A folder that cannot be written, or that others may write to, holds nothing and takes nothing.
    """

    def __init__(self, directory: Path, limit: int = LIMIT):
        self.directory = directory
        self.limit = limit
        self.usable = _prepare(directory)

    def get(self, key: str) -> KernelObject | None:
        """The entry of a key, or None. A damaged entry is removed."""
        if not self.usable:
            return None
        path = self.directory / key
        try:
            data = path.read_bytes()
        except OSError:
            return None
        found = _decode(data)
        with contextlib.suppress(OSError):
            if found is None:
                path.unlink()
            else:
                os.utime(path)
        return found

    def put(self, key: str, kernel: KernelObject) -> None:
        """Write an entry, if the folder and the disk allow it."""
        if not self.usable:
            return
        with contextlib.suppress(OSError), whole_file(self.directory / key) as file:
            file.write(_encode(kernel))

    def prune(self) -> None:
        """Remove the least recently used entries until the rest fit the limit."""
        if not self.usable:
            return
        entries = []
        with contextlib.suppress(OSError), os.scandir(self.directory) as found:
            for entry in found:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    entries.append((status.st_mtime_ns, status.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size


def _prepare(directory: Path) -> bool:
    """Make the folder, and say whether it is this user's alone to write."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError:
        return False
    return status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(directory, os.W_OK | os.X_OK)


def _encode(kernel: KernelObject) -> bytes:
    header = json.dumps({"symbol": kernel.symbol, "undefined": kernel.undefined}).encode()
    body = len(header).to_bytes(4, "little") + header + kernel.object
    return _MAGIC + hashlib.sha256(body).digest() + body


def _decode(data: bytes) -> KernelObject | None:
    start = len(_MAGIC) + 32
    body = data[start:]
    if data[: len(_MAGIC)] != _MAGIC or hashlib.sha256(body).digest() != data[len(_MAGIC) : start]:
        return None
    end = 4 + int.from_bytes(body[:4], "little")
    header = json.loads(body[4:end])
    return KernelObject(header["symbol"], body[end:], tuple(header["undefined"]))
