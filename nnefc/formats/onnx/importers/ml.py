"""What of ai.onnx.ml works on plain tensors of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope

_DOMAIN = "ai.onnx.ml"


@importer("Binarizer", domain=_DOMAIN)
def _binarizer(s: Scope, n: Node) -> Sequence[Imported]:
    x = n.need(0)
    return (s.cast(s.op("gt", [x, float(n.attr("threshold", 0.0))]), s.dtype(x)),)


@importer("ArrayFeatureExtractor", domain=_DOMAIN)
def _array_feature_extractor(s: Scope, n: Node) -> Sequence[Imported]:
    """Columns of the last dimension; a vector gives a matrix of one row."""
    x, index = n.need(0), n.need(1)
    count = math.prod(s.shape(index))
    picked = s.op("gather", [x, s.reshape(index, (count,))], axis=s.rank(x) - 1)
    return (s.reshape(picked, (1, count)) if s.rank(x) == 1 else picked,)
