"""Errors and notes: exact places and words."""

from __future__ import annotations

import pytest
from nnef_messages import MESSAGES
from nnef_texts import document, flat, verdict

from nnefc.errors import InvalidModelError
from nnefc.formats.nnef import parse_graph
from nnefc.formats.nnef.dialect import TOLERANT


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name: str) -> None:
    text, expected = MESSAGES[name]
    found = verdict(text)
    if expected.endswith("..."):
        assert found.startswith(expected[:-3])
    else:
        assert found == expected


def test_an_error_shows_its_line() -> None:
    text = document("y = add(x,\n        rleu(x));")
    with pytest.raises(InvalidModelError) as caught:
        parse_graph(text, "model/graph.nnef")
    assert str(caught.value) == (
        "model/graph.nnef:6:9: error: there is no operation 'rleu'; did you mean 'relu'?\n"
        "            rleu(x));\n"
        "            ^"
    )


def test_an_error_in_a_long_line_shows_what_is_near() -> None:
    text = document("y = add_n([" + "x, " * 5000 + "q]);")
    with pytest.raises(InvalidModelError) as caught:
        parse_graph(text)
    _, excerpt, caret = str(caught.value).splitlines()
    assert len(excerpt) < 200 and excerpt[len(caret) - 1] == "q"


TOLERATED = {
    "integer for scalar": ("y = add(x, 1);", "y = add(x, 1.0);", "y of add has type integer; tensor<scalar> is wanted"),
    "integer in operator": ("y = x * 2;", "y = mul(x, 2.0);", "y of mul has type integer; tensor<scalar> is wanted"),
    "integer attribute": (
        "y = leaky_relu(x, alpha = 1);",
        "y = leaky_relu(x, alpha = 1.0);",
        "alpha of leaky_relu has type integer; scalar is wanted",
    ),
    "integers for scalars": (
        "y = constant(shape = [2], value = [1, 2]);",
        "y = constant(shape = [2], value = [1.0, 2.0]);",
        "value of constant has type integer[]; scalar[] is wanted",
    ),
    "mixed array": (
        "y = constant(shape = [2], value = [1, 2.5]);",
        "y = constant(shape = [2], value = [1.0, 2.5]);",
        "an array holds both integers and scalars",
    ),
    "long mixed array": (
        f"y = constant(shape = [12], value = [{'1, ' * 11}2.5]);",
        f"y = constant(shape = [12], value = [{'1.0, ' * 11}2.5]);",
        "an array holds both integers and scalars",
    ),
    "mixed arithmetic": (
        "y = leaky_relu(x, alpha = 1 / 2.0);",
        "y = leaky_relu(x, alpha = 0.5);",
        "the operator / has operands of types integer and scalar",
    ),
    "mixed choices": (
        "y = leaky_relu(x, alpha = 1 if true else 0.5);",
        "y = leaky_relu(x, alpha = 1.0);",
        "the choices have types integer and scalar, which have no common type",
    ),
    "integer beside a generic tensor": (
        "c = lt(x, 0.0);\ny = select(c, x, 0);",
        "c = lt(x, 0.0);\ny = select(c, x, 0.0);",
        "false_value of select has type integer; tensor<scalar> is wanted",
    ),
    "positional attribute": (
        "y = transpose(x, [1, 0]);",
        "y = transpose(x, axes = [1, 0]);",
        "axes of transpose is an attribute; write 'axes = ...'",
    ),
    "one for an array": (
        "y = max_reduce(x, axes = 1);",
        "y = max_reduce(x, axes = [1]);",
        "axes of max_reduce has type integer; integer[] is wanted",
    ),
    "tensor for an array": (
        "y = add_n(x);",
        "y = add_n([x]);",
        "x of add_n has type tensor<scalar>; tensor<scalar>[] is wanted",
    ),
    "vector bias": (
        "w = variable(shape = [3, 4], label = 'w');\nb = variable(shape = [3], label = 'b');\ny = linear(x, w, b);",
        "w = variable(shape = [3, 4], label = 'w');\nb = variable(shape = [3], label = 'b');\n"
        "b_row = unsqueeze(b, axes = [0]);\ny = linear(x, w, b_row);",
        "bias of linear has shape [3]; [1,3] is wanted",
    ),
    "not a number": (
        "y = leaky_relu(x, alpha = scalar('nan'));",
        "y = leaky_relu(x, alpha = scalar('nan'));",
        "the string 'nan' is no scalar literal",
    ),
    "infinite": (
        "y = max(x, scalar('-inf'));",
        "y = max(x, scalar('-inf'));",
        "the string '-inf' is no scalar literal",
    ),
}


@pytest.mark.parametrize("name", TOLERATED)
def test_tolerance(name: str) -> None:
    """Refused strictly; else accepted with a note, and given its meaning."""
    statements, expected, message = TOLERATED[name]
    text = document(statements)
    assert verdict(text) != "accepted"
    notes: list[str] = []
    parse_graph(text, dialect=TOLERANT, notes=lambda note, location: notes.append(note))
    assert message in notes
    assert flat(text, TOLERANT) == expected


NOTED_ONCE = {
    "operators": document("y = relu(-x);\nz = relu(-x);", head="version 1.0;\n\n"),
    "chains": document("y = relu(relu(x));\nz = -x;", head="version 1.0;\n\n"),
    "fragments": document(
        "y = f(x);",
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = relu(x); }",
        head="version 1.0;\n\n",
    ),
    "extensions": document("y = relu(x);", head="version 1.0;\nextension FOO_bar;\n"),
    "parameters": document(
        "y = f();", "fragment f() -> (y: tensor<scalar>) { y = constant(shape = [1], value = [1.0]); }"
    ),
}


@pytest.mark.parametrize("name", NOTED_ONCE)
def test_tolerance_of_the_document(name: str) -> None:
    text = NOTED_ONCE[name]
    notes: list[str] = []
    parse_graph(text, dialect=TOLERANT, notes=lambda note, location: notes.append(f"{location}: {note}"))
    assert len(notes) == 1
    assert verdict(text) == notes[0].removeprefix("graph.nnef:")
