"""``graph.quant``: what it says, there and back, its faults, and agreement with the reference parser."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnefc.errors import InvalidModelError
from nnefc.formats.nnef import quantfile
from nnefc.formats.nnef.dialect import TOLERANT
from nnefc.ir.encoding import Encoding

SPECIFICATION = """
# ranges of the filters
"filter1": linear_quantize(min = -2.0, max = 2.5, bits = 8);
'bias1': linear_quantize(bits = 8, max = 0.75, min = -3.0);   # in any order
"conv1": zero_point_linear_quantize(zero_point = [[3, -4]], scale = [[0.5, 1e-3]],
                                    bits = 4, signed = true, symmetric = false);
"pool": min_max_linear_quantize(min = [-1.0, -2.0, -3.0], max = 1.0, bits = 8, signed = false, symmetric = false);
"relu": logarithmic_quantize(max = 6.0, bits = 5);
"""
EXPECTED = {
    "filter1": Encoding("linear_quantize", (("min", -2.0), ("max", 2.5), ("bits", 8))),
    "bias1": Encoding("linear_quantize", (("min", -3.0), ("max", 0.75), ("bits", 8))),
    "conv1": Encoding(
        "zero_point_linear_quantize",
        (("zero_point", ((3, -4),)), ("scale", ((0.5, 0.001),)), ("bits", 4), ("signed", True), ("symmetric", False)),
    ),
    "pool": Encoding(
        "min_max_linear_quantize",
        (("min", (-1.0, -2.0, -3.0)), ("max", 1.0), ("bits", 8), ("signed", False), ("symmetric", False)),
    ),
    "relu": Encoding("logarithmic_quantize", (("max", 6.0), ("bits", 5))),
}


def test_every_algorithm_is_read():
    assert quantfile.parse(SPECIFICATION) == EXPECTED
    assert quantfile.parse("") == {}


def test_entries_know_their_places():
    entries = quantfile.parse_entries(SPECIFICATION, "m.tgz/graph.quant")
    assert {name: str(e.location) for name, e in entries.items()} == {
        "filter1": "m.tgz/graph.quant:3:1",
        "bias1": "m.tgz/graph.quant:4:1",
        "conv1": "m.tgz/graph.quant:5:1",
        "pool": "m.tgz/graph.quant:7:1",
        "relu": "m.tgz/graph.quant:8:1",
    }


def test_the_text_is_one_line_per_tensor():
    assert quantfile.format({k: EXPECTED[k] for k in ("conv1", "relu")}) == (
        '"conv1": zero_point_linear_quantize(zero_point = [[3, -4]], scale = [[0.5, 0.001]], bits = 4, signed = true, '
        "symmetric = false);\n"
        '"relu": logarithmic_quantize(max = 6.0, bits = 5);\n'
    )


finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)


def arrays(items: st.SearchStrategy) -> st.SearchStrategy:
    rows = st.lists(items, min_size=1, max_size=40).map(tuple)
    return items | rows | rows.map(lambda row: (row,)) | rows.map(lambda row: tuple((v,) for v in row))


def encodings() -> st.SearchStrategy[Encoding]:
    reals, integers = arrays(finite), arrays(st.integers(-(2**63), 2**63 - 1))
    bits, modes = st.integers(2, 64), {"signed": st.booleans(), "symmetric": st.booleans()}
    parameters = {
        "linear_quantize": {"min": reals, "max": reals, "bits": bits},
        "min_max_linear_quantize": {"min": reals, "max": reals, "bits": bits, **modes},
        "zero_point_linear_quantize": {"zero_point": integers, "scale": reals, "bits": bits, **modes},
        "logarithmic_quantize": {"max": reals, "bits": bits},
    }
    return st.sampled_from(sorted(parameters)).flatmap(
        lambda name: st.fixed_dictionaries(parameters[name]).map(
            lambda p: Encoding(name, tuple((k, p[k]) for k in parameters[name]))
        )
    )


@given(st.dictionaries(names, encodings(), max_size=4))
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read(table):
    assert quantfile.parse(quantfile.format(table)) == table


LINE = '"x": linear_quantize(%s);'
POINT = '"x": zero_point_linear_quantize(zero_point = %s, scale = %s, bits = %s, signed = %s, symmetric = %s);'
FAULTS = [
    ('"x": squash(bits = 8);', "1:6", "unknown quantization algorithm 'squash'; expected min_max_linear_quantize, "
     "zero_point_linear_quantize, linear_quantize, logarithmic_quantize"),
    ('"x": relu();', "1:6", "unknown quantization algorithm 'relu'; expected min_max_linear_quantize, "
     "zero_point_linear_quantize, linear_quantize, logarithmic_quantize"),
    (LINE % "min = 0.0, bits = 8", "1:6", "linear_quantize needs the parameter 'max'"),
    (LINE % "", "1:6", "linear_quantize needs the parameter 'min' and 'max' and 'bits'"),
    (LINE % "min = 0.0, max = 1.0, bits = 8, signed = true", "1:54",
     "linear_quantize has no parameter 'signed'; it has min, max, bits"),
    (LINE % "x = 0.0, min = 0.0", "1:22", "linear_quantize has no parameter 'x'; it has min, max, bits"),
    (LINE % "min = 0.0, min = 1.0", "1:33", "the parameter 'min' is given twice"),
    (LINE % "min = 0, max = 1.0, bits = 8", "1:28", "min must be a scalar such as -1.0, or an array of them, not 0"),
    (LINE % "min = true", "1:28", "min must be a scalar such as -1.0, or an array, not true"),
    (LINE % "min = 'low'", "1:28", "min must be a scalar such as -1.0, or an array, not 'low'"),
    (LINE % "min = 1e999", "1:28", "a value of min is out of the range of scalars"),
    (LINE % "min = y", "1:28", "min must be built of literals"),
    (LINE % "min = 1.0 + 2.0", "1:28", "min must be built of literals"),
    (LINE % "min = []", "1:28", "the array for min is empty"),
    (LINE % "min = [[1.0], [1.0, 2.0]]", "1:28", "the array for min holds parts of different shapes: [1], [2]"),
    (LINE % "min = [1.0, [2.0]]", "1:28", "the array for min holds parts of different shapes: [], [1]"),
    (LINE % ("min = " + "[" * 9 + "1.0" + "]" * 9), "1:28", "the array for min nests more than 8 deep"),
    (LINE % "min = 0.0, max = 1.0, bits = 0", "1:51", "bits = 0 is out of range; it must be 1 to 64"),
    (LINE % "min = 0.0, max = 1.0, bits = 65", "1:51", "bits = 65 is out of range; it must be 1 to 64"),
    (LINE % "min = 0.0, max = 1.0, bits = 8.0", "1:51", "bits must be an integer, not 8.0"),
    (LINE % "min = 0.0, max = 1.0, bits = [8]", "1:51", "bits must be an integer"),
    (POINT % ("1.0", "0.5", 8, "true", "true"), "1:46", "zero_point must be an integer, or an array of them, not 1.0"),
    (POINT % ("9223372036854775808", "0.5", 8, "true", "true"), "1:46",
     "a value of zero_point is out of the range of integers"),
    (POINT % ("1", "0.5", 8, "1", "true"), "1:81", "signed must be true or false, not 1"),
    (POINT % ("1", "0.5", 1, "true", "true"), "1:69",
     "bits = 1 leaves a single code where signed and symmetric are true; use 2 or more"),
    ('\n"x": logarithmic_quantize(max = 1.0, bits = 8);\n "x": logarithmic_quantize(max = 1.0, bits = 8);', "3:2",
     "'x' has a quantization already, in line 2"),
    (LINE % "-1.0, 1.0, 8", "1:22", "unexpected '-'; expected "),
    ('x: linear_quantize(bits = 8);', "1:1", "unexpected 'x'; expected "),
    ('"x" linear_quantize(bits = 8);', "1:5", "unexpected 'linear_quantize'; expected ':'"),
    ('"x": linear_quantize(bits = 8)', "1:31", "the text ends too early; expected ';'"),
    ('"x: linear_quantize(bits = 8);', "1:1", "a string without its closing quote"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "message"), FAULTS, ids=[m[:50] for _, _, m in FAULTS])
def test_faults(text, place, message):
    with pytest.raises(InvalidModelError) as caught:
        quantfile.parse(text, "graph.quant")
    head, line, mark = str(caught.value).split("\n")
    assert head.startswith(f"graph.quant:{place}: error: {message}")
    row, column = map(int, place.split(":"))
    assert line == "    " + text.split("\n")[row - 1] and mark.index("^") == 3 + column


def test_integers_for_scalars_are_tolerated_with_a_note():
    notes = []
    text = LINE % "min = [-1, 0.5], max = 1, bits = 8"
    parsed = quantfile.parse(text, dialect=TOLERANT, note=lambda line, place: notes.append(f"{place}: {line}"))
    assert parsed["x"].parameters == (("min", (-1.0, 0.5)), ("max", 1.0), ("bits", 8))
    assert notes == [
        "graph.quant:1:29: the integer -1 stands for a scalar, as min",
        "graph.quant:1:45: the integer 1 stands for a scalar, as max",
    ]


@pytest.mark.parametrize(
    ("name", "encoding", "message"),
    [
        ("é", EXPECTED["relu"], "cannot be written as a string"),
        ("a\nb", EXPECTED["relu"], "cannot be written as a string"),
        ("x", Encoding("squash", ()), "unknown quantization algorithm 'squash'"),
        ("x", Encoding("linear_quantize", (("bits", 8),)), "has the parameters min, max, bits, not bits"),
        ("x", Encoding("logarithmic_quantize", (("max", float("inf")), ("bits", 8))), "max = inf has no literal"),
        ("x", Encoding("logarithmic_quantize", (("max", 1.0), ("bits", 8.0))), "bits = 8.0 is not of the"),
        ("x", Encoding("logarithmic_quantize", (("max", 1.0), ("bits", True))), "bits = True is not of the"),
    ],
)  # fmt: skip
def test_writing_refuses_what_cannot_be_read(name, encoding, message):
    with pytest.raises(ValueError, match=message):
        quantfile.format({name: encoding})


KHRONOS = """
import json, sys, nnef
graph, quant = json.load(sys.stdin)
tensors = nnef.parse_string(graph, quant).tensors
def plain(v):
    return v.tolist() if hasattr(v, "tolist") else v
print(json.dumps({n: {k: plain(v) for k, v in t.quantization.items()} for n, t in tensors.items()}))
"""


def test_the_reference_parser_reads_the_same():
    table = EXPECTED | {"filter1": Encoding("linear_quantize", (("min", -1e-05), ("max", 1e16), ("bits", 8)))}
    body = "".join(f"{name} = external(shape = [1, 2]); " for name in table)
    text = f"version 1.0; graph g({', '.join(table)}) -> (y) {{ {body} y = copy(relu); }}"
    request = json.dumps([text, quantfile.format(table)])
    done = subprocess.run([sys.executable, "-c", KHRONOS], input=request, capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout)
    for name, encoding in table.items():
        ours = json.loads(json.dumps(dict(encoding.parameters)))
        found = {k: v for k, v in theirs[name].items() if k != "op-name"}
        assert theirs[name]["op-name"] == encoding.algorithm
        assert found.keys() == ours.keys()
        for key, value in ours.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-6)
