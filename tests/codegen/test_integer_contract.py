"""Contractions of 8-bit codes: their meaning, and the kernels on every path of instructions."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_codes import draw
from test_kernels import check, choices, expected, run_compiled

from nnefc.codegen.frontend import kernel_ir
from nnefc.codegen.llvm import llvm, optimise
from nnefc.codegen.objectfile import load_objects
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels
from nnefc.ir.interpret import run_call
from nnefc.ir.program import Contract
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides

X86 = "x86_64-unknown-linux-gnu"
PATHS = [Target.host(), *(Target.parse(f"{X86}:{cpu}") for cpu in ("skylake-avx512", "x86-64-v3", "x86-64-v2"))]


def view(name: str, dtype: DType, shape: tuple[int, ...]) -> View:
    size = int(np.prod(shape))
    return View(Buffer(name, dtype, size, Role.TEMP), 0, shape, dense_strides(shape))


def test_sums_of_codes_are_integers_modulo_their_width() -> None:
    x, w, out = view("x", DType.U8, (2, 70000)), view("w", DType.I8, (70000, 3)), view("y", DType.I32, (2, 3))
    memory = {"x": np.full(140000, 255, np.uint8), "w": np.full(210000, 127, np.int8), "y": np.zeros(6, np.int32)}
    memory["x"][70000:] = np.arange(70000) % 251
    run_call(Contract(x, w, None, (), out, 0, 1), memory)
    exact = memory["x"].reshape(2, -1).astype(np.int64) @ memory["w"].reshape(-1, 3).astype(np.int64)
    assert exact[0, 0] >= 2**31 > exact[1, 0]
    assert (memory["y"].reshape(2, 3) == (exact + 2**31) % 2**32 - 2**31).all()


def test_every_path_computes_the_same() -> None:
    """Drawn products and convolutions, compiled for what this CPU can run: dot products, pairs of 16 bits in vectors of
    32 and of 16 bytes, and 32 bits alone."""
    drawn = [draw("product", 2000 + seed) for seed in range(6)]
    for target in PATHS:
        jobs = [(c, {n: a.copy() for n, a in m.items()}, expected(c, m)) for c, m in drawn]
        found = [choices(call, memory, target) for call, memory, _ in jobs]
        specs = tuple(dict.fromkeys(choice.spec for each in found for choice in each))
        kernels = compile_kernels(specs, target)
        loaded = load_objects([k.object for k in kernels.values()])
        for (call, memory, wanted), each in zip(jobs, found, strict=True):
            for choice in each:
                run_compiled(loaded.address(kernels[choice.spec].symbol), choice, memory)
            check(call, memory, wanted)


@pytest.mark.parametrize(
    ("target", "marks"),
    [
        (f"{X86}:cascadelake", ["vpdpbusd", "%zmm"]),
        (f"{X86}:alderlake", ["vpdpbusd", "%ymm"]),
        (f"{X86}:skylake-avx512", ["vpmaddwd", "%zmm"]),
        (f"{X86}:x86-64-v3", ["vpmaddwd", "%ymm"]),
        (f"{X86}:x86-64-v2", ["pmaddwd", "%xmm"]),
        ("aarch64-unknown-linux-gnu:neoverse-v1", ["usdot"]),
        ("aarch64-unknown-linux-gnu:cortex-a76", ["sdot"]),
        ("aarch64-unknown-linux-gnu:cortex-a53", ["mla"]),
        ("riscv64-unknown-linux-gnu:generic-rv64+m+a+f+d+c", ["mul"]),
    ],
)
def test_the_instruction_of_each_target(target: str, marks: list[str]) -> None:
    x, w, out = view("x", DType.U8, (64, 64)), view("w", DType.I8, (64, 32)), view("y", DType.I32, (64, 32))
    memory: dict[str, np.ndarray] = {}
    made = Target.parse(target)
    spec = choices(Contract(x, w, None, (), out, 0, 1), memory, made)[-1].spec
    machine = made.machine()
    module = llvm().parse_assembly(kernel_ir(spec, made, "kernel"))
    optimise(module, machine)
    found = machine.emit_assembly(module)
    assert all(mark in found for mark in marks)
