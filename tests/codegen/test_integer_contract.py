"""Contractions of 8-bit codes: their meaning, and the kernels on every path of instructions."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_codes import draw
from test_kernels import PATHS, assembly, check, check_compiled, choices, expected, run_all, run_unjitted

from nnefc.codegen.groups import MOST_PRODUCTS, NIBBLES, group_of
from nnefc.codegen.pack import Panels, pack
from nnefc.codegen.select import Choice, select
from nnefc.codegen.target import Target
from nnefc.ir.interpret import run_call
from nnefc.ir.program import Contract, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.passes.fold import fold

X86 = "x86_64-unknown-linux-gnu"


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


@pytest.mark.parametrize("target", PATHS, ids=str)
def test_every_path_computes_the_same(target: Target) -> None:
    """Drawn products and convolutions, compiled for what this CPU can run: dot products, pairs of 16 bits in vectors of
    32 and of 16 bytes, and 32 bits alone."""
    check_compiled([draw("product", 2000 + seed) for seed in range(6)], target)


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
    found = assembly(spec, made)
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


@pytest.mark.parametrize("target", PATHS, ids=str)
def test_weights_of_4_bits_take_half_the_memory_on_every_path(target: Target) -> None:
    drawn = [narrow(*sizes, n) for n, sizes in enumerate(NARROW)]
    wanted = [{"y": expected(call, memory)["y"]} for call, memory in drawn]
    run_all([(choice, memory) for call, memory in drawn for choice in packed(call, memory, target)], target)
    for (call, memory), y in zip(drawn, wanted, strict=True):
        check(call, memory, y)


@pytest.mark.parametrize("target", PATHS, ids=str)
def test_weights_of_4_bits_unjitted(target: Target) -> None:
    for n, sizes in enumerate(NARROW):
        call, memory = narrow(*sizes, n)
        wanted = expected(call, memory)
        for choice in packed(call, memory, target):
            run_unjitted(choice, memory, target)
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
