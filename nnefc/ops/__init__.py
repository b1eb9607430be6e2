"""The operations of NNEF (``stdlib.nnef``) and ours (``extension.nnef``): shape rules, NumPy meanings and lowerings, a
file per family.

Importing the package registers them all.
"""

from __future__ import annotations

from nnefc.ops import (
    codes,
    contract,
    elementwise,
    elementwise_extension,
    gridsample,
    layernorm,
    move,
    norm,
    product,
    quantized,
    reduce,
    resample,
    resize,
    roi,
    roialign,
    roipool,
    scan,
    scatter,
    shape,
    sort,
    suppress,
    variables,
    window,
)

__all__ = [
    "codes",
    "contract",
    "elementwise",
    "elementwise_extension",
    "gridsample",
    "layernorm",
    "move",
    "norm",
    "product",
    "quantized",
    "reduce",
    "resample",
    "resize",
    "roi",
    "roialign",
    "roipool",
    "scan",
    "scatter",
    "shape",
    "sort",
    "suppress",
    "variables",
    "window",
]
