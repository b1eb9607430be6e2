"""Compile-time operators and built-in functions on values (NNEF 1.0.5, 3.3.3), with bounds on what they make.

Integers, scalars, logicals and strings are int, float, bool and str; arrays are lists, tuples are tuples.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Any

from nnefc.formats.nnef.expressions import INT64

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
NONFINITE = ("inf", "-inf", "nan")
"""The strings that ``scalar`` takes where the dialect allows them."""


class Invalid(ValueError):
    """A compile-time value that does not exist; the text says why."""


def binary(op: str, x: Any, y: Any) -> Any:
    """``x op y`` for operators other than ``in``, ``&&`` and ``||``. Raises Invalid."""
    if op in _COMPARISONS:
        return _COMPARISONS[op](x, y)
    if isinstance(x, (str, list)):
        return x + y if op == "+" else x * max(y, 0)
    if isinstance(x, int) and isinstance(y, int):
        return _integer(op, x, y)
    return _scalar(op, float(x), float(y))


COMPARISON = 8
"""How many items a comparison inside arrays counts as."""


def contains(x: Any, y: list[Any], count: Callable[[int], None]) -> bool:
    """``x in y``, by deep comparison; ``count`` is told what it costs."""
    return any(_equal(x, item, count) for item in y)


def _equal(x: Any, y: Any, count: Callable[[int], None]) -> bool:
    count(COMPARISON)
    if isinstance(x, (list, tuple)):
        pairs = zip(x, y, strict=False)
        return type(x) is type(y) and len(x) == len(y) and all(_equal(a, b, count) for a, b in pairs)
    return type(x) is type(y) and bool(x == y)


def size_of(op: str, x: Any, y: Any) -> int:
    """The number of items that ``x op y`` makes or looks at; 0 for numbers."""
    if not isinstance(x, (str, list)):
        return 0
    return len(x) * max(y, 0) if op == "*" else len(x) + len(y)


def _integer(op: str, x: int, y: int) -> int:
    """Division truncates toward zero."""
    if op == "^":
        result = _integer_power(x, y)
    elif op == "/":
        if y == 0:
            raise Invalid(f"{x} / 0: division by zero")
        result = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
    else:
        result = {"+": operator.add, "-": operator.sub, "*": operator.mul}[op](x, y)
    if result not in INT64:
        raise Invalid(f"{x} {op} {y} does not fit into 64 bits")
    return result


def _integer_power(x: int, y: int) -> int:
    if y < 0:
        raise Invalid(f"{x} ^ {y}: the exponent of an integer must not be negative")
    if abs(x) > 1 and y > 64:
        raise Invalid(f"{x} ^ {y} does not fit into 64 bits")
    return x**y if abs(x) > 1 else x ** (y if y < 2 else 2 + y % 2)


def _scalar(op: str, x: float, y: float) -> float:
    try:
        if op == "^":
            result = math.pow(x, y)
        else:
            functions = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
            result = functions[op](x, y)
    except ZeroDivisionError:
        raise Invalid(f"{x} / {y}: division by zero") from None
    except (OverflowError, ValueError):
        raise Invalid(f"{x} {op} {y} is no finite number") from None
    if not math.isfinite(result) and math.isfinite(x) and math.isfinite(y):
        raise Invalid(f"{x} {op} {y} is no finite number")
    return result


def unary(op: str, x: Any) -> Any:
    """``op x``. Raises Invalid."""
    if op == "!":
        return not x
    return _integer("-", 0, x) if op == "-" and isinstance(x, int) else -x if op == "-" else x


def convert(kind: str, x: Any) -> Any:
    """``kind(x)``, as ``integer(1.5)``; scalars are truncated toward zero. Raises Invalid."""
    if kind == "logical":
        return bool(x)
    if kind == "string":
        return x if isinstance(x, str) else str(x).lower() if isinstance(x, bool) else repr(x)
    if isinstance(x, str):
        return _parse(kind, x)
    if kind == "scalar":
        return float(x)
    if not math.isfinite(x) or int(x) not in INT64:
        raise Invalid(f"integer({x}) does not fit into 64 bits")
    return int(x)


def _parse(kind: str, text: str) -> int | float:
    shown = text if len(text) <= 40 else text[:37] + "..."
    literal = _NUMBER.fullmatch(text) if len(text) <= 400 else None
    if kind == "scalar" and (literal or text in NONFINITE):
        value = float(text)
        if math.isfinite(value) or text in NONFINITE:
            return value
    if kind == "integer" and literal and text.lstrip("-").isdigit() and int(text) in INT64:
        return int(text)
    raise Invalid(f"the string '{shown}' is no {kind} literal")
