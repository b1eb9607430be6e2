"""Calls on 8-bit codes, un-jitted and compiled for every kind of vector: equal to the NumPy meaning bit for bit."""

from __future__ import annotations

import pytest
from drawn_codes import FAMILIES, draw
from test_kernels import ALLOWED, ARM, AVX2, HOST, SSE, check, check_compiled, choices, expected, run_unjitted

from nnefc.codegen.kernels.pixels import PixelsKernel
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels


@pytest.mark.parametrize("target", [HOST, AVX2, ARM], ids=["host", "avx2", "arm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_unjitted(family: str, target: Target) -> None:
    for seed in range(25):
        call, memory = draw(family, seed)
        wanted = expected(call, memory)
        for choice in choices(call, memory, target):
            run_unjitted(choice, memory, target)
        check(call, memory, wanted, exact=True)


@pytest.mark.parametrize("target", [HOST, AVX2, SSE], ids=["host", "avx2", "sse"])
def test_compiled(target: Target) -> None:
    drawn = [draw(family, seed) for family in FAMILIES for seed in range(8)]
    check_compiled(drawn, target, exact=True)


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
