"""The type checker: bodies of fragments and of the graph (NNEF 1.0.5, 3.3)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nnefc.formats.nnef.calls import CallInfo, check_call
from nnefc.formats.nnef.context import Context, fail, suggestion
from nnefc.formats.nnef.declarations import check_header, declare
from nnefc.formats.nnef.expressions import ExpressionTypes, Findings
from nnefc.formats.nnef.statictypes import STRING, castable
from nnefc.ir import syntax as ast
from nnefc.ir.signature import Signature
from nnefc.ir.text import OPERATIONS_EXTENSION, OPERATORS_EXTENSION, TYPES_EXTENSION
from nnefc.ops.signatures import signatures

GRAPH_ONLY = ("external", "variable", "update")
"""Operations that fragments must not use (3.3.2)."""


@dataclass
class Checked:
    """A document that obeys the rules of types, with what the checker found out."""

    document: ast.Document
    context: Context
    extensions: tuple[str, ...]
    signatures: Mapping[str, Signature]
    calls: dict[ast.Invocation, CallInfo] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    _bodies: set[str] = field(default_factory=set)

    def check_fragment(self, signature: Signature) -> None:
        """Check the body of a fragment, unless that was done."""
        if signature.name not in self._bodies:
            self._bodies.add(signature.name)
            _FragmentBody(self, signature).check()


def check(document: ast.Document, context: Context) -> Checked:
    """Check a document. Raises InvalidModelError at the first rule that is broken; notes tolerances."""
    extensions = check_header(document, context)
    checked = Checked(document, context, extensions, declare(document.fragments, extensions, context))
    for fragment in document.fragments:
        checked.check_fragment(checked.signatures[fragment.name])
    _GraphBody(checked).check()
    return checked


class _Body(ExpressionTypes):
    """What bodies of fragments and of the graph have in common."""

    def __init__(self, checked: Checked, name: str, body: tuple[ast.Assignment, ...], generic: bool):
        super().__init__(checked.context, checked.findings)
        self.checked = checked
        self.name = name
        self.body = body
        self.generic = generic
        self.assigned = {target.name for a in body for target in targets(a.target)}

    def statements(self) -> None:
        """Check the assignments in order."""
        for assignment in self.body:
            self.before(assignment)
            self.assign(assignment.target, self.type_of(assignment.value))

    def before(self, assignment: ast.Assignment) -> None:
        """What is checked of a statement before its types."""

    def require_flat(self, assignment: ast.Assignment) -> None:
        """Raise InvalidModelError, or note, if operator expressions are used without the extension."""
        if OPERATORS_EXTENSION in self.checked.extensions:
            return
        found = _not_flat(assignment.value)
        if found is not None:
            message = f"operator expressions need 'extension {OPERATORS_EXTENSION};'"
            self.context.tolerate("missing_extensions", message, found.location, once=True)

    def assign(self, target: ast.Expr, given: ast.TypeSpec) -> None:
        """Give the identifiers of a left-hand side their types."""
        if isinstance(target, ast.Identifier):
            if target.name in self.types:
                fail(f"{target.name!r} is already defined; each identifier is assigned once", target.location)
            self.types[target.name] = self.require_identifier(target, given)
        elif isinstance(target, ast.ArrayExpr):
            if not isinstance(given, ast.ArraySpec):
                fail(f"a value of type {given} cannot be assigned to an array of identifiers", target.location)
            for item in target.items:
                self.assign(item, given.item or given)
        elif isinstance(target, ast.TupleExpr):
            if not isinstance(given, ast.TupleSpec) or len(given.items) != len(target.items):
                count = f"{len(target.items)} identifiers"
                fail(f"a value of type {given} cannot be assigned to a tuple of {count}", target.location)
            for item, spec in zip(target.items, given.items, strict=True):
                self.assign(item, spec)

    @abstractmethod
    def require_identifier(self, target: ast.Identifier, given: ast.TypeSpec) -> ast.TypeSpec:
        """The type of a left-hand identifier. Raises InvalidModelError if it may not take a value of type ``given``."""

    def undefined(self, expr: ast.Identifier) -> str:
        if expr.name in self.assigned:
            return f"{expr.name!r} is used before it is defined"
        return f"{expr.name!r} is not defined{suggestion(expr.name, self.types)}"

    def invocation(self, expr: ast.Invocation) -> ast.TypeSpec:
        signature = self.checked.signatures.get(expr.name)
        if signature is None:
            known = signatures().get(expr.name)
            hint = suggestion(expr.name, self.checked.signatures)
            if known is not None and known.extension is not None:
                hint = f"; it needs 'extension {known.extension};'"
            fail(f"there is no operation {expr.name!r}{hint}", expr.location)
        self.require_allowed(expr)
        info, result = check_call(expr, signature, self, self.generic)
        self.checked.calls[expr] = info
        return result

    @abstractmethod
    def require_allowed(self, expr: ast.Invocation) -> None:
        """Raise InvalidModelError if the operation may not be used here."""

    def operator_type(self, fragment: str, operands: list[tuple[ast.TypeSpec, ast.Expr]]) -> ast.TypeSpec:
        signature = signatures()[fragment]
        for param, (given, expr) in zip(signature.params, operands, strict=True):
            self.accept(given, param.type, f"{param.name} of {fragment}", expr)
        return signature.results[0].type


class _FragmentBody(_Body):
    def __init__(self, checked: Checked, signature: Signature):
        super().__init__(checked, signature.name, signature.body or (), signature.generic)
        self.signature = signature
        self.results = {r.name: r for r in signature.results}

    def check(self) -> None:
        """Check the body, if there is one."""
        if self.signature.body is None:
            return
        for param in self.signature.params:
            self.types[param.name] = param.type
        self.statements()
        for result in self.signature.results:
            if result.name not in self.types:
                fail(f"the result {result.name!r} of the fragment {self.name!r} is not assigned", result.location)

    def before(self, assignment: ast.Assignment) -> None:
        if self.signature.fragment in self.checked.document.fragments:
            self.require_flat(assignment)

    def require_identifier(self, target: ast.Identifier, given: ast.TypeSpec) -> ast.TypeSpec:
        if target.annotation is not None:
            fail("types are written in the body of the graph only", target.annotation.location)
        result = self.results.get(target.name)
        if result is None:
            return given
        if not castable(given, result.type):
            what = f"the result {result.name!r} of {self.name!r}"
            fail(f"{what} has type {given}; {result.type} is wanted", target.location)
        return result.type

    def require_allowed(self, expr: ast.Invocation) -> None:
        if expr.name in GRAPH_ONLY:
            fail(f"{expr.name} cannot be used in a fragment, only in the body of the graph", expr.location)


class _GraphBody(_Body):
    def __init__(self, checked: Checked):
        graph = checked.document.graph
        super().__init__(checked, graph.name, graph.body, False)
        self.graph = graph
        self.inputs = {p.name for p in graph.params}
        self.externals: set[ast.Expr] = set()
        self.variables: set[str] = set()
        self.updated: set[str] = set()

    def check(self) -> None:
        """Check the header and the body of the graph."""
        if self.name in self.checked.signatures:
            fail(f"the graph cannot be called {self.name!r}: an operation has that name", self.graph.location)
        if not self.graph.params and OPERATIONS_EXTENSION not in self.checked.extensions:
            message = f"a graph without inputs needs 'extension {OPERATIONS_EXTENSION};'"
            self.context.tolerate("empty_parameters", message, self.graph.location)
        seen: dict[str, str] = {}
        for what, names in (("input", self.graph.params), ("output", self.graph.results)):
            for identifier in names:
                if identifier.name in seen:
                    fail(f"{identifier.name!r} is already an {seen[identifier.name]} of the graph", identifier.location)
                seen[identifier.name] = what
        self.statements()
        for what, names in (("input", self.graph.params), ("output", self.graph.results)):
            for identifier in names:
                if identifier.name not in self.types:
                    close = suggestion(identifier.name, self.types)
                    fail(f"the {what} {identifier.name!r} of the graph is not assigned{close}", identifier.location)

    def before(self, assignment: ast.Assignment) -> None:
        self.require_flat(assignment)
        for target, value in _pairs(assignment.target, assignment.value):
            name = value.name if isinstance(value, ast.Invocation) else None
            if (name == "external") != (target.name in self.inputs):
                if name == "external":
                    fail(f"{target.name!r} is external, but no input of the graph", target.location)
                fail(f"the input {target.name!r} of the graph must be made by external", target.location)
            if name == "external":
                self.externals.add(value)
            if name == "variable":
                self.variables.add(target.name)

    def require_identifier(self, target: ast.Identifier, given: ast.TypeSpec) -> ast.TypeSpec:
        item = _innermost(given)
        if isinstance(given, ast.ArraySpec) and isinstance(item, ast.PrimitiveSpec) and item != STRING:
            message = f"{target.name!r} would be {given}; in the body of the graph identifiers are tensors"
            self.context.tolerate("literal_tensors", message, target.location)
            return ast.TensorSpec(item.name)
        if not isinstance(given, ast.TensorSpec):
            message = f"{target.name!r} would be {given}; in the body of the graph identifiers are tensors"
            if isinstance(given, ast.ArraySpec) and isinstance(given.item, ast.TensorSpec):
                message += ", so write [a, b, ...] with one for each"
            fail(message, target.location)
        if target.annotation is not None and TYPES_EXTENSION not in self.checked.extensions:
            fail(f"types of tensors need 'extension {TYPES_EXTENSION};'", target.annotation.location)
        return given

    def require_allowed(self, expr: ast.Invocation) -> None:
        if expr.name == "external" and expr not in self.externals:
            fail("the result of external must be assigned to an input of the graph", expr.location)
        if expr.name == "update" and expr.arguments:
            named = (a.value for a in expr.arguments if a.name == "variable")
            variable = next(named, expr.arguments[0].value)
            if not isinstance(variable, ast.Identifier) or variable.name not in self.variables:
                fail("the first argument of update must be the result of a variable operation", variable.location)
            if variable.name in self.updated:
                fail(f"the variable {variable.name!r} is already updated above", expr.location)
            self.updated.add(variable.name)


def _innermost(spec: ast.TypeSpec | None) -> ast.TypeSpec | None:
    """The type of the items of an array of arrays."""
    while isinstance(spec, ast.ArraySpec):
        spec = spec.item
    return spec


def targets(target: ast.Expr) -> Iterator[ast.Identifier]:
    """The identifiers of a left-hand side, in order."""
    return (node for node in ast.walk(target) if isinstance(node, ast.Identifier))


def _pairs(target: ast.Expr, value: ast.Expr) -> Iterator[tuple[ast.Identifier, ast.Expr]]:
    """Identifiers with what is assigned to them, as far as the two sides are written alike."""
    if isinstance(target, ast.Identifier):
        yield target, value
    elif isinstance(target, (ast.ArrayExpr, ast.TupleExpr)):
        same = isinstance(value, type(target)) and len(value.items) == len(target.items)
        for i, item in enumerate(target.items):
            yield from _pairs(item, value.items[i] if same else value)  # type: ignore[attr-defined]


def _not_flat(value: ast.Expr) -> ast.Expr | None:
    """The first operator expression in the right-hand side of a flat assignment, or None."""
    if not isinstance(value, ast.Invocation):
        return value
    flat = (ast.Identifier, ast.Constant, ast.Numbers, ast.ArrayExpr, ast.TupleExpr)
    return next((e for e in ast.walk(value) if e is not value and not isinstance(e, flat)), None)
