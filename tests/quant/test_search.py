"""Mixed precision: which choices are tried, which are on the front, which is taken."""

from __future__ import annotations

import math

import pytest

from nnefc.quant.search import chosen, combinations, front, singles, title

LAYERS = ["a", "b", "c"]


def test_every_combination_where_there_are_few() -> None:
    found = list(combinations([], LAYERS, ["float"], 4))
    assert found == [
        {"b": "float", "c": "float"},
        {"a": "float", "c": "float"},
        {"a": "float", "b": "float"},
        {"a": "float", "b": "float", "c": "float"},
    ]
    assert len(list(combinations([], LAYERS, ["float", "int4w"], 100))) == 3**3 - 1 - 6
    assert singles(["a", "b"], ["float", "int4w"]) == [{"a": "float"}, {"b": "float"}, {"a": "int4w"}, {"b": "int4w"}]


@pytest.mark.parametrize(("most", "sizes"), [(3, [2, 3, 3]), (2, [2, 4]), (1, [2])])
def test_the_best_together_where_there_are_many(most: int, sizes: list[int]) -> None:
    names = ["a", "b", "c", "d"]
    ranked = [("c", "float"), ("a", "int4w"), ("a", "float"), ("d", "float"), ("b", "float")]
    found = list(combinations(ranked, names, ["float", "int4w"], most))
    assert found[0] == {"a": "int4w", "c": "float"} and list(found[0]) == ["a", "c"]
    assert [len(c) for c in found] == (sizes if most != 3 else [2, 3, 4])


def test_the_front() -> None:
    points = {
        "float": (math.inf, 9.0, 40.0),
        "int8": (30.0, 3.0, 10.0),
        "slow": (30.0, 4.0, 10.0),
        "twin": (30.0, 3.0, 10.0),
        "mixed": (35.0, 3.5, 12.0),
        "small": (20.0, 3.2, 5.0),
    }
    assert front(points) == ["float", "mixed", "int8", "twin", "small"]
    assert chosen(points, 30.0) == "int8" and chosen(points, 31.0) == "mixed" and chosen(points, 36.0) == "float"
    del points["float"]
    assert chosen(points, 36.0) == "mixed"


def test_names() -> None:
    assert title({}, "int8") == "int8"
    assert title({"a": "float", "b": "int4w", "c": "float"}, "int8") == "float: a, c; int4w: b"
