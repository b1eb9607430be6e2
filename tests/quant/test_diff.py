"""``nnefc diff``: files, folders, archives and models side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drawn_network import network
from layer_models import CHAIN, with_codes

import nnefc
from nnefc.cli import main
from nnefc.errors import InvalidModelError
from nnefc.ir.encoding import Encoding
from nnefc.quant.diff import covered, describe, diff, encodings, read_encodings

ONE = """\
"a": zero_point_linear_quantize(zero_point = 3, scale = 0.5, bits = 8, signed = false, symmetric = false);
"b": min_max_linear_quantize(min = -1.0, max = 3.0, bits = 8, signed = true, symmetric = false);
"c": logarithmic_quantize(max = 4.0, bits = 4);
"e": zero_point_linear_quantize(zero_point = 0, scale = [0.5, 0.25], bits = 8, signed = true, symmetric = true);
"""
TWO = """\
"a": zero_point_linear_quantize(zero_point = 4, scale = 1.0, bits = 8, signed = false, symmetric = false);
"b": linear_quantize(min = -1.0, max = 3.0, bits = 8);
"d": logarithmic_quantize(max = 4.0, bits = 4);
"e": zero_point_linear_quantize(zero_point = 0, scale = [0.5, 0.75], bits = 4, signed = true, symmetric = true);
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    one, two = tmp_path / "one.quant", tmp_path / "two.quant"
    one.write_text(ONE)
    two.write_text(TWO)
    return one, two


def test_what_changed_in_words(files: tuple[Path, Path]) -> None:
    found = {d.name: d for d in diff(*map(read_encodings, files))}
    assert {name: d.status for name, d in found.items()} == {
        "a": "changed",
        "b": "changed",
        "c": "removed",
        "e": "changed",
        "d": "added",
    }
    assert found["a"].change == "zero_point 3 -> 4, scale x 2"
    assert found["b"].change == "another algorithm" and found["c"].change == ""
    assert found["e"].change == "scale x 1 .. 3 in 1 of 2 channels, bits 8 -> 4"
    assert describe(read_encodings(files[0])["a"]) == "u8 zero point -1.5 .. 126"
    assert describe(read_encodings(files[0])["e"]) == "s8 zero point -63.5 .. 63.5, 2 channels"


@pytest.mark.parametrize(
    ("name", "ends"), [("a", (-1.5, 126.0)), ("b", (-1.0, 3.0)), ("c", (-4.0, 4.0)), ("e", (-63.5, 63.5))]
)
def test_the_numbers_that_codes_reach(files: tuple[Path, Path], name: str, ends: tuple[float, float]) -> None:
    assert covered(read_encodings(files[0])[name]) == ends


def test_another_shape_of_a_parameter() -> None:
    one, two = (Encoding("logarithmic_quantize", (("max", m), ("bits", 4))) for m in (4.0, (4.0, 2.0)))
    assert diff({"x": one}, {"x": two})[0].change == "max: 1 -> 2 channels"


def test_models_of_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = with_codes(network(CHAIN))
    for name in ("folder", "model.nnef.tgz", "model.zip"):
        nnefc.save(graph, tmp_path / name)
        assert read_encodings(tmp_path / name) == encodings(graph)
    quant = tmp_path / "folder" / "graph.quant"
    assert main(["diff", str(quant), str(tmp_path / "model.zip")]) == 0
    assert capsys.readouterr().out == "5 coded tensors: 5 same\n"
    nnefc.save(network(CHAIN), tmp_path / "plain.nnef.tgz")
    assert read_encodings(tmp_path / "plain.nnef.tgz") == {}


def test_the_command(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    one, two = map(str, files)
    assert main(["diff", one, two]) == 1
    out = capsys.readouterr().out
    assert "zero_point 3 -> 4, scale x 2" in out and "5 coded tensors: 3 changed, 1 added, 1 removed" in out
    assert main(["diff", one, one]) == 0
    assert capsys.readouterr().out == "4 coded tensors: 4 same\n"
    assert main(["diff", one, one, "--all"]) == 0
    assert capsys.readouterr().out.count("same") == 5
    assert main(["diff", one, two, "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert not record["equal"] and record["counts"] == {"changed": 3, "added": 1, "removed": 1}
    by_name = {t["name"]: t for t in record["tensors"]}
    assert by_name["e"]["second"]["scale"] == [0.5, 0.75] and by_name["d"]["first"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"a": zero_point(scale = 1.0);', "unknown quantization algorithm"),
        ('"a": logarithmic_quantize(max = 4.0, bits = 99);', "out of range"),
        ("\x00", "one.quant"),
    ],
)
def test_files_that_are_no_quantization(files: tuple[Path, Path], text: str, message: str) -> None:
    files[0].write_text(text)
    with pytest.raises(InvalidModelError) as caught:
        read_encodings(files[0])
    assert message in str(caught.value)
    assert main(["diff", *map(str, files)]) == 3


def test_files_that_are_missing(tmp_path: Path, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("none.quant", "none.nnef.tgz", "none"):
        assert main(["diff", str(files[0]), str(tmp_path / name)]) in (3, 4)
        assert name in capsys.readouterr().err
