"""Every operation written as ONNX: checked by ``onnx``, and computed by ONNX Runtime as its NumPy meaning does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import drawn
import drawn_extension
import drawn_sampling
import drawn_sequential
import drawn_windows
import numpy as np
import onnx
import ort_answers
import pytest
from op_cases import Case

from nnefc.formats.onnx import to_model
from nnefc.formats.onnx.emit import exported_kinds
from nnefc.formats.onnx.write import opsets
from nnefc.ops.primitive import primitives

MODULES = (drawn, drawn_windows, drawn_extension, drawn_sequential, drawn_sampling)
FAMILIES = {name: cases for module in MODULES for name, cases in module.families().items()}
OUTSIDE = {"external", "variable", "update"}
"""What the writer of whole graphs does itself."""
FEW = 3
MISSING = ("NOT_IMPLEMENTED", "is not supported")
"""What the run-time says of a kernel that it has not, for elements of this type."""
BY_FLOATS = {"sum_reduce", "mean_reduce", "prod_reduce", "pow", "cumulate"}
"""Operations on integers that the run-time computes with floats: large results are not exact, and do not wrap."""
WITHOUT_NAN = {"top_k", "scatter_elements", "scatter_nd", "cumulate"}
"""Operations in which the run-time loses NaNs."""


def few(cases: Sequence[Case]) -> list[Case]:
    """The first cases of each operation."""
    seen: Counter[str] = Counter()
    chosen = []
    for case in cases:
        seen[case.kind] += 1
        if seen[case.kind] <= FEW:
            chosen.append(case)
    return chosen


def written(cases: Sequence[Case]) -> Iterator[tuple[bytes, dict[str, np.ndarray]]]:
    """The cases as models that the checker accepts, with their inputs."""
    for case in cases:
        graph = case.graph()
        model = to_model(graph)
        onnx.checker.check_model(model, full_check=True)
        assert [v.name for v in model.graph.input] == [v.name for v in graph.inputs], str(case)
        assert [v.name for v in model.graph.output] == [v.name for v in graph.outputs], str(case)
        yield model.SerializeToString(), case.inputs()


def excuse(case: Case, said: str) -> str | None:
    """Why the run-time, and not the model, is at fault; None if that is not known."""
    arrays = [o for o in case.operands if isinstance(o, np.ndarray)]
    if any(word in said for word in MISSING) and arrays[0].dtype not in (np.float32, np.bool_):
        return "not implemented for these elements"
    if case.kind in BY_FLOATS and arrays[0].dtype.kind in "iu":
        return "integers computed as floats"
    if case.kind in WITHOUT_NAN and any(np.isnan(a).any() for a in arrays if a.dtype.kind == "f"):
        return "NaN"
    if case.kind == "grid_sample" and case.attrs.get("method") == "cubic":
        return "cubic sampling over three dimensions, or across a border"
    return None


def faults(cases: Sequence[Case]) -> tuple[dict[str, str], Counter[str]]:
    """What differs, or what the run-time says, by case; and how many cases are excused, by the reason."""
    found, excused = {}, Counter[str]()
    for case, answer in zip(cases, ort_answers.run(written(cases)), strict=True):
        said = answer if isinstance(answer, str) else ort_answers.difference(answer, case.reference())
        if said is None:
            continue
        if reason := excuse(case, said):
            excused[reason] += 1
        else:
            found[str(case)] = said
    return found, excused


def test_every_operation_can_be_written() -> None:
    assert set(primitives()) - exported_kinds() == OUTSIDE


@pytest.mark.parametrize("family", FAMILIES)
def test_few(family: str) -> None:
    assert not faults(few(FAMILIES[family]))[0]


@pytest.mark.conformance
@pytest.mark.timeout(900)
def test_all(tell: Callable[[str], None]) -> None:
    wrong: dict[str, str] = {}
    rows = []
    excused: Counter[str] = Counter()
    for family, cases in FAMILIES.items():
        bad, left_out = faults(cases)
        wrong |= bad
        excused += left_out
        rows.append(f"{family:16} {len(cases) - len(bad) - left_out.total():5} of {len(cases):5}")
    rows += [f"left out, for ONNX Runtime has it otherwise: {n} x {reason}" for reason, n in excused.items()]
    tell("cases written as ONNX that ONNX Runtime computes as their meaning says\n" + "\n".join(rows))
    assert not wrong


@pytest.mark.parametrize("opset", opsets())
def test_in_the_oldest_and_the_newest_opset(opset: int) -> None:
    for cases in FAMILIES.values():
        for case in few(cases):
            onnx.checker.check_model(to_model(case.graph(), opset=opset), full_check=True)
