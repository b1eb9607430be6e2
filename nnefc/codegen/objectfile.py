"""Object files: made from LLVM IR, looked into, linked to a shared library, loaded into this process."""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnefc.codegen.llvm import llvm, optimise
from nnefc.codegen.target import Target
from nnefc.errors import NnefcError, UnsupportedError

RUNTIME_SYMBOLS = frozenset({"memcpy", "memset", "memmove"})
"""What generated code may leave for the C library to define: LLVM turns loops into calls of these."""

LIBC_SYMBOLS = RUNTIME_SYMBOLS | {"syscall"}
"""What a whole model may leave undefined: its thread pool blocks and wakes by system calls."""


@dataclass(frozen=True)
class KernelObject:
    """A compiled kernel: the symbol of its function, an ELF object that defines it, and what that leaves undefined."""

    symbol: str
    object: bytes
    undefined: tuple[str, ...]


def emit_object(module: Any, target: Target, level: int = 3) -> bytes:
    """The object file that LLVM's ``-O<level>`` pipeline makes of a module for a target.

    ``module`` is IR as text, an llvmlite ``ir.Module`` or a parsed module (which is changed). Raises NnefcError if the
    IR is wrong.
    """
    binding = llvm()
    machine = target.machine()
    try:
        parsed = module if isinstance(module, binding.ModuleRef) else binding.parse_assembly(str(module))
        parsed.triple, parsed.data_layout = target.triple, str(machine.target_data)
        parsed.verify()
    except RuntimeError as e:
        raise NnefcError(f"LLVM does not accept the code made for {target}: {e}") from e
    optimise(parsed, machine, level)
    return bytes(machine.emit_object(parsed))


def _symbols(data: bytes) -> list[tuple[str, bool, bool]]:
    """The global symbols of a 64-bit little-endian ELF object as (name, defined, is a function), in file order."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise NnefcError("not a 64-bit little-endian ELF object")
    (sections,) = struct.unpack_from("<Q", data, 40)
    entry, count = struct.unpack_from("<HH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, sections + i * entry) for i in range(count)]
    found = []
    for _, kind, _, _, offset, size, link, _, _, _ in headers:
        if kind == 2:
            names = data[headers[link][4] : headers[link][4] + headers[link][5]]
            for at in range(offset, offset + size, 24):
                name, info, _, section = struct.unpack_from("<IBBH", data, at)
                if info >> 4 and name:
                    text = names[name : names.index(0, name)].decode()
                    found.append((text, section != 0, info & 15 == 2))
    return found


def undefined_symbols(data: bytes) -> tuple[str, ...]:
    """The symbols that an ELF object needs and does not define, sorted."""
    return tuple(sorted(name for name, defined, _ in _symbols(data) if not defined))


def defined_functions(data: bytes) -> tuple[str, ...]:
    """The global functions, hidden or not, that an ELF object defines, sorted."""
    return tuple(sorted(name for name, defined, function in _symbols(data) if defined and function))


class LoadedObjects:
    """Objects loaded into this process. Their memory lives as long as this does; close it only when no code runs."""

    def __init__(self, jit: Any, library: Any, functions: frozenset[str]):
        self._jit = jit
        self._library = library
        self._functions = functions

    def address(self, symbol: str) -> int:
        """The address of a global function. Raises KeyError if the objects define no such function."""
        if symbol not in self._functions:
            raise KeyError(symbol)
        return int(self._library[symbol])

    def close(self) -> None:
        """Free the memory; every address becomes invalid."""
        self._library.close()
        self._jit.close()


def _functions(objects: Sequence[bytes]) -> frozenset[str]:
    """The functions that objects define together. Raises NnefcError if they need more than LIBC_SYMBOLS besides."""
    functions = frozenset(name for data in objects for name in defined_functions(data))
    missing = {name for data in objects for name in undefined_symbols(data)} - functions - LIBC_SYMBOLS
    if missing:
        raise NnefcError(f"compiled code needs undefined symbols: {', '.join(sorted(missing))}")
    return functions


def load_objects(objects: Sequence[bytes]) -> LoadedObjects:
    """Load ELF objects for this process's CPU and bind their symbols to each other and to LIBC_SYMBOLS.

    Raises NnefcError if one is missing or defined twice.
    """
    binding = llvm()
    functions = _functions(objects)
    builder = binding.JITLibraryBuilder().add_current_process()
    for data in objects:
        builder.add_object_img(data)
    for name in functions:
        builder.export_symbol(name)
    jit = binding.create_lljit_compiler(Target.host().machine(), suppress_errors=True)
    try:
        library = builder.link(jit, "nnefc")
    except RuntimeError as e:
        raise NnefcError(f"compiled code cannot be loaded: {e}") from e
    return LoadedObjects(jit, library, functions)


def link_shared(objects: Sequence[bytes], path: str | os.PathLike[str], target: Target, exports: Sequence[str]) -> None:
    """Link ELF objects to a stripped shared library whose only visible symbols are ``exports``.

    Equal input gives equal bytes with the same linker. No C library is linked in: LIBC_SYMBOLS are found in the
    process that loads it. Raises UnsupportedError, saying what to install, where there is no linker for the target, and
    NnefcError if a symbol is missing.
    """
    missing = sorted(set(exports) - _functions(objects))
    if missing:
        raise NnefcError(f"no object defines {', '.join(missing)}")
    command = _linker(target)
    with tempfile.TemporaryDirectory(prefix="nnefc-") as folder:
        names = [f"{i}.o" for i in range(len(objects))]
        for name, data in zip(names, objects, strict=True):
            Path(folder, name).write_bytes(data)
        script = "{ global: " + " ".join(f"{name};" for name in exports) + " local: *; };\n"
        Path(folder, "exports").write_text(script)
        options = ["--build-id=none", "--version-script=exports", "--strip-all", "-z,noexecstack", "-z,now"]
        flags = ["-shared", "-nostdlib", "-o", "linked.so", f"-Wl,-soname,{Path(path).name}"]
        flags += [f"-Wl,{option}" for option in options]
        environment = os.environ | {"LC_ALL": "C", "ZIG_LOCAL_CACHE_DIR": folder, "ZIG_GLOBAL_CACHE_DIR": folder}
        done = subprocess.run(
            [*command, *flags, *names], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NnefcError(f"{command[0]} cannot link {Path(path).name}: {done.stderr.strip()[-2000:]}")
        shutil.copyfile(Path(folder, "linked.so"), path)


def _linker(target: Target) -> list[str]:
    """The command that links for a target: the system's C compiler for its own architecture, else Zig's."""
    own = llvm().get_process_triple().partition("-")[0]
    system = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if system is not None and target.arch == own:
        return [system]
    if importlib.util.find_spec("ziglang") is not None:
        libc = "musl" if "musl" in target.triple else "gnu"
        return [sys.executable, "-m", "ziglang", "cc", "-target", f"{target.arch}-linux-{libc}"]
    need = "a C compiler (cc) or " if target.arch == own else ""
    raise UnsupportedError(
        f"linking a shared library for {target.arch} needs {need}the package ziglang: pip install 'nnefc[link]'"
    )
