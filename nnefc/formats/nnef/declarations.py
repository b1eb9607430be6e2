"""The rules of a document's header and declarations (NNEF 1.0.5, 3.2.4 and 3.3.2)."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from types import MappingProxyType

from nnefc.errors import Location
from nnefc.formats.nnef.context import Context, fail
from nnefc.formats.nnef.statictypes import EMPTY_ARRAY, bind, castable, common, type_of_literal
from nnefc.ir import syntax as ast
from nnefc.ir.signature import Signature, is_generic, is_tensor, signature_of
from nnefc.ir.text import OPERATIONS_EXTENSION, OPERATORS_EXTENSION, TYPES_EXTENSION
from nnefc.ops.signatures import available

FRAGMENTS_EXTENSION = "KHR_enable_fragment_definitions"
KNOWN_EXTENSIONS = (FRAGMENTS_EXTENSION, OPERATORS_EXTENSION, TYPES_EXTENSION, OPERATIONS_EXTENSION)


def check_header(document: ast.Document, context: Context) -> tuple[str, ...]:
    """The extensions declared, as written. Raises InvalidModelError for another version or a rule broken."""
    version = document.version.value
    if version != 1.0 or isinstance(version, int):
        fail(f"the version {version} of NNEF is not supported; 1.0 is", document.version.location)
    if document.quoted is not None:
        fail(
            "identifiers in quotes are of tract's dialect, which 'extension tract_registry tract_core;' declares",
            document.quoted,
        )
    declared = tuple(dict.fromkeys(str(e) for e in document.extensions))
    for extension in document.extensions:
        if str(extension) not in KNOWN_EXTENSIONS:
            known = ", ".join(KNOWN_EXTENSIONS)
            message = f"the extension {str(extension)!r} is not known; those known are {known}"
            context.tolerate("unknown_extensions", message, extension.location)
    if document.fragments and FRAGMENTS_EXTENSION not in declared:
        message = f"fragment definitions need 'extension {FRAGMENTS_EXTENSION};'"
        context.tolerate("missing_extensions", message, document.fragments[0].location)
    return declared


def declare(
    fragments: Iterable[ast.Fragment], extensions: Collection[str], context: Context
) -> Mapping[str, Signature]:
    """The operations that the extensions make available and the document's fragments, by name. Raises
    InvalidModelError for a rule broken."""
    ours = available(extensions)
    known = dict(ours)
    for fragment in fragments:
        if fragment.name in known:
            what = "defined above"
            if fragment.name in ours:
                what = f"an operation of {ours[fragment.name].extension or 'the standard'}; give it another name"
            fail(f"the fragment {fragment.name!r} cannot be defined: it is {what}", fragment.location)
        known[fragment.name] = check_declaration(fragment, context)
    return MappingProxyType(known)


def check_declaration(fragment: ast.Fragment, context: Context) -> Signature:
    """The signature of a fragment. Raises InvalidModelError unless its declaration is valid."""
    if not fragment.params:
        context.tolerate(
            "empty_parameters", f"the fragment {fragment.name!r} has no parameters; it needs one", fragment.location
        )
    seen: dict[str, str] = {}
    for what, items in (("parameter", fragment.params), ("result", fragment.results)):
        for item in items:
            if item.name in seen:
                fail(f"the {what} {item.name!r} is already a {seen[item.name]} of {fragment.name!r}", item.location)
            seen[item.name] = what
            _check_type(item.type, item.location)
    _check_order(fragment)
    for result in fragment.results:
        if not is_tensor(result.type):
            fail(f"the result {result.name!r} is {result.type}; results must be tensors", result.location)
        if _has_unbound(result.type):
            fail(f"the result {result.name!r} is {result.type}; a result needs an element type", result.location)
    _check_generic(fragment)
    for param in fragment.params:
        if param.default is not None:
            _check_default(param)
    return signature_of(fragment)


def _check_type(spec: ast.TypeSpec, location: Location) -> None:
    """Raise InvalidModelError if a tuple in the type mixes tensors with values."""
    if isinstance(spec, ast.ArraySpec) and spec.item is not None:
        _check_type(spec.item, location)
    if isinstance(spec, ast.TupleSpec):
        if len({is_tensor(item) for item in spec.items}) > 1:
            fail(f"the tuple {spec} mixes tensors with other values", location)
        for item in spec.items:
            _check_type(item, location)


def _has_unbound(spec: ast.TypeSpec | None) -> bool:
    if isinstance(spec, ast.TupleSpec):
        return any(map(_has_unbound, spec.items))
    return _has_unbound(spec.item) if isinstance(spec, ast.ArraySpec) else spec == ast.TensorSpec(None)


def _check_order(fragment: ast.Fragment) -> None:
    attribute: ast.Parameter | None = None
    for param in fragment.params:
        if not is_tensor(param.type):
            attribute = attribute or param
        elif attribute is not None:
            fail(
                f"the tensor parameter {param.name!r} follows the attribute {attribute.name!r}; tensors come first",
                param.location,
            )


def _check_generic(fragment: ast.Fragment) -> None:
    declared: tuple[ast.Parameter | ast.Result, ...] = (*fragment.params, *fragment.results)
    generic = next((p for p in declared if is_generic(p.type)), None)
    if generic is not None and not fragment.generic:
        fail(f"{generic.name!r} has the type {generic.type}: declare '{fragment.name}<?>'", generic.location)
    if generic is None and fragment.generic:
        fail(f"'{fragment.name}<?>' has no parameter or result whose type contains '?'", fragment.location)


def _check_default(param: ast.Parameter) -> None:
    assert param.default is not None
    given = literal_type(param.default)
    if not castable(given, param.type):
        fail(f"the default of {param.name!r} has type {given}; {param.type} is wanted", param.default.location)


def literal_type(expr: ast.Expr) -> ast.TypeSpec:
    """The type of an expression built of literals. Raises InvalidModelError for anything else."""
    if isinstance(expr, ast.Constant):
        return type_of_literal(expr.value)
    if isinstance(expr, ast.Numbers):
        return array_type([type_of_literal(v) for v in expr.values], expr.location)
    if isinstance(expr, ast.ArrayExpr):
        return array_type([literal_type(item) for item in expr.items], expr.location)
    if isinstance(expr, ast.TupleExpr):
        return ast.TupleSpec(tuple([literal_type(item) for item in expr.items]))
    fail("a default value must be built of literals only", expr.location)


def array_type(items: Iterable[ast.TypeSpec], location: Location, integers: bool = False) -> ast.TypeSpec:
    """The type of an array of items of these types. Raises InvalidModelError if they have no common type."""
    result: ast.TypeSpec | None = None
    for item in dict.fromkeys(items):
        joined = item if result is None else common(result, item, integers)
        if joined is None:
            fail(f"an array cannot hold both {result} and {item}", location)
        result = joined
    return EMPTY_ARRAY if result is None else ast.ArraySpec(result)


def check_bound_defaults(signature: Signature, name: str, given: Container[str], location: Location) -> None:
    """Raise InvalidModelError if a default that is used does not fit what ``?`` is bound to."""
    for param in signature.fragment.params:
        if param.default is not None and param.name not in given and is_generic(param.type):
            default, wanted = literal_type(param.default), bind(param.type, name)
            if not castable(default, wanted):
                fail(f"the default of {param.name!r} has type {default}; {wanted} is wanted: give it a value", location)
