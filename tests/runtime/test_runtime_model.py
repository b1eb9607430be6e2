"""Calling a model: arguments, results, errors, state, memory."""

from __future__ import annotations

import timeit
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_models import affine, artefact_of, counter, picky, plan_of, two_out, weights_of, x_in, y_out

from nnefc.codegen.artefact import load_artefact
from nnefc.codegen.spec import Launch, Pointer, Space
from nnefc.runtime import Model

BIG = 100_000


@pytest.fixture(scope="module", params=[40, BIG], ids=["staged", "in place"])
def model(request: pytest.FixtureRequest) -> Model:
    return load_artefact(affine(n=request.param), threads=1)


@pytest.fixture(scope="module")
def pair() -> Model:
    return load_artefact(two_out(), threads=1)


def sample(model: Model, port: int = 0) -> np.ndarray:
    shape = model.inputs[port].shape
    return np.random.default_rng(port).standard_normal(shape).astype(np.float32)


def expected(x: np.ndarray) -> np.ndarray:
    return x * np.float32(3) + np.float32(5)


def test_positional_named_and_out(model: Model) -> None:
    x = sample(model)
    y = model(x)
    assert type(y) is np.ndarray and y.dtype == np.float32 and y.shape == x.shape
    np.testing.assert_array_equal(y, expected(x))
    np.testing.assert_array_equal(model(x=x), y)
    out = np.zeros_like(x)
    assert model(x, out=out) is out
    np.testing.assert_array_equal(out, y)
    other = np.zeros_like(x)
    assert model(x, out={"y": other}) is other
    np.testing.assert_array_equal(other, y)


def test_results_are_fresh_arrays(model: Model) -> None:
    x = sample(model)
    first = model(x)
    kept = first.copy()
    second = model(x + 1)
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)


def test_inputs_of_any_layout(model: Model) -> None:
    x = sample(model)
    wide = np.zeros((x.size, 2), np.float32)
    wide[:, 0] = x
    raw = np.zeros(x.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(np.float32)
    unaligned[:] = x
    readonly = x.copy()
    readonly.flags.writeable = False
    for version in (wide[:, 0], x[::-1][::-1], unaligned, readonly, x.view(np.matrix).A1, np.asfortranarray(x)):
        np.testing.assert_array_equal(model(version), expected(x))


def test_large_inputs_are_not_copied() -> None:
    model = load_artefact(affine(n=BIG), threads=1)
    x = sample(model)
    model(x)
    slot = model._calls.idle[-1]
    assert slot.inputs[0].pointers[0] == x.ctypes.data
    y = np.empty_like(x)
    model(x, out=y)
    assert model._calls.idle[-1].outputs[0].pointers[0] == y.ctypes.data


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "words"),
    [
        ((), {}, TypeError, "missing: x"),
        ((1, 2), {}, TypeError, r"takes 1 inputs \(x\), but 2 were given"),
        (("x",), {"x": "x"}, TypeError, "'x' of affine was given twice"),
        ((), {"w": "x"}, TypeError, "no input 'w'; its inputs are x"),
        ((None,), {}, TypeError, "'x' must be a NumPy array, not NoneType"),
        (([1.0] * 40,), {}, TypeError, "not list"),
        (("f64",), {}, TypeError, "'x' must have dtype float32, not float64"),
        ((">f4",), {}, TypeError, "not >f4"),
        (("short",), {}, ValueError, r"must have shape \(40,\), not \(39,\)"),
        (("row",), {}, ValueError, r"not \(1, 40\)"),
        (("x",), {"out": 3}, TypeError, "out for 'y' must be a NumPy array, not int"),
        (("x",), {"out": {"z": "y"}}, TypeError, "no output 'z'; its outputs are y"),
        (("x",), {"out": "f64"}, TypeError, "'y' must have dtype float32"),
        (("x",), {"out": "short"}, ValueError, "'y' must have shape"),
        (("x",), {"out": "strided"}, ValueError, "C-contiguous"),
        (("x",), {"out": "readonly"}, ValueError, "writable"),
        (("x",), {"out": "unaligned"}, ValueError, "aligned"),
        (("x",), {"out": "x"}, ValueError, "'y' overlaps 'x'"),
    ],
)
def test_wrong_arguments(args: tuple[Any, ...], kwargs: dict[str, Any], error: type[Exception], words: str) -> None:
    model = load_artefact(affine(), threads=1)
    x = sample(model)
    readonly = x.copy()
    readonly.flags.writeable = False
    arrays = {
        "x": x,
        "y": np.empty_like(x),
        "f64": x.astype(np.float64),
        ">f4": x.astype(">f4"),
        "short": x[:39],
        "row": x[None],
        "strided": np.empty(80, np.float32)[::2],
        "readonly": readonly,
        "unaligned": np.empty(161, np.uint8)[1:].view(np.float32),
    }

    def real(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: real(v) for key, v in value.items()}
        return arrays.get(value, value) if isinstance(value, str) else value

    with pytest.raises(error, match=words):
        model(*map(real, args), **real(kwargs))
    np.testing.assert_array_equal(model(x), expected(x))


def test_several_outputs(pair: Model) -> None:
    x, z = sample(pair, 0), sample(pair, 1)
    result = pair(x, z)
    assert type(result)._fields == ("class_", "output_2_b")
    assert type(result).__name__ == "pair_outputs"
    for got in (result, pair(x, z=z), pair(z=z, x=x)):
        np.testing.assert_array_equal(got.class_, x + 1)
        np.testing.assert_array_equal(got[1], z + 2)
    out = np.empty_like(x)
    result = pair(x, z, out={"_2 b": out})
    assert result.output_2_b is out
    np.testing.assert_array_equal(result.class_, x + 1)
    with pytest.raises(TypeError, match="must be a dict"):
        pair(x, z, out=out)
    with pytest.raises(ValueError, match="'_2 b' overlaps 'class'"):
        pair(x, z, out={"class": out, "_2 b": out})


def test_field_names_are_distinct() -> None:
    model = load_artefact(two_out(names=("a.b", "a/b")), threads=1)
    assert type(model(sample(model), sample(model, 1)))._fields == ("a_b", "a_b_2")


def test_ports_and_repr(pair: Model) -> None:
    assert [p.name for p in pair.inputs] == ["x", "z"]
    assert [(p.name, p.dtype, p.shape) for p in pair.outputs][1] == ("_2 b", np.dtype(np.float32), (2, 1000))
    assert repr(load_artefact(affine(), threads=1)) == "<model affine(x: float32[40]) -> (y: float32[40])>"


def test_rank_zero_takes_numpy_scalars() -> None:
    steps = [Launch(affine().plan.steps[0].spec, (x_in(), Pointer(Space.WEIGHTS), y_out()), (1,), 1)]  # type: ignore
    model = load_artefact(artefact_of("unit", plan_of(steps, weights_of(2.0)), {"x": ()}, {"y": ()}), threads=1)
    y = model(np.float32(4))
    assert y.shape == () and y == 9


@pytest.mark.parametrize("threads", [1, 3])
def test_state_lives_in_the_model(threads: int) -> None:
    artefact = counter()
    first, second = (load_artefact(artefact, threads=threads) for _ in range(2))
    one = np.ones(1, np.float32)
    assert [first(one)[0] for _ in range(3)] == [10, 11, 12]
    assert second(one)[0] == 10
    first.reset()
    assert [first(one)[63] for _ in range(2)] == [10, 11]


@pytest.mark.parametrize("threads", [1, 2])
def test_error_word_becomes_an_error_once(threads: int) -> None:
    x, index = np.ones(32, np.float32), np.full(32, 9)
    model = load_artefact(picky(), threads=threads)
    np.testing.assert_array_equal(model(x, index), x)
    for bad in (10, -1, 2**62):
        wrong = index.copy()
        wrong[31] = bad
        with pytest.raises(ValueError, match="picky: an index, read from an index tensor, is out of range"):
            model(x, wrong)
        np.testing.assert_array_equal(model(x, index), x)
    with pytest.raises(ValueError, match="error 77"):
        load_artefact(picky(code=77), threads=threads)(x, index + 1)


def test_threads_attribute(model: Model) -> None:
    model.threads = 3
    x = sample(model)
    np.testing.assert_array_equal(model(x), expected(x))
    assert model.threads == 3
    model.threads = 1000
    assert model.threads == min(256, x.size)
    for wrong in (0, -1, 1.5):
        with pytest.raises(ValueError, match="positive number"):
            model.threads = wrong  # type: ignore[assignment]
    model.threads = 1


def resident() -> int:
    """The memory that this process has now, in KiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


def test_memory_is_flat_and_a_call_is_cheap() -> None:
    model = load_artefact(affine(), threads=1)
    x = sample(model)

    def many(count: int) -> None:
        for _ in range(count):
            model(x)

    many(2000)
    before = resident()
    many(100_000)
    assert resident() - before < 512
    assert min(timeit.repeat(lambda: model(x), number=1000, repeat=5)) / 1000 < 20e-6


def test_memory_is_flat_for_large_arrays_and_many_models() -> None:
    artefact = affine(n=BIG)
    x = np.zeros(BIG, np.float32)
    before = 0
    for i in range(60):
        model = load_artefact(artefact, threads=2)
        for _ in range(20):
            model(x)
        if i == 20:
            before = resident()
    assert resident() - before < 20_000
