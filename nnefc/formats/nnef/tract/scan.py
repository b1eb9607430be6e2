"""tract_core_scan: a fragment applied to chunks of tensors in order, unrolled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from nnefc.errors import InvalidModelError, Location, UnsupportedError
from nnefc.formats.nnef.context import fail
from nnefc.formats.nnef.expand import Frame
from nnefc.formats.nnef.tasks import Task
from nnefc.formats.nnef.tract.evaluate import Machine
from nnefc.formats.nnef.tract.registry import REQUIRED, Given, TractScope, tensor
from nnefc.ir import syntax as ast

MAX_TURNS = 4096
_PARAMS = {
    **dict.fromkeys(("body", "scan", "full", "state", "output"), REQUIRED),
    "skip": 0,
    "reset_every_turn": 0,
    "external_state": 0,
}


@dataclass
class _Scan:
    """A scan as written, its entries by the names that the body has for them."""

    body: ast.Fragment
    chunked: dict[str, tuple[Any, int, int]]
    full: dict[str, Any]
    state: dict[str, tuple[Any, str]]
    outputs: list[tuple[str, str, int, int]]

    def turns(self, s: TractScope) -> int:
        """How often the body is applied. Raises InvalidModelError where the tensors do not say the same."""
        counts = {s.shape(x)[axis] // abs(chunk) for x, axis, chunk in self.chunked.values()}
        if len(counts) != 1 or any(s.shape(x)[axis] % abs(chunk) for x, axis, chunk in self.chunked.values()):
            raise InvalidModelError("the tensors that are scanned must be of one number of chunks")
        (count,) = counts
        if count > MAX_TURNS:
            raise UnsupportedError(f"scans of {count} turns; at most {MAX_TURNS} are unrolled")
        return count


def scan(machine: Machine, given: Given, location: Location, frame: Frame) -> Task:
    """The outputs of a scan. A negative chunk runs backwards; the results are laid out by its sign, too."""
    try:
        parsed = _parsed(machine, machine.matched("tract_core_scan", _PARAMS, given))
        turns = parsed.turns(machine.scope)
    except (InvalidModelError, UnsupportedError) as error:
        raise type(error)(f"tract_core_scan: {error.message}", error.location or location) from None
    except (IndexError, KeyError, ValueError, TypeError, ZeroDivisionError) as error:
        raise InvalidModelError(f"tract_core_scan: its arguments do not fit: {error}", location) from error
    s = machine.scope
    state = {name: value for name, (value, _) in parsed.state.items()}
    made: list[dict[str, Any]] = []
    for turn in range(turns):
        pieces = {name: _piece(s, x, axis, chunk, turn) for name, (x, axis, chunk) in parsed.chunked.items()}
        values = {**parsed.full, **pieces, **state}
        results = yield machine.fragment(parsed.body, [(n, values[n]) for n in _names(parsed, values)], location, frame)
        tuple_ = results if isinstance(results, tuple) else (results,)
        named = {r.name: v for r, v in zip(parsed.body.results, tuple_, strict=True)}
        made.append(named)
        state = {name: named[result] for name, (_, result) in parsed.state.items()}
    return tuple(_output(s, made, entry) for entry in parsed.outputs)


def _names(parsed: _Scan, values: dict[str, Any]) -> list[str]:
    names = [p.name for p in parsed.body.params]
    for parameter in parsed.body.params:
        if parameter.name not in values:
            fail(f"{parameter.name!r} of {parsed.body.name!r} is bound to nothing", parameter.location)
    return names


def _parsed(machine: Machine, values: dict[str, Any]) -> _Scan:
    name = values["body"]
    if name not in machine.fragments:
        raise InvalidModelError(f"there is no fragment {name!r} for the body")
    for option in ("skip", "reset_every_turn", "external_state"):
        if values[option]:
            raise UnsupportedError(f"{option} = {values[option]} is not supported")
    s = machine.scope

    def made(x: Any) -> Any:
        return tensor(s, x, "a tensor of tract_core_scan")

    def number(x: Any) -> int:
        return int(x if isinstance(x, int) else x.item())

    params = {re.sub(r"\W", "_", p.name): p.name for p in machine.fragments[name].params}

    def bound(written: str) -> str:
        return params.get(re.sub(r"\W", "_", written), written)

    return _Scan(
        machine.fragments[name],
        {bound(n): (made(x), number(axis), number(chunk)) for n, x, axis, chunk in values["scan"]},
        {bound(n): made(x) for n, x in values["full"]},
        {bound(n): (made(x), result) for n, x, result in values["state"]},
        [(n, kind, number(axis), number(chunk)) for n, kind, axis, chunk in values["output"]],
    )


def _piece(s: TractScope, x: Any, axis: int, chunk: int, turn: int) -> Any:
    size = abs(chunk)
    begin = turn * size if chunk > 0 else s.shape(x)[axis] - (turn + 1) * size
    return s.op("slice", [x], axes=[axis], begin=[begin], end=[begin + size])


def _output(s: TractScope, made: list[dict[str, Any]], entry: tuple[str, str, int, int]) -> Any:
    name, kind, axis, chunk = entry
    if kind == "last":
        return made[-1][name]
    if kind != "full":
        raise InvalidModelError(f"an output is 'full' or 'last', not {kind!r}")
    pieces = [turn[name] for turn in (made if chunk > 0 else reversed(made))]
    return s.op("concat", pieces, axis=axis) if len(pieces) > 1 else pieces[0]
