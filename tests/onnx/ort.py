"""The node cases in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from node_cases import Case


def passes(case: Case) -> bool:
    """Whether ONNX Runtime gives the outputs of a case, compared as the package's own runner does."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), options, ["CPUExecutionProvider"])
        names = [i.name for i in session.get_inputs()]
        results = session.run(None, dict(zip(names, case.inputs, strict=False)))
    except Exception:
        return False
    return _same(results, case.outputs, case.rtol, case.atol)


def _same(results: Sequence[Any], wanted: Sequence[Any], rtol: float, atol: float) -> bool:
    if len(results) != len(wanted):
        return False
    for got, want in zip(results, wanted, strict=True):
        if isinstance(want, list):
            if not isinstance(got, list) or not _same(got, want, rtol, atol):
                return False
        elif not isinstance(got, np.ndarray) or got.dtype != want.dtype or got.shape != want.shape:
            return False
        elif want.dtype.kind in "OSU":
            if got.tolist() != want.tolist():
                return False
        elif not np.allclose(got.astype("f8"), want.astype("f8"), rtol=rtol, atol=atol, equal_nan=True):
            return False
    return True
