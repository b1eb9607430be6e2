"""Recursion on an explicit stack, whose depth is a matter of memory and not of Python's."""

from __future__ import annotations

from collections.abc import Generator
from types import GeneratorType
from typing import Any

Task = Generator[Any, Any, Any]
"""A generator that yields tasks, or values, and is sent their results; what it returns is its own."""


def run(task: Task) -> Any:
    """Run a task to its end, and those that it yields; returns its result."""
    stack: list[Task] = [task]
    value: Any = None
    while stack:
        try:
            value = stack[-1].send(value)
        except StopIteration as stop:
            stack.pop()
            value = stop.value
        else:
            if isinstance(value, GeneratorType):
                stack.append(value)
                value = None
    return value
