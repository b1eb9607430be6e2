"""What works on whole models: conversion between formats, inspection, comparison, measuring."""

from __future__ import annotations

from nnefc.tools.bench import Benchmark, Timing, bench
from nnefc.tools.compare import Comparison, Difference, compare
from nnefc.tools.convert import Conversion, convert
from nnefc.tools.inspect import inspect
from nnefc.tools.profile import Kernel, Profile, profile
from nnefc.tools.sides import MismatchError

__all__ = [
    "Benchmark",
    "Comparison",
    "Conversion",
    "Difference",
    "Kernel",
    "MismatchError",
    "Profile",
    "Timing",
    "bench",
    "compare",
    "convert",
    "inspect",
    "profile",
]
