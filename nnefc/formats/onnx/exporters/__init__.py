"""How operations are written as ONNX nodes, one file per family. Importing this registers them all."""

from __future__ import annotations

from nnefc.formats.onnx.exporters import (
    contract,
    elementwise,
    extension,
    indexing,
    quantized,
    reduce,
    resample,
    roi,
    sampling,
    shape,
    windows,
)

__all__ = [
    "contract",
    "elementwise",
    "extension",
    "indexing",
    "quantized",
    "reduce",
    "resample",
    "roi",
    "sampling",
    "shape",
    "windows",
]
