"""Tensors in F16: every family on every kind of vectors, and compiled networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_calls import draw
from test_kernels import check, choices, expected, run_compiled

import nnefc
from nnefc.codegen.objectfile import load_objects
from nnefc.codegen.precision import in_precision
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels
from nnefc.errors import UnsupportedError
from nnefc.formats.nnef.tensor import tensor_of, write_tensor
from nnefc.ir.program import Contract
from nnefc.ir.types import DType
from nnefc.ir.view import Role
from nnefc.passes import pipeline

X86 = "x86_64-unknown-linux-gnu"
HOST = Target.host()
NETWORK = """version 1.0;
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
SHAPES = {"w1": (24, 6, 1, 1), "w2": (24, 24, 3, 3), "w3": (24, 1, 3, 3), "w4": (9, 24)}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    (tmp_path / "graph.nnef").write_text(NETWORK)
    for label, shape in SHAPES.items():
        values = rng.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[1:])).astype(np.float32)
        (tmp_path / f"{label}.dat").write_bytes(write_tensor(tensor_of(values)))
    return tmp_path


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((1, 6, 14, 14)).astype(np.float32)


@pytest.mark.parametrize("cpu", ["skylake-avx512", "x86-64-v3", "x86-64-v2"])
def test_every_kind_of_vectors_converts(cpu: str) -> None:
    """With F16C and by integer arithmetic, as NumPy converts."""
    target = Target.parse(f"{X86}:{cpu}")
    try:
        target.check_host()
    except UnsupportedError:
        pytest.skip(f"this CPU is no {cpu}")
    drawn = [draw("held", 5000 + seed) for seed in range(24)]
    jobs = [(call, memory, expected(call, memory), choices(call, memory, target)) for call, memory in drawn]
    kernels = compile_kernels(tuple(dict.fromkeys(choice.spec for *_, found in jobs for choice in found)), target)
    loaded = load_objects([k.object for k in kernels.values()])
    for call, memory, wanted, found in jobs:
        for choice in found:
            run_compiled(loaded.address(kernels[choice.spec].symbol), choice, memory)
        check(call, memory, wanted)


@pytest.mark.parametrize("target", ["host", f"{X86}:x86-64-v3", f"{X86}:x86-64-v2"])
def test_compiled(network: Path, x: np.ndarray, target: str) -> None:
    """As the reference says, whatever the CPU and the number of threads: sums in another order may round to the
    neighbour, 2**-11 further, in each of six layers."""
    graph = nnefc.load(network)
    (wanted,) = nnefc.evaluate(graph, {"x": x}, precision="f16").values()
    found = [nnefc.compile(graph, precision="f16", threads=n, target=target)(x) for n in (1, 2)]
    assert np.array_equal(*found)
    assert np.linalg.norm(found[0] - wanted) < 6 * 2.0**-11 * np.linalg.norm(wanted)
    (exact,) = nnefc.evaluate(graph, {"x": x}).values()
    assert 1e-6 < np.linalg.norm(found[0] - exact) < 4e-3 * np.linalg.norm(exact)


def test_half_the_memory(network: Path) -> None:
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
    network: Path, precision: str, weights: str, pair: tuple[DType, DType]
) -> None:
    graph = nnefc.load(network)
    program = in_precision(pipeline.run(graph), graph, HOST, precision, weights, small=True)
    inner = [c for c in program.calls if isinstance(c, Contract) and c.x.buffer.role is Role.TEMP]
    assert (inner[0].x.dtype, inner[0].w.dtype) == pair


def test_an_object_for_another_machine(network: Path) -> None:
    """Without a library's conversions, which would be undefined symbols."""
    assert nnefc.compile(network, precision="f16", target="aarch64-unknown-linux-gnu").target.startswith("aarch64")


def test_what_f16_cannot_hold_is_infinite(tmp_path: Path) -> None:
    (tmp_path / "graph.nnef").write_text(
        """version 1.0;
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


def test_the_reference_has_no_bf16(network: Path, x: np.ndarray) -> None:
    with pytest.raises(ValueError, match="f32 or f16"):
        nnefc.evaluate(nnefc.load(network), {"x": x}, precision="bf16")
