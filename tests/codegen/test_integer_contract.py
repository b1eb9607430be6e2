"""Contractions of 8-bit codes: their meaning, and the kernels on every path of instructions."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_codes import draw
from test_kernels import Pointer, check, choices, expected, run_compiled

from nnefc.codegen.frontend import kernel_ir
from nnefc.codegen.groups import MOST_PRODUCTS, NIBBLES, group_of
from nnefc.codegen.llvm import llvm, optimise
from nnefc.codegen.objectfile import load_objects
from nnefc.codegen.pack import Panels, pack
from nnefc.codegen.select import Choice, select
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels
from nnefc.ir.interpret import run_call
from nnefc.ir.program import Contract, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.passes.fold import fold

X86 = "x86_64-unknown-linux-gnu"
PATHS = [Target.host(), *(Target.parse(f"{X86}:{cpu}") for cpu in ("skylake-avx512", "x86-64-v3", "x86-64-v2"))]


def view(name: str, dtype: DType, shape: tuple[int, ...], role: Role = Role.TEMP) -> View:
    size = int(np.prod(shape))
    return View(Buffer(name, dtype, size, role), 0, shape, dense_strides(shape))


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


NARROW = [(1, 40, 100), (5, 24, 17), (30, 31, 48), (14, 64, 33), (3, 8, 1), (7, 6, 65)]
"""Pixels, channels and outputs of products by weights of 4 bits."""


def narrow(pixels: int, channels: int, outputs: int, seed: int) -> tuple[Contract, dict[str, np.ndarray]]:
    """A product by constant weights of 4 bits, all of their values among them, and its memory."""
    rng = np.random.default_rng(seed)
    x, w = view("x", DType.U8, (pixels, channels)), view("w", DType.I8, (channels, outputs), Role.CONST)
    out = view("y", DType.I32, (pixels, outputs), Role.OUTPUT)
    memory = {"x": rng.integers(0, 256, x.volume).astype(np.uint8), "y": np.zeros(out.volume, np.int32)}
    memory["w"] = rng.integers(-8, 8, w.volume).astype(np.int8)
    memory["w"][:2] = -8, 7
    return Contract(x, w, None, (), out, 0, 1), memory


def packed(call: Contract, memory: dict[str, np.ndarray], target: Target) -> list[Choice]:
    """The kernels of a contraction whose weights are packed when it is compiled; they join the memory."""
    program = fold(pack(Program("narrow", (), (), (), (), (call,), {"w": memory["w"]}, {}), target))
    memory |= program.constants
    for c in program.calls:
        assert isinstance(c, Panels) and c.group == NIBBLES and c.w.dtype is DType.I8
        memory["x"] = np.resize(memory["x"], c.x.buffer.size)
    assert sum(a.size for n, a in program.constants.items()) < 0.7 * call.w.volume + 300
    assert program.calls
    return [select(c, target) for c in program.calls]


def test_weights_of_4_bits_take_half_the_memory_on_every_path() -> None:
    for target in PATHS:
        jobs = []
        for n, sizes in enumerate(NARROW):
            call, memory = narrow(*sizes, n)
            jobs.append((call, memory, expected(call, memory), packed(call, memory, target)))
        kernels = compile_kernels(tuple(dict.fromkeys(c.spec for *_, found in jobs for c in found)), target)
        loaded = load_objects([k.object for k in kernels.values()])
        for call, memory, wanted, found in jobs:
            for choice in found:
                run_compiled(loaded.address(kernels[choice.spec].symbol), choice, memory)
            check(call, memory, {"y": wanted["y"]})


@pytest.mark.parametrize("target", PATHS, ids=str)
def test_weights_of_4_bits_unjitted(target: Target) -> None:
    for n, sizes in enumerate(NARROW):
        call, memory = narrow(*sizes, n)
        wanted = expected(call, memory)
        for choice in packed(call, memory, target):
            pointers = tuple(Pointer(memory[v.buffer.name], v.offset) for v in choice.views)
            choice.spec.build(target)(pointers, np.array(choice.geometry, np.int64), 0, choice.units)
        check(call, memory, {"y": wanted["y"]})


def test_what_weights_are_packed_as_4_bits() -> None:
    """Constants of -8 .. 7 in runs that are not lengthened, of so few products that 16 times their sum is an I32."""
    call, memory = narrow(5, 24, 17, 0)
    assert group_of(call, memory) == NIBBLES and group_of(call, {}) == 4
    for value in (8, -9):
        assert group_of(call, {"w": np.where(np.arange(call.w.volume) == 9, value, memory["w"])}) == 4
    for channels, group in ((25, 4), (28, 4), (29, 8), (32, 8), (MOST_PRODUCTS // 8 * 8, 8), (MOST_PRODUCTS + 9, 4)):
        x, w = view("x", DType.U8, (1, channels)), view("w", DType.I8, (channels, 1), Role.CONST)
        call = Contract(x, w, None, (), view("y", DType.I32, (1, 1)), 0, 1)
        assert group_of(call, {"w": np.zeros(channels, np.int8)}) == group
