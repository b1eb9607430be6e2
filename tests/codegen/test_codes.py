"""Calls on 8-bit codes, un-jitted and compiled for every kind of vector: equal to the NumPy meaning bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_codes import FAMILIES, draw
from test_kernels import ALLOWED, ARM, AVX2, HOST, Pointer, choices, expected, run_compiled

from nnefc.codegen.kernels.pixels import PixelsKernel
from nnefc.codegen.objectfile import load_objects
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels
from nnefc.ir.program import Call

SSE = Target.parse("x86_64-unknown-linux-gnu:x86-64-v2")
TARGETS = {"host": HOST, "avx2": AVX2, "sse": SSE}


def assert_equal(call: Call, memory: dict[str, np.ndarray], wanted: dict[str, np.ndarray], seed: int) -> None:
    for name, array in wanted.items():
        np.testing.assert_array_equal(memory[name][: array.size], array, err_msg=f"{name} of {call}, seed {seed}")


@pytest.mark.parametrize("target", [HOST, AVX2, ARM], ids=["host", "avx2", "arm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_unjitted(family: str, target: Target) -> None:
    for seed in range(25):
        call, memory = draw(family, seed)
        wanted = expected(call, memory)
        for choice in choices(call, memory, target):
            pointers = tuple(Pointer(memory[v.buffer.name], v.offset) for v in choice.views)
            kernel, geometry = choice.spec.build(target), np.array(choice.geometry, np.int64)
            middle = choice.units // 2
            kernel(pointers, geometry, middle, choice.units)
            kernel(pointers, geometry, 0, middle)
        assert_equal(call, memory, wanted, seed)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_compiled(target: Target) -> None:
    if target.isa - HOST.isa:
        pytest.skip("this machine lacks instructions")
    drawn = [(*draw(family, seed), seed) for family in FAMILIES for seed in range(8)]
    wanted = [expected(call, memory) for call, memory, _ in drawn]
    chosen = [choices(call, memory, target) for call, memory, _ in drawn]
    kernels = compile_kernels(tuple(dict.fromkeys(c.spec for found in chosen for c in found)), target)
    loaded = load_objects([k.object for k in kernels.values()])
    for (call, memory, seed), found, after in zip(drawn, chosen, wanted, strict=True):
        for choice in found:
            run_compiled(loaded.address(kernels[choice.spec].symbol), choice, memory)
        assert_equal(call, memory, after, seed)


def test_aarch64_objects_need_nothing() -> None:
    chosen = [c for family in FAMILIES for seed in (1, 2) for c in choices(*draw(family, seed), ARM)]
    for spec, kernel in compile_kernels(tuple(dict.fromkeys(c.spec for c in chosen)), ARM).items():
        assert set(kernel.undefined) <= ALLOWED, f"{spec} needs {kernel.undefined}"


def test_lanes_lie_along_pixels_where_codes_lie_in_planes() -> None:
    """And outputs are few: most of those that are drawn, for vectors of any length."""
    for target in (HOST, AVX2, SSE, ARM):
        found = [choices(*draw("planes", seed), target)[-1].spec for seed in range(25)]
        assert sum(spec.family == "pixels" for spec in found) > 8
    specs = [choices(*draw("planes", seed), HOST)[-1].spec for seed in range(25)]
    chosen = [spec for spec in specs if isinstance(spec, PixelsKernel)]
    assert {spec.unit for spec in chosen} == {False, True} and {spec.lines for spec in chosen} == {1, 2}


def test_windows_of_codes_have_a_kernel_of_their_own() -> None:
    """Where channels lie together and taps are neighbours, whatever the border."""
    families = [choices(*draw("pixels", seed), target)[0].spec.family for target in (HOST, ARM) for seed in range(30)]
    assert families.count("depthwise") > 20
