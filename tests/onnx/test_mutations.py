"""Node cases with absurd attributes, shapes, operands and inputs: read, or refused with our own errors, soon."""

from __future__ import annotations

import math
import random
import time

import node_cases
import numpy as np
import onnx
import pytest
from node_cases import Case

from nnefc.errors import NnefcError, UnsupportedError
from nnefc.formats.onnx import registry

NUMBERS = [0, -1, 1, 2, 7, -(2**63), 2**63 - 1, 2**31, 2**40, -5, 1000, 10**6, 3]
FLOATS = [0.0, math.nan, math.inf, -1.0, 1e30]
TEXTS = [b"", b"x", b"SAME_UPPER", b"\xff", b"linear", b"abc->a"]
COUNT, SECONDS = 1500, 10.0


def change_attribute(rng: random.Random, node: onnx.NodeProto) -> None:
    attribute = rng.choice(node.attribute)
    attribute.i, attribute.f, attribute.s = rng.choice(NUMBERS), rng.choice(FLOATS), rng.choice(TEXTS)
    for values, drawn in ((attribute.ints, NUMBERS), (attribute.floats, FLOATS), (attribute.strings, TEXTS)):
        if values:
            values[rng.randrange(len(values))] = rng.choice(drawn)
    if attribute.ints and rng.random() < 0.3:
        attribute.ints.append(rng.choice(NUMBERS))


def change_inputs(rng: random.Random, node: onnx.NodeProto) -> None:
    if rng.random() < 0.5:
        node.input[rng.randrange(len(node.input))] = rng.choice(["", *node.input])
    else:
        del node.input[-1]


def change_operand(rng: random.Random, array: np.ndarray) -> np.ndarray:
    """One element of a shape operand, or the like."""
    value = rng.choice(FLOATS if array.dtype.kind == "f" else NUMBERS)
    changed = array.copy()
    with np.errstate(over="ignore"):
        changed.reshape(-1)[rng.randrange(array.size)] = np.array(value).astype(array.dtype)
    return changed


def change_shape(rng: random.Random, case: Case) -> None:
    """The shape of an input in the file, and of the array given for it where that is not large."""
    index = rng.randrange(min(len(case.model.graph.input), len(case.inputs)))
    dims, array = case.model.graph.input[index].type.tensor_type.shape.dim, case.inputs[index]
    if not isinstance(array, np.ndarray):
        return
    kind = rng.random()
    if dims and kind < 0.4:
        dims[rng.randrange(len(dims))].dim_value = rng.choice([0, 1, 2, 3, 1000, 2**40])
    elif dims and kind < 0.7:
        del dims[rng.randrange(len(dims))]
    else:
        dims.add().dim_value = 2
    shape = [d.dim_value for d in dims]
    case.inputs[index] = np.zeros(shape if math.prod(shape) < 10**6 else [1] * len(shape), array.dtype)


def mutated(rng: random.Random, case: Case) -> Case:
    """A copy of the case with one thing or two changed."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    copy = Case(case.name, model, list(case.inputs), case.outputs, case.rtol, case.atol)
    for _ in range(rng.choice([1, 1, 2])):
        node, kind = rng.choice(model.graph.node), rng.random()
        small = [i for i, a in enumerate(copy.inputs) if isinstance(a, np.ndarray) and a.dtype.kind in "iuf"
                 and a.size and a.ndim <= 1]  # fmt: skip
        if kind < 0.4 and node.attribute:
            change_attribute(rng, node)
        elif kind < 0.6 and node.input:
            change_inputs(rng, node)
        elif kind < 0.85 and small:
            index = rng.choice(small)
            copy.inputs[index] = change_operand(rng, copy.inputs[index])
        elif model.graph.input and copy.inputs:
            change_shape(rng, copy)
    return copy


def test_mutated_cases_are_read_or_refused() -> None:
    rng = random.Random(11)
    cases = [c for c in (*node_cases.generated(), *node_cases.stored()) if len(c.model.graph.node) > 0]
    outcomes = set()
    for _ in range(COUNT):
        case = mutated(rng, rng.choice(cases))
        start = time.process_time()
        try:
            node_cases.bind(case)
            outcomes.add("read")
        except NnefcError as error:
            assert error.exit_code != 5, f"{case.name}: {error}"
            outcomes.add("UnsupportedError" if isinstance(error, UnsupportedError) else type(error).__name__)
        assert time.process_time() - start < SECONDS, case.name
    assert outcomes == {"read", "InvalidModelError", "UnsupportedError"}


@pytest.mark.parametrize("error", (KeyError("k"), TypeError("t"), ValueError("v"), ZeroDivisionError("z")))
def test_a_fault_of_an_importer_is_not_blamed_on_the_file(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def faulty(s: object, n: object) -> None:
        raise error

    case = next(c for c in node_cases.generated() if c.name == "test_relu")
    monkeypatch.setitem(registry._REGISTRY, ("", "Relu"), registry.Entry(faulty))
    with pytest.raises(NnefcError, match=r"node of 'y' \(Relu\): internal fault: \w+Error") as caught:
        node_cases.bind(case)
    assert type(caught.value) is NnefcError and caught.value.exit_code == 5
    assert caught.value.__cause__ is error
