"""From the stored values of a variable to an array that can be computed with."""

from __future__ import annotations

import numpy as np

from nnefc.ir.encoding import Encoding
from nnefc.ir.graph import Tensor
from nnefc.ir.types import DType
from nnefc.ops.quantized import decode

CODED_ITEMS = ("quint", "qint")
"""Item types of codes."""


def tensor_values(stored: Tensor, dtype: DType, encoding: Encoding | None = None) -> np.ndarray:
    """The values of a variable of type ``dtype``, row-major (NNEF 1.0.5, 5.2).

    Items of a quantized type (quint, qint) are codes: with an ``encoding`` they are decoded, without one they are taken
    as plain numbers. The result may be the stored array itself, which must not be written to."""
    if encoding is not None and stored.item in CODED_ITEMS:
        return np.ascontiguousarray(decode(stored.data, encoding, dtype)).reshape(stored.data.shape)
    if dtype is DType.BOOL:
        return np.asarray(stored.data != 0, order="C")
    return np.asarray(stored.data, dtype.numpy, order="C")
