"""The operations of NNEF: declarations (``stdlib.nnef``), shape rules, NumPy meanings, lowerings; a file per family."""

from __future__ import annotations
