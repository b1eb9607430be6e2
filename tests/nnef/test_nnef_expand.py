"""Compositional text against the flat text that it stands for."""

from __future__ import annotations

import pytest
from nnef_cases import ALPHA, FRAGMENTS, ONE, OPERATORS
from nnef_texts import document, flat

from nnefc.formats.nnef import parse_graph
from nnefc.formats.nnef.dialect import TOLERANT
from nnefc.ops.signatures import signatures


@pytest.mark.parametrize("statements", OPERATORS)
def test_operators(statements: str) -> None:
    assert flat(document(statements)) == OPERATORS[statements]


@pytest.mark.parametrize("expression", ALPHA)
def test_compile_time_value(expression: str) -> None:
    text = document(f"y = leaky_relu(x, alpha = {expression});")
    assert flat(text) == f"y = leaky_relu(x, alpha = {ALPHA[expression]});"


@pytest.mark.parametrize("name", FRAGMENTS)
def test_fragments(name: str) -> None:
    fragments, statements, expected = FRAGMENTS[name]
    assert flat(document(statements, fragments)) == expected


@pytest.mark.parametrize("name", FRAGMENTS)
def test_what_is_expanded_is_strict_text_that_expands_to_itself(name: str) -> None:
    fragments, statements, expected = FRAGMENTS[name]
    again = document(expected, head="version 1.0;\n\n")
    assert flat(again) == expected
    assert flat(again, TOLERANT) == expected


def test_origin_is_the_innermost_place_first() -> None:
    text = document(
        "y = g(x);", ONE % "y = relu(x);" + " fragment g(x: tensor<scalar>) -> (y: tensor<scalar>) { y = f(x); }"
    )
    (op,) = parse_graph(text).ops
    assert [(p.line, p.column) for p in op.origin.locations] == [(3, 60), (3, 130), (5, 5)]
    assert op.origin.names == ("y",)


def test_mutable_scopes_do_not_leak() -> None:
    """A fragment sees its own parameters only, also where its caller uses the same names."""
    text = document(
        "y = f(x, n = 1);",
        "fragment g(n: tensor<scalar>) -> (y: tensor<scalar>) { x = n; y = exp(x); } "
        "fragment f(x: tensor<scalar>, n: integer) -> (y: tensor<scalar>) { a = g(relu(x)); y = a * scalar(n) + x; }",
    )
    assert flat(text) == "y_a_relu = relu(x);\ny_a = exp(y_a_relu);\ny_mul = mul(y_a, 1.0);\ny = add(y_mul, x);"


def test_a_fragment_may_be_called_like_an_operation_of_an_extension_that_is_not_declared() -> None:
    (name, *_) = (s.name for s in signatures().values() if s.extension is not None)
    fragment = f"fragment {name}(x: tensor<scalar>) -> (y: tensor<scalar>) {{ y = exp(x); }}"
    assert flat(document(f"y = {name}(x);", fragment)) == "y = exp(x);"
