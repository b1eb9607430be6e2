"""Evaluation of fragments and expressions at compile time: a document becomes operations, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nnefc.errors import Location, UnsupportedError
from nnefc.formats.nnef import arithmetic
from nnefc.formats.nnef.context import fail
from nnefc.formats.nnef.expressions import BINARY_FRAGMENTS, UNARY_FRAGMENTS
from nnefc.formats.nnef.literals import kind_of, shaped, thawed
from nnefc.formats.nnef.names import Exact, Hint, Stem, hint_of, item_hint, stem_of
from nnefc.formats.nnef.statictypes import bind
from nnefc.formats.nnef.tasks import Task, run
from nnefc.formats.nnef.typecheck import Checked, targets
from nnefc.ir import syntax as ast
from nnefc.ir.graph import Value
from nnefc.ir.signature import Signature
from nnefc.ops.primitive import primitives
from nnefc.ops.signatures import EXTENSION, STDLIB, signatures

MAX_STEPS = 300_000
"""Expressions evaluated."""
MAX_ITEMS = 16_000_000
"""Items of arrays, and characters of strings, made or compared."""
MAX_OPERANDS = 65_536
"""Tensors that one operation takes."""
MAX_OPERATIONS = 20_000
"""Operations in a graph."""
MAX_RECURSION = 500
"""Fragments inside one another."""
MAX_PLACES = 4
"""Places kept for an operation: the innermost ones and the outermost."""


@dataclass(frozen=True)
class Call:
    """An operation to be made: its arguments by parameter, and how to name each result."""

    signature: Signature
    generic: str | None
    arguments: dict[str, Any]
    hints: tuple[Hint, ...]
    locations: tuple[Location, ...]


Emit = Callable[[Call], Sequence[Any]]
"""Makes an operation; returns the value of each result: a Value, or a list of them."""
Stored = Callable[[Value], Any]
"""The stored values of a variable as an array; None for any other tensor."""


@dataclass
class Frame:
    """Where an expression is evaluated: identifiers, what ``?`` stands for, how to name what has no name."""

    values: dict[str, Any]
    generic: str | None = None
    stem: str = ""
    hints: dict[str, Hint] | None = None
    places: tuple[Location, ...] = ()
    depth: int = 0


class Expander:
    """Evaluates a checked document; ``emit`` is called for each operation, in order."""

    def __init__(self, checked: Checked, emit: Emit, stored: Stored):
        self.checked = checked
        self.stored = stored
        self.findings = checked.findings
        self.emit = emit
        self.steps = self.items = self.operations = 0

    def graph(self) -> dict[str, Value]:
        """Evaluate the graph; returns its tensors by name. Raises InvalidModelError or UnsupportedError."""
        scope = Frame({})
        for assignment in self.checked.document.graph.body:
            scope.stem = next(t.name for t in targets(assignment.target))
            value = run(self._evaluated(assignment.value, scope, hint_of(assignment.target)))
            self._bind(assignment.target, value, scope.values, exact=True)
        return scope.values

    # Limits.

    def _count(self, location: Location, steps: int = 0, items: int = 0) -> None:
        self.steps += steps
        self.items += items
        if self.steps > MAX_STEPS:
            fail(f"expanding the document takes more than {MAX_STEPS} steps", location)
        if self.items > MAX_ITEMS:
            fail(f"expressions make arrays and strings of more than {MAX_ITEMS} items in all", location)

    # Expressions.

    def _start(self, expr: ast.Expr, scope: Frame, hint: Hint = None) -> Any:
        """The value of an expression, or the task that finds it."""
        if expr in self.findings.promoted:
            return self._promoted(expr, scope, hint)
        if isinstance(expr, ast.Constant):
            return expr.value
        if isinstance(expr, ast.Identifier):
            return scope.values[expr.name]
        return self._task(expr, scope, hint)

    def _promoted(self, expr: ast.Expr, scope: Frame, hint: Hint) -> Task:
        value = yield self._task(expr, scope, hint)
        return self._fitted(value, self.findings.promoted[expr], expr.location)

    def _fitted(self, value: Any, spec: ast.TypeSpec, location: Location) -> Any:
        """A value that a tolerance let pass, as its type has it: integers as scalars, one item as an array."""
        if isinstance(spec, ast.ArraySpec) and spec.item is not None:
            items = value if isinstance(value, list) else [value]
            self._count(location, items=len(items))
            return [self._fitted(item, spec.item, location) for item in items]
        if isinstance(spec, ast.TupleSpec):
            return tuple([self._fitted(v, s, location) for v, s in zip(value, spec.items, strict=True)])
        if isinstance(value, Value) and isinstance(spec, ast.PrimitiveSpec):
            value = self._number(value, spec, location)
        scalar = spec in (ast.PrimitiveSpec("scalar"), ast.TensorSpec("scalar"))
        return float(value) if scalar and type(value) is int else value

    def _number(self, value: Value, spec: ast.PrimitiveSpec, location: Location) -> Any:
        """The only stored item of a variable that stands for an attribute's value."""
        stored = self.stored(value)
        if stored is None or stored.size != 1:
            fail(f"{value.name!r} has no single stored value to stand for {spec}", location)
        return arithmetic.convert(spec.name, stored.reshape(-1)[0].item())

    def _evaluated(self, expr: ast.Expr, scope: Frame, hint: Hint) -> Task:
        return (yield self._start(expr, scope, hint))

    def _task(self, expr: ast.Expr, scope: Frame, hint: Hint) -> Task:
        self._count(expr.location, steps=1)
        task: Task = getattr(self, _TASKS[type(expr)])(expr, scope, hint)
        return task

    def _constant(self, expr: ast.Constant, scope: Frame, hint: Hint) -> Task:
        yield from ()
        return expr.value

    def _identifier(self, expr: ast.Identifier, scope: Frame, hint: Hint) -> Task:
        yield from ()
        return scope.values[expr.name]

    def _numbers(self, expr: ast.Numbers, scope: Frame, hint: Hint) -> Task:
        self._count(expr.location, items=len(expr.values))
        yield from ()
        return list(expr.values)

    def _array(self, expr: ast.ArrayExpr, scope: Frame, hint: Hint) -> Task:
        self._count(expr.location, items=len(expr.items))
        values = []
        for i, item in enumerate(expr.items):
            values.append((yield self._start(item, scope, item_hint(hint, i))))
        return values

    def _tuple(self, expr: ast.TupleExpr, scope: Frame, hint: Hint) -> Task:
        values = []
        for i, item in enumerate(expr.items):
            values.append((yield self._start(item, scope, item_hint(hint, i))))
        return tuple(values)

    def _unary(self, expr: ast.Unary, scope: Frame, hint: Hint) -> Task:
        operand = yield self._start(expr.operand, scope)
        if expr in self.findings.tensor_operators:
            if expr.op == "+":
                return operand
            return (yield self._fragment(UNARY_FRAGMENTS[expr.op], (operand,), scope, hint, expr.location))
        return self._arithmetic(arithmetic.unary, expr.location, expr.op, operand)

    def _binary(self, expr: ast.Binary, scope: Frame, hint: Hint) -> Task:
        chain = [expr]
        while isinstance(chain[-1].left, ast.Binary):
            chain.append(chain[-1].left)
        value = yield self._start(chain[-1].left, scope)
        for node in reversed(chain):
            self._count(node.location, steps=1)
            value = yield self._operator(node, value, scope, hint if node is expr else None)
        return value

    def _operator(self, node: ast.Binary, left: Any, scope: Frame, hint: Hint) -> Task:
        tensors = node in self.findings.tensor_operators
        if not tensors and node.op in ("&&", "||") and left is (node.op == "||"):
            return left
        right = yield self._start(node.right, scope)
        if tensors:
            return (yield self._fragment(BINARY_FRAGMENTS[node.op], (left, right), scope, hint, node.location))
        if node.op in ("&&", "||"):
            return right
        if node.op == "in":
            return arithmetic.contains(left, right, lambda items: self._count(node.location, items=items))
        self._count(node.location, items=arithmetic.size_of(node.op, left, right))
        return self._arithmetic(arithmetic.binary, node.location, node.op, left, right)

    def _arithmetic(self, function: Callable[..., Any], location: Location, *args: Any) -> Any:
        try:
            return function(*args)
        except arithmetic.Invalid as fault:
            fail(str(fault), location)

    def _select(self, expr: ast.Select, scope: Frame, hint: Hint) -> Task:
        condition = yield self._start(expr.condition, scope)
        return (yield self._start(expr.then if condition else expr.otherwise, scope, hint))

    def _subscript(self, expr: ast.Subscript, scope: Frame, hint: Hint) -> Task:
        sequence = yield self._start(expr.sequence, scope)
        length = len(sequence)
        begin = 0 if expr.begin is None else (yield self._start(expr.begin, scope))
        if not expr.is_range:
            if not -length <= begin < length:
                fail(f"the index {begin} is outside of {length} items", expr.location)
            return sequence[begin]
        end = length if expr.end is None else (yield self._start(expr.end, scope))
        for bound in (begin, end):
            if not -length <= bound <= length:
                fail(f"the bound {bound} of a range is outside of {length} items", expr.location)
        part = sequence[begin:end]
        self._count(expr.location, items=len(part))
        return part

    def _comprehension(self, expr: ast.Comprehension, scope: Frame, hint: Hint) -> Task:
        iterables = []
        for _, iterable in expr.loops:
            iterables.append((yield self._start(iterable, scope)))
        if len({len(i) for i in iterables}) > 1:
            lengths = ", ".join(str(len(i)) for i in iterables)
            fail(f"arrays that are iterated together must have the same length, not {lengths}", expr.location)
        inner = replace(scope, values=dict(scope.values))
        results: list[Any] = []
        for items in zip(*iterables, strict=True):
            self._count(expr.location, steps=1, items=1)
            for (target, _), item in zip(expr.loops, items, strict=True):
                self._bind(target, item, inner.values)
            if expr.condition is None or (yield self._start(expr.condition, inner)):
                results.append((yield self._start(expr.item, inner, item_hint(hint, len(results)))))
        return results

    def _builtin(self, expr: ast.Builtin, scope: Frame, hint: Hint) -> Task:
        value = yield self._start(expr.argument, scope)
        if expr.name == "length_of":
            return len(value)
        if expr.name == "range_of":
            self._count(expr.location, items=len(value))
            return list(range(len(value)))
        if expr.name == "shape_of":
            return list(value.type.extents) if isinstance(value, Value) else []
        if expr.name == "scalar" and value in arithmetic.NONFINITE:
            message = f"the string {value!r} is no scalar literal"
            self.checked.context.tolerate("nonfinite_scalars", message, expr.location)
        result = self._arithmetic(arithmetic.convert, expr.location, expr.name, value)
        if isinstance(result, str):
            self._count(expr.location, items=len(result))
        return result

    # Invocations.

    def _invocation(self, expr: ast.Invocation, scope: Frame, hint: Hint) -> Task:
        info = self.checked.calls[expr]
        generic = scope.generic if info.generic == "?" else info.generic
        arguments = {}
        for param in info.signature.params:
            given = info.arguments.get(param.name)
            if given is None:
                value = thawed(param.default, param.type)
            else:
                value = yield self._start(given, scope)
            arguments[param.name] = value
        return (yield self._apply(info.signature, generic, arguments, scope, hint, expr.location))

    def _fragment(self, name: str, operands: Sequence[Any], scope: Frame, hint: Hint, location: Location) -> Task:
        """The invocation that an operator on tensors stands for."""
        signature = self.checked.signatures[name]
        arguments = {p.name: x for p, x in zip(signature.params, operands, strict=True)}
        return self._apply(signature, None, arguments, scope, hint, location)

    def _apply(
        self,
        signature: Signature,
        generic: str | None,
        arguments: dict[str, Any],
        scope: Frame,
        hint: Hint,
        location: Location,
    ) -> Task:
        if hint is None:
            hint = Stem(f"{scope.stem}_{signature.name}")
        hints = tuple(item_hint(hint, i) for i in range(len(signature.results)))
        hints = hints if len(hints) > 1 else (hint,)
        places = _placed(location, scope.places)
        if signature.library is not None and signature.name in primitives():
            yield from ()
            return self._emit(Call(signature, generic, arguments, hints, places))
        if signature.body is None:
            raise UnsupportedError(f"the operation {signature.name!r} has no definition that nnefc knows", location)
        if scope.depth >= MAX_RECURSION:
            fail(f"fragments nest more than {MAX_RECURSION} deep; {signature.name!r} calls itself", location)
        self.checked.check_fragment(signature)
        by_name = {r.name: h for r, h in zip(signature.results, hints, strict=True)}
        inner = Frame(arguments, generic, stem_of(hint), by_name, places, scope.depth + 1)
        return (yield self._body(signature, inner, location))

    def _body(self, signature: Signature, scope: Frame, location: Location) -> Task:
        assert signature.body is not None and scope.hints is not None
        stem = scope.stem
        for assignment in signature.body:
            first = next(targets(assignment.target)).name
            scope.stem = stem if first in scope.hints else f"{stem}_{first}"
            value = yield self._start(assignment.value, scope, hint_of(assignment.target, scope.hints, stem))
            self._bind(assignment.target, value, scope.values)
        results = [scope.values[r.name] for r in signature.results]
        for declared, value in zip(signature.results, results, strict=True):
            if scope.generic is not None:
                what = f"the result {declared.name!r} of {signature.name!r}"
                self._require_kind(value, bind(declared.type, scope.generic), what, location)
        return results[0] if len(results) == 1 else tuple(results)

    def _require_kind(self, value: Any, wanted: ast.TypeSpec, what: str, location: Location) -> None:
        """Raise InvalidModelError if tensors have elements of another type than ``?`` was bound to."""
        if isinstance(wanted, ast.ArraySpec) and wanted.item is not None:
            self._count(location, items=len(value) * arithmetic.COMPARISON)
            for item in value:
                self._require_kind(item, wanted.item, what, location)
        elif isinstance(wanted, ast.TupleSpec):
            for item, spec in zip(value, wanted.items, strict=True):
                self._require_kind(item, spec, what, location)
        elif isinstance(wanted, ast.TensorSpec) and wanted.item not in (None, kind_of(value)):
            fail(f"{what} has elements of type {kind_of(value)}; {wanted.item} is wanted", location)

    def _emit(self, call: Call) -> Any:
        self.operations += 1
        if self.operations > MAX_OPERATIONS:
            fail(f"the graph has more than {MAX_OPERATIONS} operations", call.locations[0])
        for param in call.signature.params:
            given = call.arguments[param.name]
            if isinstance(given, (list, str)):
                self._count(call.locations[0], items=len(given))
            if param.is_tensor and isinstance(given, list) and len(given) > MAX_OPERANDS:
                fail(f"{call.signature.name} takes at most {MAX_OPERANDS} tensors", call.locations[0])
        for result, hint in zip(call.signature.results, call.hints, strict=True):
            counted = isinstance(hint, (list, tuple)) or call.signature.body is not None
            if isinstance(result.type, ast.ArraySpec) and not counted:
                message = f"how many tensors {call.signature.name} makes is not known here; assign them to [a, b, ...]"
                fail(message, call.locations[0])
        values = self.emit(call)
        return values[0] if len(values) == 1 else tuple(values)

    # Assignments.

    def _bind(self, target: ast.Expr, value: Any, values: dict[str, Any], exact: bool = False) -> None:
        """Assign; where names are ``exact``, a tensor of another name is copied and a number becomes a constant."""
        if isinstance(target, ast.Identifier):
            values[target.name] = self._named(target, value) if exact else value
        elif isinstance(target, (ast.ArrayExpr, ast.TupleExpr)):
            if len(value) != len(target.items):
                fail(f"{len(value)} items cannot be assigned to {len(target.items)} identifiers", target.location)
            for item, part in zip(target.items, value, strict=True):
                self._bind(item, part, values, exact)

    def _named(self, target: ast.Identifier, value: Any) -> Value:
        if isinstance(value, Value) and value.name == target.name:
            return value
        shape, items = shaped(value, target.location)
        kind, generic = ("copy", None) if isinstance(value, Value) else ("constant", kind_of(items[0]))
        arguments = {"x": value} if kind == "copy" else {"shape": shape, "value": items}
        call = Call(signatures()[kind], generic, arguments, (Exact(target.name),), (target.location,))
        result: Value = self._emit(call)
        return result


_TASKS: dict[type[ast.Expr], str] = {
    ast.Constant: "_constant",
    ast.Identifier: "_identifier",
    ast.Numbers: "_numbers",
    ast.ArrayExpr: "_array",
    ast.TupleExpr: "_tuple",
    ast.Unary: "_unary",
    ast.Binary: "_binary",
    ast.Select: "_select",
    ast.Subscript: "_subscript",
    ast.Comprehension: "_comprehension",
    ast.Builtin: "_builtin",
    ast.Invocation: "_invocation",
}


def _placed(location: Location, outer: tuple[Location, ...]) -> tuple[Location, ...]:
    """The places of an operation, innermost first. Inside the declarations of nnefc, those of its invocation."""
    if location.file in (STDLIB, EXTENSION):
        return outer
    kept = (location, *outer)
    return kept if len(kept) <= MAX_PLACES else (*kept[: MAX_PLACES - 1], kept[-1])
