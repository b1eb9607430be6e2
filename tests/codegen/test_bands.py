"""Weights of more than 8 bits in bands of bytes: what they are cut into, and the kernels that combine their sums."""

from __future__ import annotations

import numpy as np
import pytest
from test_integer_contract import PATHS, view
from test_kernels import Pointer, check, expected, run_compiled

from nnefc.codegen.bands import bands_of
from nnefc.codegen.objectfile import load_objects
from nnefc.codegen.pack import Panels, pack
from nnefc.codegen.select import Choice, select
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels
from nnefc.ir.expr import arg, call
from nnefc.ir.program import Contract, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Role
from nnefc.passes.fold import fold

POWERS = [sign << k for k in range(16) for sign in (1, -1)]


def combined(values: np.ndarray) -> np.ndarray:
    """What bands and factors stand for."""
    bands, factors = bands_of(values)
    assert bands.dtype == np.int8 and len(bands) == len(factors)
    total = np.zeros(values.shape, np.int64)
    for band, factor in zip(bands, factors, strict=True):
        assert -(2**31) <= factor < 2**31
        total = (total + band) * factor % 2**32
    return total.astype(np.int32)


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ([0], 2),
        ([1 << k for k in range(15)], 2),
        ([-1 << k for k in range(16)], 2),
        (POWERS, 2),
        ([*POWERS, 0, 3, -24576], 2),
        ([32639, -32896], 2),
        ([32640], 3),
        ([32767, -32767, 1], 3),
        ([1 << 22, -(1 << 22)], 3),
        ([1 << 23], 4),
        ([2**31 - 1, -(2**31), 255, 128, -128], 4),
    ],
)
def test_bands_make_up_the_weights(values: list[int], count: int) -> None:
    made = np.array(values, np.int32)
    assert np.array_equal(combined(made), made)
    assert len(bands_of(made)[1]) == count


def test_drawn_weights_of_any_size() -> None:
    rng = np.random.default_rng(0)
    for bits in range(7, 32):
        drawn = rng.integers(-(2**bits), 2**bits, (3, 50)).astype(np.int32)
        assert np.array_equal(combined(drawn), drawn)


def wide(rng: np.random.Generator, pixels: int, channels: int, outputs: int) -> tuple[Contract, dict[str, np.ndarray]]:
    """A product, or every second time a convolution by windows of 1 x 3, by weights far apart, and its memory."""
    steps = int(rng.choice([1, 3]))
    x = view("x", DType.U8, (pixels + steps - 1, channels))
    taps = x.window((0,), (steps,), (1,), (1,)).transpose((0, 2, 1))
    w = view("w", DType.I32, (steps, channels, outputs), Role.CONST)
    b, out = view("b", DType.I32, (1, outputs)), view("y", DType.I32, (pixels, outputs), Role.OUTPUT)
    memory = {"x": rng.integers(0, 256, x.volume).astype(np.uint8), "y": np.zeros(out.volume, np.int32)}
    drawn = (
        rng.choice([1, -1], w.volume) << rng.integers(0, 16, w.volume),
        rng.integers(-(2**15), 2**15 + 1, w.volume),
        rng.integers(-(2**31), 2**31, w.volume),
    )
    memory["w"] = drawn[int(rng.integers(3))].astype(np.int32)
    memory["b"] = rng.integers(-(2**20), 2**20, outputs).astype(np.int32)
    post, extras = call("add", arg(0, DType.I32), arg(1, DType.I32)), (b.broadcast_to((pixels, outputs)),)
    return Contract(taps, w, post, extras, out, 0, 2), memory


SIZES = [(1, 40, 100), (5, 24, 17), (30, 31, 48), (14, 64, 33), (3, 8, 1), (7, 6, 65), (9, 3, 20), (33, 5, 130)]
"""Pixels, channels and outputs."""


def prepared(made: Contract, memory: dict[str, np.ndarray], target: Target) -> list[Choice]:
    """The kernels of a contraction, its weights packed in bytes; they join the memory."""
    program = fold(pack(Program("wide", (), (), (), (), (made,), {"w": memory["w"]}, {}), target))
    memory |= program.constants
    for c in program.calls:
        assert isinstance(c, Panels) and len(c.factors) in (2, 3, 4) and c.w.dtype is DType.I8
        memory["x"] = np.resize(memory["x"], c.x.buffer.size)
    return [select(c, target) for c in program.calls]


def drawn(
    target: Target, first: int
) -> list[tuple[Contract, dict[str, np.ndarray], dict[str, np.ndarray], list[Choice]]]:
    jobs = []
    for n, sizes in enumerate(SIZES):
        made, memory = wide(np.random.default_rng(first + n), *sizes)
        jobs.append((made, memory, expected(made, memory), prepared(made, memory, target)))
    return jobs


@pytest.mark.parametrize("target", PATHS, ids=str)
def test_banded_sums_unjitted(target: Target) -> None:
    for made, memory, wanted, found in drawn(target, 10):
        for choice in found:
            pointers = tuple(Pointer(memory[v.buffer.name], v.offset) for v in choice.views)
            choice.spec.build(target)(pointers, np.array(choice.geometry, np.int64), 0, choice.units)
        check(made, memory, {"y": wanted["y"]})


def test_banded_sums_on_every_path() -> None:
    for target in PATHS:
        jobs = drawn(target, 30)
        kernels = compile_kernels(tuple(dict.fromkeys(c.spec for *_, found in jobs for c in found)), target)
        loaded = load_objects([k.object for k in kernels.values()])
        for made, memory, wanted, found in jobs:
            for choice in found:
                run_compiled(loaded.address(kernels[choice.spec].symbol), choice, memory)
            check(made, memory, {"y": wanted["y"]})


def test_computed_weights_of_32_bits_are_refused() -> None:
    made, _ = wide(np.random.default_rng(0), 5, 8, 3)
    with pytest.raises(ValueError, match="the weights w are computed, and of I32"):
        pack(Program("wide", (), (), (), (), (made,), {}, {}), PATHS[0])
