"""What is wrong with a document in tract's dialect is said with its place, and what is tolerated is noted."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from nnef_texts import document, verdict
from test_tract_operations import ON_FLOATS, ON_INTEGERS, SCAN
from tract_models import HEAD, external, model, text, variable

from nnefc.errors import InvalidModelError, NnefcError, UnsupportedError
from nnefc.formats.nnef import format_graph, load, parse_graph
from nnefc.formats.nnef.dialect import TOLERANT
from nnefc.ir.graph import Graph
from nnefc.ir.verify import verify

RECURSIVE = "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = f(x); }"
BOMB = "fragment f0(x: tensor<scalar>) -> (y: tensor<scalar>) { y = x; }\n" + "\n".join(
    f"fragment f{i}(x: tensor<scalar>) -> (y: tensor<scalar>) {{ y = f{i - 1}(f{i - 1}(x)); }}" for i in range(1, 40)
)
MESSAGES = {
    "undefined": (text(external() + "y = relu(z);"), "9:10: 'z' is not defined"),
    "similar": (text(external() + "y = rellu(x);"), "9:5: there is no operation 'rellu'; did you mean 'relu'?"),
    "missing": (
        text(external() + "y = tract_core_nothing(x);"),
        "9:5: tract's operation 'tract_core_nothing' is not supported",
    ),
    "argument": (
        text(external() + "y = tract_core_topk(x, k = 1);"),
        "9:5: tract_core_topk: a value is needed for axis, largest",
    ),
    "twice": (text(external() + "y = relu(x, x = x);"), "9:5: relu: x is given twice"),
    "too_many": (text(external() + "y = tract_core_erf(x, x);"), "9:5: tract_core_erf: at most 1 arguments are taken"),
    "type": (
        text(external(datum_type="complexf64") + "y = relu(x);"),
        "8:5: tract_core_external: elements of tract's type 'complexf64' are not supported",
    ),
    "extent": (
        text(external(shape="2, 0") + "y = relu(x);"),
        "8:5: tract_core_external: shape = [2,0] contains 0; every item must be positive",
    ),
    "input": (text("y = constant(shape = [1], value = [1.0]);"), "6:11: the input 'x' must be made by external"),
    "output": (text(external() + "z = relu(x);"), "6:18: the output 'y' of the graph is not assigned"),
    "results": (text(external() + "a, y = relu(x);"), "9:1: 1 results cannot be assigned to 2 identifiers"),
    "computed": (
        text(external() + "y = reshape(x, shape = x);"),
        "9:5: reshape: shape of reshape must be known when the model is read, but 'x' is computed, or an input",
    ),
    "subscript": (
        text(external() + "y = x[0];"),
        "9:5: only arrays, and tensors known while reading, can be subscripted",
    ),
    "index": (text(external() + "y = tract_core_shape_of(x)[7];"), "9:5: the index 7 is outside of 2 items"),
    "empty_slice": (
        text(external() + "y = slice(x, axes = [1], begin = [2], end = [1]);"),
        "9:5: slice: nothing lies from 2 to 1 of 3 along dimension 1",
    ),
    "reshape": (
        text(external() + "y = reshape(x, shape = [4]);"),
        "9:5: reshape: [2, 3] cannot be reshaped to [4]",
    ),
    "body": (
        text(
            external() + "y = tract_core_scan(body = 'f', scan = [('a', x, 0, 1)], full = [], state = [], output = []);"
        ),
        "9:5: tract_core_scan: there is no fragment 'f' for the body",
    ),
    "unbound": (
        text(
            external()
            + "y = tract_core_scan(body = 'step', scan = [('piece', x, 0, 1)], full = [], state = [], output = []);",
            fragments=SCAN,
        ),
        "6:38: 'weight' of 'step' is bound to nothing",
    ),
    "chunks": (
        text(
            external()
            + "y = tract_core_scan(body = 'step', scan = [('piece', x, 1, 2)], full = [], state = [], output = []);",
            fragments=SCAN,
        ),
        "16:5: tract_core_scan: the tensors that are scanned must be of one number of chunks",
    ),
    "recursion": (
        text(external() + "y = f(x);", fragments=RECURSIVE),
        "5:60: fragments nest more than 50 deep; 'f' calls itself",
    ),
    "bomb": (
        text(external() + "y = f39(x);", fragments=BOMB),
        "7:64: expanding the document takes more than 300000 steps",
    ),
    "no_result": (
        text(external() + "y = f(x);", fragments="fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { z = x; }"),
        "5:35: the result 'y' of the fragment 'f' is not assigned",
    ),
    "huge": (
        text(external() + "y = concat([[99999999999999999999]], axis = 0);"),
        "9:5: concat: values of concat has an integer that does not fit into 64 bits",
    ),
    "memory": (
        text(
            external("q", "1, 100000000, 2")
            + "y = tract_transformers_sdpa(q, q, q, datum_type = 'f32', acc_datum_type = 'f32', is_causal = true);",
            inputs="q",
        ),
        "9:5: tract_transformers_sdpa: tensors known while reading have more than 67108864 elements in all",
    ),
    "registry": (
        text(external() + "y = relu(x);", head="extension tract_registry tract_elsewhere;\n"),
        "4:11: operations of 'tract_registry tract_elsewhere' are not known",
    ),
    "assertion": (
        text(
            external(shape="S, 3") + "y = relu(x);", head="extension tract_symbol S;\nextension tract_assert S >= 2;\n"
        ),
        "5:11: tract_assert S >= 2 does not hold for S = 1",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str) -> None:
    written, wanted = MESSAGES[name]
    assert verdict(written, TOLERANT) == wanted


def noted(written: str, **options: object) -> tuple[Graph, list[str]]:
    notes: list[str] = []
    graph = parse_graph(
        written,
        dialect=TOLERANT,
        notes=lambda message, _: notes.append(message),
        **options,  # type: ignore[arg-type]
    )
    return graph, notes


def test_notes() -> None:
    _, notes = noted(text(external() + "z = softmax(x, 1);\ny = pad(softmax(z, 1, alpha = 2), [(1, 1), (0, 0)]);"))
    assert notes == [
        "the document is in tract's dialect",
        "axes of softmax is an attribute given by position",
        "axes of softmax is one item; integer[] is wanted",
        "softmax has no parameter 'alpha'; it is ignored, as tract does",
    ]


def test_assertions() -> None:
    head = "extension tract_symbol S;\nextension tract_symbol T;\n"
    head += "".join(f"extension tract_assert {a};\n" for a in ("S + T <= 12", "2*S < 9", "gen: S == 1", "Q > 0", "S S"))
    written = text(external(shape="S, T") + "y = relu(x);", head=head)
    graph, notes = noted(written, shapes={"S": (4,), "T": (8,)})
    assert graph.inputs[0].type.shape == (4, 8)
    unchecked = [n for n in notes if "tract_assert" in n]
    assert unchecked == [f"tract_assert {a} is not checked" for a in ("gen: S == 1", "Q > 0", "S S")]
    with pytest.raises(InvalidModelError, match=r"tract_assert 2\*S < 9 does not hold for S = 5"):
        noted(written, shapes={"x": (5, 7)})


def test_shapes_given() -> None:
    head = "extension tract_symbol S;\n"
    written = text(external(shape="1, S") + external("z", "1, S") + "y = x + z;", inputs="x, z", head=head)
    graph, _ = noted(written, shapes={"x": (2, 6)})
    assert [v.type.shape for v in graph.inputs] == [(2, 6), (1, 6)]
    for shapes, message in (
        ({"x": (1, 6), "z": (1, 7)}, "the symbol 'S' would have the extents 6 and 7"),
        ({"x": (1, 2, 3)}, r"the shape \[1, 2, 3\] for 'x' does not have 2 extents"),
        ({"q": (1,)}, "there is no input or symbol 'q' to give a shape; there are x, z, S"),
    ):
        with pytest.raises(InvalidModelError, match=message):
            noted(written, shapes=shapes)
    with pytest.raises(UnsupportedError, match=r"dimension 1 of 'x' \('S'\); give them with --shape SYMBOL=N"):
        noted(written)


def test_outside_of_the_dialect() -> None:
    quoted = document('i"a.b" = relu(x); y = copy(i"a.b");')
    assert verdict(quoted) == (
        "5:1: identifiers in quotes are of tract's dialect, which 'extension tract_registry tract_core;' declares"
    )
    assert "is not known" in verdict(
        HEAD + "extension tract_assert S >= 1;\ngraph g(x) -> (x) { x = external(shape = [1]); }"
    )


def test_a_stored_number_for_an_attribute(tmp_path: Path) -> None:
    eps = np.array(0.25, np.float32)
    body = "y = batch_normalization(x, 0.0, 1.0, 0.0, 1.0, epsilon = eps);"
    written = document(variable("eps", eps) + body)
    notes: list[str] = []
    graph = load(model(tmp_path, written, eps=eps), notes=notes)
    assert graph.ops[-1].attrs["epsilon"] == 0.25
    assert [n.partition("note: ")[2] for n in notes] == [
        "epsilon of batch_normalization has type tensor<scalar>; scalar is wanted"
    ]
    with pytest.raises(InvalidModelError, match="has type tensor<scalar>; scalar is wanted"):
        load(tmp_path / "m", strict=True)
    assert verdict(document("y = elu(x, alpha = x);"), TOLERANT) == (
        "5:20: 'x' has no single stored value to stand for scalar"
    )


def test_literal_arrays_outside_of_the_dialect() -> None:
    graph, notes = noted(document("k = [[1.0, 2.0, 3.0, 4.0]]; y = x + k;"))
    assert graph.ops[0].kind == "constant" and graph.ops[0].output.type.shape == (1, 4)
    assert notes == ["'k' would be scalar[][]; in the body of the graph identifiers are tensors"]
    assert "identifiers are tensors" in verdict(document("k = [[1.0]]; y = x + k;"))
    assert "do not form a tensor" in verdict(document("k = [[1.0], [2.0, 3.0]]; y = x + k;"), TOLERANT)


TOKEN = re.compile(r"\"[^\"]*\"|'[^']*'|\w+|\s+|.", re.DOTALL)
SOURCES = [
    *(text(external() + body) for body, _ in ON_FLOATS.values()),
    *(text(external(datum_type="i64") + body) for body, _ in ON_INTEGERS.values()),
    *(written for name, (written, _) in MESSAGES.items() if name != "bomb"),
]
TOKENS = sorted({token for written in SOURCES for token in TOKEN.findall(written)})


@pytest.mark.parametrize("seed", range(4))
def test_mutations(seed: int) -> None:
    draw = random.Random(seed)
    accepted = 0
    for _ in range(250):
        tokens = TOKEN.findall(draw.choice(SOURCES))
        for _ in range(draw.randint(1, 3)):
            tokens[draw.randrange(len(tokens))] = draw.choice(TOKENS)
        written = "".join(tokens)
        try:
            graph = parse_graph(written, dialect=TOLERANT)
        except NnefcError as error:
            assert error.line and error.column and error.source is not None, (written, str(error))
            continue
        accepted += 1
        verify(graph)
        assert parse_graph(format_graph(graph), dialect=TOLERANT) is not None
    assert accepted > 0
