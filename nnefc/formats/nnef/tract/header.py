"""What the header of a document in tract's dialect says: registries, symbols and assertions."""

from __future__ import annotations

import ast as python
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnefc.errors import InvalidModelError, Location, UnboundError, UnsupportedError
from nnefc.formats.nnef.context import Context, fail
from nnefc.formats.nnef.declarations import KNOWN_EXTENSIONS
from nnefc.formats.nnef.dialect import TRACT_PREFIX
from nnefc.ir import syntax as ast

REGISTRIES = ("tract_core", "tract_transformers", "tract_extra", "tract_onnx", "tract_resource", "tract_pulse")
EXTERNALS = ("external", "tract_core_external")
MAX_ASSERTION = 500

Shapes = Mapping[str, Sequence[int]]


class Symbols:
    """The symbols of a document and their extents. Declared ones have theirs once ``bind`` was called."""

    def __init__(self, document: ast.Document, context: Context):
        self.document = document
        self.context = context
        self.declared = [e.words[1] for e in document.extensions if e.words[0] == "tract_symbol" and len(e.words) > 1]
        self.extents: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dims = {name: _dims(value) for name, value in _externals(document)}
        made = {t.name for a in document.graph.body for t in ast.walk(a.target) if isinstance(t, ast.Identifier)}
        named = [d.name for dims in self.dims.values() for d in dims if isinstance(d, ast.Identifier)]
        self.names = list(dict.fromkeys([*self.declared, *(n for n in named if n not in made)]))

    def free(self) -> dict[str, dict[str, str]]:
        """Input -> its dimensions that a symbol decides: the symbol by their index."""
        found: dict[str, dict[str, str]] = {}
        for name, dims in self.dims.items():
            for axis, dim in enumerate(dims):
                symbols = [n.name for n in ast.walk(dim) if isinstance(n, ast.Identifier) and n.name in self.names]
                if symbols:
                    found.setdefault(name, {})[str(axis)] = ", ".join(symbols)
        return found

    def bind(self, given: Shapes) -> None:
        """Take extents of symbols and shapes of inputs by name. A symbol that stays free becomes 1 if it is a first
        extent, with a note. Raises InvalidModelError for what does not fit and UnboundError for free symbols."""
        for name, shape in given.items():
            if name in self.dims:
                self._bind_input(name, tuple(shape))
            elif name in self.names and len(shape) == 1:
                self._bind_symbol(name, shape[0])
            else:
                known = ", ".join([*self.dims, *self.names])
                fail(f"there is no input or symbol {name!r} to give a shape; there are {known}", self._place)
        free: dict[str, str] = {}
        for name, dims in self.dims.items():
            if name not in self.shapes:
                self._default(name, dims, free)
        if free:
            raise UnboundError(
                f"these extents are free: {'; '.join(free.values())}; give them with --shape SYMBOL=N or "
                "--shape INPUT=N,... (shapes= in Python)",
                self._place,
            )

    @property
    def _place(self) -> Location:
        return self.document.graph.location

    def _bind_symbol(self, symbol: str, extent: int) -> None:
        if self.extents.setdefault(symbol, extent) != extent:
            both = f"{self.extents[symbol]} and {extent}"
            fail(f"the symbol {symbol!r} would have the extents {both}", self._place)

    def _bind_input(self, name: str, shape: tuple[int, ...]) -> None:
        dims = self.dims[name]
        if len(dims) != len(shape):
            fail(f"the shape {list(shape)} for {name!r} does not have {len(dims)} extents", self._place)
        self.shapes[name] = shape
        for dim, extent in zip(dims, shape, strict=True):
            if isinstance(dim, ast.Identifier):
                self._bind_symbol(dim.name, extent)

    def _default(self, name: str, dims: Sequence[ast.Expr], free: dict[str, str]) -> None:
        for axis, dim in enumerate(dims):
            for node in ast.walk(dim):
                symbol = node.name if isinstance(node, ast.Identifier) else None
                if symbol is None or symbol in self.extents or symbol not in self.names:
                    continue
                if axis == 0 and node is dim:
                    self.extents[symbol] = 1
                    self.context.note(f"the first extent, {symbol!r}, of {name!r} is free: taken as 1", dim.location)
                else:
                    free.setdefault(symbol, f"dimension {axis} of {name!r} ({symbol!r})")

    def check_assertions(self) -> None:
        """Check ``tract_assert`` where its symbols are bound, with a note where they are not or it is not understood.
        Raises InvalidModelError for one that does not hold."""
        for extension in self.document.extensions:
            if extension.words[0] == "tract_assert" and len(extension.words) > 1:
                self._check(extension.words[1].strip(), extension.location)

    def _check(self, text: str, location: Location) -> None:
        holds: Any = None
        if ":" not in text and len(text) <= MAX_ASSERTION:
            try:
                holds = _value(python.parse(text, mode="eval").body, self.extents)
            except (SyntaxError, KeyError, ArithmeticError, RecursionError, MemoryError, ValueError):
                holds = None
        if holds is None:
            self.context.note(f"tract_assert {text} is not checked", location)
        elif not holds:
            bound = ", ".join(f"{name} = {extent}" for name, extent in self.extents.items() if name in text)
            fail(f"tract_assert {text} does not hold for {bound or 'these shapes'}", location)


_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    python.Add: operator.add,
    python.Sub: operator.sub,
    python.Mult: operator.mul,
    python.Div: operator.floordiv,
    python.Mod: operator.mod,
    python.Lt: operator.lt,
    python.LtE: operator.le,
    python.Gt: operator.gt,
    python.GtE: operator.ge,
    python.Eq: operator.eq,
    python.NotEq: operator.ne,
}


def _value(node: python.expr, extents: Mapping[str, int]) -> Any:
    """The value of an arithmetic expression. Raises KeyError for anything that it does not know."""
    if isinstance(node, python.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, python.Name):
        return extents[node.id]
    if isinstance(node, python.UnaryOp) and isinstance(node.op, python.USub):
        return -_value(node.operand, extents)
    if isinstance(node, python.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, extents), _value(node.right, extents))
    if isinstance(node, python.Compare) and len(node.ops) == 1:
        return _OPERATORS[type(node.ops[0])](_value(node.left, extents), _value(node.comparators[0], extents))
    raise KeyError(type(node).__name__)


def check_registries(document: ast.Document, context: Context) -> tuple[str, ...]:
    """The extensions that are not tract's nor known, which are kept. Raises InvalidModelError for another version, and
    UnsupportedError for a registry without known operations."""
    version = document.version.value
    if version != 1.0 or isinstance(version, int):
        fail(f"the version {version} of NNEF is not supported; 1.0 is", document.version.location)
    context.tolerate("tract", "the document is in tract's dialect", document.version.location)
    kept = []
    for extension in document.extensions:
        if extension.words[0] == "tract_registry" and extension.words[-1] not in REGISTRIES:
            raise UnsupportedError(f"operations of {str(extension)!r} are not known", extension.location)
        if not extension.words[0].startswith(TRACT_PREFIX) and str(extension) not in KNOWN_EXTENSIONS:
            context.tolerate("unknown_extensions", f"the extension {str(extension)!r} is not known", extension.location)
            kept.append(str(extension))
    return tuple(dict.fromkeys(kept))


def _externals(document: ast.Document) -> list[tuple[str, ast.Invocation]]:
    """The inputs with the invocations that make them. Raises InvalidModelError for an input without one."""
    found = {
        a.target.name: a.value
        for a in document.graph.body
        if isinstance(a.target, ast.Identifier) and isinstance(a.value, ast.Invocation) and a.value.name in EXTERNALS
    }
    for parameter in document.graph.params:
        if parameter.name not in found:
            raise InvalidModelError(f"the input {parameter.name!r} must be made by external", parameter.location)
    return [(p.name, found[p.name]) for p in document.graph.params]


def _dims(call: ast.Invocation) -> tuple[ast.Expr, ...]:
    """The extents written for an input."""
    shape = next((a.value for a in call.arguments if a.name in ("shape", None)), None)
    if isinstance(shape, ast.ArrayExpr):
        return shape.items
    if isinstance(shape, ast.Numbers):
        return tuple([ast.Constant(shape.location, v) for v in shape.values])
    fail(f"{call.name} needs 'shape = [...]'", call.location)
