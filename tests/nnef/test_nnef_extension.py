"""Operations of ``NNEFC_operations``: available where the extension is declared, and declared where one is used."""

from __future__ import annotations

import pytest

from nnefc.errors import InvalidModelError
from nnefc.formats.nnef import format_graph, parse_graph
from nnefc.ir.graph import Graph

TYPES = "extension NNEFC_tensor_types;\n"
OPERATIONS = "extension NNEFC_operations;\n"


def _text(body: str, header: str = "") -> str:
    return f"version 1.0;\n{header}graph g(x) -> (y)\n{{\n    {body}\n}}\n"


ERF = "x = external(shape = [3]); y = erf(x);"
INTEGERS = "x = external<integer>(shape = [3]); y = add(x, 2);"


def _again(graph: Graph) -> Graph:
    return parse_graph(format_graph(graph))


@pytest.mark.parametrize("body", [ERF, INTEGERS])
def test_a_graph_that_needs_the_extension_declares_it(body: str) -> None:
    graph = parse_graph(_text(body, OPERATIONS))
    assert graph.extensions == ()
    assert OPERATIONS in format_graph(graph, types=False) and _again(graph) == graph


def test_a_graph_of_the_standard_does_not_declare_it() -> None:
    graph = parse_graph(_text("x = external(shape = [3]); y = add(x, 2.0);", OPERATIONS))
    assert OPERATIONS not in format_graph(graph) and _again(graph) == graph


def test_operations_of_the_extension_need_its_declaration() -> None:
    with pytest.raises(InvalidModelError, match="there is no operation 'erf'"):
        parse_graph(_text(ERF))


def test_other_types_need_its_declaration() -> None:
    with pytest.raises(InvalidModelError, match="x of add has type tensor<integer>; tensor<scalar> is wanted"):
        parse_graph(_text(INTEGERS))


def test_narrow_integers_keep_their_type() -> None:
    body = "x: i32[3] = external<integer>(shape = [3]); y: i32[3] = add(x, 2);"
    graph = parse_graph(_text(body, OPERATIONS + TYPES))
    assert str(graph.outputs[0].type) == "i32[3]" and _again(graph) == graph


def test_a_graph_without_inputs_needs_its_declaration() -> None:
    text = "version 1.0;\n{}graph g() -> (y)\n{{\n    y = constant(shape = [2], value = [1.0, 2.0]);\n}}\n"
    graph = parse_graph(text.format(OPERATIONS))
    assert graph.inputs == () and _again(graph) == graph
    with pytest.raises(InvalidModelError, match="a graph without inputs needs 'extension NNEFC_operations;'"):
        parse_graph(text.format(""))


def test_a_document_may_name_its_own_fragments_so() -> None:
    fragment = "fragment erf( x: tensor<scalar> ) -> ( y: tensor<scalar> ) { y = tanh(x); }\n"
    header = "extension KHR_enable_fragment_definitions;\n"
    graph = parse_graph(_text(ERF, header + fragment))
    assert [op.kind for op in graph.ops] == ["tanh"]
    with pytest.raises(InvalidModelError, match="it is an operation of NNEFC_operations"):
        parse_graph(_text(ERF, OPERATIONS + header + fragment))
