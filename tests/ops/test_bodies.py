"""The declared bodies mean what the operations mean: each, under another name, is expanded and evaluated."""

from __future__ import annotations

import re
from importlib import resources

import drawn
import drawn_extension
import drawn_windows
import numpy as np
import pytest
from op_cases import Case

from nnefc.formats.nnef import parse_graph
from nnefc.ops.evaluate import evaluate
from nnefc.ops.signatures import EXTENSION, STDLIB, is_extension, signatures

FAMILIES = drawn.families() | drawn_windows.families() | drawn_extension.families()
CASES = [case for name, family in FAMILIES.items() if name != "integers" for case in family]
COMPOUNDS = [name for name, s in signatures().items() if s.body is not None]
HEADER = """version 1.0;
extension KHR_enable_fragment_definitions, KHR_enable_operator_expressions;
"""
EXPANDED_ALIKE = 2e-5
"""Bodies round after each step, meanings once."""


def body_of(kind: str) -> str:
    """The fragment of an operation, under the name ``body_of_...``."""
    files = resources.files("nnefc.ops")
    text = files.joinpath(EXTENSION if is_extension(kind) else STDLIB).read_text(encoding="utf-8")
    found = re.search(rf"^fragment {kind}\b.*?\}}$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group().replace(f"fragment {kind}", f"fragment body_of_{kind}", 1)


def expanded(case: Case) -> str:
    """The case's text, calling the body."""
    lines = case.text().split("\n")
    call = re.sub(rf"= {case.kind}(<\w+>)?\(", f"= body_of_{case.kind}(", "\n".join(lines[1:]))
    extension = "extension NNEFC_operations;\n" if is_extension(case.kind) else ""
    return f"{HEADER}{extension}{body_of(case.kind)}\n{call}"


def has_empty_window(case: Case) -> bool:
    """Whether a window of a maximum has no element, so that its index, which the body samples at, means nothing."""
    return case.attrs.get("border") == "ignore" and bool(np.isneginf(case.reference()[0]).any())


def test_the_standard_has_46_compounds() -> None:
    assert (
        sum(not is_extension(name) for name in COMPOUNDS) == 46
        and sum(not is_extension(name) for name in signatures()) == 119
    )


@pytest.mark.parametrize("kind", COMPOUNDS)
def test_body(kind: str) -> None:
    declared = [c for c in CASES if c.kind == kind and all(i.dtype in ("f4", "i8", "?") for i in c.inputs().values())]
    cases = [case for case in declared if not has_empty_window(case)][:12]
    assert cases
    for case in cases:
        graph = parse_graph(expanded(case))
        assert all(op.kind != kind or kind == "add_n" for op in graph.ops)
        for ours, wanted in zip(evaluate(graph, case.inputs()).values(), case.reference(), strict=True):
            assert ours.shape == wanted.shape and ours.dtype == wanted.dtype, str(case)
            np.testing.assert_allclose(
                ours, wanted, rtol=EXPANDED_ALIKE, atol=EXPANDED_ALIKE, equal_nan=True, err_msg=str(case)
            )
