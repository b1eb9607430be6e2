"""An ahead-of-time compiler for NNEF neural networks on CPUs."""

from __future__ import annotations

from nnefc.api import Model, compile, evaluate, load, load_compiled, save
from nnefc.errors import InvalidModelError, NnefcError, UnsupportedError
from nnefc.ir.graph import Graph
from nnefc.tools import Comparison, Conversion, compare, convert, inspect

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "Conversion",
    "Graph",
    "InvalidModelError",
    "Model",
    "NnefcError",
    "UnsupportedError",
    "__version__",
    "compare",
    "compile",
    "convert",
    "evaluate",
    "inspect",
    "load",
    "load_compiled",
    "save",
]
