"""Recipes: the first rule that fits decides, and what is wrong in a file is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from networks import network, samples

from nnefc.quant import RecipeError, load_recipe, prepare, quantize, quantized, recipe_of, setting_of

NET = network(
    "x = external[1, 4, 5, 5]; w1 = variable[4, 4, 3, 3]; c1 = conv(x, w1); r1 = relu(c1); w2 = variable[4, 4, 3, 3];"
    "c2 = conv(r1, w2); r2 = relu(c2); w3 = variable[4, 4, 1, 1]; c3 = conv(r2, w3); s = softmax(c3);"
    "w4 = variable[4, 4, 1, 1]; y = conv(s, w4);"
)
DATA = samples(NET, 2)


def bits_of(made: object, name: str) -> int | None:
    encoding = made.values[name].type.encoding  # type: ignore[attr-defined]
    return None if encoding is None else encoding["bits"]


def test_the_first_rule_that_fits_decides(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        """
        [default]
        scheme = "int8"
        method = "percentile"
        percentile = 99.9

        [[rule]]
        name = "c2"
        scheme = "int4w"

        [[rule]]
        pattern = "c[12]"
        weight_bits = 6
        per_channel = false

        [[rule]]
        op = "softmax"
        bits = 16
        method = "minmax"

        [[rule]]
        name = "y"
        scheme = "fp16"
        """
    )
    recipe = load_recipe(path)
    made = quantize(NET, DATA, recipe=recipe)
    assert [bits_of(made, f"w{n}") for n in (1, 2, 3, 4)] == [6, 4, 8, None]
    assert made.values["w1"].type.encoding["scale"].__class__ is float
    assert made.tensors["w4"].bits == 16
    rows = {row.name: row for row in quantized(prepare(NET), recipe, data=DATA).tensors}
    assert (rows["r1"].method, rows["r1"].bits) == ("percentile", 8)
    assert "s" not in rows


def test_excluded_operations_come_before_rules(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[[rule]]\nop = "conv"\nweight_bits = 5\n')
    made = quantize(NET, DATA, recipe=load_recipe(path), exclude=["c1"], only=["c?"])
    assert [bits_of(made, f"w{n}") for n in (1, 2, 3, 4)] == [None, 5, 5, None]


def test_names_of_the_file_are_known_too() -> None:
    graph = network(
        "x = external[1, 2, 3, 3]; w = variable[2, 2, 1, 1]; s = variable[1, 2]; c = conv(x, w); y = mul(c, s);"
    )
    prepared = prepare(graph)
    setting = setting_of({})
    for name in ("c", "y", "conv"):
        settings = recipe_of(setting, exclude=[name]).settings(prepared)
        assert settings["y"].scheme.weights is None


BAD = {
    "no TOML": ("[default\n", r"r.toml:1:1: error: no TOML"),
    "an unknown table": ("[[rule]]\nop = 'conv'\n[defaults]\n", r"r.toml:3:1: error: there is no key 'defaults'"),
    "an unknown setting": (
        "[default]\nscheme = 'int8'\nbit = 3\n",
        r"r.toml:3:1: error: there is no setting 'bit'; there are",
    ),
    "an unknown scheme": ("[default]\n\nscheme = 'int9'\n", r"r.toml:3:1: error: scheme: there is no 'int9'"),
    "in the second rule": (
        "[[rule]]\nop = 'conv'\nbits = 8\n\n[[rule]]\nname = 'y'\nbits = 1\n",
        r"r.toml:7:1: error: bits: 1 is no whole number from 2 to 16",
    ),
    "no choice": ("[[rule]]\nbits = 8\n", r"r.toml:1:1: error: a rule has one of name, pattern and op, a string"),
    "two choices": ("[[rule]]\nname = 'a'\nop = 'b'\n", r"r.toml:1:1: error: a rule has one of"),
    "no array": ("[rule]\nop = 'conv'\n", r"r.toml:1:1: error: rule must be an array of tables"),
    "no table": ("default = 3\n", r"r.toml:1:1: error: default must be a table"),
    "a wrong type": ("[default]\nper_channel = 1\n", r"r.toml:2:1: error: per_channel: 1 is neither true nor false"),
    "no codes": ("[default]\nscheme = 'fp16'\nbits = 8\n", r"r.toml:3:1: error: bits: the scheme codes no activations"),
}


@pytest.mark.parametrize("case", BAD)
def test_faults_are_told_with_their_line(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def test_rules_that_fit_nothing_are_told(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("[[rule]]\nop = 'conv'\n\n[[rule]]\n# a comment\nname = 'c22'\n")
    with pytest.raises(RecipeError, match=r"r.toml:6: there is no operation or input called 'c22'; did you mean"):
        quantize(NET, DATA, recipe=load_recipe(path))
