"""Control flow, sequences and optionals, all resolved at import: If, Loop, Scan and the operations on lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnefc.errors import InvalidModelError
from nnefc.formats.onnx.registry import Anything, Imported, Maybe, Node, TensorList, importer
from nnefc.formats.onnx.scope import Scope
from nnefc.ir.graph import Value

MAX_TRIPS = 4096
"""Iterations of a loop that is unrolled."""


def _flag(s: Scope, value: Imported, what: str) -> bool:
    """A known logical scalar."""
    array = s.known(value, what)
    if array.dtype != bool or array.size != 1:
        raise s.invalid(f"{what} must be one logical value, not {array.dtype} of shape {list(array.shape)}")
    return bool(array.reshape(()))


def _count(s: Scope, value: Imported, what: str) -> int:
    """A known integer scalar."""
    ints = s.known_ints(s.known(value, what).reshape(-1), what)
    if len(ints) != 1:
        raise s.invalid(f"{what} must be one integer, not {len(ints)}")
    return ints[0]


# ---- If


@importer("If", lists=True)
def _if(s: Scope, n: Node) -> Sequence[Any]:
    """The branch of a known condition; both and a select where the condition is computed."""
    condition = n.need(0)
    branches = [n.need_attr("then_branch"), n.need_attr("else_branch")]
    if s.is_known(condition):
        return s.subgraph(branches[0] if _flag(s, condition, "the condition") else branches[1], [])
    yes, no = (s.subgraph(branch, []) for branch in branches)
    if len(yes) != len(no):
        raise s.invalid(f"the branches have {len(yes)} and {len(no)} outputs")
    if s.type(condition).volume != 1:
        raise s.invalid(f"the condition has the shape {list(s.shape(condition))}; it must be one logical value")
    scalar = s.reshape(condition, ())
    return [_chosen(s, scalar, a, b) for a, b in zip(yes, no, strict=True)]


def _chosen(s: Scope, condition: Value, yes: Anything, no: Anything) -> Imported:
    if isinstance(yes, (TensorList, Maybe)) or isinstance(no, (TensorList, Maybe)):
        raise s.unsupported("the condition is computed, and the branches give sequences or optionals")
    if s.type(yes) != s.type(no):
        raise s.unsupported(
            f"the condition is computed, and the branches give tensors of {s.type(yes)} and {s.type(no)}; their types "
            "must be equal"
        )
    return s.op("select", [condition, yes, no])


# ---- Loop


@importer("Loop", lists=True)
def _loop(s: Scope, n: Node) -> Sequence[Any]:
    """Unrolled: the trip count, and the condition after each iteration, must be known."""
    body = n.need_attr("body")
    trips = MAX_TRIPS + 1 if n.input(0) is None else _count(s, n.input(0), "the trip count")
    condition: Any = np.array(True) if n.input(1) is None else n.input(1)
    states: list[Any] = list(n.inputs[2:])
    if any(v is None for v in states):
        raise s.invalid("an initial value is left out")
    if len(body.input) != 2 + len(states) or len(body.output) < 1 + len(states):
        counts = f"{len(body.input)} inputs and {len(body.output)} outputs"
        raise s.invalid(f"the body has {counts}, which does not fit {len(states)} initial values")
    scanned: list[list[Any]] = [[] for _ in body.output[1 + len(states) :]]
    for trip in range(trips):
        if not _flag(s, condition, "the condition of the loop"):
            break
        if trip == MAX_TRIPS:
            raise s.unsupported(f"the loop runs more than {MAX_TRIPS} times; loops are unrolled")
        condition, *results = s.subgraph(body, [np.array(trip, np.int64), condition, *states])
        states = results[: len(states)]
        for column, value in zip(scanned, results[len(states) :], strict=True):
            column.append(value)
    return [*states, *(_stacked(s, column, 0) for column in scanned)]


def _stacked(s: Scope, values: Sequence[Imported], axis: int) -> Imported:
    """The values along a new axis."""
    if not values:
        raise s.unsupported("the loop runs 0 times, so that what it collects has no elements")
    return s.op("stack", values, axis=axis)


# ---- Scan


@importer("Scan")
def _scan(s: Scope, n: Node) -> Sequence[Any]:
    """Unrolled along the scanned dimension; in opset 8 for each item of the batch."""
    body, count = n.need_attr("body"), n.need_attr("num_scan_inputs")
    if n.version >= 9:
        inputs = [v for v in n.inputs if v is not None]
        return _scan_once(s, n, inputs, count)
    if n.input(0) is not None:
        raise s.unsupported("lengths of sequences in a batch")
    inputs = [v for v in n.inputs[1:] if v is not None]
    batches = [s.op("unstack", [v], axis=0) for v in inputs]
    if not inputs or len({len(b) for b in batches}) != 1:
        raise s.invalid("the inputs have no batch in common")
    results = [_scan_once(s, n, items, count) for items in zip(*batches, strict=True)]
    return [_stacked(s, [r[i] for r in results], 0) for i in range(len(body.output))]


def _scan_once(s: Scope, n: Node, inputs: Sequence[Imported], count: int) -> list[Imported]:
    body = n.need_attr("body")
    if not 1 <= count <= len(inputs) or len(body.input) != len(inputs) or len(body.output) < len(inputs) - count:
        raise s.invalid(f"num_scan_inputs = {count} does not fit {len(inputs)} inputs and a body of {len(body.input)}")
    states, scans = list(inputs[: len(inputs) - count]), inputs[len(inputs) - count :]
    outputs = len(body.output) - len(states)
    reverse = _numbers(s, n, "directions" if n.version < 9 else "scan_input_directions", count)
    axes = _numbers(s, n, "scan_input_axes", count)
    columns = [_items(s, v, a, bool(r)) for v, a, r in zip(scans, axes, reverse, strict=True)]
    if len({len(c) for c in columns}) != 1:
        raise s.invalid("the scanned inputs have different lengths")
    if not columns[0]:
        raise s.unsupported("a scan over no items gives outputs without elements")
    if len(columns[0]) > MAX_TRIPS:
        raise s.unsupported(f"the scan runs more than {MAX_TRIPS} times; scans are unrolled")
    collected: list[list[Any]] = [[] for _ in range(outputs)]
    for items in zip(*columns, strict=True):
        results = s.subgraph(body, [*states, *items])
        states = results[: len(states)]
        for column, value in zip(collected, results[len(states) :], strict=True):
            column.append(value)
    backwards = _numbers(s, n, "scan_output_directions", outputs)
    out_axes = _numbers(s, n, "scan_output_axes", outputs)
    scanned = [
        _stacked(s, column[::-1] if back else column, _axis(s, axis, s.rank(column[0]) + 1))
        for column, axis, back in zip(collected, out_axes, backwards, strict=True)
    ]
    return [*states, *scanned]


def _numbers(s: Scope, n: Node, name: str, count: int) -> list[int]:
    values = n.attr(name, [0] * count)
    if len(values) != count:
        raise s.invalid(f"{name} = {values} must have {count} items")
    return list(values)


def _axis(s: Scope, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise s.invalid(f"axis {axis} is out of range: the rank is {rank}")
    return axis % rank


def _items(s: Scope, value: Imported, axis: int, reverse: bool) -> Sequence[Imported]:
    """The slices of a tensor along an axis, that axis removed."""
    items = s.op("unstack", [value], axis=_axis(s, axis, s.rank(value)))
    return items[::-1] if reverse else items


# ---- sequences


def _list(value: object) -> TensorList:
    if isinstance(value, Maybe):
        value = value.item
    if not isinstance(value, TensorList):
        raise InvalidModelError("a sequence is wanted")
    return value


@importer("SequenceConstruct")
def _sequence_construct(s: Scope, n: Node) -> Sequence[Any]:
    return [TensorList(tuple(v for v in n.inputs if v is not None))]


@importer("SequenceEmpty")
def _sequence_empty(s: Scope, n: Node) -> Sequence[Any]:
    return [TensorList(())]


@importer("SequenceLength", lists=True)
def _sequence_length(s: Scope, n: Node) -> Sequence[Any]:
    return [np.array(len(_list(n.need(0)).items), np.int64)]


def _position(s: Scope, value: Imported | None, length: int) -> int:
    index = length - 1 if value is None else _count(s, value, "the position")
    if not -length <= index < length:
        raise s.invalid(f"position {index} is out of range: the sequence has {length} items")
    return index % length


@importer("SequenceAt", lists=True)
def _sequence_at(s: Scope, n: Node) -> Sequence[Any]:
    items = _list(n.need(0)).items
    return [items[_position(s, n.need(1), len(items))]]


@importer("SequenceInsert", lists=True)
def _sequence_insert(s: Scope, n: Node) -> Sequence[Any]:
    items = list(_list(n.need(0)).items)
    at = len(items) if n.input(2) is None else _count(s, n.input(2), "the position")
    if not -len(items) <= at <= len(items):
        raise s.invalid(f"position {at} is out of range: the sequence has {len(items)} items")
    items.insert(at, n.need(1))
    return [TensorList(tuple(items))]


@importer("SequenceErase", lists=True)
def _sequence_erase(s: Scope, n: Node) -> Sequence[Any]:
    items = _list(n.need(0)).items
    at = _position(s, n.input(1), len(items))
    return [TensorList(items[:at] + items[at + 1 :])]


@importer("ConcatFromSequence", lists=True)
def _concat_from_sequence(s: Scope, n: Node) -> Sequence[Any]:
    items = _list(n.need(0)).items
    if not items:
        raise s.invalid("the sequence has no items")
    new = n.attr("new_axis", 0)
    axis = _axis(s, n.need_attr("axis"), s.rank(items[0]) + (1 if new else 0))
    return [s.op("stack" if new else "concat", items, axis=axis)]


@importer("SplitToSequence")
def _split_to_sequence(s: Scope, n: Node) -> Sequence[Any]:
    value = n.need(0)
    axis = _axis(s, n.attr("axis", 0), s.rank(value))
    extent = s.shape(value)[axis]
    if n.input(1) is None:
        if not n.attr("keepdims", 1):
            return [TensorList(tuple(_items(s, value, axis, False)))]
        lengths = [1] * extent
    else:
        lengths = s.known_ints(n.input(1), "split")
        if s.rank(n.input(1)) == 0:
            step = lengths[0]
            if step < 1:
                raise s.invalid(f"split = {step} must be positive")
            lengths = [min(step, extent - start) for start in range(0, extent, step)]
    if sum(lengths) != extent or any(length < 0 for length in lengths):
        raise s.invalid(f"split = {lengths[:16]} does not divide the extent {extent}")
    if isinstance(value, np.ndarray):
        return [TensorList(tuple(np.split(value, np.cumsum(lengths[:-1]), axis)))]
    return [TensorList(tuple(s.op("split", [value], axis=axis, ratios=lengths)))]


# ---- optionals


@importer("Optional", lists=True)
def _optional(s: Scope, n: Node) -> Sequence[Any]:
    return [Maybe(n.input(0))]


@importer("OptionalHasElement", lists=True)
def _optional_has_element(s: Scope, n: Node) -> Sequence[Any]:
    value = n.input(0)
    return [np.array(value.item is not None if isinstance(value, Maybe) else value is not None)]


@importer("OptionalGetElement", lists=True)
def _optional_get_element(s: Scope, n: Node) -> Sequence[Any]:
    value = n.need(0)
    item = value.item if isinstance(value, Maybe) else value
    if item is None:
        raise s.invalid("the optional is empty")
    return [item]
