"""The other end of :mod:`nnefc.codegen.workers`: a process that compiles the kernels it reads, one at a time."""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import traceback
from typing import Any, BinaryIO

IDLE_SECONDS = 120
"""A worker that is asked for nothing for so long ends."""
GARBAGE = 100_000
"""Objects made, and not freed, between two looks for cycles among them. A kernel leaves 6,000 to 60,000, most of which
live until it is done: looking more often finds nothing."""


def read_message(stream: BinaryIO) -> Any:
    """One pickled value, preceded by its length in eight bytes. Raises EOFError where the stream ends."""
    header = _read(stream, 8)
    return pickle.loads(_read(stream, int.from_bytes(header, "little")))


def write_message(stream: BinaryIO, value: Any) -> None:
    """The counterpart of :func:`read_message`."""
    data = pickle.dumps(value, protocol=5)
    stream.write(len(data).to_bytes(8, "little") + data)
    stream.flush()


def _read(stream: BinaryIO, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def compile_kernel(request: bytes) -> tuple[Any, ...]:
    """Compile the kernel of a pickled (spec, target, symbol).

    Returns ("done", KernelObject), or ("failed", class of the NnefcError or None, message).
    """
    from nnefc.codegen import frontend
    from nnefc.codegen.objectfile import RUNTIME_SYMBOLS, KernelObject, emit_object, undefined_symbols
    from nnefc.errors import NnefcError

    try:
        spec, target, symbol = pickle.loads(request)
        data = emit_object(frontend.kernel_ir(spec, target, symbol), target)
        undefined = undefined_symbols(data)
        if not RUNTIME_SYMBOLS.issuperset(undefined):
            names = ", ".join(sorted(set(undefined) - RUNTIME_SYMBOLS))
            raise NnefcError(f"the code calls functions that do not exist where it runs: {names}")
        return "done", KernelObject(symbol, data, undefined)
    except NnefcError as e:
        return "failed", type(e), e.message
    except Exception as e:  # the process boundary: whatever it is, the parent tells the user
        return "failed", None, "".join(traceback.format_exception(e))


def main() -> None:
    """Answer requests from standard input until it ends or nothing comes for IDLE_SECONDS."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = open(os.dup(0), "rb", buffering=0)  # noqa: SIM115
    answers = open(os.dup(1), "wb")  # noqa: SIM115
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    from nnefc.codegen import frontend

    frontend.prepare()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    try:
        while select.select([requests], [], [], IDLE_SECONDS)[0]:
            write_message(answers, compile_kernel(read_message(requests)))
    except (EOFError, BrokenPipeError):
        os._exit(0)
