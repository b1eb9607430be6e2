"""Weights in half precision: which are narrowed, what that changes, and how many bytes it saves."""

from __future__ import annotations

import drawn_network
import numpy as np
import pytest

import nnefc
from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import arg
from nnefc.ir.graph import Graph
from nnefc.ir.interpret import interpret
from nnefc.ir.program import Contract, Program
from nnefc.ir.types import DType
from nnefc.passes.narrow import narrow_weights
from nnefc.quant import quantize

F = DType.F32
NETWORK = """version 1.0;
extension KHR_enable_operator_expressions;
graph net(x) -> (y)
{
    x = external<scalar>(shape = [1, 24, 14, 14]);
    w1 = variable<scalar>(shape = [40, 24, 3, 3], label = 'w1');
    w2 = variable<scalar>(shape = [5, 40, 1, 1], label = 'w2');
    w3 = variable<scalar>(shape = [33, 980], label = 'w3');
    a = relu(conv(x, w1));
    b = conv(a, w2);
    y = linear(reshape(b, shape = [1, 980]), w3);
}
"""
ERRORS = {"f16": 2e-3, "bf16": 1.5e-2}
"""Of outputs, as norms: three layers, each of which rounds its weights."""


def matrix(values: np.ndarray, *, shown: bool = False) -> Program:
    """``x @ values``; with ``shown`` the values are an output, too."""
    b = ProgramBuilder("p")
    w = b.const(values.astype(np.float32))
    b.output("y", b.contract(b.input("x", F, (3, values.shape[0])), w, groups=0, reduced=1))
    if shown:
        b.output("w", b.map(arg(0, F), [w]))
    return b.finish()


def contraction(program: Program) -> Contract:
    return next(c for c in program.calls if isinstance(c, Contract))


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_weights_are_rounded_and_nothing_else(name: str) -> None:
    rng = np.random.default_rng(0)
    values, x = rng.standard_normal((20, 7)), rng.standard_normal((3, 20)).astype(np.float32)
    narrow = narrow_weights(matrix(values), DType(name))
    w = contraction(narrow).w
    assert w.dtype is DType(name) and narrow.constants[w.buffer.name].dtype == DType(name).numpy
    wide = values.astype(np.float32).astype(DType(name).numpy).astype(np.float64)
    np.testing.assert_allclose(interpret(narrow, {"x": x})["y"], x @ wide, rtol=1e-5, atol=1e-6)


def test_f32_is_left_alone() -> None:
    program = matrix(np.eye(3))
    assert narrow_weights(program, DType.F32) is program


@pytest.mark.parametrize("values", [np.full((4, 4), 1e5), np.full((4, 4), 1e-7), np.full((4, 4), np.nan)])
def test_what_f16_cannot_hold_stays(values: np.ndarray) -> None:
    notes: list[str] = []
    program = matrix(values)
    assert narrow_weights(program, DType.F16, notes) is program
    (note,) = notes
    assert "f16 cannot hold" in note
    if np.isfinite(values).all():
        assert contraction(narrow_weights(program, DType.BF16)).w.dtype is DType.BF16


def test_weights_that_others_read_stay() -> None:
    program = matrix(np.eye(5), shown=True)
    assert narrow_weights(program, DType.F16) is program


@pytest.fixture(scope="module")
def network() -> Graph:
    return drawn_network.network(NETWORK)


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_compiled(network: Graph, name: str) -> None:
    """Half the bytes, results within the bound, the same for any number of threads; by image tiles and directly."""
    graph = network
    x = np.random.default_rng(2).standard_normal((1, 24, 14, 14)).astype(np.float32)
    (wanted,) = nnefc.evaluate(graph, {"x": x}).values()
    for optimize in ("speed", "size"):
        wide = nnefc.compile(graph, optimize=optimize)
        made = [nnefc.compile(graph, weights=name, threads=n, optimize=optimize) for n in (1, 2)]
        found = [m(x) for m in made]
        assert np.array_equal(*found)
        error = np.linalg.norm(found[0] - wanted) / np.linalg.norm(wanted)
        assert 1e-5 < error < ERRORS[name]
        full, half = (m._made().plan.weights.nbytes for m in (wide, made[0]))
        assert half < 0.51 * full


def test_widened_for_every_target(network: Graph) -> None:
    """Without f16 conversions of the CPU's own, and with vectors of all sizes, no library is called."""
    for target in ("x86_64-unknown-linux-gnu", "x86_64-unknown-linux-gnu:x86-64-v3", "aarch64-unknown-linux-gnu"):
        assert nnefc.compile(network, weights="f16", target=target).target.startswith(target.partition(":")[0])


def test_other_types_are_refused(network: Graph) -> None:
    with pytest.raises(ValueError, match="stored or f32 or f16 or bf16"):
        nnefc.compile(network, weights="f8")


def test_weights_that_are_stored_in_half_precision_stay_so(network: Graph) -> None:
    """As ``nnefc quantize --scheme fp16`` leaves them; without one stored so, f16 is not looked at."""
    graph = network
    sizes = [nnefc.compile(g)._made().plan.weights.nbytes for g in (graph, quantize(graph, scheme="fp16"))]
    assert sizes[1] < 0.51 * sizes[0]
    wide = nnefc.compile(quantize(graph, scheme="fp16"), weights="f32")
    assert wide._made().plan.weights.nbytes == sizes[0]
    program = matrix(np.array([[0.5, 1 / 3]]))
    assert narrow_weights(program, DType.F16, exact=True) is program
