"""The types of expressions (NNEF 1.0.5, 3.3.3)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from nnefc.errors import Location
from nnefc.formats.nnef.context import Context, fail
from nnefc.formats.nnef.declarations import array_type
from nnefc.formats.nnef.statictypes import (
    EMPTY_ARRAY,
    INTEGER,
    LOGICAL,
    NUMBERS,
    SCALAR,
    STRING,
    castable,
    common,
    type_of_literal,
)
from nnefc.ir import syntax as ast

BINARY_FRAGMENTS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "^": "pow",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "==": "eq",
    "!=": "ne",
    "&&": "and",
    "||": "or",
}
UNARY_FRAGMENTS = {"+": "copy", "-": "neg", "!": "not"}
INT64 = range(-(2**63), 2**63)


@dataclass
class Findings:
    """What the checker finds out about expressions."""

    tensor_operators: set[ast.Expr] = field(default_factory=set)
    """The operator expressions that stand for operations on tensors."""
    promoted: dict[ast.Expr, ast.TypeSpec] = field(default_factory=dict)
    """The expressions that a tolerance lets pass, with the types that their values must be made to have."""


class ExpressionTypes(ABC):
    """Derives types; ``types`` are those of the identifiers in scope."""

    def __init__(self, context: Context, findings: Findings):
        self.context = context
        self.types: dict[str, ast.TypeSpec] = {}
        self.findings = findings

    @abstractmethod
    def undefined(self, expr: ast.Identifier) -> str:
        """What is wrong with an identifier that is not in scope."""

    @abstractmethod
    def invocation(self, expr: ast.Invocation) -> ast.TypeSpec:
        """The type of an invocation's result."""

    @abstractmethod
    def operator_type(self, fragment: str, operands: list[tuple[ast.TypeSpec, ast.Expr]]) -> ast.TypeSpec:
        """The type of an operator on tensors, which stands for an invocation."""

    def accept(self, given: ast.TypeSpec, wanted: ast.TypeSpec, what: str, expr: ast.Expr) -> None:
        """Raise InvalidModelError unless ``given`` can be cast to ``wanted``, if need be by a tolerance."""
        if castable(given, wanted):
            return
        message = f"{what} has type {given}; {wanted} is wanted"
        if castable(given, wanted, integers=True):
            self.context.tolerate("integer_for_scalar", message, expr.location)
        elif isinstance(wanted, ast.ArraySpec) and wanted.item is not None and castable(given, wanted.item, True):
            self.context.tolerate("single_for_array", message, expr.location)
        elif isinstance(given, ast.TensorSpec) and isinstance(wanted, ast.PrimitiveSpec) and wanted != STRING:
            self.context.tolerate("tensor_for_attribute", message, expr.location)
        else:
            fail(message, expr.location)
        self.findings.promoted[expr] = wanted

    def type_of(self, expr: ast.Expr) -> ast.TypeSpec:
        """The type of an expression. Raises InvalidModelError where a rule is broken."""
        if isinstance(expr, ast.Identifier):
            if expr.name not in self.types:
                fail(self.undefined(expr), expr.location)
            return self.types[expr.name]
        if isinstance(expr, ast.Constant):
            require_range(expr.value, expr.location)
            return type_of_literal(expr.value)
        if isinstance(expr, ast.Numbers):
            return self._numbers(expr)
        if isinstance(expr, ast.ArrayExpr):
            return self._array([self.type_of(item) for item in expr.items], expr)
        if isinstance(expr, ast.TupleExpr):
            return ast.TupleSpec(tuple([self.type_of(item) for item in expr.items]))
        if isinstance(expr, ast.Invocation):
            return self.invocation(expr)
        if isinstance(expr, ast.Binary):
            return self._binary(expr)
        return self._compound(expr)

    def _compound(self, expr: ast.Expr) -> ast.TypeSpec:
        if isinstance(expr, ast.Unary):
            return self._unary(expr)
        if isinstance(expr, ast.Select):
            return self._select(expr)
        if isinstance(expr, ast.Subscript):
            return self._subscript(expr)
        if isinstance(expr, ast.Comprehension):
            return self._comprehension(expr)
        assert isinstance(expr, ast.Builtin)
        return self._builtin(expr)

    def _numbers(self, expr: ast.Numbers) -> ast.TypeSpec:
        for value in (min(expr.values), max(expr.values)):
            require_range(value, expr.location)
        return self._array([INTEGER if t is int else SCALAR for t in set(map(type, expr.values))], expr)

    def _array(self, items: list[ast.TypeSpec], expr: ast.Expr) -> ast.TypeSpec:
        mixed = {INTEGER, SCALAR} <= set(items) or {INTEGER, ast.TensorSpec("scalar")} <= set(items)
        result = array_type(items, expr.location, integers=mixed)
        if mixed:
            self.context.tolerate("integer_for_scalar", "an array holds both integers and scalars", expr.location)
            self.findings.promoted[expr] = result
        return result

    def _binary(self, expr: ast.Binary) -> ast.TypeSpec:
        chain = [expr]
        while isinstance(chain[-1].left, ast.Binary):
            chain.append(chain[-1].left)
        given = self.type_of(chain[-1].left)
        for node in reversed(chain):
            given = self._operator(node, given, self.type_of(node.right))
        return given

    def _operator(self, node: ast.Binary, left: ast.TypeSpec, right: ast.TypeSpec) -> ast.TypeSpec:
        op = node.op
        if op in BINARY_FRAGMENTS and ast.TensorSpec in (type(left), type(right)):
            self.findings.tensor_operators.add(node)
            return self.operator_type(BINARY_FRAGMENTS[op], [(left, node.left), (right, node.right)])
        result = _operator_type(op, left, right)
        if result is None and {left, right} == set(NUMBERS) and op not in ("&&", "||", "in"):
            message = f"the operator {op} has operands of types {left} and {right}"
            self.context.tolerate("integer_for_scalar", message, node.location)
            result = _operator_type(op, SCALAR, SCALAR)
        if result is None:
            fail(f"the operator {op} is not defined for {left} and {right}", node.location)
        return result

    def _unary(self, expr: ast.Unary) -> ast.TypeSpec:
        given = self.type_of(expr.operand)
        if isinstance(given, ast.TensorSpec):
            self.findings.tensor_operators.add(expr)
            if expr.op == "+":
                return given
            return self.operator_type(UNARY_FRAGMENTS[expr.op], [(given, expr.operand)])
        if given not in ((LOGICAL,) if expr.op == "!" else NUMBERS):
            fail(f"the operator {expr.op} is not defined for {given}", expr.location)
        return given

    def _select(self, expr: ast.Select) -> ast.TypeSpec:
        condition = self.type_of(expr.condition)
        if condition != LOGICAL:
            hint = "; for tensors there is select" if isinstance(condition, ast.TensorSpec) else ""
            fail(f"the condition has type {condition}; logical is wanted{hint}", expr.condition.location)
        then, otherwise = self.type_of(expr.then), self.type_of(expr.otherwise)
        result = common(then, otherwise)
        if result is None:
            result = common(then, otherwise, integers=True)
            message = f"the choices have types {then} and {otherwise}, which have no common type"
            if result is None:
                fail(message, expr.location)
            self.context.tolerate("integer_for_scalar", message, expr.location)
            self.findings.promoted[expr] = result
        return result

    def _subscript(self, expr: ast.Subscript) -> ast.TypeSpec:
        given = self.type_of(expr.sequence)
        if isinstance(given, ast.TupleSpec):
            index = expr.begin.value if isinstance(expr.begin, ast.Constant) and not expr.is_range else None
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(given.items):
                fail(f"a tuple of {len(given.items)} items takes a literal index below that", expr.location)
            return given.items[index]
        if given != STRING and not isinstance(given, ast.ArraySpec):
            fail(f"a value of type {given} cannot be subscripted; arrays, tuples and strings can", expr.location)
        for bound in (expr.begin, expr.end):
            if bound is not None and (index_type := self.type_of(bound)) != INTEGER:
                fail(f"an index has type {index_type}; integer is wanted", bound.location)
        if isinstance(given, ast.ArraySpec) and not expr.is_range:
            return given.item if given.item is not None else EMPTY_ARRAY
        return given

    def _comprehension(self, expr: ast.Comprehension) -> ast.TypeSpec:
        outer = dict(self.types)
        for target, iterable in expr.loops:
            given = self.type_of(iterable)
            if not isinstance(given, ast.ArraySpec):
                fail(f"a value of type {given} cannot be iterated; an array is wanted", iterable.location)
            self._iterate(target, given.item if given.item is not None else EMPTY_ARRAY)
        if expr.condition is not None and (condition := self.type_of(expr.condition)) != LOGICAL:
            fail(f"the condition has type {condition}; logical is wanted", expr.condition.location)
        item = self.type_of(expr.item)
        self.types = outer
        return ast.ArraySpec(item)

    def _iterate(self, target: ast.Expr, given: ast.TypeSpec) -> None:
        if isinstance(target, ast.Identifier):
            if target.name in self.types:
                fail(f"{target.name!r} is already defined", target.location)
            self.types[target.name] = given
        elif isinstance(target, ast.TupleExpr):
            if not isinstance(given, ast.TupleSpec) or len(given.items) != len(target.items):
                fail(f"an item of type {given} cannot be unpacked into {len(target.items)}", target.location)
            for item, spec in zip(target.items, given.items, strict=True):
                self._iterate(item, spec)

    def _builtin(self, expr: ast.Builtin) -> ast.TypeSpec:
        given = self.type_of(expr.argument)
        if expr.name in ("length_of", "range_of"):
            if given != STRING and not isinstance(given, ast.ArraySpec):
                fail(f"{expr.name} takes an array or a string, not {given}", expr.argument.location)
            return INTEGER if expr.name == "length_of" else ast.ArraySpec(INTEGER)
        if expr.name == "shape_of":
            if not isinstance(given, (ast.TensorSpec, ast.PrimitiveSpec)):
                fail(f"shape_of takes a tensor, not {given}", expr.argument.location)
            self.context.note("shape_of is deprecated", expr.location)
            return ast.ArraySpec(INTEGER)
        if not isinstance(given, ast.PrimitiveSpec):
            hint = "; for tensors there is cast" if isinstance(given, ast.TensorSpec) else ""
            fail(f"{expr.name}(...) takes a value of primitive type, not {given}{hint}", expr.argument.location)
        return ast.PrimitiveSpec(expr.name)


def _operator_type(op: str, left: ast.TypeSpec, right: ast.TypeSpec) -> ast.TypeSpec | None:
    """The type of an operator on compile-time values, or None where it is not defined."""
    if op == "in":
        known = isinstance(right, ast.ArraySpec) and (right.item is None or common(left, right.item) is not None)
        return LOGICAL if known else None
    if op == "+" and isinstance(left, ast.ArraySpec) and isinstance(right, ast.ArraySpec):
        return common(left, right)
    if op == "+" and left == right == STRING:
        return STRING
    if op == "*" and right == INTEGER and (left == STRING or isinstance(left, ast.ArraySpec)):
        return left
    if left != right or not isinstance(left, ast.PrimitiveSpec):
        return None
    if op in ("&&", "||"):
        return LOGICAL if left == LOGICAL else None
    if op in ("==", "!="):
        return LOGICAL
    if left not in NUMBERS:
        return None
    return LOGICAL if op in ("<", "<=", ">", ">=") else left


def require_range(value: object, location: Location) -> None:
    """Raise InvalidModelError for an integer beyond 64 bits or a scalar beyond float64."""
    if isinstance(value, int) and value not in INT64:
        shown = str(value) if abs(value) < 10**30 else f"{len(str(abs(value)))} digits long"
        fail(f"an integer is {shown}; it must fit into 64 bits", location)
    if isinstance(value, float) and not math.isfinite(value):
        fail("a scalar is too large; its magnitude must be below 1.8e308", location)
