"""What opset 6 wrote otherwise: nodes as opset 7 would write them. Of older opsets, what did not change until 6.

Source: the operator changelog of ONNX (Broadcast.md and the versions 1, 6 and 7 of each operation).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nnefc.errors import UnsupportedError
from nnefc.formats.onnx import attributes
from nnefc.formats.onnx.registry import Node
from nnefc.formats.onnx.scope import Scope

_BROADCAST = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less"})
_DROPPED = {
    "Gemm": ("broadcast",),
    "BatchNormalization": ("is_test", "consumed_inputs"),
    "InstanceNormalization": ("consumed_inputs",),
    "Dropout": ("is_test",),
}
LAST = 6
"""The newest opset whose nodes are rewritten."""


def require_unchanged(schema: Any) -> None:
    """Raise UnsupportedError for an operation of an older opset that is another in opset 6."""
    later = attributes.schema_of(schema.name, "", LAST)
    if later is None or later.since_version != schema.since_version:
        raise UnsupportedError(f"the operation is that of opset {schema.since_version}; it is read from {LAST} on")


def modern(s: Scope, n: Node) -> Node:
    """The node in the terms of opset 7. Raises UnsupportedError for training."""
    if n.op_type in _BROADCAST:
        return _broadcast(s, n)
    if n.op_type == "PRelu":
        return replace(n, inputs=[n.need(0), _at_axis(s, n.need(1), 1, s.rank(n.need(0)))])
    if n.op_type in ("BatchNormalization", "Dropout") and not n.attr("is_test", 0):
        if len([o for o in n.outputs if o]) > 1:
            raise s.unsupported("training is not supported")
        if n.op_type == "BatchNormalization" and n.attr("spatial", 1) == 0:
            raise s.unsupported("normalization that is not per channel (spatial = 0)")
    dropped = _DROPPED.get(n.op_type, ())
    return replace(n, attrs={k: v for k, v in n.attrs.items() if k not in dropped})


def _broadcast(s: Scope, n: Node) -> Node:
    """Only the second operand was repeated, where ``broadcast`` said so; ``axis`` is where its dimensions begin."""
    first, second = n.need(0), n.need(1)
    if n.attr("broadcast", 0):
        start = n.attr("axis", s.rank(first) - s.rank(second))
        second = _at_axis(s, second, start + s.rank(first) if start < 0 else start, s.rank(first))
    elif s.shape(first) != s.shape(second):
        raise s.invalid(f"the shapes {list(s.shape(first))} and {list(s.shape(second))} differ, and broadcast is 0")
    kept = {k: v for k, v in n.attrs.items() if k not in ("broadcast", "axis")}
    return replace(n, inputs=[first, second], attrs=kept)


def _at_axis(s: Scope, value: Any, axis: int, rank: int) -> Any:
    """A tensor whose dimensions begin at ``axis`` of one of ``rank``."""
    if not 0 <= axis <= rank:
        raise s.invalid(f"axis = {axis} is out of range: the first operand has rank {rank}")
    trailing = rank - axis - s.rank(value)
    if trailing <= 0 or s.shape(value) in ((), (1,)):
        return value
    return s.reshape(value, (*s.shape(value), *[1] * trailing))
