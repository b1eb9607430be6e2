"""Every kernel family on drawn calls: un-jitted and compiled, against the NumPy meaning of the call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_calls import FAMILIES, Memory, draw
from skips import skip

from nnefc.codegen.frontend import kernel_ir
from nnefc.codegen.indices import INDEX_ERROR
from nnefc.codegen.llvm import llvm, optimise
from nnefc.codegen.objectfile import load_objects
from nnefc.codegen.pack import pack
from nnefc.codegen.select import Choice, select
from nnefc.codegen.spec import KernelSpec
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels
from nnefc.ir.interpret import run_call
from nnefc.ir.program import Call, Gather, Program
from nnefc.ir.sequential import Scatter, Suppress
from nnefc.ir.types import DType

HOST = Target.host()
AVX512, AVX2, SSE = (
    Target.parse(f"x86_64-unknown-linux-gnu:{cpu}") for cpu in ("skylake-avx512", "x86-64-v3", "x86-64-v2")
)
ARM = Target.parse("aarch64-unknown-linux-gnu:cortex-a76")
PATHS = (HOST, AVX512, AVX2, SSE)
"""One target for each way in which products of codes and of bf16 are computed on x86-64, that of this machine first."""
TOLERANCE = {d.numpy: t for d, t in ((DType.F32, 1e-5), (DType.F64, 1e-12), (DType.F16, 1e-3), (DType.BF16, 8e-3))}
"""Of float elements, relative, and 20 times as much absolute."""
ALLOWED = {"memcpy", "memset", "memmove"}


class Pointer:
    """A C pointer into an array, for kernels that run un-jitted. It leaves the array at its peril."""

    def __init__(self, array: np.ndarray, base: int):
        self.array, self.base = array, base

    def _place(self, index: Any) -> np.ndarray:
        if isinstance(index, slice):
            index = np.arange(index.start, index.stop)
        place = np.asarray(index) + self.base
        assert np.all((place >= 0) & (place < len(self.array))), "out of bounds"
        return place

    def __getitem__(self, index: Any) -> Any:
        return self.array[self._place(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.array[self._place(index)] = value


def choices(call: Call, memory: Memory, target: Target) -> list[Choice]:
    """The kernels of a call, packing of weights included; memory for what they write, and for what they read beyond an
    operand, is added."""
    program = pack(Program("drawn", (), (), (), (), (call,), {}, {}), target)
    for c in program.calls:
        for v in c.reads() + c.writes():
            name, known = v.buffer.name, memory.get(v.buffer.name, np.empty(0, v.dtype.numpy))
            fill = np.nan if v.dtype.kind == "f" else 99
            memory[name] = np.append(known, np.full(v.buffer.size - known.size, fill, v.dtype.numpy))
    return [select(c, target) for c in program.calls]


def expected(call: Call, memory: Memory) -> Memory:
    """The memory after the call, by its NumPy meaning."""
    result = {name: a.copy() for name, a in memory.items()}
    run_call(call, result)
    return result


def check(call: Call, memory: Memory, wanted: Memory, *, exact: bool = False) -> None:
    """Every buffer that the call knows holds what it should, floats too where ``exact``: what lies between the elements
    is untouched too."""
    scratch = {call.order.buffer.name} if isinstance(call, Suppress) else set()
    for name, b in wanted.items():
        a = memory[name][: b.size]
        if name in scratch:
            continue
        if a.dtype in TOLERANCE and not exact:
            tolerance = TOLERANCE[a.dtype]
            np.testing.assert_allclose(
                a.astype(np.float64),
                b.astype(np.float64),
                rtol=tolerance,
                atol=20 * tolerance,
                err_msg=f"{name} of {call}",
            )
        else:
            np.testing.assert_array_equal(a, b, err_msg=f"{name} of {call}")


def run_unjitted(choice: Choice, memory: Memory, target: Target, parts: int = 2) -> None:
    """Run a kernel as plain Python, the last of its units first."""
    flag = np.zeros(1, np.int32)
    operands = [Pointer(memory[v.buffer.name], v.offset) for v in choice.views]
    pointers = tuple([*operands, flag][: len(choice.spec.pointers())])
    geometry = np.array(choice.geometry, np.int64)
    kernel = choice.spec.build(target)
    bounds = [choice.units * k // parts for k in range(parts + 1)]
    for begin, end in reversed(list(pairwise(bounds))):
        kernel(pointers, geometry, begin, end)
    assert flag[0] == 0


def assembly(spec: KernelSpec, target: Target) -> str:
    """A kernel in the target's assembly language."""
    machine = target.machine()
    module = llvm().parse_assembly(kernel_ir(spec, target, "kernel"))
    optimise(module, machine)
    return str(machine.emit_assembly(module))


def run_compiled(address: int, choice: Choice, memory: Memory) -> int:
    """Run a compiled kernel, its units in two parts. Returns the error flag."""
    flag = np.zeros(1, np.int32)
    pointers = [memory[v.buffer.name].ctypes.data + v.offset * v.dtype.size for v in choice.views]
    pointers = [*pointers, flag.ctypes.data][: len(choice.spec.pointers())]
    geometry = np.array(choice.geometry, np.int64)
    kinds = [ctypes.c_void_p] * (len(pointers) + 1) + [ctypes.c_int64] * 2
    function = ctypes.CFUNCTYPE(None, *kinds)(address)
    middle = choice.units // 3
    function(*pointers, geometry.ctypes.data, 0, middle)
    function(*pointers, geometry.ctypes.data, middle, choice.units)
    return int(flag[0])


def run_all(found: Sequence[tuple[Choice, Memory]], target: Target) -> list[int]:
    """Compile kernels in one go and run each on its memory, in this order. Returns their error flags."""
    if target.isa - HOST.isa:
        skip("running code for other CPUs")
    kernels = compile_kernels(tuple(dict.fromkeys(choice.spec for choice, _ in found)), target)
    loaded = load_objects([k.object for k in kernels.values()])
    return [run_compiled(loaded.address(kernels[choice.spec].symbol), choice, memory) for choice, memory in found]


def check_compiled(drawn: Sequence[tuple[Call, Memory]], target: Target, *, exact: bool = False) -> None:
    """Kernels of drawn calls, compiled, do what the calls mean."""
    wanted = [expected(call, memory) for call, memory in drawn]
    found = [(choice, memory) for call, memory in drawn for choice in choices(call, memory, target)]
    assert not any(run_all(found, target))
    for (call, memory), after in zip(drawn, wanted, strict=True):
        check(call, memory, after, exact=exact)


@pytest.mark.parametrize("target", [HOST, AVX2, ARM], ids=["host", "avx2", "arm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_unjitted(family: str, target: Target) -> None:
    for seed in range(25):
        call, memory = draw(family, seed)
        wanted = expected(call, memory)
        for choice in choices(call, memory, target):
            run_unjitted(choice, memory, target)
        check(call, memory, wanted)


@pytest.mark.parametrize("target", [HOST, AVX2], ids=["host", "avx2"])
def test_compiled(target: Target) -> None:
    check_compiled([draw(family, 1000 + seed) for family in FAMILIES for seed in range(6)], target)


def test_bad_index_sets_the_flag() -> None:
    found = []
    for family in ("gather", "pick_rows", "scatter"):
        checked = [(c, m) for c, m in (draw(family, seed) for seed in range(40)) if getattr(c, "check", False)]
        for call, memory in checked[:4]:
            assert isinstance(call, (Gather, Scatter))
            n = call.x.shape[call.axis] if isinstance(call, Gather) else call.output.shape[-1]
            memory[call.index.buffer.name][call.index.offset] = n
            (choice,) = choices(call, memory, HOST)
            found.append((choice, memory))
    assert set(run_all(found, HOST)) == {INDEX_ERROR}


def test_aarch64_objects_need_nothing(tmp_path: Path) -> None:
    """One instance of each family, for AArch64: no undefined symbols but the allowed ones."""
    specs = []
    for family in FAMILIES:
        call, memory = draw(family, 3)
        specs += [choice.spec for choice in choices(call, memory, ARM)]
    kernels = compile_kernels(tuple(dict.fromkeys(specs)), ARM)
    assert {spec.family for spec in kernels} == set(
        "map transpose rows window contract pixels gather box scatter scan sort suppress".split()
    )
    for spec, kernel in kernels.items():
        assert set(kernel.undefined) <= ALLOWED, f"{spec} needs {kernel.undefined}"
        assert kernel.object[:4] == b"\x7fELF" and kernel.object[18] == 183
