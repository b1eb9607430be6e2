"""tract's dialect of NNEF, as torch_to_nnef writes it, to Graphs.

tract types values as it goes, so documents that declare its registries are evaluated without the rules of types of the
standard: shapes and stored values are arrays, known while reading, and may stand wherever a number is wanted.
"""

from __future__ import annotations

import nnefc.formats.nnef.tract.transformers  # noqa: F401 (registers its operations)
from nnefc.formats.nnef.tract.lift import lift

__all__ = ["lift"]
