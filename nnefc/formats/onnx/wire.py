"""The protobuf wire format of an ONNX file: takes the values of initialisers out, so that they are never copied.

A file is a ModelProto; its field 7 is the GraphProto, whose fields 5 are the initialisers (TensorProto), whose values
lie in the fields 9 (raw bytes), 4 (packed float) or 10 (packed double).
Source: the encoding of protocol buffers, and ``onnx.proto`` of ONNX 1.23.
"""

from __future__ import annotations

from collections.abc import Iterator

from nnefc.errors import InvalidModelError, UnsupportedError

_GRAPH, _INITIALIZER = 7, 5
_VALUES = {9, 4, 10}
_NESTED = {0: {7: 1, 25: 6}, 1: {1: 2, 5: 3, 11: 4, 12: 4, 13: 4}, 2: {5: 5}, 5: {6: 1, 11: 1}, 6: {7: 2}}
"""The fields that hold messages of many parts: of models (0), graphs (1), nodes (2), attributes (5), functions (6)."""
_LEAST = 1024
MAX_PARTS = 2_000_000
"""The most fields that the messages of a model may have together, tensors and names counted once."""

Range = tuple[int, int]


def fields(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """The fields of a message as (number, wire type, start of the field, start of its value, end).

    Raises InvalidModelError where the bytes are no message.
    """
    at = start
    while at < end:
        field = at
        key, at = _varint(data, at, end)
        number, kind = key >> 3, key & 7
        value = at
        if kind == 0:
            _, at = _varint(data, at, end)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 2:
            length, value = _varint(data, at, end)
            at = value + length
        else:
            raise InvalidModelError(f"the file is no ONNX model: there is no field of wire type {kind} (byte {field})")
        if at > end or number == 0:
            raise InvalidModelError(f"the file is no ONNX model, or cut short: the field at byte {field} does not fit")
        yield number, kind, field, value, at


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    result = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        result |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return result, at
        shift += 7
    raise InvalidModelError(f"the file is no ONNX model, or cut short: no number at byte {at}")


def strip(data: memoryview) -> tuple[bytes, dict[int, Range]]:
    """The model without the values of its larger initialisers, and where those lie, by the index of the initialiser.

    Raises InvalidModelError if the bytes are no message, UnsupportedError if it has too many parts.
    """
    budget = [MAX_PARTS]
    _count(data, 0, len(data), 0, budget)
    pieces: list[bytes | memoryview] = []
    ranges: dict[int, Range] = {}
    index = 0
    for number, kind, field, value, end in fields(data, 0, len(data)):
        if (number, kind) != (_GRAPH, 2):
            pieces.append(data[field:end])
            continue
        graph: list[bytes | memoryview] = []
        for inner, inner_kind, inner_field, inner_value, inner_end in fields(data, value, end):
            if (inner, inner_kind) != (_INITIALIZER, 2):
                graph.append(data[inner_field:inner_end])
                continue
            tensor, found = _without_values(data, inner_value, inner_end)
            if found is not None:
                ranges[index] = found
            graph += [_key(_INITIALIZER, sum(map(len, tensor))), *tensor]
            index += 1
        pieces += [_key(_GRAPH, sum(map(len, graph))), *graph]
    return b"".join(pieces), ranges


def _without_values(data: memoryview, start: int, end: int) -> tuple[list[memoryview], Range | None]:
    """The fields of a TensorProto without its values, and where these lie; everything and None where they are short or
    lie in several places."""
    kept: list[memoryview] = []
    found: list[Range] = []
    for number, kind, field, value, stop in fields(data, start, end):
        if number in _VALUES and kind == 2:
            found.append((value, stop - value))
        else:
            kept.append(data[field:stop])
    if len(found) != 1 or found[0][1] < _LEAST:
        return [data[start:end]], None
    return kept, found[0]


def _key(number: int, length: int) -> bytes:
    """The head of a field of ``length`` bytes."""
    out = bytearray([number << 3 | 2])
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out)


def _count(data: memoryview, start: int, end: int, message: int, budget: list[int], depth: int = 0) -> None:
    """Bound the parts of the messages, which take far more memory parsed than written, and their nesting."""
    if depth > 100:
        raise InvalidModelError("messages are nested more than 100 deep")
    nested = _NESTED.get(message, {})
    for number, kind, _, value, stop in fields(data, start, end):
        budget[0] -= 1
        if budget[0] < 0:
            raise UnsupportedError(f"the model has more than {MAX_PARTS} parts")
        if kind == 2 and number in nested:
            _count(data, value, stop, nested[number], budget, depth + 1)
