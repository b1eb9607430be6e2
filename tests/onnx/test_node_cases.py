"""The node cases of the ``onnx`` package: by the NumPy meaning, and compiled.

``make test`` evaluates some of them, ``make conformance`` compiles all and prints the table.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence

import node_cases
import ort
import pytest
import unsupported
from node_cases import Bound, Case

from nnefc.errors import NnefcError, UnsupportedError
from nnefc.ops.evaluate import evaluate
from nnefc.passes import pipeline

PARTS = 36
"""Programs that all cases are compiled in."""
LEAST_DENSE = 0.85


def refused(case: Case, error: UnsupportedError) -> str:
    """The outcome of a case that is refused."""
    why = unsupported.reason(case.name)
    return f"unsupported: {why}" if why else f"failed: refused, without a reason in the list: {error.message}"


def judged(bound: Bound, results: Sequence) -> str:
    """The outcome of a case with results."""
    fault, why = bound.fault(results), unsupported.reason(bound.case.name)
    rounded = unsupported.rounded(bound.case.name)
    if fault and rounded is not None and bound.fault(results, *rounded[1:]) is None:
        return f"unsupported: {rounded[0]}"
    if why is None:
        return f"failed: {fault}" if fault else "passed"
    return f"unsupported: {why}" if fault else f"failed: it passes, but is listed as unsupported: {why}"


def evaluated(case: Case) -> str:
    """The outcome of a case by the NumPy meaning."""
    try:
        bound = node_cases.bind(case)
        results = evaluate(bound.graph, bound.inputs)
    except UnsupportedError as error:
        return refused(case, error)
    except NnefcError as error:
        return f"failed: {error}"
    return judged(bound, [results[v.name] for v in bound.graph.outputs])


@functools.cache
def every_case() -> tuple[Case, ...]:
    return (*node_cases.generated(), *node_cases.stored())


@functools.cache
def compiled(part: int) -> dict[str, str]:
    """The outcomes of a part of the cases, compiled as one program."""
    size = -(-len(every_case()) // PARTS)
    outcomes: dict[str, str] = {}
    bounds: list[Bound] = []
    for case in every_case()[part * size : (part + 1) * size]:
        try:
            bound = node_cases.bind(case)
            pipeline.run(bound.graph)
            bounds.append(bound)
        except UnsupportedError as error:
            outcomes[case.name] = refused(case, error)
        except NnefcError as error:
            outcomes[case.name] = f"failed: {error}"
    for bound, results in zip(bounds, node_cases.compiled(bounds) if bounds else [], strict=True):
        outcomes[bound.case.name] = judged(bound, results)
    return outcomes


def table(cases: Sequence[Case], outcomes: dict[str, str], peer: dict[str, bool]) -> str:
    """How many passed, are unsupported and failed, of all cases and of the dense ones, and how many pass elsewhere."""
    lines = [f"{'ONNX node cases':28} {'all':>6} {'passed':>7} {'unsupported':>12} {'failed':>7} {'ONNX Runtime':>13}"]
    groups = {
        "computed by the package": [c for c in cases if "/" not in c.name],
        "stored in the package": [c for c in cases if "/" in c.name],
        "all": list(cases),
        "of dense tensors": [c for c in cases if c.dense],
    }
    for title, group in groups.items():
        counts = Counter(outcomes[c.name].split(":")[0] for c in group)
        others = sum(peer[c.name] for c in group)
        numbers = f"{counts['passed']:>7} {counts['unsupported']:>12} {counts['failed']:>7} {others:>13}"
        lines.append(f"{title:28} {len(group):>6} {numbers}")
    reasons = Counter(o.removeprefix("unsupported: ") for o in outcomes.values() if o.startswith("unsupported"))
    lines += ["unsupported:", *(f"{count:>6}  {why}" for why, count in reasons.most_common())]
    return "\n".join(lines)


def test_stored_cases_evaluated() -> None:
    faults = {c.name: o for c in node_cases.stored() if (o := evaluated(c)).startswith("failed")}
    assert not faults


def test_some_cases_evaluated() -> None:
    faults = {c.name: o for c in node_cases.generated()[::6] if (o := evaluated(c)).startswith("failed")}
    assert not faults


def test_no_pattern_is_left_over() -> None:
    names = [c.name for c in every_case()]
    patterns = [entry[0] for entry in (*unsupported.REASONS, *unsupported.ROUNDED)]
    idle = [pattern for pattern in patterns if not any(re.fullmatch(pattern, n) for n in names)]
    assert not idle


@pytest.mark.conformance
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_compiled(part: int) -> None:
    assert not {name: o for name, o in compiled(part).items() if o.startswith("failed")}


@pytest.mark.conformance
@pytest.mark.timeout(900)
def test_table_of_all(tell: Callable[[str], None]) -> None:
    cases = every_case()
    outcomes = {name: o for part in range(PARTS) for name, o in compiled(part).items()}
    peer = {c.name: ort.passes(c) for c in cases}
    tell(table(cases, outcomes, peer))
    dense = [c for c in cases if c.dense]
    assert sum(outcomes[c.name] == "passed" for c in dense) >= LEAST_DENSE * len(dense)
