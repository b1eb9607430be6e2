"""Agreement with the Khronos parser: on what is valid, and on what our texts mean."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nnef
import pytest
from nnef_cases import TEXTS
from nnef_messages import MESSAGES

from nnefc.formats.nnef import format_graph, load, parse_graph, save
from nnefc.ir.graph import Graph, Literal, Value

WORKER = Path(__file__).with_name("khronos_worker.py")
MODELS = (
    "ad_autoencoder kws_dscnn mnist_convsmall resnet8_cifar10 ultraface_rfb320 vww_mobilenetv1_025 yunet_320".split()
)

SHAPES = "shapes are not looked at while parsing"
COMPILE_TIME = "compile-time values are 32-bit, unchecked, and read by the C library"
LATER = "it fails while running or crashes, instead of refusing"
ACCEPTED_THERE = {
    "external nested": "external is looked for in plain assignments only",
    "not generic": "the type is not looked at if the operation is not generic",
    "strings": "tensors of strings are no error there",
    "number in graph": "3.3.2: identifiers in the body of the graph are tensors",
    "array in graph": "3.3.2: identifiers in the body of the graph are tensors",
    "attribute result": "results that are no tensors are forbidden since 1.0.1",
    "no body": "it is no parser's business whether an operation is known",
    "generic result": "a number passes for any generic type",
    "chain not enabled": "chains are outside of the flat grammar, A.1",
    "empty label": "labels are not looked at",
    "label characters": "labels are not looked at",
    "label shapes": "labels are not looked at",
    "update twice": "4.8: each variable is updated once",
    "generic outside": LATER,
    "tuple index": LATER,
    "unpacking": LATER,
    **dict.fromkeys(["too few names", "update shape", "shape in fragment", "shape in operator"], SHAPES),
    **dict.fromkeys(
        [
            "integer range",
            "integer overflow",
            "power overflow",
            "big power",
            "negative exponent",
            "division by zero",
            "scalar division by zero",
            "no real power",
            "scalar overflow",
            "large scalar",
            "no integer literal",
            "no scalar literal",
            "nonfinite",
            "integer of huge",
        ],
        COMPILE_TIME,
    ),
}
"""What we refuse and the Khronos parser does not, by name, and why."""

LOGICAL = "3.3.3: all operators are applicable to tensors, && and || too"
STRINGS = "comparing strings or logicals fails while running, and && takes numbers there"
REFUSED_THERE = {
    "y = +x;": "3.2.3 has a unary +",
    "y = x < 1.0 && x >= 0.0 || !(x == x);": LOGICAL,
    "y = x > 1.0 || x <= 0.0 && x != 2.0;": LOGICAL,
    "value 1.0 if 'a' + 'b' == 'ab' else 2.0": STRINGS,
    "value 1.0 if 'abc'[1] == 'b' && 'abc'[1:] == 'bc' else 2.0": STRINGS,
    "value 1.0 if string(true) == 'true' && string(-3) == '-3' else 2.0": STRINGS,
    "value 1.0 if 1 < 2 && 1.5 >= 1.5 && 'a' != 'b' && true == true else 2.0": STRINGS,
    "value 1.0 if 'ab' * 2 == 'abab' else 2.0": "3.3.3: strings are duplicated with *",
    "value scalar(length_of([1, 2, 3][2:1]) + length_of([1, 2, 3][3:]))": "3.3.3: a range whose end is first is empty",
    "fragment array inside": "fragments are expanded there only where they are named as to be lowered",
    "fragment mutual recursion": "a fragment must be declared before its use there; 3.3.2 does not ask for that",
    "fragment shape of": "shape_of is deprecated, and gone there",
}
"""What we accept and the Khronos parser does not, by text or name, and why."""
NOT_ASKED = ["value scalar(length_of([1, 2] * -3))"]
"""What would make the Khronos parser take all memory: it repeats as often as the unsigned number says."""


def khronos(texts: list[str]) -> list[dict[str, Any]]:
    """What the Khronos parser says of each text: ``operations``, ``error`` or, where it dies, ``crash``."""
    answers: list[dict[str, Any]] = []
    while len(answers) < len(texts):
        questions = "".join(json.dumps(text) + "\n" for text in texts[len(answers) :])
        command = [sys.executable, str(WORKER)]
        done = subprocess.run(command, input=questions, capture_output=True, text=True, timeout=200)
        answers += map(json.loads, done.stdout.splitlines())
        if len(answers) < len(texts):
            answers.append({"crash": done.returncode})
    return answers


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Any]]:
    """The Khronos parser's answers for all texts, by name."""
    texts = {name: text for name, (text, _) in MESSAGES.items()}
    texts |= {name: text for name, text in TEXTS.items() if name not in NOT_ASKED}
    return dict(zip(texts, khronos(list(texts.values())), strict=True))


@pytest.mark.parametrize("name", [n for n, (text, _) in MESSAGES.items() if "NNEFC_" not in text])
def test_refused_by_both(answers: dict[str, dict[str, Any]], name: str) -> None:
    assert ("error" not in answers[name]) == (name in ACCEPTED_THERE), answers[name]


@pytest.mark.parametrize("name", [n for n in TEXTS if n not in NOT_ASKED])
def test_accepted_by_both(answers: dict[str, dict[str, Any]], name: str) -> None:
    assert ("operations" not in answers[name]) == (name in REFUSED_THERE), answers[name]


def described(graph: Graph) -> list[tuple[str, list[Any], dict[str, Any], list[str]]]:
    """Our operations as the Khronos parser's: kind, inputs, attributes, outputs."""
    rows = []
    for op in graph.ops:
        inputs = [x.name if isinstance(x, Value) else x.value for x in op.inputs]
        attributes = {k: v for k, v in op.attrs.items() if k != "dtype"}
        rows.append((op.kind, inputs, attributes, [v.name for v in op.outputs]))
    return rows


def described_there(graph: Any) -> list[tuple[str, list[Any], dict[str, Any], list[str]]]:
    rows = []
    for op in graph.operations:
        if op.name != "external":
            inputs, outputs = ([*_flattened(part.values())] for part in (op.inputs, op.outputs))
            rows.append((op.name, inputs, {k: _frozen(v) for k, v in op.attribs.items()}, outputs))
    return rows


def _flattened(values: Any) -> Any:
    for value in values:
        yield from _flattened(value) if isinstance(value, (list, tuple)) else (_frozen(value),)


def _frozen(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen, value))
    return str(value) if isinstance(value, str) else value


def close(x: Any, y: Any) -> bool:
    """Equality, with scalars compared as float32, which is what the Khronos parser keeps."""
    if isinstance(x, (list, tuple)) and isinstance(y, (list, tuple)):
        return len(x) == len(y) and all(map(close, x, y))
    if isinstance(x, dict) and isinstance(y, dict):
        return x.keys() == y.keys() and all(close(x[k], y[k]) for k in x)
    if isinstance(x, float) and isinstance(y, float):
        return abs(x - y) <= 1e-7 * abs(x)
    return type(x) is type(y) and bool(x == y)


WRITTEN = [n for n in TEXTS if n not in REFUSED_THERE]


def test_what_we_write_means_the_same_there() -> None:
    """The flat texts of all valid documents, each read by the Khronos parser in this process."""
    for name in WRITTEN:
        graph = parse_graph(TEXTS[name])
        theirs = nnef.parse_string(format_graph(graph, types=False))
        assert (theirs.name, theirs.inputs, theirs.outputs) == (
            graph.name,
            [v.name for v in graph.inputs],
            [v.name for v in graph.outputs],
        )
        assert close(described(graph), described_there(theirs)), name


@pytest.mark.parametrize("name", MODELS)
def test_models_survive_the_way_there_and_back(shared: Path, tmp_path: Path, name: str) -> None:
    """Read, write, read by the Khronos package, and read again: the same graph and the same bytes of tensors."""
    graph = load(shared / "models" / name / f"{name}.nnef.tgz", strict=True)
    save(graph, tmp_path / "model")
    theirs = nnef.load_graph(str(tmp_path / "model"))
    assert close(described(graph), described_there(theirs))
    labels = {op.outputs["output"]: op.attribs["label"] for op in theirs.operations if op.name == "variable"}
    assert set(labels.values()) == set(graph.tensors)
    for output, label in labels.items():
        data = theirs.tensors[output].data
        assert data.tobytes() == graph.tensors[label].data.tobytes()
        assert data.shape == graph.tensors[label].data.shape
    assert load(tmp_path / "model", strict=True) == graph


def test_literals_are_among_what_is_compared() -> None:
    graphs = [parse_graph(TEXTS[name]) for name in WRITTEN]
    assert sum(isinstance(x, Literal) for g in graphs for op in g.ops for x in op.inputs) > 5
