"""Tables in expressions: their meaning, their text, and their code for any number of lanes, with and without help."""

from __future__ import annotations

import numpy as np
import pytest
from test_emit import OTHERS, TARGETS, assert_same
from vectorjit import Compiled

from nnefc.codegen.objectfile import RUNTIME_SYMBOLS, undefined_symbols
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr, arg, call, cast, const, table
from nnefc.ir.precision import in_wide
from nnefc.ir.simplify import simplified
from nnefc.ir.types import DType

X = arg(0, DType.U8)


def drawn(dtype: DType, seed: int = 0) -> Expr:
    """A table of any bits."""
    rng = np.random.default_rng(seed)
    patterns = rng.random(256) < 0.5 if dtype is DType.BOOL else np.frombuffer(rng.bytes(256 * dtype.size), dtype.numpy)
    return table(X, patterns)


def test_meaning_and_text() -> None:
    half = table(X, np.minimum(np.arange(256), 3).astype(np.uint8))
    assert str(half) == "table<u8>[0, 1, 2, 253 * 3]($0)"
    assert half.evaluate([np.array([[0, 2], [7, 255]], np.uint8)]).tolist() == [[0, 2], [3, 3]]
    assert half.size() == 2 and half.has_function()
    assert half.renumbered([4]) == table(arg(4, DType.U8), half.entries())
    assert half != table(X, np.arange(256).astype(np.uint8))
    assert simplified(half.substitute([const(1, DType.U8)])) == const(1, DType.U8)


def test_operands_and_entries_are_checked() -> None:
    for x, entries in (
        (arg(0, DType.I8), np.zeros(256, "u1")),
        (X, np.zeros(255, "u1")),
        (X, np.zeros((2, 128), "u1")),
    ):
        with pytest.raises(TypeError, match="table of"):
            table(x, entries)


def test_half_precision_is_widened_after_the_lookup() -> None:
    entries = np.arange(256).astype(np.float16)
    wide = in_wide(call("add", table(X, entries), const(1.0, DType.F16)))
    assert wide == call("add", cast(table(X, entries), DType.F32), const(1.0, DType.F32))


@pytest.mark.parametrize("text", [*TARGETS, "x86_64-unknown-linux-gnu:x86-64-v3", *OTHERS])
def test_code_is_numpys(text: str) -> None:
    target = Target.parse(text)
    cases = {f"{t}_{lanes}": (drawn(t), [DType.U8], lanes) for t in DType for lanes in (2, 16)}
    cases |= {str(lanes): (drawn(DType.U8), [DType.U8], lanes) for lanes in (64, 256)}
    cases["two"] = (
        call("xor", drawn(DType.U8, 1), call("xor", drawn(DType.U8, 2), drawn(DType.U8, 1))),
        [DType.U8],
        64,
    )
    code = Compiled(cases, target)
    assert set(undefined_symbols(code.object)) <= RUNTIME_SYMBOLS
    if target.arch != Target.host().arch or target.isa - Target.host().isa:
        return
    x = np.random.default_rng(3).permutation(np.arange(1024) % 256).astype(np.uint8)
    for name, (expr, _, _) in cases.items():
        if expr.dtype is not DType.BF16:
            assert_same(code(name, x), expr.evaluate([x]), name)
