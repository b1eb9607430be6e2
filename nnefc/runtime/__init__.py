"""What a compiled model needs in order to run: NumPy, ctypes and the standard library.

A compiled package carries a copy of this folder, so nothing here may import nnefc.
"""

from .memory import Entry, Port
from .model import Code, Model
from .package import PackageError, PlatformError, load, verify

__all__ = ["Code", "Entry", "Model", "PackageError", "PlatformError", "Port", "load", "verify"]
