"""Windows that reach outside, on every small map: the NumPy meaning, and the kernel, against padding by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from test_kernels import AVX2, HOST, expected, run_all, run_unjitted

from nnefc.codegen.kernels.window import WindowKernel
from nnefc.codegen.select import select
from nnefc.codegen.select_window import ENOUGH_UNITS
from nnefc.codegen.target import Target
from nnefc.ir.build import channels_last
from nnefc.ir.expr import arg, call
from nnefc.ir.interpret import run_call
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.ir.window import Slide, Window

F = DType.F32


def view(name: str, shape: tuple[int, ...], order: tuple[int, ...] | None = None) -> View:
    return View(Buffer(name, F, int(np.prod(shape)), Role.TEMP), 0, shape, dense_strides(shape, order))


def line(op: str, extent: int, slide: Slide, windows: int, channels: int = 3) -> Window:
    """Windows over a map of one row, channels side by side."""
    x, out = view("x", (channels, extent), (1, 0)), view("out", (channels, windows), (1, 0))
    if op == "max":
        return Window(op, arg(0, F), None, x, (), (), out, (slide,))
    return Window(
        op, call("mul", arg(0, F), arg(1, F)), None, x, (view("w", (channels, slide.size)),), (), out, (slide,)
    )


def cases() -> list[tuple[int, Slide, int]]:
    """Extent, slide and number of windows: every kernel, stride, dilation and padding on maps of 1 to 9."""
    found = []
    for extent, size, stride, dilation in itertools.product(range(1, 10), range(1, 6), (1, 2, 3), (1, 2)):
        for before, after in itertools.product((-1, 0, 1, 2, 5), (0, 1, 3)):
            room = extent + before + after - (size - 1) * dilation - 1
            if room >= 0 and (dilation == 1 or size > 1):
                found.append((extent, Slide(size, stride, dilation, before), room // stride + 1))
    return found


def memory(c: Window, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {v.buffer.name: rng.uniform(-1, 1, v.buffer.size).astype(np.float32) for v in (*c.reads(), c.output)}


@pytest.mark.parametrize("op", ["sum", "max"])
def test_meaning(op: str) -> None:
    for seed, (extent, s, windows) in enumerate(cases()):
        c = line(op, extent, s, windows)
        m = memory(c, seed)
        run_call(c, m)
        wide = np.full((40 + extent, 3), 0.0 if op == "sum" else -np.inf)
        wide[20 : 20 + extent] = m["x"].reshape(extent, 3)
        for o in range(windows):
            first = 20 + o * s.stride - s.before
            taps = wide[first : first + (s.size - 1) * s.dilation + 1 : s.dilation]
            wanted = (taps.T * m["w"].reshape(3, s.size)).sum(1) if op == "sum" else taps.max(0)
            np.testing.assert_allclose(m["out"].reshape(windows, 3)[o], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", [HOST, AVX2], ids=["host", "avx2"])
def test_unjitted(target: Target) -> None:
    for seed, (extent, s, windows) in enumerate(cases()):
        if seed % 7 == 0:
            c = line("sum" if seed % 2 else "max", extent, s, windows)
            m = memory(c, seed)
            wanted = expected(c, m)
            choice = select(c, target)
            run_unjitted(choice, m, target)
            np.testing.assert_allclose(m["out"], wanted["out"], rtol=1e-5, atol=1e-6, err_msg=str(c))


def plane(high: int, wide: int, channels: int, slides: tuple[Slide, Slide]) -> Window:
    """A depthwise convolution of a map, channels last."""
    windows = [n + 2 * s.before - (s.size - 1) * s.dilation - 1 for n, s in zip((high, wide), slides, strict=True)]
    shape = (1, channels, *(n // s.stride + 1 for n, s in zip(windows, slides, strict=True)))
    x, w = (
        view("x", (1, channels, high, wide), channels_last(4)),
        view("w", (1, channels, slides[0].size, slides[1].size)),
    )
    product = call("mul", arg(0, F), arg(1, F))
    return Window("sum", product, None, x, (w,), (), view("out", shape, channels_last(4)), slides)


def test_compiled_over_wide_maps() -> None:
    """Tiles at both ends and between them, strips of lines, groups of channels and their tails, in two parts."""
    calls = [
        plane(high, wide, channels, (Slide(size, stride, 1, size // 2),) * 2)
        for (high, wide, channels), (size, stride) in itertools.product(
            ((7, 7, 40), (5, 17, 16), (30, 33, 24)), ((3, 1), (3, 2), (5, 1))
        )
    ]
    choices = [select(c, HOST) for c in calls]
    assert any(choice.units >= ENOUGH_UNITS for choice in choices)
    memories = [memory(c, seed) for seed, c in enumerate(calls)]
    wanted = [expected(c, m) for c, m in zip(calls, memories, strict=True)]
    run_all(list(zip(choices, memories, strict=True)), HOST)
    for c, m, after in zip(calls, memories, wanted, strict=True):
        np.testing.assert_allclose(m["out"], after["out"], rtol=1e-5, atol=1e-5, err_msg=str(c))


def test_tiles_cut_a_line_evenly() -> None:
    """The tile, and which of its ends see the border, for the maps of common networks."""

    def spec(wide: int, size: int, stride: int) -> WindowKernel:
        found = select(plane(wide, wide, 64, (Slide(size, stride, 1, size // 2),) * 2), HOST).spec
        assert isinstance(found, WindowKernel)
        return found

    for wide, size, stride, tile in (
        (112, 3, 1, (8, 1, 1, False)),
        (112, 3, 2, (8, 1, 0, False)),
        (14, 5, 1, (7, 2, 2, False)),
        (7, 3, 1, (7, 1, 1, True)),
        (1, 3, 1, (1, 1, 1, True)),
    ):
        found = spec(wide, size, stride)
        assert (found.rows, found.left, found.right, found.single) == tile


def test_taps_outside_a_tile_are_found_at_run_time() -> None:
    """Windows that reach further than a tile is long have no tiles along the columns."""
    c = line("max", 40, Slide(31, 1, 1, 15), 40)
    found = select(c, HOST).spec
    assert isinstance(found, WindowKernel) and found.columns == Slide(1) and found.heights == 1
