"""The rules of invocations: arguments, defaults and generic types (NNEF 1.0.5, 3.3.2)."""

from __future__ import annotations

from dataclasses import dataclass

from nnefc.formats.nnef.context import fail, suggestion
from nnefc.formats.nnef.declarations import check_bound_defaults
from nnefc.formats.nnef.expressions import ExpressionTypes
from nnefc.formats.nnef.statictypes import bind, candidates
from nnefc.ir import syntax as ast
from nnefc.ir.signature import Param, Signature, is_generic


@dataclass(frozen=True)
class CallInfo:
    """A checked invocation: its arguments by parameter, and what ``?`` stands for (``?`` itself is the caller's)."""

    signature: Signature
    arguments: dict[str, ast.Expr]
    generic: str | None


def check_call(
    call: ast.Invocation, signature: Signature, scope: ExpressionTypes, generic_scope: bool
) -> tuple[CallInfo, ast.TypeSpec]:
    """Check an invocation; also returns the type of its result, a tuple if there are several."""
    arguments = _match(call, signature, scope)
    given = {name: scope.type_of(expr) for name, expr in arguments.items()}
    generic = _deduce(call, signature, given, scope, generic_scope)
    for name, expr in arguments.items():
        param = signature.param(name)
        assert param is not None
        wanted = bind(param.type, generic) if generic is not None else param.type
        scope.accept(given[name], wanted, f"{name} of {signature.name}", expr)
    if generic is not None:
        check_bound_defaults(signature, generic, arguments, call.location)
    results = [bind(r.type, generic) if generic is not None else r.type for r in signature.results]
    result = results[0] if len(results) == 1 else ast.TupleSpec(tuple(results))
    return CallInfo(signature, arguments, generic), result


def _match(call: ast.Invocation, signature: Signature, scope: ExpressionTypes) -> dict[str, ast.Expr]:
    """The arguments by the names of their parameters."""
    arguments: dict[str, ast.Expr] = {}
    named = False
    for position, argument in enumerate(call.arguments):
        param = _param(argument, position, signature)
        if argument.name is None and named:
            fail(f"a positional argument follows named ones; write '{param.name} = ...'", argument.location)
        named = named or argument.name is not None
        if param.name in arguments:
            fail(f"{param.name} of {signature.name} is given twice", argument.location)
        if argument.name is None and not param.is_tensor:
            message = f"{param.name} of {signature.name} is an attribute; write '{param.name} = ...'"
            scope.context.tolerate("positional_attributes", message, argument.location)
        arguments[param.name] = argument.value
    missing = [p.name for p in signature.params if p.default is None and p.name not in arguments]
    if missing:
        fail(f"{signature.name} needs a value for {', '.join(missing)}", call.location)
    return arguments


def _param(argument: ast.Argument, position: int, signature: Signature) -> Param:
    if argument.name is not None:
        param = signature.param(argument.name)
        if param is None:
            names = [p.name for p in signature.params]
            close = suggestion(argument.name, names) or f"; it has {', '.join(names)}"
            fail(f"{signature.name} has no parameter {argument.name!r}{close}", argument.location)
        return param
    if position >= len(signature.params):
        fail(f"{signature.name} takes at most {len(signature.params)} arguments", argument.location)
    return signature.params[position]


def _deduce(
    call: ast.Invocation,
    signature: Signature,
    given: dict[str, ast.TypeSpec],
    scope: ExpressionTypes,
    generic_scope: bool,
) -> str | None:
    """What ``?`` stands for in an invocation; None if the operation is not generic."""
    if call.generic is not None:
        if not signature.generic:
            fail(f"{signature.name} is not generic; write '{signature.name}(...)'", call.location)
        if call.generic == "?" and not generic_scope:
            fail("'<?>' can be used in the body of a generic fragment only", call.location)
        return call.generic
    if not signature.generic:
        return None
    if signature.generic_default is not None:
        return signature.generic_default
    generic_params = [p for p in signature.params if is_generic(p.type) and p.name in given]
    found: set[str] = set().union(*(candidates(_item(p, given[p.name]), given[p.name]) for p in generic_params))
    if found == {"integer", "scalar"} and scope.context.dialect.integer_for_scalar:
        found = {"scalar"}
    if len(found) != 1:
        why = f"the arguments say {' and '.join(sorted(found))}" if found else "no argument says"
        fail(f"{why} what '<?>' of {signature.name} is; write '{signature.name}<type>(...)'", call.location)
    return found.pop()


def _item(param: Param, given: ast.TypeSpec) -> ast.TypeSpec:
    """The parameter's type, or that of its items where one item is given for an array."""
    if isinstance(param.type, ast.ArraySpec) and param.type.item is not None and not isinstance(given, ast.ArraySpec):
        return param.type.item
    return param.type
