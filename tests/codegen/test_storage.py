"""What weights.bin holds: equal constants once, the variables of all entries at the same places."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from nnefc.codegen.pack import common_cuts
from nnefc.codegen.schedule import plan, plan_entries
from nnefc.codegen.spec import Launch, Space
from nnefc.codegen.storage import Contents, Storage
from nnefc.codegen.target import Target
from nnefc.codegen.tiles import cut_time, ranked_cuts
from nnefc.errors import UnsupportedError
from nnefc.formats.nnef import parse_graph
from nnefc.ir.build import ProgramBuilder
from nnefc.ir.graph import Tensor
from nnefc.ir.program import Program
from nnefc.ir.types import DType
from nnefc.passes import pipeline
from nnefc.runtime.memory import ALIGNMENT


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_the_image_is_the_only_copy_left() -> None:
    storage, arrays = Storage(), [np.full(n, n, np.uint8) for n in (3, 64, 200)]
    places = [storage.constant(a) for a in arrays]
    references = [weakref.ref(a) for a in arrays]
    del arrays
    image, state = storage.image()
    del storage
    content = image.array()
    assert [r() for r in references] == [None] * 3
    assert content.size == state == 2 * ALIGNMENT + 256
    for place, n in zip(places, (3, 64, 200), strict=True):
        assert (content[place : place + n] == n).all()
        assert not content[place + n : place + -(-n // ALIGNMENT) * ALIGNMENT].any()


def test_planning_takes_the_programs() -> None:
    programs = [program(3), program(40)]
    plan_entries(programs, Target.host())
    assert programs == []


def test_equal_bytes_are_one_array() -> None:
    contents = Contents()
    one, two, other = numbers(1, 2), numbers(1, 2), numbers(1, 3)
    assert contents.original(one) is one
    assert contents.original(two) is one
    assert contents.original(other) is other
    assert contents.original(numbers(1, 3)) is other
    assert contents.original(one.view(np.int32)) is one  # types do not matter
    longer = numbers(1, 2, 0)
    assert contents.original(longer) is longer


def test_zeros_of_either_sign_are_told_apart() -> None:
    contents = Contents()
    zero, negative = numbers(0), numbers(-0.0)
    assert contents.original(zero) is zero and contents.original(negative) is negative


def test_constants_are_stored_once() -> None:
    storage = Storage()
    drawn = np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32)
    places = [storage.constant(a) for a in (drawn, drawn[::-1].copy(), drawn.copy(), drawn[0].copy())]
    assert places[0] == places[2] and len(set(places)) == 3
    assert all(place % ALIGNMENT == 0 for place in places)
    image, state_init = storage.image()
    weights = image.array()
    assert weights.nbytes == storage.weights_size == state_init == 128 + 128 + 64
    np.testing.assert_array_equal(weights[places[1] :][:84].view(np.float32), drawn[::-1].ravel())
    np.testing.assert_array_equal(weights[places[3] :][:28].view(np.float32), drawn[0])


def test_the_state_is_common() -> None:
    storage = Storage()
    first = storage.states({"h": numbers(1, 2), "c": numbers(3)})
    storage.constant(numbers(9))
    assert storage.states({"c": numbers(3), "h": numbers(1, 2)}) == first
    image, at = storage.image()
    weights = image.array()
    assert (storage.state_size, at) == (128, 64)
    assert weights[at + first["h"] :][:8].view(np.float32).tolist() == [1, 2]
    assert weights[at + first["c"] :][:4].view(np.float32).tolist() == [3]


@pytest.mark.parametrize(
    "other", [{}, {"h": numbers(1)}, {"h": numbers(1, 3)}, {"h": numbers(1, 2), "c": numbers(3)}, {"c": numbers(1, 2)}]
)
def test_variables_that_differ_are_refused(other: dict[str, np.ndarray]) -> None:
    storage = Storage()
    storage.states({"h": numbers(1, 2)})
    with pytest.raises(UnsupportedError, match="depends on the shapes of the inputs"):
        storage.states(other)


TEXT = """version 1.0;
extension KHR_enable_operator_expressions;
graph net(x) -> (y)
{
    x = external(shape = [4, SIZE]);
    a = variable(shape = [4, 1], label = 'a');
    b = variable(shape = [4, 1], label = 'b');
    s = variable(shape = [4, 1], label = 's');
    t = update(s, a + s);
    y = (x * a + b) * b + s;
}
"""


def program(size: int) -> Program:
    graph = parse_graph(TEXT.replace("SIZE", str(size)))
    stored = {"a": numbers(1, 2, 3, 4), "b": numbers(5, 6, 7, 8), "s": numbers(1, 2, 3, 4)}
    tensors = {label: Tensor(values.reshape(4, 1), "float", 32) for label, values in stored.items()}
    return pipeline.run(graph.replace(tensors=tensors))


def test_entries_read_the_same_weights_and_state() -> None:
    alone = plan(program(3), Target.host())
    plans = plan_entries([program(3), program(40)], Target.host())
    assert plans[0].weights is plans[1].weights
    assert (alone.weights.array() == plans[0].weights.array()).all()
    for space in (Space.WEIGHTS, Space.STATE):
        read = [{p for s in q.steps if isinstance(s, Launch) for p in s.pointers if p.space is space} for q in plans]
        assert read[0] == read[1] != set()


def contraction(weights: np.ndarray, *rows: int) -> Program:
    """Products of some matrices, with so many rows, by the same one."""
    b = ProgramBuilder("p")
    w = b.const(weights)
    for k, count in enumerate(rows):
        x = b.input(f"x{k}", DType.F32, (count, weights.shape[0]))
        b.output(f"y{k}", b.contract(x, w, groups=0, reduced=1))
    return b.finish()


@pytest.mark.parametrize("target", ["host", "x86_64-unknown-linux-gnu:x86-64-v3", "aarch64-unknown-linux-gnu"])
@pytest.mark.parametrize("rows", [(1, 128), (16, 128, 32), (5, 14, 31, 33)])
def test_weights_are_packed_alike_for_all_entries(target: str, rows: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).standard_normal((32, 192)).astype(np.float32)
    cpu = Target.parse(target)
    plans = plan_entries([contraction(weights.copy(), count) for count in rows], cpu)
    assert weights.nbytes <= plans[0].weights.nbytes < 1.1 * weights.nbytes  # the last panel may be filled up
    assert plan(contraction(weights, *rows), cpu).weights.nbytes == plans[0].weights.nbytes


def test_one_use_takes_the_panels_that_suit_it_best() -> None:
    weights = np.ones((32, 192), np.float32)
    for rows in (1, 5, 16, 128):
        assert common_cuts([contraction(weights, rows), contraction(weights, rows)], Target.host()) == {}
    cpu = Target.host()
    (cut,) = common_cuts([contraction(weights, 1, 128)], cpu).values()
    lanes = cpu.lanes(DType.F32)
    best = [ranked_cuts(rows, 192, 32, lanes, cpu)[0] for rows in (1, 128)]
    relative = [
        sum(
            cut_time(c, r, 32, lanes, cpu) / cut_time(b, r, 32, lanes, cpu) for r, b in zip((1, 128), best, strict=True)
        )
        for c in (cut, *best)
    ]
    assert relative[0] <= min(relative[1:])
