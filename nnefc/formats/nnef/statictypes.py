"""Rules of NNEF's types: casts, common types, generic types (NNEF 1.0.5, 3.3.1)."""

from __future__ import annotations

from nnefc.ir.syntax import ArraySpec, PrimitiveSpec, TensorSpec, TupleSpec, TypeSpec

INTEGER, SCALAR, LOGICAL, STRING = (PrimitiveSpec(n) for n in ("integer", "scalar", "logical", "string"))
EMPTY_ARRAY = ArraySpec(None)
NUMBERS = (SCALAR, INTEGER)


def type_of_literal(value: int | float | bool | str) -> PrimitiveSpec:
    """The type of a literal."""
    if isinstance(value, bool):
        return LOGICAL
    return INTEGER if isinstance(value, int) else SCALAR if isinstance(value, float) else STRING


def castable(source: TypeSpec, target: TypeSpec, integers: bool = False) -> bool:
    """Whether a value of type ``source`` may stand where ``target`` is wanted; with ``integers``, an integer may stand
    for a scalar."""
    if source == target or target == PrimitiveSpec("?") and isinstance(source, PrimitiveSpec):
        return True
    if isinstance(source, ArraySpec) and isinstance(target, ArraySpec):
        if source.item is None or target.item is None:
            return source.item is None
        return castable(source.item, target.item, integers)
    if isinstance(source, TupleSpec) and isinstance(target, TupleSpec):
        pairs = zip(source.items, target.items, strict=False)
        return len(source.items) == len(target.items) and all(castable(s, t, integers) for s, t in pairs)
    if isinstance(source, PrimitiveSpec) and isinstance(target, (PrimitiveSpec, TensorSpec)):
        wanted = target.name if isinstance(target, PrimitiveSpec) else target.item
        if isinstance(target, TensorSpec) and wanted in (None, "?", source.name):
            return True
        return integers and source == INTEGER and wanted == "scalar"
    if isinstance(source, TensorSpec) and isinstance(target, TensorSpec):
        return target.item is None or (target.item == "?" and source.item is not None)
    return False


def common(x: TypeSpec, y: TypeSpec, integers: bool = False) -> TypeSpec | None:
    """The type that both may be cast to, or None."""
    return y if castable(x, y, integers) else x if castable(y, x, integers) else None


def bind(spec: TypeSpec, name: str) -> TypeSpec:
    """The type with ``?`` replaced by a primitive type."""
    if isinstance(spec, PrimitiveSpec):
        return PrimitiveSpec(name) if spec.name == "?" else spec
    if isinstance(spec, TensorSpec):
        return TensorSpec(name) if spec.item == "?" else spec
    if isinstance(spec, TupleSpec):
        return TupleSpec(tuple(bind(item, name) for item in spec.items))
    return ArraySpec(bind(spec.item, name)) if spec.item is not None else spec


def candidates(param: TypeSpec, argument: TypeSpec) -> set[str]:
    """What ``?`` in a parameter's type would have to be for an argument of the given type."""
    if isinstance(param, PrimitiveSpec) and isinstance(argument, PrimitiveSpec):
        return {argument.name} if param.name == "?" else set()
    if isinstance(param, TensorSpec):
        item = argument.item if isinstance(argument, TensorSpec) else None
        name = argument.name if isinstance(argument, PrimitiveSpec) else item
        return {name} if param.item == "?" and isinstance(name, str) else set()
    if isinstance(param, ArraySpec) and isinstance(argument, ArraySpec):
        return candidates(param.item, argument.item) if param.item is not None and argument.item is not None else set()
    if isinstance(param, TupleSpec) and isinstance(argument, TupleSpec):
        return set().union(*map(candidates, param.items, argument.items))
    return set()
