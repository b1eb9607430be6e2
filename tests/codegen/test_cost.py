"""What a call costs: known numbers for each family, each element counted once, and a rule for everything selected."""

from __future__ import annotations

import math

import pytest
from drawn_calls import FAMILIES, draw
from drawn_codes import draw as draw_codes

from nnefc.codegen.cost import Cost, cost, expected_seconds, flops, flops_by_kind, multiply_adds, reached_bytes
from nnefc.codegen.pack import pack
from nnefc.codegen.schedule import prepare
from nnefc.codegen.select import _SELECT
from nnefc.codegen.target import Target
from nnefc.codegen.winograd import Winograd
from nnefc.formats.nnef import parse_graph
from nnefc.ir.program import Call, Contract, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.passes import pipeline

HOST = Target.host()


def program_of(body: str) -> Program:
    header = "version 1.0;\nextension KHR_enable_operator_expressions;\n"
    return pipeline.run(parse_graph(f"{header}graph g(x) -> (y)\n{{\n{body}\n}}\n"))


def calls_of(body: str, *, packed: bool = False) -> list[Call]:
    program = program_of(body)
    return list((pack(program, HOST) if packed else program).calls)


CONV = """
    x = external(shape = [1, 8, 10, 10]);
    w = constant(shape = [16, 8, 3, 3], value = [0.5]);
    y = relu(conv(x, w, 0.25, padding = []));
"""


WIDE = """
    x = external(shape = [1, 64, 28, 28]);
    w = constant(shape = [64, 64, 3, 3], value = [0.5]);
    y = relu(conv(x, w, 0.25));
"""


def view(*shape: int) -> View:
    return View(Buffer("b", DType.F32, 1000, Role.TEMP), 0, shape, dense_strides(shape))


def test_a_convolution() -> None:
    (call,) = [c for c in calls_of(CONV) if multiply_adds(c)]
    assert multiply_adds(call) == 16 * 8 * 9 * 100
    assert flops(call) == 2 * multiply_adds(call)
    (packed,) = [c for c in calls_of(CONV, packed=True) if multiply_adds(c)]
    assert type(packed).__name__ == "Panels" and flops(packed) == flops(call)
    assert cost(packed).written == 16 * 100 * 4
    assert cost(packed).read >= 16 * 8 * 9 * 4 + 8 * 100 * 4


def test_a_convolution_by_image_tiles_costs_fewer_products() -> None:
    (plain,) = [c for c in calls_of(WIDE) if multiply_adds(c)]
    (fast,) = [c for c in prepare(program_of(WIDE), HOST).program.calls if isinstance(c, Winograd)]
    assert multiply_adds(fast) == multiply_adds(plain) == 64 * 64 * 9 * 28 * 28
    assert flops(fast) == {4: 2 * 49 * 36 * 64 * 64, 2: 2 * 196 * 16 * 64 * 64}[fast.blocking.scheme.m]
    assert cost(fast).written == 64 * 28 * 28 * 4


def test_a_map_and_a_row() -> None:
    (call,) = calls_of("x = external(shape = [3, 5]); y = (x * x + 1.0) * 2.0;")
    assert cost(call) == Cost(3 * 15, 15 * 4, 15 * 4)
    (call,) = calls_of("x = external(shape = [3, 5]); y = softmax(x, axes = [1]);")
    assert flops(call) >= 4 * 15 and cost(call).bytes == 2 * 15 * 4


def test_bytes_are_counted_once() -> None:
    assert reached_bytes(view(10, 10)) == 400
    assert reached_bytes(view(10, 1, 10).broadcast_to((10, 10, 10))) == 400
    assert reached_bytes(view(10, 10).window([0, 1], [3, 3], [1, 1], [1, 1])) == 400
    assert reached_bytes(view(0, 10)) == 0
    assert Cost(1, 2, 3) + Cost(4, 5, 6) == Cost(5, 7, 9) and Cost(1, 2, 3).bytes == 5


def test_every_family_that_is_selected_has_a_rule() -> None:
    from nnefc.codegen.cost import _FLOPS

    assert set(_SELECT) <= set(_FLOPS)


@pytest.mark.parametrize("family", FAMILIES)
def test_drawn_calls(family: str) -> None:
    for seed in range(20):
        call, _ = draw(family, seed)
        spent = cost(call)
        assert spent.flops >= 0 and 0 <= spent.read <= sum(v.volume * v.dtype.size for v in call.reads())
        assert 0 <= spent.written <= sum(v.volume * v.dtype.size for v in call.writes())
        for target in (HOST, Target.parse("x86_64-unknown-linux-gnu:x86-64-v3")):
            assert expected_seconds(call, target) >= 0


def test_wider_vectors_and_whole_tiles_are_expected_to_be_faster() -> None:
    narrow = Target.parse("x86_64-unknown-linux-gnu:x86-64-v2")
    wide = Target.parse("x86_64-unknown-linux-gnu:x86-64-v4")
    program = program_of(CONV)
    times = []
    for target in (narrow, wide):
        (call,) = [c for c in pack(program, target).calls if multiply_adds(c)]
        times.append(expected_seconds(call, target))
    assert times[1] < times[0]


def test_whose_rate_bounds_a_call() -> None:
    """By their packed calls: products of codes do, and windows and reductions of them; products of floats do not."""
    drawn = [(family, draw_codes(family, seed)[0]) for family in ("product", "pixels", "reduce") for seed in range(6)]
    for family, call in drawn:
        packed = pack(Program("p", (), (), (), (), (call,), {}, {}), HOST).calls[-1]
        summing = family == "product" or getattr(call, "op", "") == "sum"
        assert flops_by_kind(packed) == {DType.U8 if summing else DType.F32: flops(packed)}
    assert not any(DType.U8 in flops_by_kind(c) for c in calls_of(CONV, packed=True))
    for width, kind in ((20, DType.BF16), (21, DType.F32)):  # an odd number of neighbours makes no pairs
        shapes = {"x": (3, width), "w": (width, 16), "y": (3, 16)}
        types = {"x": DType.BF16, "w": DType.BF16, "y": DType.F32}
        x, w, y = (
            View(Buffer(n, types[n], math.prod(s), Role.TEMP), 0, s, dense_strides(s)) for n, s in shapes.items()
        )
        call = pack(Program("p", (), (), (), (), (Contract(x, w, None, (), y, 0, 1),), {}, {}), HOST).calls[-1]
        assert flops_by_kind(call) == {kind: 2 * 3 * 16 * width}
