"""An ahead-of-time compiler for NNEF neural networks on CPUs."""

from __future__ import annotations

from nnefc.errors import InvalidModelError, NnefcError, UnsupportedError

__version__ = "0.1.0"

__all__ = ["InvalidModelError", "NnefcError", "UnsupportedError", "__version__"]
