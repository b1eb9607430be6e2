"""Every operation written as ONNX: checked by ``onnx``, and computed by ONNX Runtime as its NumPy meaning does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import ort_answers
import pytest
from drawn import families
from drawn_windows import families as window_families
from op_cases import Case

from nnefc.formats.onnx import to_model
from nnefc.formats.onnx.emit import exported_kinds
from nnefc.ops.primitive import primitives
from nnefc.ops.signatures import is_extension

FAMILIES = {**families(), **window_families()}
OUTSIDE = {"external", "variable", "update"}
"""What the writer of whole graphs does itself."""
FEW = 3


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


def faults(cases: Sequence[Case]) -> dict[str, str]:
    """What differs, or what the run-time says, by case."""
    found = {}
    for case, answer in zip(cases, ort_answers.run(written(cases)), strict=True):
        said = answer if isinstance(answer, str) else ort_answers.difference(answer, case.reference())
        if said is not None:
            found[str(case)] = said
    return found


def test_every_operation_can_be_written() -> None:
    standard = {kind for kind in primitives() if not is_extension(kind)}
    assert standard - exported_kinds() == OUTSIDE


@pytest.mark.parametrize("family", FAMILIES)
def test_few(family: str) -> None:
    assert not faults(few(FAMILIES[family]))


@pytest.mark.conformance
def test_all(capsys: pytest.CaptureFixture[str]) -> None:
    wrong: dict[str, str] = {}
    rows = []
    for family, cases in FAMILIES.items():
        bad = faults(cases)
        wrong |= bad
        rows.append(f"{family:16} {len(cases) - len(bad):5} of {len(cases):5}")
    with capsys.disabled():
        print("\ncases written as ONNX that ONNX Runtime computes as their meaning says\n" + "\n".join(rows))
    assert not wrong
