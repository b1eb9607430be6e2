"""Typed text: printing a Graph and parsing it gives the same Graph; and the verifier of Graphs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnef_texts import document

from nnefc.errors import NnefcError, UnsupportedError
from nnefc.formats.nnef import format_graph, load, parse_graph, save
from nnefc.formats.nnef.dialect import TOLERANT
from nnefc.ir.graph import Attrs, Graph, Literal, Op, Tensor, Value
from nnefc.ir.text import format_op, format_value
from nnefc.ir.types import DType, TensorType
from nnefc.ir.verify import is_identifier, verify
from nnefc.ops.signatures import signatures

TYPED = """\
version 1.0;
extension NNEFC_tensor_types;

graph net(x, mask) -> (y, index)
{
    x: f32[1,4,8,8] = external(shape = [1, 4, 8, 8]);
    mask: bool[1,4,8,8] = external<logical>(shape = [1, 4, 8, 8]);
    w: f32[4,4,3,3] = variable(shape = [4, 4, 3, 3], label = 'a/w.1');
    h: f32[1,4,4,4] @ zero_point_linear_quantize(zero_point = 3, scale = 0.1, bits = 8, signed = false, symmetric = false) = conv(x, w, stride = [2, 2], groups = 1);
    [a: f32[1,2,4,4], b: f32[1,2,4,4] @ linear_quantize(min = [[-1.0, -2.0]], max = 1e-05, bits = 8)] = split(h, axis = 1, ratios = [1, 1]);
    c: f32[1,4,4,4] = concat([b, a], axis = 1);
    d: f32[1,4,4,4] = add(1.0, c);
    (e: f32[1,4,1,1], f: f32[1,4,1,1]) = moments(d, axes = [2, 3]);
    g: f32[1,4,8,8] = select(mask, x, -0.5);
    p: f32[1,4,6,4] = pad(d, padding = [(0, 0), (0, 0), (1, 1), (0, 0)], border = 'reflect');
    y: f32[1,4,6,4] = leaky_relu(p, alpha = 0.1);
    index: i64[1,1,8,8] = argmax_reduce(g, axes = [1]);
}
"""  # noqa: E501
PLAIN = """\
version 1.0;

graph net(x, mask) -> (y, index)
{
    x = external(shape = [1, 4, 8, 8]);
    mask = external<logical>(shape = [1, 4, 8, 8]);
    w = variable(shape = [4, 4, 3, 3], label = 'a/w.1');
    h = conv(x, w, stride = [2, 2]);
    [a, b] = split(h, axis = 1, ratios = [1, 1]);
    c = concat([b, a], axis = 1);
    d = add(1.0, c);
    (e, f) = moments(d, axes = [2, 3]);
    g = select(mask, x, -0.5);
    p = pad(d, padding = [(0, 0), (0, 0), (1, 1), (0, 0)], border = 'reflect');
    y = leaky_relu(p, alpha = 0.1);
    index = argmax_reduce(g, axes = [1]);
}
"""


def test_typed_text() -> None:
    graph = parse_graph(TYPED)
    assert format_graph(graph) == TYPED.replace(", groups = 1", "")
    assert parse_graph(format_graph(graph)) == graph
    verify(graph)


def test_plain_text() -> None:
    assert format_graph(parse_graph(TYPED), types=False) == PLAIN
    assert format_graph(parse_graph(PLAIN), types=False) == PLAIN


WIDE = """\
version 1.0;
extension NNEFC_tensor_types;

graph net(x, i) -> (y)
{
    x: f64[2,3] = external(shape = [2, 3]);
    i: i32[2] = external<integer>(shape = [2]);
    v: f64[1] = variable(shape = [1], label = 'v');
    c: f64[1] = constant(shape = [1], value = [0.1]);
    s = add(x, 1.5);
    t = mul(s, v);
    u = add(t, c);
    z: i32[2,3] = cast<integer>(u);
    y: f16[2,3] = cast<scalar>(z);
}
"""


def test_element_types_that_nnef_has_no_names_for() -> None:
    graph = parse_graph(WIDE)
    assert [str(v.type) for v in graph.values.values()] == (
        "f64[2,3] i32[2] f64[1] f64[1] f64[2,3] f64[2,3] f64[2,3] i32[2,3] f16[2,3]".split()
    )
    assert graph.producers["s"].inputs[1] == Literal(1.5, DType.F64)
    assert graph.producers["c"].attrs["dtype"] is DType.F64
    assert format_graph(graph, types=False) == WIDE
    assert parse_graph(WIDE) == graph == parse_graph(format_graph(graph))


LITERALS = [
    (0.1, "0.1"),
    (1.0, "1.0"),
    (-0.0, "-0.0"),
    (1e-5, "1e-05"),
    (1e22, "1e+22"),
    (5e-324, "5e-324"),
    (float(np.float32(0.1)), "0.10000000149011612"),
    (math.inf, "scalar('inf')"),
    (-math.inf, "scalar('-inf')"),
    (math.nan, "scalar('nan')"),
    (7, "7"),
    (True, "true"),
    ("it's \\", "'it\\'s \\\\'"),
    ((1, 2), "[1, 2]"),
    (((1, 2), (3, 4)), "[(1, 2), (3, 4)]"),
    ((), "[]"),
]


@pytest.mark.parametrize(("value", "text"), LITERALS)
def test_literal(value: object, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_floats_survive(dtype: DType, data: st.DataObject) -> None:
    value = data.draw(st.floats(allow_nan=False, width=dtype.bits))
    x = Value("x", TensorType(dtype, (1,)))
    y, z = Value("y", TensorType(dtype, (1,))), Value("z", TensorType(dtype, (1,)))
    ops = (
        Op("leaky_relu", (x,), Attrs(alpha=value), (y,)),
        Op("add", (y, Literal(value, dtype)), Attrs(), (z,)),
    )
    graph = Graph("net", (x,), ops, (z,))
    again = parse_graph(format_graph(graph), dialect=TOLERANT)
    assert again == graph
    assert math.copysign(1.0, again.ops[0].attrs["alpha"]) == math.copysign(1.0, value)


UNARY = ["relu", "exp", "neg", "sigmoid", "copy"]
BINARY = ["add", "mul", "max"]


@st.composite
def graphs(draw: st.DrawFn) -> str:
    """Statements over tensors of shape [1,4], each made of earlier ones."""
    names = ["x"]
    lines = []
    for number in range(draw(st.integers(1, 12))):
        name = f"t{number}"
        kind = draw(st.sampled_from(["unary", "binary", "literal", "concat", "moments", "operator"]))
        a, b = draw(st.sampled_from(names)), draw(st.sampled_from(names))
        value = draw(st.floats(-(2.0**100), 2.0**100, width=32))
        if kind == "unary":
            lines.append(f"{name} = {draw(st.sampled_from(UNARY))}({a});")
        elif kind == "binary":
            lines.append(f"{name} = {draw(st.sampled_from(BINARY))}({a}, {b});")
        elif kind == "literal":
            lines.append(f"{name} = {draw(st.sampled_from(BINARY))}({value!r}, {a});")
        elif kind == "concat":
            lines.append(f"{name}_c = concat([{a}, {b}], axis = 0);\n{name} = sum_reduce({name}_c, axes = [0]);")
        elif kind == "moments":
            lines.append(f"({name}_m, {name}_v) = moments({a}, axes = [1]);\n{name} = {b} - {name}_m * {name}_v;")
        else:
            lines.append(f"{name} = -({a} + {b}) * {value!r} / {b} if {draw(st.booleans())} else {a};".lower())
        names.append(name)
    lines.append(f"y = relu({names[-1]});")
    return document("\n".join(lines))


@given(graphs())
@settings(deadline=None, max_examples=60)
def test_any_graph_survives_printing(text: str) -> None:
    graph = parse_graph(text)
    verify(graph)
    for types in (True, False):
        printed = format_graph(graph, types=types)
        assert parse_graph(printed) == graph
        assert format_graph(parse_graph(printed), types=types) == printed


def test_save_and_load(tmp_path) -> None:
    graph = parse_graph(TYPED)
    graph = graph.replace(tensors={"a/w.1": Tensor(np.arange(144, dtype="f4").reshape(4, 4, 3, 3), "float", 32)})
    for path in (tmp_path / "folder", tmp_path / "model.nnef.tgz", tmp_path / "model.zip"):
        save(graph, path)
        assert load(path, strict=True) == graph


def test_a_graph_called_like_an_operation_is_renamed(tmp_path) -> None:
    save(parse_graph(PLAIN).replace(name="conv"), tmp_path / "folder")
    assert load(tmp_path / "folder", strict=True).name == "conv_graph"


def test_an_operation_without_a_signature_is_printed_by_position() -> None:
    x, y, z = (Value(n, TensorType(DType.F32, (2,))) for n in "xyz")
    op = Op("fused", (x, Literal(1.0, DType.F32)), Attrs(pads=((1, 2), (3, 4)), n=2), (y, z))
    assert format_op(op, None) == "(y: f32[2], z: f32[2]) = fused(x, 1.0, pads = [(1, 2), (3, 4)], n = 2);"


def test_no_literal() -> None:
    with pytest.raises(UnsupportedError, match="a value of type complex has no literal in NNEF text"):
        format_value(1j)


X = Value("x", TensorType(DType.F32, (1, 4)))
W = Value("w", TensorType(DType.F32, (1, 4)))
VARIABLE = Op("variable", (), Attrs(shape=(1, 4), label="w", dtype=DType.F32), (W,))


def _relu(source: Value, name: str, shape: tuple[int, ...] = (1, 4)) -> Op:
    return Op("relu", (source,), Attrs(), (Value(name, TensorType(DType.F32, shape)),))


def _graph(*ops: Op, **changes: object) -> Graph:
    return Graph("net", (X,), ops, (ops[-1].outputs[0],)).replace(**changes)


Y = _relu(X, "y")
FAULTS = {
    "graph name": (_graph(Y, name="1net"), "'1net' is no identifier"),
    "keyword": (_graph(_relu(X, "if")), "'if' is no identifier\n  > if: f32[1,4] = relu(x);"),
    "twice": (_graph(Y, Y), "'y' is defined twice\n    y: f32[1,4] = relu(x);\n  > y: f32[1,4] = relu(x);"),
    "input again": (_graph(_relu(X, "x")), "'x' is defined twice\n  > x: f32[1,4] = relu(x);"),
    "extent": (
        _graph(_relu(X, "y", (1, 0))),
        "'y' has the type f32[1,0], with an extent that is not positive\n  > y: f32[1,0] = relu(x);",
    ),
    "order": (_graph(_relu(Value("z", X.type), "y")), "'z' is used before it is defined\n  > y: f32[1,4] = relu(z);"),
    "types": (
        _graph(_relu(Value("x", TensorType(DType.F32, (4,))), "y")),
        "'x' is used as f32[4] but defined as f32[1,4]\n  > y: f32[1,4] = relu(x);",
    ),
    "output twice": (_graph(Y, outputs=(X, X)), "an output is named twice"),
    "no outputs": (_graph(Y, outputs=()), "there are no outputs"),
    "output": (_graph(Y, outputs=(Value("q", X.type),)), "the output 'q' is used before it is defined"),
    "values": (
        _graph(VARIABLE, Y, tensors={"w": Tensor(np.zeros(4, "f4"), "float", 32)}),
        "the variable 'w' has the type f32[1,4] but values of (4,)\n"
        "  > w: f32[1,4] = variable<scalar>(shape = [1, 4], label = 'w');\n    y: f32[1,4] = relu(x);",
    ),
    "update": (
        _graph(Op("update", (X, X), Attrs(), (Value("y", X.type),))),
        "the first operand of update is no variable\n  > y: f32[1,4] = update(x, x);",
    ),
    "update twice": (
        _graph(
            VARIABLE,
            Op("update", (W, X), Attrs(), (Value("y", X.type),)),
            Op("update", (W, Value("y", X.type)), Attrs(), (Value("z", X.type),)),
        ),
        "the variable 'w' is updated twice\n"
        "    w: f32[1,4] = variable<scalar>(shape = [1, 4], label = 'w');\n"
        "    y: f32[1,4] = update(w, x);\n  > z: f32[1,4] = update(w, y);",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_verifier(name: str) -> None:
    graph, message = FAULTS[name]
    with pytest.raises(NnefcError) as caught:
        verify(graph)
    assert caught.value.message == f"the graph {graph.name!r} is faulty: {message}"
    assert caught.value.exit_code == 5


def test_verifier_asks_the_shape_rule() -> None:
    verify(_graph(Y), lambda op: (TensorType(DType.F32, (1, 4)),))
    with pytest.raises(NnefcError, match=r"relu makes f32\[9\], not f32\[1,4\]"):
        verify(_graph(Y), lambda op: (TensorType(DType.F32, (9,)),))


def test_identifiers() -> None:
    assert all(map(is_identifier, ["x", "_", "A1_b", "version1", "external", "add"]))
    assert not any(map(is_identifier, ["", "1x", "a-b", "a.b", "é", "for", "tensor", "true", "a\n"]))


def test_every_operation_of_the_standard_is_declared() -> None:
    from nnefc.ops.signatures import is_extension, require_declarations

    require_declarations()
    assert sum(not is_extension(name) for name in signatures()) == 119


def test_bodies_of_the_standard_library_are_well_typed() -> None:
    from nnefc.formats.nnef.context import Context
    from nnefc.formats.nnef.declarations import check_declaration
    from nnefc.formats.nnef.dialect import STRICT
    from nnefc.formats.nnef.typecheck import Checked
    from nnefc.ir.parse import parse_document

    context = Context(STRICT)
    checked = Checked(parse_document(PLAIN), context, (), signatures())
    for signature in signatures().values():
        check_declaration(signature.fragment, context)
        checked.check_fragment(signature)
