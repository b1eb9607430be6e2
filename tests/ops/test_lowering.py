"""Every drawn case: inferred types hold, and the lowered kernel calls mean what the reference means."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import families
from drawn_extension import families as extension_families
from drawn_sampling import families as sampling_families
from drawn_sequential import families as sequential_families
from drawn_windows import families as window_families
from op_cases import Case

FAMILIES = families() | window_families() | extension_families() | sampling_families() | sequential_families()
CASES = [case for family in FAMILIES.values() for case in family]
KINDS = sorted({c.kind for c in CASES})


def _same(case: Case, ours: list[np.ndarray], reference: list[np.ndarray], tolerance: float) -> None:
    for a, b in zip(ours, reference, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape, f"{case}: {a.dtype}{a.shape}, not {b.dtype}{b.shape}"
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=str(case))
        else:
            np.testing.assert_array_equal(a, b, err_msg=str(case))


@pytest.mark.parametrize("kind", KINDS)
def test_row_major(kind: str) -> None:
    for case in CASES:
        if case.kind == kind:
            _same(case, case.lowered(), case.reference(), 2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_channels_last(kind: str) -> None:
    for case in CASES:
        if case.kind == kind:
            _same(case, case.lowered(last=True), case.reference(), 2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_float64(kind: str) -> None:
    for case in CASES:
        if case.kind == kind and not any(isinstance(o, float) for o in case.operands):
            wide = case.wide()
            _same(wide, wide.lowered(), wide.reference(), 1e-13)
