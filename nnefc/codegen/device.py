"""What kernel functions are written with: helper functions and instructions that also run as plain Python.

Neither imports Numba: it asks a callable for ``_numba_type_`` when it meets one in a kernel, in a worker process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


class Device:
    """A Python function that a kernel calls; made by :func:`device`. Called from Python it runs un-jitted."""

    def __init__(self, function: Callable[..., Any], inline: bool):
        self.function = function
        self.inline = inline
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<device {self.function.__module__}.{self.function.__qualname__}>"

    @functools.cached_property
    def _numba_type_(self) -> Any:
        from nnefc.codegen.frontend import device_type

        return device_type(self)


def device(function: Callable[..., Any] | None = None, *, inline: bool = True) -> Any:
    """Let kernels, and other device functions, call ``function``: ``@device`` or ``@device(inline=False)``.

    It is typed anew for the argument types of each call, like a Numba function, with NumPy's error model, and inlined
    into its callers unless ``inline`` is False. It may not call itself.
    """
    if function is None:
        return lambda f: Device(f, inline)
    return Device(function, inline)


class Instruction:
    """An operation with a plain Python meaning and an LLVM emission; made by :func:`instruction`."""

    def __init__(self, meaning: Callable[..., Any], define: Callable[..., Any]):
        self.meaning = meaning
        self.define = define
        functools.update_wrapper(self, meaning)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.meaning(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<instruction {self.meaning.__module__}.{self.meaning.__qualname__}>"

    @functools.cached_property
    def _numba_type_(self) -> Any:
        from nnefc.codegen.frontend import instruction_type

        return instruction_type(self)


def instruction(define: Callable[..., Any]) -> Callable[[Callable[..., Any]], Instruction]:
    """Decorate the Python meaning of an instruction with its emission.

    ``define(typing_context, *types)`` is called while Numba types a kernel, as the function under Numba's
    ``@intrinsic`` is: it returns ``(signature, emit)``, with ``emit(context, builder, signature, args)`` giving the
    LLVM value, or None where the types do not suit. It may import Numba in its body.
    """
    return lambda meaning: Instruction(meaning, define)
