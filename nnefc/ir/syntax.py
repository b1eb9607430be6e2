"""The syntax tree of NNEF text, as written and unchecked (NNEF 1.0.5, 3.2 and Appendix A.2).

Every node is frozen and knows its place. Types compare by value; expressions and statements by identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from nnefc.errors import Location, NnefcError


@dataclass(frozen=True)
class PrimitiveSpec:
    """``integer``, ``scalar``, ``logical``, ``string`` or the generic ``?``."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class TensorSpec:
    """``tensor<item>``; ``item`` is None for the unbound ``tensor<>``."""

    item: str | None

    def __str__(self) -> str:
        return f"tensor<{self.item or ''}>"


@dataclass(frozen=True)
class ArraySpec:
    """``item[]``; ``item`` is None for the type of the literal ``[]``."""

    item: TypeSpec | None

    def __str__(self) -> str:
        return f"{self.item}[]" if self.item is not None else "[]"


@dataclass(frozen=True)
class TupleSpec:
    """``(items, ...)``."""

    items: tuple[TypeSpec, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"


TypeSpec = PrimitiveSpec | TensorSpec | ArraySpec | TupleSpec


@dataclass(frozen=True, eq=False)
class Expr:
    """An expression. ``depth`` is how deeply it nests; a chain of left-associative operators counts as one level."""

    location: Location
    depth: int = field(default=0, kw_only=True)


@dataclass(frozen=True, eq=False)
class Constant(Expr):
    """A literal: int, float, bool or str (unescaped). A minus sign before a number is part of it."""

    value: int | float | bool | str


@dataclass(frozen=True)
class Annotation:
    """The type written after an identifier: ``f32[1,64]``, then an encoding after ``@`` where there is one."""

    location: Location
    dtype: str
    shape: tuple[int | str, ...]
    encoding: Invocation | None


@dataclass(frozen=True, eq=False)
class Identifier(Expr):
    """A name; on the left of an assignment it may carry the type of the value."""

    name: str
    annotation: Annotation | None = None


@dataclass(frozen=True, eq=False)
class ArrayExpr(Expr):
    """``[a, b]``."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Numbers(Expr):
    """A long ``[1, 2, ...]`` of numeric literals, kept as bare values."""

    values: tuple[int | float, ...]


@dataclass(frozen=True, eq=False)
class TupleExpr(Expr):
    """``(a, b)``."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Subscript(Expr):
    """``sequence[begin]``, or ``sequence[begin:end]`` with either bound left out."""

    sequence: Expr
    begin: Expr | None
    end: Expr | None
    is_range: bool


@dataclass(frozen=True, eq=False)
class Unary(Expr):
    """``op operand`` with op one of ``+ - !``."""

    op: str
    operand: Expr


@dataclass(frozen=True, eq=False)
class Binary(Expr):
    """``left op right``, op being ``in``, logical, a comparison or arithmetic. ``location`` is that of ``left``."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, eq=False)
class Select(Expr):
    """``then if condition else otherwise``."""

    then: Expr
    condition: Expr
    otherwise: Expr


@dataclass(frozen=True, eq=False)
class Comprehension(Expr):
    """``[for target in iterable, ... if condition yield item]``; a target is an identifier or a tuple of them."""

    loops: tuple[tuple[Expr, Expr], ...]
    condition: Expr | None
    item: Expr


@dataclass(frozen=True, eq=False)
class Builtin(Expr):
    """``name(argument)`` for shape_of, length_of, range_of and the casts."""

    name: str
    argument: Expr


@dataclass(frozen=True, eq=False)
class Argument:
    """An argument of an invocation; ``name`` is None where it is positional."""

    location: Location
    name: str | None
    value: Expr


@dataclass(frozen=True, eq=False)
class Invocation(Expr):
    """``name<generic>(arguments)``."""

    name: str
    generic: str | None
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, eq=False)
class Assignment:
    """``target = value;``."""

    target: Expr
    value: Expr

    @property
    def location(self) -> Location:
        """Where the statement starts."""
        return self.target.location


@dataclass(frozen=True, eq=False)
class Parameter:
    """A parameter of a fragment; ``default`` is built of literals only."""

    location: Location
    name: str
    type: TypeSpec
    default: Expr | None


@dataclass(frozen=True, eq=False)
class Result:
    """A result of a fragment."""

    location: Location
    name: str
    type: TypeSpec


@dataclass(frozen=True, eq=False)
class Fragment:
    """A fragment; ``body`` is None where it is only declared. ``generic_default`` is the type after ``<? =``."""

    location: Location
    name: str
    generic: bool
    generic_default: str | None
    params: tuple[Parameter, ...]
    results: tuple[Result, ...]
    body: tuple[Assignment, ...] | None


@dataclass(frozen=True, eq=False)
class GraphDefinition:
    """The graph: names of inputs and outputs, and the body."""

    location: Location
    name: str
    params: tuple[Identifier, ...]
    results: tuple[Identifier, ...]
    body: tuple[Assignment, ...]


@dataclass(frozen=True, eq=False)
class Extension:
    """One extension of the header: its words, as ``("tract_registry", "tract_core")``."""

    location: Location
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True, eq=False)
class Source:
    """A text and the name of its file, kept to show lines in errors."""

    file: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The lines, without their ends."""
        return [line.rstrip("\r") for line in self.text.split("\n")]

    def place(self, error: NnefcError) -> NnefcError:
        """The error, with its source line attached if its place is in this file."""
        line = error.line
        if error.source is None and line and error.file == self.file and line <= len(self.lines):
            error.source = self.lines[line - 1]
        return error


@dataclass(frozen=True, eq=False)
class Document:
    """A whole ``graph.nnef``. ``quoted`` is where the first identifier like ``i"a.b"`` is, which only tract's dialect
    has."""

    source: Source
    version: Constant
    extensions: tuple[Extension, ...]
    fragments: tuple[Fragment, ...]
    graph: GraphDefinition
    quoted: Location | None = None


@dataclass(frozen=True, eq=False)
class QuantizationEntry:
    """A line of ``graph.quant``: the tensor's name and the operation with its named parameters."""

    name: Constant
    operation: Invocation


def children(expr: Expr) -> Iterator[Expr]:
    """The expressions directly inside one, in the order they are written."""
    if isinstance(expr, (ArrayExpr, TupleExpr)):
        yield from expr.items
    elif isinstance(expr, Subscript):
        yield expr.sequence
        yield from (e for e in (expr.begin, expr.end) if e is not None)
    elif isinstance(expr, Unary):
        yield expr.operand
    elif isinstance(expr, Binary):
        yield from (expr.left, expr.right)
    elif isinstance(expr, Select):
        yield from (expr.then, expr.condition, expr.otherwise)
    elif isinstance(expr, Comprehension):
        for target, iterable in expr.loops:
            yield from (target, iterable)
        if expr.condition is not None:
            yield expr.condition
        yield expr.item
    elif isinstance(expr, Builtin):
        yield expr.argument
    elif isinstance(expr, Invocation):
        yield from (a.value for a in expr.arguments)


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and everything inside it, parents first, without recursion."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(list(children(node))))
