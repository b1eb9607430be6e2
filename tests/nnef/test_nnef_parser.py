# ruff: noqa: E501 (a row of a table is a line)
"""The grammar: what texts the parser takes, and the trees it makes."""

from __future__ import annotations

import pytest
from nnef_texts import document, verdict

from nnefc.errors import InvalidModelError
from nnefc.ir import syntax as ast
from nnefc.ir.parse import parse_declarations, parse_document, parse_quantization


def shown(expr: ast.Expr | None) -> str:
    """A tree with all its brackets."""
    if isinstance(expr, ast.Constant):
        return repr(expr.value)
    if isinstance(expr, ast.Identifier):
        return expr.name
    if isinstance(expr, ast.Binary):
        return f"({shown(expr.left)} {expr.op} {shown(expr.right)})"
    if isinstance(expr, ast.Unary):
        return f"({expr.op}{shown(expr.operand)})"
    if isinstance(expr, ast.Select):
        return f"({shown(expr.then)} if {shown(expr.condition)} else {shown(expr.otherwise)})"
    if isinstance(expr, ast.Subscript):
        colon = ":" if expr.is_range else ""
        return f"{shown(expr.sequence)}[{shown(expr.begin)}{colon}{shown(expr.end)}]"
    if isinstance(expr, ast.Numbers):
        return f"numbers{expr.values}"
    if expr is None:
        return ""
    name = {ast.Invocation: "call", ast.ArrayExpr: "array", ast.TupleExpr: "tuple"}.get(type(expr), type(expr).__name__)
    return f"{name}({', '.join(map(shown, ast.children(expr)))})"


EXPRESSIONS = {
    "a + b - c": "((a + b) - c)",
    "a - b * c / d": "(a - ((b * c) / d))",
    "a ^ b ^ c": "((a ^ b) ^ c)",
    "a * b ^ c * d": "((a * (b ^ c)) * d)",
    "-a ^ b": "(-(a ^ b))",
    "a ^ -b ^ c": "((a ^ (-b)) ^ c)",
    "a ^ - - b": "(a ^ (-(-b)))",
    "-a * b": "((-a) * b)",
    "a * -b + c": "((a * (-b)) + c)",
    "-1 ^ 2": "(-(1 ^ 2))",
    "-1 + 2": "(-1 + 2)",
    "- -1": "1",
    "+1": "(+1)",
    "!a && b": "((!a) && b)",
    "a || b && c": "((a || b) && c)",
    "a < b + c == d": "((a < (b + c)) == d)",
    "a && b in c || d": "((a && b) in (c || d))",
    "a if b else c if d else e": "(a if b else (c if d else e))",
    "a if b if c else d else e": "(a if (b if c else d) else e)",
    "a + b if c in d else e": "((a + b) if (c in d) else e)",
    "(a + b) * c": "((a + b) * c)",
    "a[0][b:][:c][:]": "a[0][b:][:c][:]",
    "-a[0]": "(-a[0])",
    "f(a)[0]": "call(a)[0]",
    "f<integer>(a, b = 1)": "call(a, 1)",
    "f < < integer >(a)": None,
    "f< # what\n integer >(a)": "call(a)",
    "a < integer(b)": "(a < Builtin(b))",
    "a<b": "(a < b)",
    "a <-1": "(a < -1)",
    "[]": "array()",
    "[a, (b, 'c')]": "array(a, tuple(b, 'c'))",
    "[1, 2, 3]": "array(1, 2, 3)",
    "[1, -2, 3.5, 4, 5, 6, 7, 8, 9e1]": "numbers(1, -2, 3.5, 4, 5, 6, 7, 8, 90.0)",
    "[ 1 ,2,3,4,5,6,7,8,9,\n10 ]": "numbers(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)",
    "[1,2,3,4,5,6,7,8,9,a]": "array(1, 2, 3, 4, 5, 6, 7, 8, 9, a)",
    "[for i in a yield i + 1]": "Comprehension(i, a, (i + 1))",
    "[for (i, j) in a, k in b if i > k yield f(i)]": "Comprehension(tuple(i, j), a, k, b, (i > k), call(i))",
    "[for i in a if b yield c if d else e]": "Comprehension(i, a, b, (c if d else e))",
    "'it''s'": None,
    "'it\\'s'": '"it\'s"',
    '"a\\\\b"': "'a\\\\b'",
    "'two\nlines'": None,
    "1.": "1.0",
    "1.5e-3": "0.0015",
    "1E+2": "100.0",
    ".5": None,
    "1e": None,
    "0x1": None,
    "1.5.2": None,
    "truely": "truely",
    "true": "True",
    "(a)": "a",
    "(a,)": None,
    "[a,]": None,
    "f(a,)": None,
    "f(a b)": None,
    "a b": None,
    "a +": None,
    "a <> b": None,
    "a = b": None,
    "a & b": None,
    "~a": None,
    "version": None,
    "in": None,
    "f(for = 1)": None,
    "[for i in a]": None,
    "[for i in a if b]": None,
    "a[]": None,
    "a[b:c:d]": None,
    "a if b": None,
    "if a else b": None,
    "shape_of(a)": "Builtin(a)",
    "length_of(a, b)": None,
    "tensor(a)": None,
    "f()": "call()",
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression(expression: str) -> None:
    text = document(f"y = {expression};")
    if EXPRESSIONS[expression] is None:
        with pytest.raises(InvalidModelError):
            parse_document(text)
    else:
        _, assignment = parse_document(text).graph.body
        assert shown(assignment.value) == EXPRESSIONS[expression]


TYPES = [
    "integer",
    "tensor<scalar>",
    "tensor<>",
    "?",
    "tensor<?>[]",
    "integer[][]",
    "(integer, string)[]",
    "(tensor<scalar>, (tensor<>, tensor<logical>[]))",
]


@pytest.mark.parametrize("spec", TYPES)
def test_types_print_as_written(spec: str) -> None:
    (fragment,) = parse_declarations(f"fragment f(x: {spec}) -> (y: {spec});", "f.nnef")
    assert str(fragment.params[0].type) == str(fragment.results[0].type) == spec


def test_fragment_declaration() -> None:
    text = "fragment f<? = logical>(x: tensor<?>, n: integer[] = [-1]) -> (y: tensor<?>, z: tensor<scalar>[]);"
    (fragment,) = parse_declarations(text, "f.nnef")
    assert (fragment.name, fragment.generic, fragment.generic_default, fragment.body) == ("f", True, "logical", None)
    assert [p.name for p in fragment.params] == ["x", "n"]
    assert shown(fragment.params[1].default) == "array(-1)"
    assert [(r.name, str(r.type)) for r in fragment.results] == [("y", "tensor<?>"), ("z", "tensor<scalar>[]")]


EXTENSIONS = {
    "extension KHR_a, KHR_b;": ["KHR_a", "KHR_b"],
    "extension KHR_a KHR_b;": ["KHR_a", "KHR_b"],
    "extension KHR_a; extension EXT_b;": ["KHR_a", "EXT_b"],
    "extension tract_registry tract_core;": ["tract_registry tract_core"],
    "": [],
}


@pytest.mark.parametrize("text", EXTENSIONS)
def test_extensions(text: str) -> None:
    parsed = parse_document(document("y = x;", head=f"version 1.0;\n{text}\n"))
    assert [str(e) for e in parsed.extensions] == EXTENSIONS[text]


def test_annotations() -> None:
    statement = "(a: f32[], [b: i64[1,N] @ linear_quantize(min = 0.0, max = [[1.0, 2.0]], bits = 8)]) = f(x);"
    _, assignment = parse_document(document(statement)).graph.body
    a, b = (t for t in ast.walk(assignment.target) if isinstance(t, ast.Identifier))
    assert a.annotation is not None and b.annotation is not None and b.annotation.encoding is not None
    assert (a.annotation.dtype, a.annotation.shape, a.annotation.encoding) == ("f32", (), None)
    assert (b.annotation.dtype, b.annotation.shape, b.annotation.encoding.name) == ("i64", (1, "N"), "linear_quantize")


def test_quantization_file() -> None:
    text = "# a comment\n\"x\": linear_quantize(min = 0.0, bits = 8);\n'y': f();\n"
    first, second = parse_quantization(text)
    assert (first.name.value, first.operation.name, second.name.value) == ("x", "linear_quantize", "y")
    assert [a.name for a in first.operation.arguments] == ["min", "bits"]


def test_comments_and_blanks() -> None:
    text = "# first\nversion 1.0;#\r\n\f\v\tgraph G(x)->(y){x=external(shape=[]);y=relu(x);}# last"
    assert len(parse_document(text).graph.body) == 2


def test_places_count_from_one() -> None:
    text = "version 1.0;\n\ngraph G(x) -> (y)\n{\n\tx = external(shape = []);\n    y = f(x, 'é', q);\n}"
    _, assignment = parse_document(text).graph.body
    assert isinstance(assignment.value, ast.Invocation)
    assert [str(a.location) for a in assignment.value.arguments] == [
        "graph.nnef:6:11",
        "graph.nnef:6:14",
        "graph.nnef:6:19",
    ]


SYNTAX_ERRORS = {
    "": "1:1: the text ends too early; expected 'version'",
    "version 1.0;": "1:13: the text ends too early; expected 'extension', 'fragment' or 'graph'",
    "version;": "1:8: unexpected ';'; expected a number",
    "graph G": "1:1: unexpected 'graph'; expected 'version'",
    "version 1.0; graph G(x) -> (y) {}": "1:33: unexpected '}'; expected '(', '[' or an identifier",
    "version 1.0; graph G(x) -> (y) { y = f(x) }": "1:43: unexpected '}'; expected an operator or ';'",
    "version 1.0; graph G(x) -> (y) { y = f(x;": "1:41: unexpected ';'; expected an operator, ')', ',' or '='",
    "version 1.0; graph G() -> (y) { y = x; }": "1:20: a graph without inputs needs 'extension NNEFC_operations;'",
    "version 1.0; graph if(x) -> (y) { y = x; }": "1:20: unexpected 'if'; expected an identifier",
    "version 1.0; graph G(x) -> (y) { y = $; }": "1:38: unexpected character '$'",
    "version 1.0; graph G(x) -> (y) { y = 'a; }": "1:38: a string without its closing quote",
    "version 1.0; graph G(x) -> (y) { y = x; } y": "1:43: unexpected 'y'; expected the end of the text",
    "version 1.0; fragment f<scalar>(x: integer) -> (y: tensor<>); graph G(x) -> (y) { y = x; }": "1:24: unexpected '<scalar>'; expected '<?>' or '<? = type>'",
    "version 1.0; fragment f(x: tensor) -> (y": "1:34: unexpected ')'; expected '<' or '<type>'",
    "version 1.0; fragment f(x: real) -> (y": (
        "1:28: unexpected 'real'; expected '(', '?', 'integer', 'logical', 'scalar', 'string' or 'tensor'"
    ),
}


@pytest.mark.parametrize("text", SYNTAX_ERRORS)
def test_syntax_error(text: str) -> None:
    assert verdict(text) == SYNTAX_ERRORS[text]
