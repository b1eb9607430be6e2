"""How a contraction is done where the rules of selection are overridden: what ``--tune`` measured."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nnefc.ir.program import Contract
from nnefc.ir.view import Role, View


@dataclass(frozen=True)
class Way:
    """By Winograd's image tiles of ``image`` pixels a side, or directly for 0 (None: as the rule says); and if
    directly, with the cut into panels that is number ``rank`` by the rule's estimate."""

    image: int | None = None
    rank: int = 0


Ways = Mapping[str, Way]
"""Ways by the :func:`signature` of contractions; those not named are done as the rules say."""
RULES: Ways = MappingProxyType({})
"""No exceptions."""


def way_of(ways: Ways, call: Contract) -> Way:
    """How a contraction is to be done."""
    return ways.get(signature(call), Way()) if ways else Way()


def signature(call: Contract) -> str:
    """What the time of a contraction depends on: shapes, strides, types, what is constant, and the expression."""
    views = (call.x, call.w, *call.extras, call.output)
    parts = [f"{call.groups} {call.reduced} {call.post}", *map(_view, views)]
    return hashlib.sha256("; ".join(parts).encode()).hexdigest()[:24]


def _view(v: View) -> str:
    return f"{v.dtype} {v.shape} {v.strides} {v.buffer.role is Role.CONST}"
