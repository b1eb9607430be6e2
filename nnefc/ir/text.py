"""A Graph as NNEF text: flat syntax, one operation per line, with or without types."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nnefc.errors import UnsupportedError
from nnefc.ir import syntax as ast
from nnefc.ir.encoding import Encoding
from nnefc.ir.graph import Graph, Literal, Op, Operand, Value
from nnefc.ir.signature import Signature
from nnefc.ir.types import INTEGER, LOGICAL, SCALAR, DType

TYPES_EXTENSION = "NNEFC_tensor_types"
"""The extension under which identifiers on the left carry types: ``h: f32[1,64] = ...``."""
OPERATIONS_EXTENSION = "NNEFC_operations"
"""The extension that adds operations, and opens those of the standard to tensors of any type where that makes sense."""
OPERATORS_EXTENSION = "KHR_enable_operator_expressions"


def format_graph(graph: Graph, signatures: Mapping[str, Signature], *, types: bool = True) -> str:
    """The graph as the text of a ``graph.nnef``.

    With ``types`` every value carries its type and encoding, and parsing gives the same Graph but for its tensors.
    Without, the text is that of the standard, encodings are left out, and a type is written only where an operation
    makes elements that NNEF has no name for. Attributes and trailing operands that equal their defaults are left out.
    Operations without a signature are written positionally. Raises UnsupportedError for an attribute without a literal.
    """
    externals = [_external(value, types) for value in graph.inputs]
    lines = externals + [format_op(op, signatures.get(op.kind), types=types) for op in graph.ops]
    extensions = [*graph.extensions]
    if any("scalar('" in line for line in lines):
        extensions.append(OPERATORS_EXTENSION)
    if types or any(_needs_type(v) for v in graph.inputs) or any(_needs_type_op(op, signatures) for op in graph.ops):
        extensions.append(TYPES_EXTENSION)
    if not graph.inputs or any(is_extended(op, signatures.get(op.kind)) for op in graph.ops):
        extensions.append(OPERATIONS_EXTENSION)
    header = "".join(f"extension {e};\n" for e in extensions)
    inputs, outputs = (", ".join(v.name for v in values) for values in (graph.inputs, graph.outputs))
    body = "".join(f"    {line}\n" for line in lines)
    return f"version 1.0;\n{header}\ngraph {graph.name}({inputs}) -> ({outputs})\n{{\n{body}}}\n"


def is_extended(op: Op, signature: Signature | None) -> bool:
    """Whether an operation goes beyond the standard: one of an extension, or on elements that are not declared."""
    if signature is None:
        return False
    specs = [p.type for p in signature.tensors]
    if signature.array_input:
        specs = [specs[0].item] * len(op.inputs)  # type: ignore[union-attr, list-item]
    wanted = (spec.item if isinstance(spec, ast.TensorSpec) else None for spec in specs)
    wide = any(w == "scalar" and x.type.dtype.kind != "f" for w, x in zip(wanted, op.inputs, strict=True))
    return wide or signature.extension is not None


def format_op(op: Op, signature: Signature | None, *, types: bool = True) -> str:
    """One operation as a statement. Raises UnsupportedError for an attribute without a literal."""
    dtype = op.attrs.get("dtype")
    typed = types or (isinstance(dtype, DType) and not _is_standard(dtype))
    results = ", ".join(_target(v, typed, types) for v in op.outputs)
    if signature is not None and signature.array_result:
        results = f"[{results}]"
    elif len(op.outputs) != 1:
        results = f"({results})"
    generic = _generic(dtype, signature) if isinstance(dtype, DType) else ""
    arguments = ", ".join([*_operands(op, signature), *_attributes(op, signature)])
    return f"{results} = {op.kind}{generic}({arguments});"


def format_encoding(encoding: Encoding) -> str:
    """The quantization operation with its named parameters, as a line of ``graph.quant`` has it."""
    parameters = ", ".join(f"{name} = {format_value(value, _array(value))}" for name, value in encoding.parameters)
    return f"{encoding.algorithm}({parameters})"


def _array(value: Any) -> ast.TypeSpec | None:
    """The type of a nested array, down to its items."""
    return ast.ArraySpec(_array(value[0])) if isinstance(value, tuple) and value else None


def format_value(value: Any, spec: ast.TypeSpec | None = None) -> str:
    """A compile-time value as a literal of type ``spec``; tuples without a type are arrays, and those inside, tuples.

    Floats are the shortest decimals that read back to the same float64; infinities and NaN, which have no literal in
    NNEF, become ``scalar('inf')``, ``scalar('-inf')`` and ``scalar('nan')``. Raises UnsupportedError for other types.
    """
    if isinstance(value, tuple):
        item = spec.item if isinstance(spec, ast.ArraySpec) else None
        if isinstance(spec, ast.TupleSpec):
            return f"({', '.join(format_value(v, s) for v, s in zip(value, spec.items, strict=True))})"
        return f"[{', '.join(_nested(v, item) for v in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    if isinstance(value, float) or (isinstance(value, int) and spec == ast.PrimitiveSpec("scalar")):
        number = float(value)
        return repr(number) if math.isfinite(number) else f"scalar('{number!r}')"
    if isinstance(value, int):
        return str(value)
    raise UnsupportedError(f"a value of type {type(value).__name__} has no literal in NNEF text")


def _nested(value: Any, spec: ast.TypeSpec | None) -> str:
    if isinstance(value, tuple) and spec is None:
        return f"({', '.join(_nested(v, None) for v in value)})" if len(value) > 1 else format_value(value)
    return format_value(value, spec)


def _is_standard(dtype: DType) -> bool:
    return dtype in (SCALAR, INTEGER, LOGICAL)


def _needs_type(value: Value) -> bool:
    return not _is_standard(value.type.dtype)


def _needs_type_op(op: Op, signatures: Mapping[str, Signature]) -> bool:
    return isinstance(op.attrs.get("dtype"), DType) and not _is_standard(op.attrs["dtype"])


def _external(value: Value, types: bool) -> str:
    shape = "[" + ", ".join(map(str, value.type.shape)) + "]"
    generic = "" if value.type.dtype.kind == "f" else f"<{_type_name(value.type.dtype)}>"
    return f"{_target(value, types or _needs_type(value), types)} = external{generic}(shape = {shape});"


def _target(value: Value, typed: bool, encoded: bool) -> str:
    text = f"{value.name}: {value.type}" if typed else value.name
    encoding = value.type.encoding
    return f"{text} @ {format_encoding(encoding)}" if encoded and encoding is not None else text


def _type_name(dtype: DType) -> str:
    """NNEF's name for elements of that kind."""
    return {"f": "scalar", "b": "logical"}.get(dtype.kind, "integer")


def _generic(dtype: DType, signature: Signature | None) -> str:
    name = _type_name(dtype)
    return "" if signature is not None and signature.generic_default == name else f"<{name}>"


def _operand(operand: Operand) -> str:
    return operand.name if isinstance(operand, Value) else format_value(operand.value)


def _operands(op: Op, signature: Signature | None) -> list[str]:
    operands: Sequence[Operand] = op.inputs
    if signature is None:
        return [_operand(x) for x in operands]
    if signature.array_input:
        return [f"[{', '.join(_operand(x) for x in operands)}]"]
    keep = len(operands)
    for operand, param in zip(reversed(operands), reversed(signature.tensors), strict=True):
        default = param.default
        if default is None or not isinstance(operand, Literal) or not _same(operand.value, default):
            break
        keep -= 1
    return [_operand(x) for x in operands[:keep]]


def _attributes(op: Op, signature: Signature | None) -> list[str]:
    texts = []
    for name, value in op.attrs.items():
        if isinstance(value, DType):
            continue
        param = signature.param(name) if signature is not None else None
        if param is None or param.default is None or not _same(value, param.default):
            texts.append(f"{name} = {format_value(value, param.type if param else None)}")
    return texts


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and repr(value) == repr(default)
