"""Compile-time values as the evaluator has them: kinds, shapes of nested arrays, defaults."""

from __future__ import annotations

from typing import Any

from nnefc.errors import Location
from nnefc.formats.nnef.context import fail
from nnefc.ir import syntax as ast
from nnefc.ir.graph import Value


def shaped(value: Any, location: Location) -> tuple[list[int], list[Any]]:
    """The shape and the items of nested arrays, which must form a tensor."""
    shape: list[int] = []
    items = [value]
    while isinstance(items[0], list):
        lengths = {len(i) if isinstance(i, list) else -1 for i in items}
        if len(lengths) > 1 or lengths == {0}:
            fail("the items of the arrays do not form a tensor", location)
        shape += lengths
        items = [x for item in items for x in item]
    return shape, items


def kind_of(value: Any) -> str:
    """The primitive type of a number, or of a tensor's elements."""
    if isinstance(value, Value):
        return {"f": "scalar", "b": "logical"}.get(value.type.dtype.kind, "integer")
    return "logical" if isinstance(value, bool) else "integer" if isinstance(value, int) else "scalar"


def thawed(value: Any, spec: ast.TypeSpec | None) -> Any:
    """A default value as the evaluator has values: arrays as lists."""
    if isinstance(value, tuple):
        items = spec.items if isinstance(spec, ast.TupleSpec) else (getattr(spec, "item", None),) * len(value)
        parts = [thawed(v, s) for v, s in zip(value, items, strict=True)]
        return tuple(parts) if isinstance(spec, ast.TupleSpec) else parts
    return value
