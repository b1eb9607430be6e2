"""Every drawn case against both Khronos interpreters, but for those in KNOWN."""

from __future__ import annotations

from functools import cache

import numpy as np
import oracle
import pytest
from drawn import families
from drawn_windows import families as window_families
from known import WINDOWS, Known, everything
from op_cases import Case
from skips import skip

from nnefc.ir.types import LOGICAL


def _axes(case: Case) -> list[int]:
    return list(case.attrs.get("axes", [1]))


def _rank(case: Case) -> int:
    return int(np.ndim(case.operands[0]))


def _adjacent(axes: list[int]) -> bool:
    return bool(axes) and sorted(axes) == list(range(min(axes), min(axes) + len(axes)))


def _window(case: Case) -> int:
    return sum(n != 1 for n in case.attrs["size"])


def _short_channels(case: Case) -> bool:
    """Whether a parameter of rank 2 meets an input of higher rank."""
    return any(np.ndim(o) == 2 for o in case.operands[1:]) and _rank(case) > 2


_LOCAL = (
    "local_response_normalization local_mean_normalization local_variance_normalization local_contrast_normalization"
)

KNOWN = (
    Known("cpp", "argmax_reduce argmin_reduce", lambda c: len(_axes(c)) != 1, "one axis only"),
    Known("cpp", "softmax", lambda c: len(_axes(c)) != 1, "one axis only"),
    Known("cpp", "pad slice tile transpose", lambda c: _rank(c) > 5, "rank 5 at most"),
    Known("cpp", "select", lambda c: not isinstance(c.operands[2], np.ndarray), "reads outside its operands"),
    Known(
        "cpp",
        "zero_point_linear_quantize",
        lambda c: c.attrs["signed"] and not c.attrs["symmetric"],
        "takes the lowest code for r - 1, which is -r - 1",
    ),
    Known("cpp", "round", lambda c: _halves(c.operands[0]), "rounds halves away from zero, not up"),
    Known("torch", "round", lambda c: _halves(c.operands[0]), "rounds halves to even, not up"),
    Known("cpp", "relu max", lambda c: _has_nan(c), "gives NaN where the comparison with NaN is false"),
    Known("torch", "relu max", lambda c: _has_nan(c), "gives NaN where the comparison with NaN is false"),
    Known("cpp", "softplus", lambda c: _large(c), "overflows in e^x"),
    Known("torch", "softplus", lambda c: _large(c), "overflows in e^x"),
    Known("torch", "argmax_reduce argmin_reduce", lambda c: not _adjacent(_axes(c)), "adjacent axes only"),
    Known("torch", "cast", lambda c: c.attrs["dtype"] is LOGICAL, "no cast to logical with NumPy 2"),
    Known("torch", "gelu", everything, "computes the exact form, not the sigmoid of the specification"),
    Known("torch", "selu", lambda c: "alpha" in c.attrs, "ignores alpha and lambda"),
    Known("torch", "softmax", lambda c: len(_axes(c)) != 1, "divides by the sum of the input for several axes"),
    Known("torch", _LOCAL, lambda c: _window(c) > 3, "windows of at most three dimensions"),
    Known(
        "torch",
        "min_max_linear_quantize zero_point_linear_quantize",
        _short_channels,
        "aligns the trailing dimensions of parameters",
    ),
    Known("torch", "pad", lambda c: _rank(c) not in (3, 4, 5), "ranks 3 to 5 only"),
    Known(
        "torch",
        "pad",
        lambda c: c.attrs["border"] == "reflect-even" and max(max(p) for p in c.attrs["padding"]) > 1,
        "'reflect-even' of one element at most",
    ),
    *WINDOWS,
)


def _halves(x: object) -> bool:
    return bool(np.any(np.asarray(x) % 1 == 0.5))


def _has_nan(case: Case) -> bool:
    return any(bool(np.isnan(np.asarray(o)).any()) for o in case.operands)


def _large(case: Case) -> bool:
    return bool(np.max(np.asarray(case.operands[0])) > 88)


_HALVES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
_NANS = np.array([np.nan, -1, 2], np.float32)
SPECIAL = (
    Case("round", [_HALVES]),
    Case("relu", [_NANS]),
    Case("max", [_NANS, np.zeros(3, np.float32)]),
    Case("softplus", [np.array([-100, 0, 100], np.float32)]),
)


@cache
def cases() -> tuple[Case, ...]:
    drawn = [*families().values(), *window_families().values()]
    return (*(case for family in drawn for case in family), *SPECIAL)


@cache
def outcomes(name: str) -> list[oracle.Outcome]:
    if not oracle.installed(name):
        skip("the torch interpreter of `nnef-tools`")
    return oracle.run(name, [(c.text(), c.inputs()) for c in cases()])


def difference(case: Case, outcome: oracle.Outcome) -> str | None:
    """How the interpreter's answer differs from ours, or None."""
    if isinstance(outcome, str):
        return outcome
    for ours, theirs in zip(case.reference(), outcome.values(), strict=True):
        if ours.shape != theirs.shape or ours.dtype.kind != theirs.dtype.kind:
            return f"{theirs.dtype}{theirs.shape}, not {ours.dtype}{ours.shape}"
        if ours.dtype.kind != "f" and not np.array_equal(ours, theirs):
            return "other values"
        if ours.dtype.kind == "f" and not np.allclose(ours, theirs, rtol=1e-5, atol=1e-5, equal_nan=True):
            return f"{theirs.ravel()[:8]}, not {ours.ravel()[:8]}"
    return None


@pytest.mark.parametrize("name", ["cpp", "torch"])
@pytest.mark.parametrize("kind", sorted({c.kind for c in cases()}))
def test_agrees(name: str, kind: str) -> None:
    compared = 0
    for case, outcome in zip(cases(), outcomes(name), strict=True):
        if case.kind != kind or any(k.covers(name, case) for k in KNOWN):
            continue
        compared += 1
        assert difference(case, outcome) is None, f"{case}: {difference(case, outcome)}"
    assert compared or any(k.oracle == name and k.applies is everything and kind in k.kinds.split() for k in KNOWN)


@pytest.mark.parametrize("known", KNOWN, ids=lambda k: f"{k.oracle}-{k.kinds.split()[0]}")
def test_known_differences_are_real(known: Known) -> None:
    """An entry that no case needs any more must go."""
    about = [(c, o) for c, o in zip(cases(), outcomes(known.oracle), strict=True) if known.covers(known.oracle, c)]
    for kind in known.kinds.split():
        assert any(difference(c, o) for c, o in about if c.kind == kind), f"{known.oracle} now agrees on {kind}"
