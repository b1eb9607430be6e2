"""The node cases of the ``onnx`` package, written as NNEF and read again, mean what they meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from node_cases import Bound, bind, generated

from nnefc.errors import UnsupportedError
from nnefc.formats import nnef
from nnefc.ir.graph import Graph
from nnefc.ops.evaluate import evaluate

LEAST = 1500
"""Cases that are supported; there are 1,884."""


def supported() -> list[Bound]:
    found = []
    for case in generated():
        try:
            found.append(bind(case))
        except UnsupportedError:
            continue
    return found


def results(graph: Graph, bound: Bound) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return list(evaluate(graph, bound.inputs).values())


@pytest.mark.conformance
def test_all_cases(tmp_path: Path) -> None:
    bounds = supported()
    assert len(bounds) >= LEAST
    faults = []
    for i, bound in enumerate(bounds):
        nnef.save(bound.graph, tmp_path / f"{i}")
        again = nnef.load(tmp_path / f"{i}")
        for a, b in zip(results(bound.graph, bound), results(again, bound), strict=True):
            if a.dtype != b.dtype or a.tobytes() != b.tobytes():
                faults.append(bound.case.name)
    assert not faults
