"""The signature of an operation: what its declaration says, with defaults evaluated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from nnefc.errors import InvalidModelError
from nnefc.ir import syntax as ast


@dataclass(frozen=True)
class Param:
    """A parameter. ``default`` is a number, a string, or nested tuples of them; None where a value is required."""

    name: str
    type: ast.TypeSpec
    default: Any

    @property
    def is_tensor(self) -> bool:
        """Whether it takes tensors (or an array or tuple of them), and so may be positional."""
        return is_tensor(self.type)

    @property
    def is_array(self) -> bool:
        """Whether it takes an array."""
        return isinstance(self.type, ast.ArraySpec)


@dataclass(frozen=True, eq=False)
class Signature:
    """A fragment's declaration, with its defaults evaluated. ``generic_default`` is the type name after ``<? =``.

    ``library`` is the name of the file of nnefc's own that declares it, or None for a fragment of a document;
    ``extension`` is the extension that a document must declare to use it, if any.
    """

    fragment: ast.Fragment
    params: tuple[Param, ...]
    library: str | None = None
    extension: str | None = None

    @property
    def name(self) -> str:
        """The name of the operation."""
        return self.fragment.name

    @property
    def generic(self) -> bool:
        """Whether it is declared with ``<?>``."""
        return self.fragment.generic

    @property
    def generic_default(self) -> str | None:
        """The type name after ``<? =``, or None."""
        return self.fragment.generic_default

    @property
    def results(self) -> tuple[ast.Result, ...]:
        """The results in order."""
        return self.fragment.results

    @property
    def body(self) -> tuple[ast.Assignment, ...] | None:
        """The assignments of a compound operation; None for a primitive one."""
        return self.fragment.body

    @cached_property
    def tensors(self) -> tuple[Param, ...]:
        """The parameters that take tensors: the inputs of an Op."""
        return tuple(p for p in self.params if p.is_tensor)

    @cached_property
    def attributes(self) -> tuple[Param, ...]:
        """The parameters known at compile time: the attributes of an Op."""
        return tuple(p for p in self.params if not p.is_tensor)

    @cached_property
    def has_dtype(self) -> bool:
        """Whether the element type of the results is given by the invocation (``op<integer>(...)``) and by no input."""
        return self.generic and not any(is_generic(p.type) for p in self.tensors)

    @property
    def array_input(self) -> bool:
        """Whether the inputs of an Op are the items of a single array parameter."""
        return any(p.is_array for p in self.tensors)

    @property
    def array_result(self) -> bool:
        """Whether the outputs of an Op are the items of a single array result."""
        return len(self.results) == 1 and isinstance(self.results[0].type, ast.ArraySpec)

    def param(self, name: str) -> Param | None:
        """The parameter of that name, or None."""
        return next((p for p in self.params if p.name == name), None)


def is_tensor(spec: ast.TypeSpec | None) -> bool:
    """Whether a type is made of tensors."""
    if isinstance(spec, ast.ArraySpec):
        return is_tensor(spec.item)
    if isinstance(spec, ast.TupleSpec):
        return any(is_tensor(item) for item in spec.items)
    return isinstance(spec, ast.TensorSpec)


def is_generic(spec: ast.TypeSpec | None) -> bool:
    """Whether a type contains ``?``."""
    if isinstance(spec, ast.ArraySpec):
        return is_generic(spec.item)
    if isinstance(spec, ast.TupleSpec):
        return any(is_generic(item) for item in spec.items)
    return spec in (ast.PrimitiveSpec("?"), ast.TensorSpec("?"))


def signature_of(fragment: ast.Fragment, library: str | None = None, extension: str | None = None) -> Signature:
    """The signature of a fragment. Raises InvalidModelError where a default value is not built of literals."""
    params = tuple(Param(p.name, p.type, p.default and literal_value(p.default)) for p in fragment.params)
    return Signature(fragment, params, library, extension)


def of_any_type(signature: Signature) -> Signature:
    """The signature with ``tensor<?>`` for every ``tensor<scalar>``: an operation of the standard on other types."""
    fragment = signature.fragment
    if not any(_of_scalars(p.type) for p in fragment.params):
        return signature
    params = tuple(replace(p, type=_any_type(p.type)) for p in fragment.params)
    results = tuple(replace(r, type=_any_type(r.type)) for r in fragment.results)
    return signature_of(
        replace(fragment, params=params, results=results, generic=True), signature.library, signature.extension
    )


def _of_scalars(spec: ast.TypeSpec | None) -> bool:
    return _of_scalars(spec.item) if isinstance(spec, ast.ArraySpec) else spec == ast.TensorSpec("scalar")


def _any_type(spec: ast.TypeSpec) -> ast.TypeSpec:
    if isinstance(spec, ast.ArraySpec) and spec.item is not None:
        return ast.ArraySpec(_any_type(spec.item))
    return ast.TensorSpec("?") if _of_scalars(spec) else spec


def literal_value(expr: ast.Expr) -> Any:
    """The value of an expression built of literals; arrays and tuples become tuples. Raises InvalidModelError."""
    if isinstance(expr, ast.Constant):
        return expr.value
    if isinstance(expr, ast.Numbers):
        return expr.values
    if isinstance(expr, (ast.ArrayExpr, ast.TupleExpr)):
        return tuple(literal_value(item) for item in expr.items)
    raise InvalidModelError("a default value must be built of literals only", expr.location)
