"""lark's parse tree to the nodes of ``syntax.py``."""

from __future__ import annotations

import re
from typing import Any

from lark import Token
from lark.visitors import Transformer_NonRecursive

from nnefc.errors import InvalidModelError, Location
from nnefc.ir import syntax as ast

MAX_DEPTH = 64
"""Levels of nesting of an expression, a type or a left-hand side."""
MAX_NUMBER = 400
"""Characters in a numeric literal."""

PRECEDENCE = {
    op: level for level, ops in enumerate(("in", "&& ||", "< <= > >= == !=", "+ -", "* /", "^")) for op in ops.split()
}
"""Binary operators, loosest first, all left-associative. Unary ones bind tighter than ``*`` and looser than ``^``."""
_POWER = PRECEDENCE["^"]

_BLANK = re.compile(r"\s+|#[^\n\r\f]*")
_NUMBER = re.compile(r"-?[0-9][0-9.eE+-]*")


class TreeBuilder(Transformer_NonRecursive):  # type: ignore[type-arg]
    """One method per rule or alias of the grammar; each raises InvalidModelError where a limit is passed."""

    def __init__(self, file: str):
        super().__init__()
        self.file = file
        self.quoted: Location | None = None

    def at(self, token: Token) -> Location:
        """Where a token starts."""
        return Location(self.file, token.line or 0, token.column or 0)

    def IDENT(self, token: Token) -> Token:
        """An identifier; of ``i"a.b"``, what is between the quotes, its first place kept."""
        if not token.endswith('"'):
            return token
        self.quoted = self.quoted or self.at(token)
        return Token.new_borrow_pos("IDENT", re.sub(r"\\(.)", r"\1", token[2:-1]), token)

    def _deep(self, location: Location, *parts: ast.Expr | None) -> int:
        depth = 1 + max([p.depth for p in parts if p is not None], default=0)
        if depth > MAX_DEPTH:
            raise InvalidModelError(f"the expression nests more than {MAX_DEPTH} deep", location)
        return depth

    # The document.

    def document(self, c: list[Any]) -> tuple[Any, ...]:
        version, *middle, graph = c
        extensions = tuple(e for group in middle if isinstance(group, list) for e in group)
        return version, extensions, tuple(f for f in middle if isinstance(f, ast.Fragment)), graph

    def declarations(self, c: list[Any]) -> tuple[Any, ...]:
        return tuple(c)

    quantization = parameters = results = body = declarations

    def entry(self, c: list[Any]) -> ast.QuantizationEntry:
        return ast.QuantizationEntry(*c)

    def version(self, c: list[Any]) -> Any:
        return c[0]

    def extension(self, c: list[Any]) -> list[ast.Extension]:
        if isinstance(c[1], Token):
            return [ast.Extension(self.at(c[1]), tuple(str(part) for part in c[1].split(maxsplit=1)))]
        return [ast.Extension(location, words) for group in c[1:] for location, words in group]

    def words(self, c: list[Token]) -> list[tuple[Location, tuple[str, ...]]]:
        if all(re.match("[A-Z]+_", word) for word in c):
            return [(self.at(word), (str(word),)) for word in c]
        return [(self.at(c[0]), tuple(map(str, c)))]

    def fragment(self, c: list[Any]) -> ast.Fragment:
        name, generic, params, results, *body = c
        default = _generic(generic) if generic is not None and generic.type == "GENERIC_DEFAULT" else None
        return ast.Fragment(
            self.at(name), str(name), generic is not None, default, params or (), results, body[0] if body else None
        )

    def generic_declaration(self, c: list[Token]) -> Token:
        (token,) = c
        if token.type == "GENERIC" and _generic(token) != "?":
            raise InvalidModelError(f"unexpected '{token}'; expected '<?>' or '<? = type>'", self.at(token))
        return token

    def parameter(self, c: list[Any]) -> ast.Parameter:
        name, (type_, _), default = c
        return ast.Parameter(self.at(name), str(name), type_, default)

    def result(self, c: list[Any]) -> ast.Result:
        name, (type_, _) = c
        return ast.Result(self.at(name), str(name), type_)

    def graph(self, c: list[Any]) -> ast.GraphDefinition:
        name, params, results, body = c
        return ast.GraphDefinition(self.at(name), str(name), params or (), results, body)

    def identifiers(self, c: list[Token]) -> tuple[ast.Identifier, ...]:
        return tuple(ast.Identifier(self.at(t), str(t)) for t in c)

    # Types: pairs of the type and its depth.

    def primitive_type(self, c: list[Token]) -> tuple[ast.TypeSpec, int]:
        return ast.PrimitiveSpec(str(c[0])), 0

    def generic_type(self, _: list[Token]) -> tuple[ast.TypeSpec, int]:
        return ast.PrimitiveSpec("?"), 0

    def tensor_type(self, c: list[Token]) -> tuple[ast.TypeSpec, int]:
        return ast.TensorSpec(_generic(c[0])), 0

    def unbound_tensor_type(self, _: list[Token]) -> tuple[ast.TypeSpec, int]:
        return ast.TensorSpec(None), 0

    def array_type(self, c: list[Any]) -> tuple[ast.TypeSpec, int]:
        (item, depth), bracket = c
        return ast.ArraySpec(item), self._type_depth(depth, bracket)

    def tuple_type(self, c: list[Any]) -> tuple[ast.TypeSpec, int]:
        bracket, *items = c
        return ast.TupleSpec(tuple([t for t, _ in items])), self._type_depth(max(d for _, d in items), bracket)

    def _type_depth(self, depth: int, bracket: Token) -> int:
        if depth >= MAX_DEPTH:
            raise InvalidModelError(f"a type nests more than {MAX_DEPTH} deep", self.at(bracket))
        return depth + 1

    # Statements.

    def assignment(self, c: list[Any]) -> ast.Assignment:
        return ast.Assignment(*c)

    def bare_tuple(self, c: list[Any]) -> ast.TupleExpr:
        return ast.TupleExpr(c[0].location, tuple(c), depth=self._deep(c[0].location, *c))

    def annotated(self, c: list[Any]) -> ast.Identifier:
        return ast.Identifier(self.at(c[0]), str(c[0]), c[1])

    def annotation(self, c: list[Any]) -> ast.Annotation:
        dtype, _, *dims, encoding = c
        return ast.Annotation(self.at(dtype), str(dtype), _present(dims), encoding)

    def dim(self, c: list[Token]) -> int | str:
        (token,) = c
        if token.type == "IDENT":
            return str(token)
        if not token.isdigit() or len(token) > 18:
            raise InvalidModelError(f"an extent is an integer or a symbol, not {token}", self.at(token))
        return int(token)

    def named_call(self, c: list[Any]) -> ast.Invocation:
        return ast.Invocation(self.at(c[0]), str(c[0]), None, _present(c[2:]))

    # Expressions.

    def operators(self, c: list[Any]) -> ast.Expr:
        """A flat chain of signs, operands and operators, by precedence climbing."""
        return self._climb([*reversed(c)], 0)

    def _climb(self, rest: list[Any], lowest: int) -> ast.Expr:
        left = self._operand(rest, lowest)
        while rest and PRECEDENCE[rest[-1]] >= lowest:
            op = rest.pop()
            left = self._binary(left, op, self._climb(rest, PRECEDENCE[op] + 1))
        return left

    def _operand(self, rest: list[Any], lowest: int) -> ast.Expr:
        signs = []
        while isinstance(rest[-1], Token):
            signs.append(rest.pop())
        operand = self._climb(rest, _POWER) if signs and lowest <= _POWER else rest.pop()
        for sign in reversed(signs):
            operand = self._unary(sign, operand)
        return operand

    def _binary(self, left: ast.Expr, op: Token, right: ast.Expr) -> ast.Binary:
        depth = max(self._deep(left.location, right), left.depth)
        return ast.Binary(left.location, str(op), left, right, depth=depth)

    def _unary(self, sign: Token, operand: ast.Expr) -> ast.Expr:
        location = self.at(sign)
        value = operand.value if isinstance(operand, ast.Constant) else None
        if sign == "-" and isinstance(value, (int, float)) and not isinstance(value, bool):
            return ast.Constant(location, -value)
        return ast.Unary(location, str(sign), operand, depth=self._deep(location, operand))

    def select(self, c: list[Any]) -> ast.Select:
        then, condition, otherwise = c
        depth = self._deep(then.location, then, condition, otherwise)
        return ast.Select(then.location, then, condition, otherwise, depth=depth)

    def subscript(self, c: list[Any]) -> ast.Subscript:
        sequence, _, index = c
        depth = self._deep(sequence.location, sequence, index)
        return ast.Subscript(sequence.location, sequence, index, None, False, depth=depth)

    def slice(self, c: list[Any]) -> ast.Subscript:
        sequence, _, begin, end = c
        depth = self._deep(sequence.location, sequence, begin, end)
        return ast.Subscript(sequence.location, sequence, begin, end, True, depth=depth)

    def identifier(self, c: list[Token]) -> ast.Identifier:
        return ast.Identifier(self.at(c[0]), str(c[0]))

    def parenthesized(self, c: list[Any]) -> ast.Expr:
        return c[1]  # type: ignore[no-any-return]

    def tuple(self, c: list[Any]) -> ast.TupleExpr:
        location, items = self.at(c[0]), _present(c[1:])
        return ast.TupleExpr(location, items, depth=self._deep(location, *items))

    def array(self, c: list[Any]) -> ast.ArrayExpr:
        location, items = self.at(c[0]), _present(c[1:])
        return ast.ArrayExpr(location, items, depth=self._deep(location, *items))

    def numbers(self, c: list[Token]) -> ast.Numbers:
        (token,) = c
        location = self.at(token)
        return ast.Numbers(location, tuple([self._number(m[0], location) for m in _NUMBER.finditer(token)]))

    def comprehension(self, c: list[Any]) -> ast.Comprehension:
        bracket, *loops, condition, item = c
        location = self.at(bracket)
        depth = self._deep(location, *(e for loop in loops for e in loop), condition, item)
        return ast.Comprehension(location, _present(loops), condition, item, depth=depth)

    def loop(self, c: list[Any]) -> Any:
        target, iterable = c
        return target, iterable

    def builtin(self, c: list[Any]) -> ast.Builtin:
        name, _, argument = c
        location = self.at(name)
        return ast.Builtin(location, str(name), argument, depth=self._deep(location, argument))

    def invocation(self, c: list[Any]) -> ast.Invocation:
        name, generic, _, *arguments = c
        location, args = self.at(name), _present(arguments)
        depth = self._deep(location, *[a.value for a in args])
        return ast.Invocation(location, str(name), generic and _generic(generic), args, depth=depth)

    def positional_argument(self, c: list[Any]) -> ast.Argument:
        return ast.Argument(c[0].location, None, c[0])

    def named_argument(self, c: list[Any]) -> ast.Argument:
        return ast.Argument(self.at(c[0]), str(c[0]), c[1])

    def logical(self, c: list[Token]) -> ast.Constant:
        return ast.Constant(self.at(c[0]), c[0] == "true")

    def string(self, c: list[Token]) -> ast.Constant:
        return ast.Constant(self.at(c[0]), re.sub(r"\\(.)", r"\1", c[0][1:-1]))

    def number(self, c: list[Token]) -> ast.Constant:
        location = self.at(c[0])
        return ast.Constant(location, self._number(c[0], location))

    def _number(self, text: str, location: Location) -> int | float:
        if len(text) > MAX_NUMBER:
            raise InvalidModelError(f"a number has {len(text)} characters; at most {MAX_NUMBER} are accepted", location)
        return int(text) if text.lstrip("-").isdigit() else float(text)


def _present(items: list[Any]) -> tuple[Any, ...]:
    """The items without the placeholder of an empty optional list."""
    return tuple([i for i in items if i is not None])


def _generic(token: Token) -> str:
    """The type named in ``<integer>`` or ``<? = integer>``."""
    return _BLANK.sub("", token)[1:-1].removeprefix("?=")
