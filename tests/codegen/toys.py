"""Small kernels that show each thing the road from Python to objects must carry."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nnefc.codegen.device import Instruction, device, instruction
from nnefc.codegen.spec import KernelSpec
from nnefc.codegen.target import Target
from nnefc.errors import UnsupportedError
from nnefc.ir.types import DType


def multiply_add(lanes: int, fused: bool) -> Instruction:
    """y[i : i + lanes] += a * x[i : i + lanes] as one vector operation."""

    def define(context: Any, a: Any, x: Any, y: Any, i: Any) -> Any:
        from llvmlite import ir
        from numba.core import cgutils, types

        vector = ir.VectorType(ir.FloatType(), lanes)

        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            a, x, y, i = args
            at = b.bitcast(b.gep(y, [i]), vector.as_pointer())
            xs, ys = b.load(b.bitcast(b.gep(x, [i]), vector.as_pointer()), align=4), b.load(at, align=4)
            first = b.insert_element(ir.Constant(vector, ir.Undefined), a, ir.Constant(ir.IntType(32), 0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            factor = b.shuffle_vector(first, first, zeros)
            if fused:
                kind = ir.FunctionType(vector, [vector] * 3)
                fma = cgutils.get_or_insert_function(b.module, kind, f"llvm.fma.v{lanes}f32")
                b.store(b.call(fma, [factor, xs, ys]), at, align=4)
            else:
                b.store(b.fadd(b.fmul(factor, xs), ys), at, align=4)
            return context.get_dummy_value()

        return types.void(a, x, y, i), emit

    @instruction(define)
    def meaning(a: Any, x: Any, y: Any, i: int) -> None:
        y[i : i + lanes] += a * x[i : i + lanes]

    return meaning


@device
def total(n: Any, factor: Any = 1) -> Any:
    """The number of elements in units; a default argument of a device function."""
    return n * factor


@device(inline=False)
def first_of(unit: Any, n: Any) -> Any:
    """Where a unit begins; a device function that calls another."""
    return total(unit, factor=n)


@dataclass(frozen=True)
class Axpy(KernelSpec):
    """Per unit of g[0] elements, y += a[0] * x; g[0] is a multiple of ``lanes``."""

    lanes: int
    fused: bool = True
    family: ClassVar[str] = "axpy"

    def pointers(self) -> tuple[DType, ...]:
        return (DType.F32, DType.F32, DType.F32)

    def build(self, target: Target) -> Callable[..., None]:
        step, lanes = multiply_add(self.lanes, self.fused), self.lanes

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            for unit in range(begin, end):
                start = first_of(unit, g[0])
                for i in range(0, total(g[0]), lanes):
                    step(p[0][0], p[1], p[2], start + i)

        return kernel


@dataclass(frozen=True)
class Copy(KernelSpec):
    """y[i] = x[i]; the pointer between them is not touched."""

    dtype: DType
    family: ClassVar[str] = "copy"

    def pointers(self) -> tuple[DType, ...]:
        return (self.dtype, DType.BOOL, self.dtype)

    def build(self, target: Target) -> Callable[..., None]:
        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            for i in range(begin, end):
                p[2][i] = p[0][i]

        return kernel


@dataclass(frozen=True)
class Divide(KernelSpec):
    """p[2][i] = p[0][i] / p[1][i]: a scalar division that must not raise."""

    family: ClassVar[str] = "divide"

    def pointers(self) -> tuple[DType, ...]:
        return (DType.F64, DType.F64, DType.F64)

    def build(self, target: Target) -> Callable[..., None]:
        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            for i in range(begin, end):
                p[2][i] = p[0][i] / p[1][i]

        return kernel


@dataclass(frozen=True)
class Contractible(KernelSpec):
    """p[0][i] = p[0][i] * p[1][i] + p[2][i], whose product must be rounded before the sum."""

    family: ClassVar[str] = "contractible"

    def pointers(self) -> tuple[DType, ...]:
        return (DType.F32, DType.F32, DType.F32)

    def build(self, target: Target) -> Callable[..., None]:
        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            for i in range(begin, end):
                p[0][i] = p[0][i] * p[1][i] + p[2][i]

        return kernel


@dataclass(frozen=True)
class Broken(KernelSpec):
    """A kernel that goes wrong in a way of choice."""

    how: str
    family: ClassVar[str] = "broken"

    def pointers(self) -> tuple[DType, ...]:
        return (DType.F32,)

    def build(self, target: Target) -> Callable[..., None]:
        if self.how == "crash":
            os.kill(os.getpid(), signal.SIGABRT)
        if self.how == "unsupported":
            raise UnsupportedError("no such tile")
        return _BROKEN[self.how]


def _untypable(p: Any, g: Any, begin: int, end: int) -> None:
    p[0].wobble()


def _returns(p: Any, g: Any, begin: int, end: int) -> Any:
    return end


def _calls_libm(p: Any, g: Any, begin: int, end: int) -> None:
    for i in range(begin, end):
        p[0][i] = math.lgamma(p[0][i])


@device
def _recursive(n: Any) -> Any:
    return n if n < 2 else _recursive(n - 1)


def _recurses(p: Any, g: Any, begin: int, end: int) -> None:
    p[0][0] = _recursive(end)


_BROKEN: dict[str, Callable[..., Any]] = {
    "untypable": _untypable,
    "returns": _returns,
    "libm": _calls_libm,
    "recursive": _recurses,
}


@dataclass(frozen=True)
class Settings(KernelSpec):
    """p[0][0] = what the worker's Numba and environment are set to: 0 where nothing of the user's came through."""

    family: ClassVar[str] = "settings"

    def pointers(self) -> tuple[DType, ...]:
        return (DType.F32,)

    def build(self, target: Target) -> Callable[..., None]:
        from numba.core import config

        leaked = [name for name in os.environ if name.startswith("NUMBA_")]
        value = float(len(leaked) + bool(config.DISABLE_JIT) + bool(config.BOUNDSCHECK or False))

        def kernel(p: Any, g: Any, begin: int, end: int) -> None:
            p[0][0] = value

        return kernel
