"""Every operation compiled: drawn cases, many in one program, against the NumPy meaning.

``make test`` compiles a few cases of each operation in f32 and one in f64, ``make conformance`` all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import drawn
import drawn_extension
import drawn_sampling
import drawn_sequential
import drawn_windows
import numpy as np
import pytest
from merged import merge
from op_cases import Case

from nnefc.codegen.artefact import assemble, load_artefact
from nnefc.codegen.schedule import plan
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels
from nnefc.ops.primitive import primitives
from nnefc.passes import pipeline

FAMILIES = {
    **drawn.families(),
    **drawn_windows.families(),
    **drawn_extension.families(),
    **drawn_sampling.families(),
    **drawn_sequential.families(),
}
TOLERANCE = {np.dtype("f2"): 1e-3, np.dtype("f4"): 1e-5, np.dtype("f8"): 1e-12}
"""Of float results: relative to the element, plus a tenth of it relative to the largest element."""
FEW = 3


def few(cases: Sequence[Case], count: int) -> list[Case]:
    """The first ``count`` cases of each operation."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if len(found[case.kind]) < count:
            found[case.kind].append(case)
    return [case for group in found.values() for case in group]


def in_double(case: Case) -> Case:
    """The case with its f32 arrays in f64, and its numbers too where they must have the type of the arrays."""
    exact = case.kind.endswith("quantize")
    wide = [o.astype(np.float64) if getattr(o, "dtype", None) == np.float32 else o for o in case.operands]
    return replace(case, operands=[np.asarray(o, np.float64) if exact and isinstance(o, float) else o for o in wide])


def run(cases: Sequence[Case]) -> list[list[np.ndarray]]:
    """The compiled outputs of each case."""
    graph, arrays = merge(cases)
    target = Target.host()
    scheduled = plan(pipeline.run(graph), target)
    kernels = compile_kernels(scheduled.specs(), target)
    ports = [[(v.name, v.type) for v in side] for side in (graph.inputs, graph.outputs)]
    model = load_artefact(assemble("merged", [(scheduled, *ports)], kernels, target), threads=2)
    results = list(model(**arrays)) if len(graph.outputs) > 1 else [model(**arrays)]
    return [[results.pop(0) for _ in case.graph().outputs] for case in cases]


def check(case: Case, got: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> None:
    for a, b in zip(got, wanted, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape, str(case)
        if a.dtype.kind != "f":
            np.testing.assert_array_equal(a, b, err_msg=str(case))
            continue
        tolerance = TOLERANCE[a.dtype]
        largest = np.max(np.abs(b[np.isfinite(b)]), initial=0.0)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance / 10 * float(largest), err_msg=str(case))


def test_every_operation_is_drawn() -> None:
    drawn_kinds = {case.kind for cases in FAMILIES.values() for case in cases}
    assert drawn_kinds | {"external", "variable", "constant", "update"} >= set(primitives())


@pytest.mark.parametrize("family", FAMILIES)
def test_few(family: str) -> None:
    cases = few(FAMILIES[family], FEW)
    for case, got in zip(cases, run(cases), strict=True):
        check(case, got, case.reference())


@pytest.mark.conformance
@pytest.mark.parametrize("family", FAMILIES)
def test_all(family: str) -> None:
    cases = FAMILIES[family]
    for case, got in zip(cases, run(cases), strict=True):
        check(case, got, case.reference())


@pytest.mark.parametrize("family", FAMILIES)
def test_double(family: str) -> None:
    cases = [in_double(case) for case in few(FAMILIES[family], 1)]
    for case, got in zip(cases, run(cases), strict=True):
        check(case, got, case.reference())
