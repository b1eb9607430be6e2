"""What a compiled model needs in order to run: NumPy, ctypes and the standard library.

A compiled package carries a copy of this folder, so nothing here may import nnefc.
"""

from .model import Code, Model, Port
from .package import PackageError, PlatformError, load, verify

__all__ = ["Code", "Model", "PackageError", "PlatformError", "Port", "load", "verify"]
