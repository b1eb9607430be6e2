"""An ahead-of-time compiler for NNEF neural networks on CPUs."""

from __future__ import annotations

from nnefc.api import Model, compile, evaluate, load, load_compiled, save
from nnefc.errors import InvalidModelError, NnefcError, UnsupportedError
from nnefc.ir.graph import Graph
from nnefc.tools import Benchmark, Comparison, Conversion, Profile, bench, compare, convert, inspect, profile

__version__ = "0.1.0"

__all__ = [
    "Benchmark",
    "Comparison",
    "Conversion",
    "Graph",
    "InvalidModelError",
    "Model",
    "NnefcError",
    "Profile",
    "UnsupportedError",
    "__version__",
    "bench",
    "compare",
    "compile",
    "convert",
    "evaluate",
    "inspect",
    "load",
    "load_compiled",
    "profile",
    "save",
]
