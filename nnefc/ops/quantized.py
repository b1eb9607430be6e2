"""Pseudo-quantization (NNEF 1.0.5, 4.9.5), and the real values behind stored codes (5.2 and 5.3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnefc.errors import InvalidModelError, Location
from nnefc.ir.encoding import Encoding
from nnefc.ir.expr import Expr, call, cast, const
from nnefc.ir.graph import Attrs
from nnefc.ir.types import DType
from nnefc.ops.common import integer
from nnefc.ops.elementwise import Row, clamp_array, round_array
from nnefc.ops.primitive import require

MAX_BITS = 64


def _check_bits(attrs: Attrs) -> None:
    """Raise InvalidModelError unless there are at least two codes."""
    bits = integer(attrs, "bits")
    require(1 <= bits <= MAX_BITS, f"bits = {bits} is out of range; it must be 1 to {MAX_BITS}")
    lost = attrs.get("signed") and attrs.get("symmetric")
    require(bits > 1 or not lost, "bits = 1 leaves a single code where signed and symmetric are true; use 2 or more")


def zero_point_range(bits: int, signed: bool, symmetric: bool) -> tuple[int, int]:
    """The lowest and the highest code of ``zero_point_linear_quantize``."""
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    return (0 if not signed else -high if symmetric else -high - 1), high


def min_max_levels(bits: int, signed: bool, symmetric: bool) -> tuple[int, int]:
    """For ``min_max_linear_quantize``: the number of steps between the lowest and the highest code, and what is taken
    from the number of steps above ``min`` to give the code."""
    levels = 2**bits - 1 - int(signed and symmetric)
    return levels, (2 ** (bits - 1) - int(symmetric)) if signed else 0


# ---- meanings, in the element type of x


def _min_max(x: np.ndarray, low: np.ndarray, high: np.ndarray, bits: int, signed: bool, symmetric: bool) -> np.ndarray:
    levels, offset = (x.dtype.type(n) for n in min_max_levels(bits, signed, symmetric))
    code = round_array((clamp_array(x, low, high) - low) / (high - low) * levels) - offset
    return (code + offset) / levels * (high - low) + low


def _zero_point(
    x: np.ndarray, zero_point: np.ndarray, scale: np.ndarray, bits: int, signed: bool, symmetric: bool
) -> np.ndarray:
    low, high = (x.dtype.type(n) for n in zero_point_range(bits, signed, symmetric))
    zero = zero_point.astype(x.dtype)
    return (clamp_array(round_array(x / scale) + zero, low, high) - zero) * scale


def logarithmic(x: np.ndarray, largest: np.ndarray, bits: int) -> np.ndarray:
    """``logarithmic_quantize`` of floats: the powers of two next to them, at most that above ``largest``, of the type
    of ``x``."""
    high = np.ceil(np.log2(largest))
    code = round_array(clamp_array(np.log2(np.abs(x)), high - x.dtype.type(2**bits - 1), high))
    return np.sign(x) * np.exp2(code)


# ---- expressions


def _clamp_expr(x: Expr, low: Expr, high: Expr) -> Expr:
    return call("max", call("min", x, high), low)


def _min_max_expr(x: Expr, low: Expr, high: Expr, bits: int, signed: bool, symmetric: bool) -> Expr:
    levels, offset = (const(n, x.dtype) for n in min_max_levels(bits, signed, symmetric))
    span = call("sub", high, low)
    place = call("mul", call("div", call("sub", _clamp_expr(x, low, high), low), span), levels)
    code = call("sub", call("round", place), offset)
    return call("add", call("mul", call("div", call("add", code, offset), levels), span), low)


def _zero_point_expr(x: Expr, zero_point: Expr, scale: Expr, bits: int, signed: bool, symmetric: bool) -> Expr:
    low, high = (const(n, x.dtype) for n in zero_point_range(bits, signed, symmetric))
    zero = cast(zero_point, x.dtype)
    code = _clamp_expr(call("add", call("round", call("div", x, scale)), zero), low, high)
    return call("mul", call("sub", code, zero), scale)


def _logarithmic_expr(x: Expr, largest: Expr, bits: int) -> Expr:
    high = call("ceil", call("log2", largest))
    low = call("sub", high, const(2**bits - 1, x.dtype))
    code = call("round", _clamp_expr(call("log2", call("abs", x)), low, high))
    power = call("pow", const(2, x.dtype), code)
    zero = const(0, x.dtype)
    signed = Expr("select", (call("lt", x, zero), call("neg", power), power), x.dtype)
    return Expr("select", (call("eq", x, zero), zero, signed), x.dtype)


def _row(
    name: str,
    operands: tuple[str, ...],
    kinds: tuple[str, ...],
    reference: Callable[..., np.ndarray],
    expr: Callable[..., Expr],
    *attributes: str,
) -> Row:
    return Row(name, operands, kinds, reference, expr, attributes, _check_bits)


_RANGE = ("x", "min", "max")
_MODES = ("bits", "signed", "symmetric")

ROWS = (
    _row("min_max_linear_quantize", _RANGE, ("f", "f", "f"), _min_max, _min_max_expr, *_MODES),
    _row(
        "zero_point_linear_quantize",
        ("x", "zero_point", "scale"),
        ("f", "i", "f"),
        _zero_point,
        _zero_point_expr,
        *_MODES,
    ),
    _row(
        "linear_quantize",
        _RANGE,
        ("f", "f", "f"),
        lambda x, low, high, bits: _min_max(x, low, high, bits, False, False),
        lambda x, low, high, bits: _min_max_expr(x, low, high, bits, False, False),
        "bits",
    ),
    _row("logarithmic_quantize", ("x", "max"), ("f", "f"), logarithmic, _logarithmic_expr, "bits"),
)

for _entry in ROWS:
    _entry.register()


# ---- encodings


def check_encoding(encoding: Encoding, location: Location | None = None) -> None:
    """Raise InvalidModelError, at the place, unless the parameters of an encoding give codes a meaning: ranges that are
    not empty, scales and maxima above zero, zero points that are codes."""
    given = {name: np.asarray(value) for name, value in encoding.parameters}
    fault = _fault(encoding.algorithm, given)
    if fault is not None:
        raise InvalidModelError(f"{encoding.algorithm}: {fault}", location)


def _fault(algorithm: str, given: dict[str, np.ndarray]) -> str | None:
    if "min" in given:
        least, most = np.broadcast_arrays(*_aligned(given["min"], given["max"]))
        wrong = ~(least < most)
        return f"min = {least[wrong][0]} must be less than max = {most[wrong][0]}" if wrong.any() else None
    for name in ("scale", "max"):
        wrong = ~(given[name] > 0) if name in given else np.zeros(1, bool)
        if wrong.any():
            return f"{name} = {given[name][wrong][0]} must be above 0"
    if algorithm == "zero_point_linear_quantize":
        low, high = zero_point_range(int(given["bits"]), bool(given["signed"]), bool(given["symmetric"]))
        zero = given["zero_point"]
        wrong = (zero < low) | (zero > high)
        if wrong.any():
            return f"zero_point = {zero[wrong][0]} is no code; codes are {low} to {high}"
    return None


def _aligned(*arrays: np.ndarray) -> list[np.ndarray]:
    rank = max(a.ndim for a in arrays)
    return [a.reshape(a.shape + (1,) * (rank - a.ndim)) for a in arrays]


# ---- stored codes


def decode(codes: np.ndarray, encoding: Encoding, dtype: DType) -> np.ndarray:
    """The real values, of a float type, that integer codes stand for under an encoding.

    Parameters that are arrays broadcast from the leading dimension. Raises ValueError for an unknown algorithm."""
    given = {name: np.asarray(value) for name, value in encoding.parameters}
    for name, value in given.items():
        given[name] = value.reshape(value.shape + (1,) * (codes.ndim - value.ndim)) if value.ndim else value
    q = codes.astype(np.float64)
    algorithm = encoding.algorithm
    if algorithm == "zero_point_linear_quantize":
        real = (q - given["zero_point"]) * given["scale"]
    elif algorithm in ("min_max_linear_quantize", "linear_quantize"):
        modes = (bool(given[m]) if m in given else False for m in ("signed", "symmetric"))
        levels, offset = min_max_levels(int(given["bits"]), *modes)
        real = (q + offset) / levels * (given["max"] - given["min"]) + given["min"]
    elif algorithm == "logarithmic_quantize":
        exponent = np.ceil(np.log2(given["max"])) - (2 ** int(given["bits"]) - 1) + q
        real = np.exp2(exponent)
    else:
        raise ValueError(f"no codes are defined for {algorithm!r}")
    return np.asarray(real).astype(dtype.numpy)
