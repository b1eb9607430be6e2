"""Factors per channel on the weights of the contraction that follows, or left alone."""

from __future__ import annotations

import numpy as np
import pytest

from nnefc.codegen.pack import Panels, pack
from nnefc.codegen.scale import scale_weights
from nnefc.codegen.target import Target
from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import arg, call
from nnefc.ir.interpret import array, run_call
from nnefc.ir.program import Map, Program
from nnefc.ir.types import DType

F = DType.F32
MUL, EXP = call("mul", arg(0, F), arg(1, F)), call("exp", arg(0, F))


def excited(pixels: int, channels: int, outputs: int, *, swapped: bool = False, besides: bool = False) -> Program:
    """A product of an image and its channels' factors, contracted over the channels, packed."""
    b = ProgramBuilder("p")
    image = b.map(EXP, [b.input("x", F, (1, pixels, channels))])
    factors = b.map(EXP, [b.input("s", F, (1, 1, channels))]).broadcast_to(image.shape)
    product = b.map(MUL, [factors, image] if swapped else [image, factors], order=(0, 1, 2))
    w = b.const(np.random.default_rng(1).normal(size=(channels, outputs)).astype(np.float32))
    b.output("y", b.contract(product, w, groups=0, reduced=1))
    if besides:
        b.output("z", product)
    return pack(b.finish(), Target.host())


def run(program: Program) -> np.ndarray:
    """The output y: panels are put together again for a product in NumPy."""
    rng = np.random.default_rng(0)
    memory = {b.name: np.full(b.size, np.nan, np.float32) for b in program.buffers().values()} | program.constants
    for b in program.input_buffers:
        memory[b.name] = rng.normal(size=b.size).astype(np.float32)
    for c in program.calls:
        if isinstance(c, Panels):
            w = np.moveaxis(array(c.w, memory), 0, 1)
            out = array(c.contract.output, memory)
            out[...] = array(c.x, memory) @ w.reshape(w.shape[0], -1)[:, : out.shape[-1]]
        else:
            run_call(c, memory)
    return memory[program.output_buffers[0].name]


def sizes(program: Program) -> list[int]:
    """How many elements each product of two tensors has."""
    return [c.outputs[0].volume for c in program.calls if isinstance(c, Map) and c.exprs == (MUL,)]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("outputs", [3, 16, 40])
def test_few_weights_are_scaled(outputs: int, swapped: bool) -> None:
    program = excited(100, 7, outputs, swapped=swapped)
    scaled = scale_weights(program)
    assert sizes(program) == [700]
    assert sum(sizes(scaled)) < 700 and len(sizes(scaled)) == sum(isinstance(c, Panels) for c in scaled.calls)
    np.testing.assert_allclose(run(scaled), run(program), rtol=1e-4, atol=1e-5)


def test_many_weights_are_left() -> None:
    program = excited(100, 7, 51)
    assert scale_weights(program) is program


def test_a_product_that_is_read_besides_is_left() -> None:
    program = excited(100, 7, 16, besides=True)
    assert scale_weights(program) is program


def test_factors_of_pixels_are_left() -> None:
    b = ProgramBuilder("p")
    image = b.map(EXP, [b.input("x", F, (100, 7))])
    factors = b.map(EXP, [b.input("s", F, (100, 1))]).broadcast_to(image.shape)
    w = b.const(np.ones((7, 3), np.float32))
    b.output("y", b.contract(b.map(MUL, [image, factors]), w, groups=0, reduced=1))
    program = pack(b.finish(), Target.host())
    assert scale_weights(program) is program
