"""Operations that exporters spell out: recognised from their last step, when its operands are there.

What the steps before it made stays in the Graph only where something else uses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnefc.formats.onnx.scope import Scope
from nnefc.ir.graph import Literal, Op, Operand, Value

_REACH = 64
"""How many operations back the makers of operands are looked for."""
_TOLERANCE = 1e-3
"""Relative: exporters write constants in the precision of the model, half precision too."""


def recognised(s: Scope, kind: str, operands: Sequence[Any]) -> Any:
    """The result of the operation that ``kind`` of two operands completes, or None."""
    rules: dict[str, tuple[Callable[[Scope, Any, Any], Any], ...]] = {
        "mul": (_gated, _gelu, _scaled_rms),
        "add": (_layer_norm,),
    }
    if len(operands) != 2 or any(s.dtype(x).kind != "f" for x in operands):
        return None
    for rule in rules.get(kind, ()):
        for a, b in (operands, operands[::-1]):
            found = rule(s, a, b)
            if found is not None:
                return found
    return None


def made_by(s: Scope, value: object, kind: str) -> Op | None:
    """The operation that made a tensor, if it is a recent one of that kind."""
    if isinstance(value, Value):
        for op in s.builder.ops[: -_REACH - 1 : -1]:
            if value in op.outputs:
                return op if op.kind == kind else None
    return None


def number(s: Scope, operand: Any) -> float | None:
    """The value of an operand that is one known number."""
    if isinstance(operand, Literal):
        return float(operand.value)
    if isinstance(operand, np.ndarray) and operand.size == 1:
        return float(operand.reshape(()))
    constant = made_by(s, operand, "constant")
    return float(constant.attrs["value"][0]) if constant and len(constant.attrs["value"]) == 1 else None


def _is(s: Scope, operand: Any, wanted: float) -> bool:
    found = number(s, operand)
    return found is not None and math.isclose(found, wanted, rel_tol=_TOLERANCE)


def _with_number(s: Scope, value: Any, kind: str, wanted: float) -> Operand | None:
    """What is combined with a number to make ``value``: x of ``x * wanted``, say; ``div`` has the number second."""
    op = made_by(s, value, kind)
    if op is None:
        return None
    a, b = op.inputs
    if _is(s, b, wanted):
        return a
    return b if kind != "div" and _is(s, a, wanted) else None


def _gated(s: Scope, x: Any, gate: Any) -> Any:
    """x sigmoid(x), x hard_sigmoid(x) with the numbers of hard_swish, x tanh(softplus(x))."""
    if not isinstance(x, Value):
        return None
    sigmoid = made_by(s, gate, "sigmoid")
    if sigmoid is not None and sigmoid.inputs[0] == x:
        return s.op("silu", [x])
    if sigmoid is not None and _with_number(s, sigmoid.inputs[0], "mul", 1.702) == x:
        return s.op("gelu", [x])
    hard = made_by(s, gate, "hard_sigmoid")
    if hard is not None and hard.inputs[0] == x:
        numbers = hard.attrs["alpha"], hard.attrs["beta"]
        return s.op("hard_swish", [x]) if np.allclose(numbers, (1 / 6, 0.5), _TOLERANCE) else None
    tanh = made_by(s, gate, "tanh")
    softplus = made_by(s, tanh.inputs[0], "softplus") if tanh is not None else None
    return s.op("mish", [x]) if softplus is not None and softplus.inputs[0] == x else None


def _gelu(s: Scope, a: Any, b: Any) -> Any:
    """x / 2 times 1 + erf(x / sqrt(2)), the half taken before or after."""
    if _is(s, b, 0.5):
        whole = made_by(s, a, "mul")
        pairs = [whole.inputs, whole.inputs[::-1]] if whole is not None else []
        found = next((x for x, t in pairs if _error_of(s, t) == x and isinstance(x, Value)), None)
        return None if found is None else s.op("gelu_erf", [found])
    x = _error_of(s, b)
    return s.op("gelu_erf", [x]) if x is not None and _half_of(s, a) == x else None


def _half_of(s: Scope, value: Any) -> Operand | None:
    return _with_number(s, value, "mul", 0.5) or _with_number(s, value, "div", 2.0)


def _error_of(s: Scope, value: Any) -> Operand | None:
    """x of 1 + erf(x / sqrt(2))."""
    erf = made_by(s, _with_number(s, value, "add", 1.0), "erf")
    if erf is None:
        return None
    inner = erf.inputs[0]
    return _with_number(s, inner, "div", math.sqrt(2)) or _with_number(s, inner, "mul", math.sqrt(0.5))


def _normalized(s: Scope, value: Any) -> tuple[Any, tuple[int, ...], float] | None:
    """x, the axes and epsilon of x / sqrt(mean(x^2) + epsilon), written as a quotient or as a product."""
    quotient, product = made_by(s, value, "div"), made_by(s, value, "mul")
    pairs: list[tuple[Any, Any]] = []
    if quotient is not None:
        pairs = [(quotient.inputs[0], made_by(s, quotient.inputs[1], "sqrt"))]
    elif product is not None:
        for x, factor in (product.inputs, product.inputs[::-1]):
            inverse = made_by(s, factor, "rcp")
            root = made_by(s, factor, "rsqrt") if inverse is None else made_by(s, inverse.inputs[0], "sqrt")
            pairs.append((x, root))
    for x, root in pairs:
        total = made_by(s, root.inputs[0], "add") if root is not None else None
        for mean, epsilon in (total.inputs, total.inputs[::-1]) if total is not None else ():
            reduced, small = made_by(s, mean, "mean_reduce"), number(s, epsilon)
            square = made_by(s, reduced.inputs[0], "sqr") if reduced is not None else None
            if square is not None and reduced is not None and small is not None and square.inputs[0] == x:
                return x, reduced.attrs["axes"], small
    return None


def _parameter(s: Scope, value: Any, x: Any) -> bool:
    """Whether a known tensor broadcasts to ``x``."""
    known = isinstance(value, np.ndarray) or made_by(s, value, "variable") or made_by(s, value, "constant")
    if not known:
        return False
    shape, full = s.shape(value), s.shape(x)
    return len(shape) == len(full) and all(d in (1, n) for d, n in zip(shape, full, strict=True))


def _scaled_rms(s: Scope, scale: Any, value: Any) -> Any:
    """A scale times x / sqrt(mean(x^2) + epsilon), unless x is centred: that becomes a layer normalization."""
    found = _normalized(s, value)
    if found is None or not _parameter(s, scale, found[0]) or _centred(s, found[0], found[1]) is not None:
        return None
    x, axes, epsilon = found
    return s.op("rms_normalization", [x, scale], axes=axes, epsilon=epsilon)


def _centred(s: Scope, value: Any, axes: tuple[int, ...]) -> Operand | None:
    """x of x - mean(x) over the axes."""
    difference = made_by(s, value, "sub")
    mean = made_by(s, difference.inputs[1], "mean_reduce") if difference is not None else None
    if difference is None or mean is None or mean.inputs[0] != difference.inputs[0] or mean.attrs["axes"] != axes:
        return None
    return difference.inputs[0]


def _layer_norm(s: Scope, offset: Any, value: Any) -> Any:
    """(x - mean) / sqrt(mean((x - mean)^2) + epsilon) times a scale, and an offset."""
    scaled = made_by(s, value, "mul")
    for scale, rows in (scaled.inputs, scaled.inputs[::-1]) if scaled is not None else ():
        found = _normalized(s, rows)
        x = _centred(s, found[0], found[1]) if found is not None else None
        if found is not None and isinstance(x, Value) and _parameter(s, scale, x) and _parameter(s, offset, x):
            return s.op("layer_normalization", [x, scale, offset], axes=found[1], epsilon=found[2])
    return None
