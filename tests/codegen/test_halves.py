"""Tensors in F16: every family on every kind of vectors, and compiled networks."""

from __future__ import annotations

from pathlib import Path

import drawn_network
import numpy as np
import pytest
from drawn_calls import draw
from test_kernels import PATHS, check_compiled

import nnefc
from nnefc.codegen.options import Options
from nnefc.codegen.precision import lowered
from nnefc.codegen.target import Target
from nnefc.formats.nnef.tensor import tensor_of, write_tensor
from nnefc.ir.graph import Graph
from nnefc.ir.program import Contract
from nnefc.ir.types import DType
from nnefc.ir.view import Role

X86 = "x86_64-unknown-linux-gnu"
HOST = Target.host()
NETWORK = """version 1.0;
extension KHR_enable_operator_expressions;
graph net(x) -> (y)
{
    x = external<scalar>(shape = [1, 6, 14, 14]);
    w1 = variable<scalar>(shape = [24, 6, 1, 1], label = 'w1');
    w2 = variable<scalar>(shape = [24, 24, 3, 3], label = 'w2');
    w3 = variable<scalar>(shape = [24, 1, 3, 3], label = 'w3');
    w4 = variable<scalar>(shape = [9, 24], label = 'w4');
    a = relu(conv(x, w1, 0.25));
    b = a + conv(a, w2);
    c = conv(b, w3, groups = 0) * sigmoid(b);
    d = reshape(avg_pool(c, size = [1, 1, 14, 14], padding = [(0, 0), (0, 0), (0, 0), (0, 0)]), shape = [1, 24]);
    y = softmax(linear(d, w4));
}
"""


@pytest.fixture(scope="module")
def network() -> Graph:
    return drawn_network.network(NETWORK)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((1, 6, 14, 14)).astype(np.float32)


@pytest.mark.parametrize("target", PATHS[1:], ids=str)
def test_every_kind_of_vectors_converts(target: Target) -> None:
    """With F16C and by integer arithmetic, as NumPy converts."""
    check_compiled([draw("held", 5000 + seed) for seed in range(24)], target)


@pytest.mark.parametrize("target", ["host", f"{X86}:x86-64-v3", f"{X86}:x86-64-v2"])
def test_compiled(network: Graph, x: np.ndarray, target: str) -> None:
    """As the reference says, whatever the CPU and the number of threads: sums in another order may round to the
    neighbour, 2**-11 further, in each of six layers."""
    graph = network
    (wanted,) = nnefc.evaluate(graph, {"x": x}, precision="f16").values()
    found = [nnefc.compile(graph, precision="f16", threads=n, target=target)(x) for n in (1, 2)]
    assert np.array_equal(*found)
    assert np.linalg.norm(found[0] - wanted) < 6 * 2.0**-11 * np.linalg.norm(wanted)
    (exact,) = nnefc.evaluate(graph, {"x": x}).values()
    assert 1e-6 < np.linalg.norm(found[0] - exact) < 4e-3 * np.linalg.norm(exact)


def test_half_the_memory(network: Graph) -> None:
    """Weights and what layers hand on; by image tiles, whose scratch memory is F32, only in part."""
    plain, half = (nnefc.compile(network, precision=p, optimize="size", threads=1)._made().plan for p in ("f32", "f16"))
    assert half.arena_size <= 0.55 * plain.arena_size
    assert half.weights.nbytes < 0.65 * plain.weights.nbytes


@pytest.mark.parametrize(
    ("precision", "weights", "pair"),
    [
        ("f16", "stored", (DType.F16, DType.F16)),
        ("f16", "f32", (DType.F16, DType.F32)),
        ("f16", "bf16", (DType.F16, DType.BF16)),
        ("f32", "f16", (DType.F32, DType.F16)),
        ("bf16", "stored", (DType.BF16, DType.BF16)),
        ("f32", "stored", (DType.F32, DType.F32)),
    ],
)
def test_tensors_and_weights_are_chosen_apart(
    network: Graph, precision: str, weights: str, pair: tuple[DType, DType]
) -> None:
    graph = network
    program = lowered(graph, Options(precision=precision, weights=weights, optimize="size"))
    inner = [c for c in program.calls if isinstance(c, Contract) and c.x.buffer.role is Role.TEMP]
    assert (inner[0].x.dtype, inner[0].w.dtype) == pair


def test_an_object_for_another_machine(network: Graph) -> None:
    """Without a library's conversions, which would be undefined symbols."""
    assert nnefc.compile(network, precision="f16", target="aarch64-unknown-linux-gnu").target.startswith("aarch64")


def test_what_f16_cannot_hold_is_infinite(tmp_path: Path) -> None:
    (tmp_path / "graph.nnef").write_text(
        """version 1.0;
extension KHR_enable_operator_expressions;
graph net(x) -> (y)
{
    x = external<scalar>(shape = [1, 40]);
    w = variable<scalar>(shape = [40, 40], label = 'w');
    a = linear(x, w);
    y = max_reduce(a, axes = [1]);
}
"""
    )
    (tmp_path / "w.dat").write_bytes(write_tensor(tensor_of(np.eye(40, dtype=np.float32))))
    graph = nnefc.load(tmp_path)
    x = np.full((1, 40), 65519, np.float32)
    for model in (
        nnefc.compile(graph, precision="f16"),
        lambda x: nnefc.evaluate(graph, {"x": x}, precision="f16")["y"],
    ):
        assert model(x) == 65504 and model(x + 1) == np.inf
    assert nnefc.compile(graph)(x) == 65519


def test_the_reference_has_no_bf16(network: Graph, x: np.ndarray) -> None:
    with pytest.raises(ValueError, match="f32 or f16"):
        nnefc.evaluate(network, {"x": x}, precision="bf16")
