"""NNEF text to syntax tree. Syntax only: names, types and values are checked later."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from importlib import resources
from typing import Any

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedToken, VisitError

from nnefc.errors import InvalidModelError, Location
from nnefc.ir import syntax as ast
from nnefc.ir.treebuilder import MAX_DEPTH, TreeBuilder

MAX_TEXT = 16 << 20
"""Characters in a text."""
MAX_TOKENS = 1 << 18
"""Tokens in a text."""
MAX_NAME = 1000
"""Characters in an identifier."""


def parse_document(text: str, file: str = "graph.nnef") -> ast.Document:
    """The syntax tree of a whole ``graph.nnef``. Raises InvalidModelError at the first fault of syntax."""
    source = ast.Source(file, text)
    (version, extensions, fragments, graph), quoted = _parsed(source, "document")
    return ast.Document(source, version, extensions, fragments, graph, quoted)


def parse_declarations(text: str, file: str) -> tuple[ast.Fragment, ...]:
    """The fragments of a text that holds nothing else. Raises InvalidModelError at the first fault of syntax."""
    result: tuple[ast.Fragment, ...] = _parse(ast.Source(file, text), "declarations")
    return result


def parse_quantization(text: str, file: str = "graph.quant") -> tuple[ast.QuantizationEntry, ...]:
    """The lines of a ``graph.quant`` (NNEF 1.0.5, 5.3). Raises InvalidModelError at the first fault of syntax."""
    result: tuple[ast.QuantizationEntry, ...] = _parse(ast.Source(file, text), "quantization")
    return result


def _parse(source: ast.Source, start: str) -> Any:
    tree, quoted = _parsed(source, start)
    if quoted is not None:
        raise source.place(InvalidModelError("an identifier cannot be quoted here", quoted))
    return tree


def _parsed(source: ast.Source, start: str) -> tuple[Any, Location | None]:
    """What a text holds, and where the first quoted identifier is."""
    if len(source.text) > MAX_TEXT:
        raise InvalidModelError(
            f"the text has {len(source.text)} characters; at most {MAX_TEXT} are accepted", Location(source.file)
        )
    builder = TreeBuilder(source.file)
    try:
        tree = builder.transform(_parser().parse(source.text, start))
        return tree, builder.quoted
    except VisitError as wrapped:
        if not isinstance(wrapped.orig_exc, InvalidModelError):
            raise wrapped.orig_exc from None
        error = wrapped.orig_exc
    except _LimitReached as limit:
        error = InvalidModelError(limit.message, builder.at(limit.token))
    except UnexpectedCharacters as fault:
        char = source.text[fault.pos_in_stream or 0]
        what = "a string without its closing quote" if char in "\"'" else f"unexpected character {char!r}"
        error = InvalidModelError(what, Location(source.file, fault.line, fault.column))
    except (UnexpectedToken, UnexpectedEOF) as fault:
        error = _unexpected(source, fault)
    raise source.place(error) from None


def _unexpected(source: ast.Source, fault: UnexpectedToken | UnexpectedEOF) -> InvalidModelError:
    """The error for a token that does not fit, with those that would."""
    token = getattr(fault, "token", None)
    choices = f"; expected {_choices(set(getattr(fault, 'accepts', None) or fault.expected or ()))}"
    if token is None or token.type == "$END":
        lines = source.lines
        return InvalidModelError(
            f"the text ends too early{choices}", Location(source.file, len(lines), len(lines[-1]) + 1)
        )
    shown = str(token) if len(token) <= 40 else str(token)[:37] + "..."
    return InvalidModelError(
        f"unexpected '{shown}'{choices}", Location(source.file, token.line or 0, token.column or 0)
    )


_EXPRESSION = frozenset(
    "MINUS PLUS NOT NUMBER NUMBERS STRING TRUE FALSE INTEGER SCALAR LOGICAL STRING_TYPE".split()
    + "SHAPE_OF LENGTH_OF RANGE_OF".split()
)
_OPERATOR = frozenset("IN AND OR LT LE GT GE EQ NE PLUS MINUS STAR SLASH CARET".split())
_NAMES = {
    "IDENT": "an identifier",
    "NUMBER": "a number",
    "STRING": "a string",
    "GENERIC": "'<type>'",
    "GENERIC_DEFAULT": "'<? = type>'",
    "$END": "the end of the text",
}


def _choices(terminals: set[str]) -> str:
    """The acceptable terminals, as a reader of NNEF would call them."""
    names = []
    if terminals >= _EXPRESSION:
        names.append("an expression")
        terminals = terminals - _EXPRESSION - {"IDENT", "LPAR", "LSQB"}
    if terminals >= _OPERATOR:
        names.append("an operator")
        terminals = terminals - _OPERATOR - {"LPAR", "LSQB", "GENERIC", "IF"}
    names += sorted(_NAMES.get(t) or "'" + _spellings()[t] + "'" for t in terminals)
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]


@functools.cache
def _spellings() -> dict[str, str]:
    return {t.name: t.pattern.value.replace("\\", "") for t in _parser().terminals}


class _LimitReached(Exception):
    def __init__(self, message: str, token: Token):
        super().__init__(message)
        self.message = message
        self.token = token


class _Limits:
    """Counts tokens and open brackets on their way from the lexer to the parser."""

    always_accept = ()

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """The same tokens. Raises _LimitReached at the one that is too many or too deep."""
        open_brackets = 0
        for count, token in enumerate(stream):
            if count >= MAX_TOKENS:
                raise _LimitReached(f"the text has more than {MAX_TOKENS} tokens", token)
            if token.type in ("LPAR", "LSQB"):
                open_brackets += 1
                if open_brackets > MAX_DEPTH:
                    raise _LimitReached(f"brackets nest more than {MAX_DEPTH} deep", token)
            elif token.type in ("RPAR", "RSQB"):
                open_brackets -= 1
            elif token.type == "IDENT" and len(token) > MAX_NAME:
                raise _LimitReached(
                    f"an identifier has {len(token)} characters; at most {MAX_NAME} are accepted", token
                )
            yield token


@functools.cache
def _parser() -> Lark:
    grammar = resources.files("nnefc.ir").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="basic",
        start=["document", "declarations", "quantization"],
        maybe_placeholders=True,
        postlex=_Limits(),
    )
