"""Evaluation of documents in tract's dialect: types are those of the values that are met."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from nnefc.errors import InvalidModelError, Location, NnefcError, UnsupportedError
from nnefc.formats.nnef import arithmetic
from nnefc.formats.nnef.context import fail, suggestion
from nnefc.formats.nnef.dialect import TRACT_PREFIX
from nnefc.formats.nnef.expand import MAX_RECURSION, Expander, Frame
from nnefc.formats.nnef.expressions import BINARY_FRAGMENTS, UNARY_FRAGMENTS
from nnefc.formats.nnef.literals import thawed
from nnefc.formats.nnef.names import Hint
from nnefc.formats.nnef.tasks import Task, run
from nnefc.formats.nnef.tract.registry import REQUIRED, Arguments, Given, TractScope, operations
from nnefc.formats.nnef.tract.standard import standard
from nnefc.formats.nnef.typecheck import Checked, targets
from nnefc.formats.onnx.registry import Node
from nnefc.ir import syntax as ast
from nnefc.ir.graph import Value
from nnefc.ir.signature import literal_value
from nnefc.ops.signatures import signatures

MAX_DEPTH = 50
"""Fragments inside one another."""
_WORDS = {"inf": math.inf, "nan": math.nan}
assert MAX_DEPTH <= MAX_RECURSION


class Machine(Expander):
    """Evaluates a document on a Scope; ``symbols`` are the extents of its symbols.

    ``sources`` makes what ``external`` and ``variable`` stand for.
    """

    def __init__(self, checked: Checked, scope: TractScope, symbols: Mapping[str, int], sources: Mapping[str, Any]):
        super().__init__(checked, self._no_call, self._no_call)
        self.scope = scope
        self.symbols = symbols
        self.sources = sources
        self.context = checked.context
        self.fragments = {f.name: f for f in checked.document.fragments if f.body is not None}
        self.named: set[str] = set()

    @staticmethod
    def _no_call(call: object) -> NoReturn:
        raise AssertionError(f"operations of this dialect are not made by {call!r}")

    def evaluate(self) -> dict[str, Any]:
        """Evaluate the body of the graph; returns what its identifiers stand for."""
        frame = Frame({})
        for assignment in self.checked.document.graph.body:
            names = [t.name for t in targets(assignment.target)]
            frame.stem = names[0]
            self._bind(assignment.target, run(self._evaluated(assignment.value, frame, None)), frame.values)
            for name in names:
                frame.values[name] = self._own(name, frame.values[name])
                self.scope.builder.remember(name, frame.values[name])
        return frame.values

    def _own(self, name: str, value: Any) -> Any:
        """The value of an identifier: a copy where an encoding tells it from another name of the same tensor."""
        first = self.scope.builder.name_of(value) if isinstance(value, Value) else name
        encodings = self.scope.encodings
        quantized = first in encodings or (name in encodings and first in self.named)
        self.named.add(name)
        return self.scope.op("copy", [value]) if first != name and quantized else value

    @property
    def _place(self) -> Location | None:
        return self.scope.node.location if self.scope.node is not None else None

    # Expressions.

    def _start(self, expr: ast.Expr, scope: Frame, hint: Hint = None) -> Any:
        if isinstance(expr, ast.Constant):
            return expr.value
        return self._found(expr, scope) if isinstance(expr, ast.Identifier) else self._task(expr, scope, hint)

    def _found(self, expr: ast.Identifier, scope: Frame) -> Any:
        for known in (scope.values, self.symbols, _WORDS):
            if expr.name in known:
                return known[expr.name]
        close = suggestion(expr.name, [*scope.values, *self.symbols])
        fail(f"{expr.name!r} is not defined{close}", expr.location)

    def _identifier(self, expr: ast.Identifier, scope: Frame, hint: Hint) -> Task:
        yield from ()
        return self._found(expr, scope)

    def _unary(self, expr: ast.Unary, scope: Frame, hint: Hint) -> Task:
        operand = yield self._start(expr.operand, scope)
        if not _is_tensor(operand):
            return self._arithmetic(arithmetic.unary, expr.location, expr.op, operand)
        if expr.op == "+":
            return operand
        return (yield self._called(UNARY_FRAGMENTS[expr.op], [(None, operand)], expr, scope))

    def _operator(self, node: ast.Binary, left: Any, scope: Frame, hint: Hint) -> Task:
        right = yield self._start(node.right, scope)
        if node.op in BINARY_FRAGMENTS and (_is_tensor(left) or _is_tensor(right)):
            name = BINARY_FRAGMENTS[node.op]
            return (yield self._called(name, [(None, left), (None, right)], node, scope))
        if node.op in ("&&", "||"):
            return (left and right) if node.op == "&&" else (left or right)
        if node.op == "in":
            return arithmetic.contains(left, right, lambda items: self._count(node.location, items=items))
        self._count(node.location, items=arithmetic.size_of(node.op, left, right))
        try:
            return self._arithmetic(arithmetic.binary, node.location, node.op, left, right)
        except (TypeError, KeyError):
            fail(f"the operator {node.op} is not defined for these operands", node.location)

    def _subscript(self, expr: ast.Subscript, scope: Frame, hint: Hint) -> Task:
        sequence = yield self._start(expr.sequence, scope)
        if isinstance(sequence, Value) or not isinstance(sequence, (np.ndarray, list, tuple, str)):
            fail("only arrays, and tensors known while reading, can be subscripted", expr.location)
        if isinstance(sequence, np.ndarray) and sequence.ndim == 0:
            fail("a tensor of rank 0 cannot be subscripted", expr.location)
        bounds: list[int | None] = []
        for bound in (expr.begin, expr.end):
            bounds.append(None if bound is None else self._index((yield self._start(bound, scope)), bound.location))
        part: Any
        if expr.is_range:
            part = sequence[bounds[0] : bounds[1]]
        else:
            index = bounds[0] or 0
            if not -len(sequence) <= index < len(sequence):
                fail(f"the index {index} is outside of {len(sequence)} items", expr.location)
            part = sequence[index]
        return np.asarray(part) if isinstance(sequence, np.ndarray) else part

    def _index(self, value: Any, location: Location) -> int:
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        if not isinstance(value, int):
            fail("an index must be an integer known while reading", location)
        return value

    def _select(self, expr: ast.Select, scope: Frame, hint: Hint) -> Task:
        condition = yield self._start(expr.condition, scope)
        if isinstance(condition, Value):
            fail("the condition must be known while reading; for tensors there is select", expr.condition.location)
        return (yield self._start(expr.then if np.all(condition) else expr.otherwise, scope, hint))

    def _comprehension(self, expr: ast.Comprehension, scope: Frame, hint: Hint) -> Task:
        raise UnsupportedError("comprehensions are not part of tract's dialect", expr.location)

    def _builtin(self, expr: ast.Builtin, scope: Frame, hint: Hint) -> Task:
        value = yield self._start(expr.argument, scope)
        if expr.name == "shape_of":
            return list(self.scope.shape(value)) if _is_tensor(value) else []
        if expr.name in ("length_of", "range_of"):
            return len(value) if expr.name == "length_of" else list(range(len(value)))
        return self._arithmetic(arithmetic.convert, expr.location, expr.name, value)

    # Invocations.

    def _invocation(self, expr: ast.Invocation, scope: Frame, hint: Hint) -> Task:
        given = []
        for argument in expr.arguments:
            given.append((argument.name, (yield self._start(argument.value, scope))))
        return (yield self._called(expr.name, given, expr, scope))

    def _called(self, name: str, given: Given, expr: ast.Expr, scope: Frame) -> Task:
        """The result of an invocation: by the document's fragments first, as in tract, then by what is known."""
        generic = expr.generic if isinstance(expr, ast.Invocation) else None
        if name in self.fragments:
            return (yield self.fragment(self.fragments[name], given, expr.location, scope))
        entry = operations().get(name)
        if name == "tract_core_scan":
            return (yield self.sources[name](self, given, expr.location, scope))
        if entry is None and name not in signatures() and name not in self.sources:
            if name.startswith(TRACT_PREFIX):
                raise UnsupportedError(f"tract's operation {name!r} is not supported", expr.location)
            close = suggestion(name, [*self.fragments, *signatures(), *operations()])
            fail(f"there is no operation {name!r}{close}", expr.location)
        yield from ()
        return self._made(name, generic, given, expr.location, scope)

    def _made(self, name: str, generic: str | None, given: Given, location: Location, frame: Frame) -> Any:
        """The result of an operation; errors get its name and place."""
        self.scope.node = Node(name, "", 0, (), {}, (frame.stem,), frame.stem, location)
        entry = operations().get(name)
        try:
            if name in self.sources:
                return self.sources[name](self, generic, given, frame)
            if entry is not None:
                values = self.matched(name, entry.params, given)
                return entry.run(self.scope, Arguments(self.scope, name, values))
            return standard(self.scope, name, generic, given, self.context)
        except NnefcError as error:
            if error.location is not None:
                raise
            said = error.message if error.message.startswith(f"{name}: ") else f"{name}: {error.message}"
            raise type(error)(said, location) from error.__cause__
        except (IndexError, KeyError, ValueError, TypeError, OverflowError, ZeroDivisionError) as error:
            raise InvalidModelError(f"{name}: its arguments do not fit: {error}", location) from error

    def matched(self, name: str, params: Mapping[str, Any], given: Given) -> dict[str, Any]:
        """The arguments by parameter, defaults filled in. Raises InvalidModelError for those that do not fit."""
        values = {p: default for p, default in params.items() if default is not REQUIRED}
        seen = set()
        for position, (key, value) in enumerate(given):
            if key is None and position >= len(params):
                raise InvalidModelError(f"at most {len(params)} arguments are taken")
            parameter = list(params)[position] if key is None else key
            if parameter not in params:
                self.context.note(f"{name} has no parameter {parameter!r}; it is ignored, as tract does", self._place)
                continue
            if parameter in seen:
                raise InvalidModelError(f"{parameter} is given twice")
            seen.add(parameter)
            values[parameter] = value
        missing = [p for p in params if p not in values]
        if missing:
            raise InvalidModelError(f"a value is needed for {', '.join(missing)}")
        return values

    def fragment(self, fragment: ast.Fragment, given: Given, location: Location, scope: Frame) -> Task:
        """The result of a fragment of the document, a tuple if it has several."""
        if scope.depth >= MAX_DEPTH:
            fail(f"fragments nest more than {MAX_DEPTH} deep; {fragment.name!r} calls itself", location)
        params = {
            p.name: REQUIRED if p.default is None else thawed(literal_value(p.default), p.type) for p in fragment.params
        }
        try:
            values = self.matched(fragment.name, params, given)
        except NnefcError as error:
            raise type(error)(f"{fragment.name}: {error.message}", location) from None
        inner = Frame(values, stem=scope.stem, depth=scope.depth + 1)
        for assignment in fragment.body or ():
            self._bind(assignment.target, (yield self._start(assignment.value, inner)), inner.values)
        for result in fragment.results:
            if result.name not in inner.values:
                fail(f"the result {result.name!r} of the fragment {fragment.name!r} is not assigned", result.location)
        results = tuple(inner.values[r.name] for r in fragment.results)
        return results[0] if len(results) == 1 else results

    def _bind(self, target: ast.Expr, value: Any, values: dict[str, Any], exact: bool = False) -> None:
        if isinstance(target, ast.Identifier):
            values[target.name] = value[0] if isinstance(value, tuple) and len(value) == 1 else value
            return
        assert isinstance(target, (ast.ArrayExpr, ast.TupleExpr))
        if not isinstance(value, (list, tuple)) or len(value) != len(target.items):
            count = len(value) if isinstance(value, (list, tuple)) else 1
            fail(f"{count} results cannot be assigned to {len(target.items)} identifiers", target.location)
        for item, part in zip(target.items, value, strict=True):
            self._bind(item, part, values)


def _is_tensor(value: Any) -> bool:
    """Whether operators on a value are operations: it is a tensor, or an array with one in it."""
    if isinstance(value, list):
        return any(map(_is_tensor, value))
    return isinstance(value, (np.ndarray, Value))
