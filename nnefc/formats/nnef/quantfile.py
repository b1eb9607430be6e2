"""The file ``graph.quant``: how tensors are quantized, one operation per line (NNEF 1.0.5, sections 5.3 and 7.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnefc.errors import InvalidModelError, Location
from nnefc.formats.nnef.dialect import STRICT, Dialect, Notes
from nnefc.ir import syntax as ast
from nnefc.ir.encoding import Encoding, Parameter
from nnefc.ir.parse import parse_quantization
from nnefc.ir.signature import Param, Signature
from nnefc.ir.text import format_encoding
from nnefc.ops.quantized import MAX_BITS
from nnefc.ops.signatures import signatures

ALGORITHMS = (
    "min_max_linear_quantize",
    "zero_point_linear_quantize",
    "linear_quantize",
    "logarithmic_quantize",
)
"""The operations that a line may name: those of section 4.9.5."""
MAX_RANK = 8

Note = Notes | None


@dataclass(frozen=True)
class Entry:
    """A line of the file: what it says, and where the tensor's name stands."""

    encoding: Encoding
    location: Location


def parse(text: str, file: str = "graph.quant", *, dialect: Dialect = STRICT, note: Note = None) -> dict[str, Encoding]:
    """The encodings by name of the tensor. Arguments and errors are those of ``parse_entries``."""
    return {name: entry.encoding for name, entry in parse_entries(text, file, dialect=dialect, note=note).items()}


def parse_entries(
    text: str, file: str = "graph.quant", *, dialect: Dialect = STRICT, note: Note = None
) -> dict[str, Entry]:
    """The lines by name of the tensor, in their order; ``note`` is told of what the dialect tolerates.

    Parameters are checked against the declaration of the operation, and come in its order: scalars as float, arrays as
    nested tuples that form a tensor. Whether the graph has such tensors, and whether per-channel parameters fit their
    shapes, is not known here. Raises InvalidModelError with the place.
    """
    source = ast.Source(file, text)
    entries: dict[str, Entry] = {}
    for line in parse_quantization(text, file):
        name = str(line.name.value)
        try:
            if name in entries:
                first = entries[name].location.line
                raise InvalidModelError(f"{name!r} has a quantization already, in line {first}", line.name.location)
            entries[name] = Entry(encoding_of(line.operation, dialect, note), line.name.location)
        except InvalidModelError as error:
            source.place(error)
            raise
    return entries


def encoding_of(call: ast.Invocation, dialect: Dialect = STRICT, note: Note = None) -> Encoding:
    """The encoding that an operation with named parameters states. Raises as ``parse_entries`` does, without source."""
    if call.name not in ALGORITHMS:
        expected = ", ".join(ALGORITHMS)
        raise InvalidModelError(f"unknown quantization algorithm {call.name!r}; expected {expected}", call.location)
    signature = signatures()[call.name]
    params = {param.name: param for param in _parameters(signature)}
    values: dict[str, Parameter] = {}
    for argument in call.arguments:
        name = argument.name or ""
        if name not in params:
            has = ", ".join(params)
            raise InvalidModelError(f"{call.name} has no parameter {name!r}; it has {has}", argument.location)
        if name in values:
            raise InvalidModelError(f"the parameter {name!r} is given twice", argument.location)
        values[name] = _value(params[name], argument.value, dialect, note)
    missing = [name for name in params if name not in values]
    if missing:
        raise InvalidModelError(f"{call.name} needs the parameter {' and '.join(map(repr, missing))}", call.location)
    if fault := _bits_fault(values):
        place = next(argument.value.location for argument in call.arguments if argument.name == "bits")
        raise InvalidModelError(fault, place)
    return Encoding(call.name, tuple((name, values[name]) for name in params))


def _parameters(signature: Signature) -> tuple[Param, ...]:
    """All but the tensor to be quantized."""
    return signature.params[1:]


def _bits_fault(values: Mapping[str, Parameter]) -> str | None:
    bits = values["bits"]
    if not isinstance(bits, int) or not 1 <= bits <= MAX_BITS:
        return f"bits = {bits} is out of range; it must be 1 to {MAX_BITS}"
    if bits == 1 and values.get("signed") and values.get("symmetric"):
        return "bits = 1 leaves a single code where signed and symmetric are true; use 2 or more"
    return None


def _value(param: Param, expr: ast.Expr, dialect: Dialect, note: Note) -> Parameter:
    if isinstance(param.type, ast.TensorSpec):
        return _tensor(param, param.type.item, expr, dialect, note)[0]
    value = expr.value if isinstance(expr, ast.Constant) else None
    if param.type == ast.PrimitiveSpec("logical") and isinstance(value, bool):
        return value
    if param.type == ast.PrimitiveSpec("integer") and isinstance(value, int) and not isinstance(value, bool):
        return value
    example = "true or false" if param.type == ast.PrimitiveSpec("logical") else "an integer"
    raise InvalidModelError(f"{param.name} must be {example}{_instead(value)}", expr.location)


def _tensor(
    param: Param, item: str | None, expr: ast.Expr, dialect: Dialect, note: Note
) -> tuple[Parameter, tuple[int, ...]]:
    """The value of a tensor parameter, and its shape."""
    if isinstance(expr, ast.Constant):
        return _number(param, item, expr.value, expr.location, dialect, note), ()
    if isinstance(expr, ast.Numbers):
        values = tuple([_number(param, item, v, expr.location, dialect, note) for v in expr.values])
        return values, (len(values),)
    if not isinstance(expr, ast.ArrayExpr):
        raise InvalidModelError(f"{param.name} must be built of literals", expr.location)
    parts = [_tensor(param, item, part, dialect, note) for part in expr.items]
    shapes = {shape for _, shape in parts}
    if len(shapes) != 1:
        what = "is empty" if not parts else f"holds parts of different shapes: {', '.join(map(_shape, sorted(shapes)))}"
        raise InvalidModelError(f"the array for {param.name} {what}", expr.location)
    shape = (len(parts), *shapes.pop())
    if len(shape) > MAX_RANK:
        raise InvalidModelError(f"the array for {param.name} nests more than {MAX_RANK} deep", expr.location)
    return tuple([value for value, _ in parts]), shape


def _number(
    param: Param, item: str | None, value: Any, location: Location, dialect: Dialect, note: Note
) -> float | int:
    kind = "a scalar such as -1.0" if item == "scalar" else "an integer"
    if isinstance(value, (bool, str)):
        raise InvalidModelError(f"{param.name} must be {kind}, or an array{_instead(value)}", location)
    if item == "scalar" and isinstance(value, int) and dialect.integer_for_scalar:
        if note is not None:
            note(f"the integer {value} stands for a scalar, as {param.name}", location)
        value = float(value) if abs(value) < 2**1023 else math.inf
    if isinstance(value, float) is not (item == "scalar"):
        raise InvalidModelError(f"{param.name} must be {kind}, or an array of them{_instead(value)}", location)
    if not (math.isfinite(value) if item == "scalar" else -(2**63) <= value < 2**63):
        raise InvalidModelError(f"a value of {param.name} is out of the range of {item}s", location)
    return value  # type: ignore[no-any-return]


def _instead(value: Any) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return f", not {text if len(text) <= 40 else text[:37] + '...'}"


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def format(encodings: Mapping[str, Encoding]) -> str:
    """The text of a ``graph.quant``, in the order of the mapping; ``parse`` gives the same encodings back.

    Raises ValueError for a name that no string literal can hold, for an algorithm or parameters that section 4.9.5 does
    not declare, and for numbers that are not finite.
    """
    lines = []
    for name, encoding in encodings.items():
        if not (name.isascii() and name.isprintable()):
            raise ValueError(f"the tensor name {name!r} cannot be written as a string")
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'"{quoted}": {format_encoding(_declared(encoding))};\n')
    return "".join(lines)


def _declared(encoding: Encoding) -> Encoding:
    """The encoding with every parameter of its algorithm, in order and of its type."""
    if encoding.algorithm not in ALGORITHMS:
        raise ValueError(f"unknown quantization algorithm {encoding.algorithm!r}")
    params = {param.name: param for param in _parameters(signatures()[encoding.algorithm])}
    given = dict(encoding.parameters)
    if given.keys() != params.keys():
        raise ValueError(f"{encoding.algorithm} has the parameters {', '.join(params)}, not {', '.join(given)}")
    return Encoding(encoding.algorithm, tuple((name, _typed(param, given[name])) for name, param in params.items()))


def _typed(param: Param, value: Parameter) -> Parameter:
    if isinstance(value, tuple):
        return tuple(_typed(param, v) for v in value)
    if param.type == ast.TensorSpec("scalar"):
        if not math.isfinite(value):
            raise ValueError(f"{param.name} = {value} has no literal in NNEF")
        return float(value)
    if isinstance(value, float) or isinstance(value, bool) is not (param.type == ast.PrimitiveSpec("logical")):
        raise ValueError(f"{param.name} = {value} is not of the declared type")
    return int(value) if not isinstance(value, bool) else value
