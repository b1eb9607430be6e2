"""Products in BF16: what is chosen and stored so, the instruction of each target, and compiled networks."""

from __future__ import annotations

import drawn_network
import numpy as np
import pytest
from drawn_calls import draw
from test_kernels import PATHS, assembly, check_compiled, choices

import nnefc
from nnefc.codegen.bfloat import multiply_bf16
from nnefc.codegen.target import Target
from nnefc.ir.build import ProgramBuilder
from nnefc.ir.graph import Graph
from nnefc.ir.interpret import interpret
from nnefc.ir.program import Contract, Map, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.passes import pipeline

X86 = "x86_64-unknown-linux-gnu"
HOST = Target.host()
NETWORK = """version 1.0;
extension KHR_enable_operator_expressions;
graph net(x) -> (y)
{
    x = external<scalar>(shape = [1, 6, 9, 9]);
    w1 = variable<scalar>(shape = [24, 6, 1, 1], label = 'w1');
    w2 = variable<scalar>(shape = [24, 24, 1, 1], label = 'w2');
    w3 = variable<scalar>(shape = [9, 24, 1, 1], label = 'w3');
    w4 = variable<scalar>(shape = [5, 9, 1, 1], label = 'w4');
    a = relu(conv(x, w1));
    b = a + conv(a, w2);
    c = conv(max_pool(b, size = [1, 1, 2, 2], border = 'ignore'), w3);
    y = conv(c, w4);
}
"""


def view(name: str, dtype: DType, shape: tuple[int, ...]) -> View:
    size = int(np.prod(shape))
    return View(Buffer(name, dtype, size, Role.TEMP), 0, shape, dense_strides(shape))


@pytest.fixture(scope="module")
def network() -> Graph:
    return drawn_network.network(NETWORK)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((1, 6, 9, 9)).astype(np.float32)


@pytest.mark.parametrize("target", PATHS, ids=str)
def test_every_path_computes_the_same(target: Target) -> None:
    check_compiled([draw("pairs", 3000 + seed) for seed in range(8)], target)


@pytest.mark.parametrize(
    ("target", "marks"),
    [
        (f"{X86}:cooperlake", ["vdpbf16ps", "%zmm"]),
        (f"{X86}:znver4", ["vdpbf16ps", "%zmm"]),
        (f"{X86}:skylake-avx512", ["vfmadd", "%zmm"]),
        (f"{X86}:x86-64-v3", ["vfmadd", "%ymm"]),
        (f"{X86}:x86-64-v2", ["mulps", "%xmm"]),
        ("aarch64-unknown-linux-gnu:neoverse-v1", ["bfdot"]),
        ("aarch64-unknown-linux-gnu:cortex-a76", ["fmla"]),
    ],
)
def test_the_instruction_of_each_target(target: str, marks: list[str]) -> None:
    w, out = view("w", DType.BF16, (64, 32)), view("y", DType.F32, (64, 32))
    made = Target.parse(target)
    spec = choices(Contract(view("x", DType.BF16, (64, 64)), w, None, (), out, 0, 1), {}, made)[-1].spec
    found = assembly(spec, made)
    assert all(mark in found for mark in marks)


def bf16(graph: Graph, target: Target = HOST) -> tuple[Program, list[str]]:
    notes: list[str] = []
    return multiply_bf16(pipeline.run(graph), target, notes), notes


def test_what_is_stored_as_bf16(network: Graph, x: np.ndarray) -> None:
    """What contractions read, and so what is added to it or pooled; channels that lie apart, or 9, make no pairs."""
    graph = network
    program, notes = bf16(graph)
    contracts = [c for c in program.calls if isinstance(c, Contract)]
    assert [c.x.dtype for c in contracts] == [DType.F32, DType.BF16, DType.BF16, DType.F32]
    assert [c.output.dtype for c in contracts][:2] == [DType.BF16, DType.F32]
    assert contracts[1].extras[0].dtype is DType.BF16
    assert sum("no pairs" in note for note in notes) == 2
    (wanted,) = nnefc.evaluate(graph, {"x": x}).values()
    error = np.linalg.norm(interpret(program, {"x": x})["y"] - wanted) / np.linalg.norm(wanted)
    assert 1e-4 < error < 1.5e-2


def test_an_input_is_copied() -> None:
    b = ProgramBuilder("p")
    values = np.random.default_rng(0).standard_normal((20, 7)).astype(np.float32)
    x, w = b.input("x", DType.F32, (3, 20)), b.const(values)
    b.output("y", b.contract(x, w, groups=0, reduced=1))
    b.output("z", b.contract(x, b.const(-values), groups=0, reduced=1))
    program = multiply_bf16(b.finish(), HOST)
    (copy,) = (c for c in program.calls if c.writes()[0].dtype is DType.BF16)
    assert isinstance(copy, Map) and copy.inputs[0].buffer.role is Role.INPUT
    read = np.random.default_rng(1).standard_normal((3, 20)).astype(np.float32)
    found, half = interpret(program, {"x": read}), DType.BF16.numpy
    exact = read.astype(half).astype(np.float64) @ values.astype(half).astype(np.float64)
    np.testing.assert_allclose(found["y"], exact, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["z"], -exact, rtol=1e-6, atol=1e-6)


def test_compiled(network: Graph, x: np.ndarray) -> None:
    """As the Program says, whatever the CPU and the number of threads."""
    graph = network
    program, _ = bf16(graph)
    wanted = interpret(program, {"x": x})["y"]
    for target in ("host", f"{X86}:x86-64-v3"):
        found = [nnefc.compile(graph, precision="bf16", threads=n, target=target)(x) for n in (1, 2)]
        assert np.array_equal(*found)
        assert np.linalg.norm(found[0] - wanted) < 3e-3 * np.linalg.norm(wanted)


def test_a_cpu_without_products_of_bf16_is_told_of(network: Graph) -> None:
    notes: list[str] = []
    nnefc.compile(network, precision="bf16", target=f"{X86}:x86-64-v3", notes=notes)
    assert any("no products of bf16" in note for note in notes)
    _, silent = bf16(network, Target.parse(f"{X86}:znver4"))
    assert not any("no products of bf16" in note for note in silent)


def test_image_tiles_stay_where_they_are_faster() -> None:
    text = """version 1.0;
extension KHR_enable_operator_expressions;
graph net(x) -> (y)
{
    x = external<scalar>(shape = [1, 256, 56, 56]);
    w = variable<scalar>(shape = [256, 256, 3, 3], label = 'w');
    y = conv(x, w);
}
"""
    program = pipeline.run(drawn_network.network(text))
    notes: list[str] = []
    target = Target.parse(f"{X86}:znver4")
    assert multiply_bf16(program, target, notes) is program
    assert any("image tiles" in note for note in notes)
    direct = multiply_bf16(program, target, small=True)
    assert any(isinstance(c, Contract) and c.x.dtype is DType.BF16 for c in direct.calls)


def test_other_types_are_refused(network: Graph) -> None:
    with pytest.raises(ValueError, match="f32 or f16 or bf16"):
        nnefc.compile(network, precision="f8")
