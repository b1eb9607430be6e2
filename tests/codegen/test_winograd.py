"""3 x 3 convolutions by transformed image tiles: the algorithm, the rule, the kernel on awkward shapes, and threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_calls import Memory
from drawn_network import network
from test_kernels import ALLOWED, ARM, AVX2, HOST, SSE, expected, run_all, run_unjitted

import nnefc
from nnefc.codegen import winograd
from nnefc.codegen.made import Prepared
from nnefc.codegen.pack import Panels
from nnefc.codegen.schedule import plan, prepare
from nnefc.codegen.schemes import POINTS, Scheme, matrices
from nnefc.codegen.select import Choice, select
from nnefc.codegen.target import Target
from nnefc.codegen.winograd import (
    Convolution,
    Winograd,
    choose_tile_size,
    common_sizes,
    convolution_axes,
    use_winograd,
)
from nnefc.codegen.workers import compile_kernels
from nnefc.ir.expr import arg, call, const
from nnefc.ir.program import Contract, Port, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.passes import pipeline
from nnefc.passes.halves import converted

F = DType.F32


def drawn(
    shape: tuple[int, int, int, int, int], seed: int = 0, *, post: bool = True, step: int = 1, dilation: int = 1
) -> tuple[Contract, Memory]:
    """A convolution of (images, height, width, channels, outputs), and memory; with ``post`` also a bias, a residual
    tensor that lies in another order, and a rectifier. The output lies inside a larger tensor."""
    images, height, width, channels, outputs = shape
    rng = np.random.default_rng(seed)
    memory: Memory = {}

    def view(name: str, extents: tuple[int, ...], role: Role = Role.TEMP) -> View:
        strides = dense_strides(extents)
        memory[name] = rng.standard_normal(int(np.prod(extents))).astype(np.float32)
        return View(Buffer(name, F, memory[name].size, role), 0, extents, strides)

    reach = 2 * dilation
    x = view("x", (images, (height - 1) * step + 1 + reach, (width - 1) * step + 1 + reach, channels))
    windows = x.window((1, 2), (3, 3), (step, step), (dilation, dilation)).transpose((0, 1, 2, 4, 5, 3))
    w = view("w", (outputs, channels, 3, 3), Role.CONST).transpose((2, 3, 1, 0))
    y = view("y", (images, height + 1, width + 2, outputs + 3), Role.OUTPUT)
    y = y.slice(1, 1, height).slice(2, 1, width).slice(3, 2, outputs)
    if not post:
        return Contract(windows, w, None, (), y, 0, 3), memory
    bias = view("bias", (outputs,))
    bias = View(bias.buffer, 0, y.shape, (0, 0, 0, 1))
    residual = view("residual", (images, outputs, height, width)).transpose((0, 2, 3, 1))
    total = call("add", call("add", arg(0, F), arg(1, F)), arg(2, F))
    return Contract(windows, w, call("max", total, const(0, F)), (bias, residual), y, 0, 3), memory


def program_of(contract: Contract, memory: Memory) -> Program:
    ports = (Port("y", F, (contract.output.buffer.size,)),)
    outputs = (contract.output.buffer,)
    return Program("p", (), ports, (), outputs, (contract,), {"w": memory["w"]}, {})


def by_tiles(contract: Contract, memory: Memory, target: Target, m: int, monkeypatch: pytest.MonkeyPatch) -> Choice:
    """The kernel with image tiles of ``m``, whatever the rule says; its weights and scratch are added to the memory."""
    with monkeypatch.context() as patch:
        patch.setattr(winograd, "choose_tile_size", lambda c, lanes: m)
        program = use_winograd(program_of(contract, memory), target)
    program = Prepared.of(program).whole()
    (made,) = program.calls
    assert isinstance(made, Winograd) and made.blocking.scheme.m == m
    memory |= {name: a for name, a in program.constants.items() if name != "w"}
    memory[made.scratch.buffer.name] = np.full(made.scratch.volume, np.nan, np.float32)
    return select(made, target)


def check(memory: Memory, wanted: Memory, m: int) -> None:
    """Outputs are right, and what lies around them is untouched."""
    scale = np.abs(wanted["y"]).max()
    np.testing.assert_allclose(memory["y"], wanted["y"], rtol=0, atol=scale * {2: 2e-6, 4: 2e-5}[m])
    for name in ("x", "w", "bias", "residual"):
        np.testing.assert_array_equal(memory.get(name), wanted.get(name))


SHAPES = (
    (1, 4, 4, 2, 1),
    (1, 5, 9, 3, 17),
    (1, 7, 6, 17, 35),
    (2, 6, 7, 18, 16),
    (3, 4, 5, 16, 40),
    (1, 13, 12, 8, 8),
    (1, 17, 11, 3, 70),
)


# ---- the algorithm


@pytest.mark.parametrize(("step", "m"), POINTS)
def test_matrices_convolve(step: int, m: int) -> None:
    scheme = Scheme(step, m)
    bt, g, at = matrices(scheme)
    rng = np.random.default_rng(m)
    d, taps = rng.standard_normal((scheme.n, scheme.n)), rng.standard_normal((3, 3))
    windows = np.lib.stride_tricks.sliding_window_view(d, (3, 3))[::step, ::step]
    product = (g @ taps @ g.T) * (bt @ d @ bt.T)
    np.testing.assert_allclose(at @ product @ at.T, (windows * taps).sum((2, 3)), atol=1e-13)
    for matrix in (bt, at):
        np.testing.assert_array_equal(matrix, matrix.astype(np.float32))


@pytest.mark.parametrize(("points", "low", "high"), [(None, 1e-7, 1e-5), ((0, 1, -1, 2, -2), 1.5e-5, 1e-4)])
def test_points_for_tiles_of_4_lose_few_digits(
    points: tuple[float, ...] | None, low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest error, in standard deviations of the output, of 64 channels; integer points lose more."""
    if points is not None:
        monkeypatch.setitem(POINTS, (1, 4), points)
    assert low <= worst_error(4, 1, monkeypatch) <= high


@pytest.mark.parametrize(("step", "m", "high"), [(1, 2, 4e-6), (2, 2, 4e-6), (2, 4, 8e-6)])
def test_other_tiles_lose_few_digits_too(step: int, m: int, high: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1e-7 <= worst_error(m, step, monkeypatch) <= high


def worst_error(m: int, step: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """Of the kernel as plain Python, with the points of the moment."""
    matrices.cache_clear()
    contract, memory = drawn((1, 12, 12, 64, 16), post=False, step=step)
    wanted = expected(contract, memory)
    choice = by_tiles(contract, memory, HOST, m, monkeypatch)
    run_unjitted(choice, memory, HOST, 1)
    matrices.cache_clear()
    return float(np.abs(memory["y"] - wanted["y"]).max() / wanted["y"].std())


# ---- recognition and rule


def test_a_convolution_is_known_by_its_strides() -> None:
    contract, _ = drawn((2, 8, 9, 5, 6))
    axes = convolution_axes(contract)
    assert axes is not None and (axes.height, axes.width, axes.taps, axes.channels) == (1, 2, (3, 4), 5)
    order = (0, 1, 2, 5, 4, 3)
    turned = convolution_axes(replace(contract, x=contract.x.transpose(order), w=contract.w.transpose((2, 1, 0, 3))))
    assert turned is not None and (turned.taps, turned.channels) == ((5, 4), 3)
    for step, dilation, known in ((1, 2, None), (2, 1, 2), (2, 2, 1), (3, 1, None)):
        contract, _ = drawn((1, 8, 9, 5, 6), step=step, dilation=dilation)
        found = convolution_axes(contract)
        assert (found.step if found else None) == known, (step, dilation)


@pytest.mark.parametrize(
    ("convolution", "m"),
    [
        (Convolution(1, 224, 224, 64, 64), 4),  # vgg16
        (Convolution(1, 28, 28, 512, 512), 4),
        (Convolution(1, 14, 14, 512, 512), 4),
        (Convolution(1, 7, 7, 512, 512), 2),  # with 4, tiles would be half empty and weights four times as large
        (Convolution(8, 7, 7, 512, 512), 4),  # which eight images pay for
        (Convolution(1, 14, 14, 128, 32), 4),  # densenet121
        (Convolution(1, 7, 7, 128, 32), 2),
        (Convolution(1, 55, 55, 16, 64), 4),  # squeezenet1_1
        (Convolution(1, 13, 13, 48, 192), 4),
        (Convolution(1, 224, 224, 3, 64), None),  # as many transforms as products
        (Convolution(1, 3, 3, 512, 512), None),  # weights from memory take the time
        (Convolution(1, 1, 100, 64, 64), None),  # smaller than any tile
        (Convolution(1, 28, 28, 128, 128, 2), 4),  # resnet50
        (Convolution(1, 14, 14, 256, 256, 2), 2),
        (Convolution(1, 7, 7, 512, 512, 2), None),
    ],
)
def test_the_rule(convolution: Convolution, m: int | None) -> None:
    assert choose_tile_size([convolution], 16) == m


def test_the_rule_for_several_uses_of_weights() -> None:
    small, large, tiny = (Convolution(1, n, n, 512, 512) for n in (7, 14, 1))
    assert choose_tile_size([small, large], 16) == choose_tile_size([large, small], 16) in (2, 4)
    assert choose_tile_size([small, small], 16) == 2 and choose_tile_size([large, large], 16) == 4
    assert choose_tile_size([large, tiny], 16) is None  # a map that is smaller than any tile


def test_entries_share_transformed_weights() -> None:
    programs = [program_of(*drawn((1, n, n, 32, 48))) for n in (8, 13, 40)]
    programs = [p.replace(constants=programs[0].constants) for p in programs]
    sizes = common_sizes(programs, HOST)
    made = [use_winograd(p, HOST, sizes) for p in programs]
    assert len(sizes) == 1 and all(isinstance(p.calls[-1], Winograd) for p in made)
    weights = [Prepared.of(p).whole().constants["winograd.1"] for p in made]
    assert all(np.array_equal(weights[0], other) for other in weights[1:])


def test_only_f32_with_constant_weights() -> None:
    contract, memory = drawn((1, 16, 16, 32, 32))
    assert isinstance(use_winograd(program_of(contract, memory), HOST).calls[-1], Winograd)

    def unchanged(c: Contract) -> bool:
        program = program_of(c, memory)
        return use_winograd(program, HOST) is program

    def of(view: View, **changes: object) -> View:
        return replace(view, buffer=replace(view.buffer, **changes))  # type: ignore[arg-type]

    assert unchanged(replace(contract, w=of(contract.w, role=Role.TEMP)))
    assert unchanged(replace(contract, x=of(contract.x, dtype=DType.F64), w=of(contract.w, dtype=DType.F64)))
    groups = [replace(v, shape=(2, *v.shape), strides=(0, *v.strides)) for v in (contract.x, contract.w)]
    output = replace(contract.output, shape=(2, *contract.output.shape), strides=(0, *contract.output.strides))
    assert unchanged(replace(contract, x=groups[0], w=groups[1], output=output, extras=(), post=None, groups=1))


def test_weights_are_shared_and_can_be_kept_small() -> None:
    contract, memory = drawn((1, 28, 28, 32, 64))
    program = program_of(contract, memory)
    twice = program.replace(calls=(contract, contract))
    found = prepare(twice, HOST).whole()
    assert len({c.w for c in found.calls if isinstance(c, Winograd)}) == 1 and len(found.calls) == 2
    assert sum(a.size for a in found.constants.values()) == 4 * memory["w"].size
    (direct,) = prepare(program, HOST, small=True).program.calls
    assert isinstance(direct, Panels)
    assert plan(program, HOST, small=True).weights.nbytes == memory["w"].nbytes


# ---- the kernel


@pytest.mark.parametrize("target", [HOST, AVX2, SSE, ARM], ids=["host", "avx2", "sse", "arm"])
@pytest.mark.parametrize(("step", "m"), POINTS)
def test_unjitted(step: int, m: int, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    for k, shape in enumerate(SHAPES):
        contract, memory = drawn(shape, post=k % 2 == 0, step=step)
        wanted = expected(contract, memory)
        choice = by_tiles(contract, memory, target, m, monkeypatch)
        run_unjitted(choice, memory, target, 3)
        check(memory, wanted, m)


@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16])
@pytest.mark.parametrize(("step", "m"), POINTS)
def test_narrow_weights(step: int, m: int, dtype: DType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformed weights of half precision are F16, which loses little beside what the weights have lost."""
    contract, memory = drawn((1, 9, 10, 33, 20), post=False, step=step)
    memory["w"] = memory["w"].astype(dtype.numpy)
    contract = replace(contract, w=replace(contract.w, buffer=replace(contract.w.buffer, dtype=dtype)))
    wanted = expected(contract, memory)
    choice = by_tiles(contract, memory, HOST, m, monkeypatch)
    assert choice.views[1].dtype is DType.F16
    run_unjitted(choice, memory, HOST, 2)
    error = np.linalg.norm(memory["y"] - wanted["y"]) / np.linalg.norm(wanted["y"])
    assert error < {2: 5e-4, 4: 1.5e-3}[m]


@pytest.mark.parametrize(("step", "m"), POINTS)
def test_tensors_in_f16(step: int, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read and stored in F16 is transformed in F32: in Python and compiled, the outputs are off by less than
    what their rounding takes."""
    contract, memory = drawn((1, 9, 10, 33, 20), step=step)
    names = {contract.x.buffer.name, contract.output.buffer.name}
    contract = converted(contract, names, DType.F16)
    assert isinstance(contract, Contract) and contract.x.dtype is contract.output.dtype is DType.F16
    memory |= {name: memory[name].astype(np.float16) for name in names}
    wanted = expected(contract, memory)
    choice = by_tiles(contract, memory, HOST, m, monkeypatch)
    compiled = {name: a.copy() for name, a in memory.items()}
    run_unjitted(choice, memory, HOST, 2)
    assert run_all([(choice, compiled)], HOST) == [0]
    for found in (memory, compiled):
        y, exact = (a["y"].astype(np.float64) for a in (found, wanted))
        assert np.linalg.norm(y - exact) < 3e-4 * np.linalg.norm(exact)


def test_weights_that_f16_cannot_hold_transformed() -> None:
    contract, memory = drawn((1, 8, 8, 16, 16), post=False)
    memory["w"] = (memory["w"] * 2.0**40).astype(DType.BF16.numpy)
    contract = replace(contract, w=replace(contract.w, buffer=replace(contract.w.buffer, dtype=DType.BF16)))
    assert use_winograd(program_of(contract, memory), HOST).calls == (contract,)


@pytest.mark.parametrize("target", [HOST, AVX2, SSE], ids=["host", "avx2", "sse"])
def test_compiled(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """For this machine and for narrower vectors."""
    jobs = []
    for k, shape in enumerate(SHAPES if target is HOST else SHAPES[2:5]):
        step, m = tuple(POINTS)[k % len(POINTS)]
        contract, memory = drawn(shape, post=k % 2 == 0, step=step)
        jobs.append((m, memory, expected(contract, memory), by_tiles(contract, memory, target, m, monkeypatch)))
    assert not any(run_all([(choice, memory) for _, memory, _, choice in jobs], target))
    for m, memory, wanted, _ in jobs:
        check(memory, wanted, m)


def test_aarch64_objects_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = []
    for step, m in ((1, 2), (2, 4)):
        contract, memory = drawn((1, 9, 10, 17, 18), step=step)
        specs.append(by_tiles(contract, memory, ARM, m, monkeypatch).spec)
    for kernel in compile_kernels(tuple(specs), ARM).values():
        assert set(kernel.undefined) <= ALLOWED


NETWORK = """
    x = external(shape = [2, 20, 31, 31]);
    w = variable(shape = [40, 20, 3, 3], label = 'w');
    v = variable(shape = [20, 40, 3, 3], label = 'v');
    u = variable(shape = [96, 40, 3, 3], label = 'u');
    a = relu(conv(x, w, 0.25));
    b = x + conv(a, v, 0.5);
    y = conv(relu(conv(b, w, 0.0)), u, 0.0, stride = [2, 2], padding = [(1, 1), (1, 1)]);
"""


@pytest.mark.parametrize("target", ["host", "host:x86-64-v3"])
def test_a_network_is_the_same_for_any_number_of_threads(target: str) -> None:
    header = "version 1.0;\nextension KHR_enable_operator_expressions;\n"
    graph = network(f"{header}graph g(x) -> (y)\n{{\n{NETWORK}\n}}\n")
    calls = prepare(pipeline.run(graph), Target.parse(target)).program.calls
    assert sum(isinstance(c, Winograd) for c in calls) == 4
    x = np.random.default_rng(5).standard_normal((2, 20, 31, 31)).astype(np.float32)
    results = [np.asarray(nnefc.compile(graph, threads=n, target=target)(x)) for n in (1, 2, 3)]
    wanted = nnefc.evaluate(graph, {"x": x})["y"]
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    np.testing.assert_allclose(results[0], wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())
