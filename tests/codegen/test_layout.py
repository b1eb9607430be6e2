"""Which scratch tensors of few channels become planes: texts before and after, and equal results."""

from __future__ import annotations

import numpy as np
import pytest

from nnefc.codegen.artefact import assemble, load_artefact
from nnefc.codegen.layout import expected_cycles, lay_out
from nnefc.codegen.pack import Panels, pack
from nnefc.codegen.schedule import plan
from nnefc.codegen.target import Target
from nnefc.codegen.ways import Way, signature
from nnefc.codegen.workers import compile_kernels
from nnefc.formats.nnef import parse_graph
from nnefc.ir.graph import Graph
from nnefc.ir.interpret import interpret
from nnefc.ir.program import Contract, Program
from nnefc.ir.program_text import format_view
from nnefc.ir.types import TensorType
from nnefc.passes import pipeline
from nnefc.quant.quantize import quantize
from nnefc.runtime.model import Model

AVX512 = Target.parse("x86_64-unknown-linux-gnu:x86-64-v4")
VNNI = Target.parse("x86_64-unknown-linux-gnu:cascadelake")
TARGETS = [AVX512, *(Target.parse(f"x86_64-unknown-linux-gnu:x86-64-v{n}") for n in (3, 2))]


NETWORKS = [(28, (4, 12), 5, 1), (28, (6, 16), 5, 1), (20, (3, 5), 3, 2), (30, (2, 2), 3, 1), (23, (7, 9), 2, 1)]


def network(size: int, channels: tuple[int, int], kernel: int = 5, batch: int = 1) -> Program:
    """Two convolutions of ``channels`` outputs without borders, each before an average over 2 x 2, with drawn weights
    that differ."""
    program = pipeline.run(drawn_graph(size, channels, kernel, batch))
    assert sum(isinstance(c, Contract) for c in program.calls) == 2
    return program


def drawn_graph(size: int, channels: tuple[int, int], kernel: int = 5, batch: int = 1, function: str = "tanh") -> Graph:
    """Its Graph, with a function after each convolution."""
    first, second = channels
    pool = "size = [1, 1, 2, 2], stride = [1, 1, 2, 2], padding = [(0, 0), (0, 0), (0, 0), (0, 0)], border = 'ignore'"
    return parse_graph(f"""version 1.0;
        extension KHR_enable_operator_expressions;
        graph g(x) -> (y)
        {{
            x = external(shape = [{batch}, 1, {size}, {size}]);
            v = constant(shape = [{first}, 1, {kernel}, {kernel}], value = {values(first * kernel**2)});
            w = constant(shape = [{second}, {first}, {kernel}, {kernel}], value = {values(first * second * kernel**2)});
            a = {function}(conv(x, v, 0.25, padding = [(0, 0), (0, 0)]));
            b = avg_pool(a, {pool});
            c = {function}(conv(b, w, 0.5, padding = [(0, 0), (0, 0)]));
            y = avg_pool(c, {pool});
        }}
        """)


def values(count: int) -> list[float]:
    return np.random.default_rng(count).uniform(-0.2, 0.2, count).round(3).tolist()


def views(program: Program) -> list[str]:
    """What the calls write and read, the constants left out."""
    return [
        " <- ".join(format_view(v) for v in (*c.writes(), *c.reads()) if v.buffer.name not in program.constants)
        for c in program.calls
    ]


def cycles(program: Program, target: Target) -> float:
    return sum(expected_cycles(call, target) for call in program.calls)


def test_few_channels_become_planes_and_more_stay_last() -> None:
    """Four channels of 24 x 24 pixels: the vectors of the convolution and of the pooling then lie along pixels. The
    second convolution reads planes and leaves its twelve channels last, where pooling has its vectors."""
    before = network(28, (4, 12))
    after = lay_out(before, AVX512)
    assert views(before)[:4] == [
        "a: f32[1,24,24,4] <- x: f32[1,24,24,1,5,5]@0(0,28,1,0,28,1)",
        "b: f32[1,4,12,12]@0(576,1,48,4) <- a: f32[1,4,12,12,2,2]@0(0,1,192,8,96,4)",
        "c: f32[1,8,8,12] <- b: f32[1,8,8,5,5,4]@0(0,48,4,48,4,1)",
        "y: f32[1,12,4,4]@0(192,1,48,12) <- c: f32[1,12,8,8]@0(0,1,96,12)",
    ]
    assert views(after)[:4] == [
        "a: f32[1,24,24,4]@0(0,24,1,576) <- x: f32[1,24,24,1,5,5]@0(0,28,1,0,28,1)",
        "b: f32[1,4,12,12] <- a: f32[1,4,12,12,2,2]@0(0,576,48,2,24,1)",
        "c: f32[1,8,8,12] <- b: f32[1,8,8,5,5,4]@0(0,12,1,12,1,144)",
        "y: f32[1,12,4,4]@0(192,1,48,12) <- c: f32[1,12,8,8]@0(0,1,96,12)",
    ]
    assert cycles(after, AVX512) < 0.8 * cycles(before, AVX512)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.vector_bytes} bytes")
@pytest.mark.parametrize("shape", NETWORKS)
def test_results_are_the_same_and_the_estimate_never_rises(
    shape: tuple[int, tuple[int, int], int, int], target: Target
) -> None:
    before = network(*shape)
    after = lay_out(before, target)
    assert after is before or cycles(after, target) < cycles(before, target)
    x = {"x": np.random.default_rng(1).normal(size=before.inputs[0].shape).astype(np.float32)}
    wanted, got = interpret(before, x)["y"], interpret(after, x)["y"]
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", NETWORKS)
def test_compiled_networks_agree_with_their_meaning(shape: tuple[int, tuple[int, int], int, int]) -> None:
    program = network(*shape)
    assert lay_out(program, Target.host()) is not program or Target.host().vector_bytes < 64
    x = np.random.default_rng(2).normal(size=program.inputs[0].shape).astype(np.float32)
    wanted = interpret(program, {"x": x})["y"]
    np.testing.assert_allclose(compiled(program, Target.host())(x), wanted, rtol=1e-5, atol=1e-5)


def compiled(program: Program, target: Target) -> Model:
    """What runs a Program in this process."""
    plan_ = plan(program, target)
    kernels = compile_kernels(plan_.specs(), target)
    ports = [[(p.name, TensorType(p.dtype, p.shape)) for p in side] for side in (program.inputs, program.outputs)]
    return load_artefact(assemble("g", [(plan_, ports[0], ports[1])], kernels, target), 1)


def coded(shape: tuple[int, tuple[int, int], int, int], function: str = "tanh") -> Program:
    """The network in codes of 8 bits."""
    graph = drawn_graph(*shape, function)
    samples = np.random.default_rng(3).normal(size=(2, *graph.inputs[0].type.extents)).astype(np.float32)
    return pipeline.run(quantize(graph, [{"x": x} for x in samples]))


def test_codes_of_few_channels_become_planes_too() -> None:
    """Both convolutions of four and twelve outputs then have their lanes along pixels."""
    before = coded((28, (4, 12), 5, 1))
    after = lay_out(before, VNNI)
    assert cycles(after, VNNI) < 0.8 * cycles(before, VNNI)
    packed = pack(after, VNNI)
    assert [c.pixel_lanes for c in packed.calls if isinstance(c, Panels)] == [True, True]


@pytest.mark.parametrize("function", ["relu", "tanh"])
@pytest.mark.parametrize("shape", NETWORKS)
def test_networks_of_codes_give_the_same_codes(shape: tuple[int, tuple[int, int], int, int], function: str) -> None:
    """By their meaning in both layouts, and compiled."""
    program = coded(shape, function)
    x = np.random.default_rng(2).normal(size=program.inputs[0].shape).astype(np.float32)
    wanted = interpret(program, {"x": x})["y"]
    assert (interpret(lay_out(program, Target.host()), {"x": x})["y"] == wanted).all()
    for target in {Target.host(), *(t for t in TARGETS if not t.isa - Target.host().isa)}:
        assert (compiled(program, target)(x) == wanted).all()


def test_what_has_vectors_of_channels_is_left() -> None:
    program = network(28, (32, 32), 3)
    assert lay_out(program, AVX512) is program


def test_contractions_that_are_overridden_keep_their_layout() -> None:
    program = network(28, (4, 12))
    ways = {signature(c): Way(None, 1) for c in program.calls if isinstance(c, Contract)}
    assert lay_out(program, AVX512) is not program
    assert lay_out(program, AVX512, ways) is program


def test_taps_stay_as_the_caller_sees_them() -> None:
    """What is an output of the network, row-major, is not moved."""
    program = network(28, (4, 12))
    moved = {v.buffer.name for c in lay_out(program, AVX512).calls for v in c.writes()}
    outputs = {b.name for b in program.output_buffers}
    assert outputs <= moved
    for before, after in zip(program.calls, lay_out(program, AVX512).calls, strict=True):
        assert [v for v in before.writes() if v.buffer.name in outputs] == [
            v for v in after.writes() if v.buffer.name in outputs
        ]
