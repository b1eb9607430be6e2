"""The content of weights.bin is the same in memory and in the file, however its constants are made."""

from __future__ import annotations

import hashlib
import weakref
from pathlib import Path

import numpy as np
import pytest

from nnefc.codegen import made as made_module
from nnefc.codegen import weights as weights_module
from nnefc.codegen.made import Made, Prepared
from nnefc.codegen.pack import Panels
from nnefc.codegen.schedule import plan, prepare
from nnefc.codegen.target import Target
from nnefc.codegen.weights import Weights
from nnefc.ir.build import ProgramBuilder
from nnefc.ir.expr import arg, const
from nnefc.ir.program import Map, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Buffer, Role, View, dense_strides

F = DType.F32


def product(rows: int, deep: int, wide: int) -> Program:
    b = ProgramBuilder("p")
    w = b.const(np.random.default_rng(0).standard_normal((deep, wide)).astype(np.float32))
    b.output("y", b.contract(b.input("x", F, (rows, deep)), w, groups=0, reduced=1))
    return b.finish()


@pytest.fixture(params=[64, 1 << 10, 8 << 20])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that are made at once."""
    for module in (made_module, weights_module):
        monkeypatch.setattr(module, "PIECE_BYTES", request.param)
    return int(request.param)


@pytest.mark.parametrize("wide", [64, 70, 129])
def test_the_file_is_what_memory_holds(wide: int, piece: int, tmp_path: Path) -> None:
    weights = plan(product(8, 96, wide), Target.host()).weights
    digest = weights.write(tmp_path / "before")
    content = weights.array()
    assert weights.write(tmp_path / "after") == digest == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes() == content.tobytes()
    assert weights.array() is content and content.ctypes.data % 64 == 0 and weights.nbytes == content.nbytes


@pytest.mark.parametrize("wide", [64, 70, 129])
def test_packed_weights_are_those_of_the_meaning(wide: int, piece: int) -> None:
    prepared = prepare(product(8, 96, wide), Target.host())
    panels = [c for c in prepared.program.calls if isinstance(c, Panels)]
    assert {c.w.buffer.name for c in panels} == set(prepared.made)
    assert all(c.w.buffer.role is Role.CONST for c in panels)
    whole = prepared.whole().constants
    weights = plan(product(8, 96, wide), Target.host()).weights.array()
    lines = weights[: weights.size // 64 * 64].reshape(-1, 64)
    for name in prepared.made:
        content = whole[name].view(np.uint8)
        starts = np.flatnonzero((lines == content[:64]).all(1)) * 64
        assert any(np.array_equal(weights[k : k + content.size], content) for k in starts)


def test_gaps_are_zero_and_parts_are_let_go(piece: int) -> None:
    arrays = [np.full(n, n, np.uint8) for n in (3, 64, 200)]
    references = [weakref.ref(a) for a in arrays]
    weights = Weights([(64, arrays[0]), (128, arrays[1]), (320, arrays[2])], 600)
    del arrays
    content = weights.array()
    assert [r() for r in references] == [None] * 3
    expected = np.zeros(600, np.uint8)
    expected[64:67], expected[128:192], expected[320:520] = 3, 64, 200
    np.testing.assert_array_equal(content, expected)


def test_what_cannot_be_written_is_reported(tmp_path: Path) -> None:
    weights = Weights.of(np.zeros(100, np.uint8))
    with pytest.raises(OSError, match="No such file"):
        weights.write(tmp_path / "missing" / "weights.bin")
    if Path("/dev/full").exists():
        (tmp_path / "full").symlink_to("/dev/full")
        with pytest.raises(FileExistsError):
            weights.write(tmp_path / "full")


def transposed(rows: int, columns: int, source: str = "w", made: str = "m") -> Made:
    size = rows * columns
    x = View(Buffer(source, F, size, Role.CONST), 0, (columns, rows), (1, columns))
    y = View(Buffer(made, F, size, Role.TEMP), 0, (columns, rows), dense_strides((columns, rows)))
    values = _VALUES.setdefault(size, np.arange(size, dtype=np.float32))
    return Made((Map((arg(0, F),), (x,), (y,)),), y.buffer, {source: values})


_VALUES: dict[int, np.ndarray] = {}


def test_pieces_are_the_whole(piece: int) -> None:
    made = transposed(60, 40)
    expected = np.arange(2400, dtype=np.float32).reshape(60, 40).T.reshape(-1)
    out = np.full(2400, np.nan, np.float32)
    pieces = list(made.pieces())
    assert len(pieces) == {64: 40, 1 << 10: 10, 8 << 20: 1}[piece]
    for first, part in pieces:
        part.fill(out[first : first + part.buffer.size])
    np.testing.assert_array_equal(out, expected)


def test_what_no_call_writes_is_zero() -> None:
    y = View(Buffer("m", F, 10, Role.TEMP), 2, (3,), (2,))
    out = np.full(10, np.nan, np.float32)
    Made((Map((const(1.0, F),), (), (y,)),), y.buffer, {}).fill(out)
    np.testing.assert_array_equal(out, [0, 0, 1, 0, 1, 0, 1, 0, 0, 0])


def test_equal_making_is_known_by_its_key() -> None:
    assert transposed(6, 4).key() == transposed(6, 4, "v", "n").key()
    assert transposed(6, 4).key() != transposed(4, 6).key()
    other = transposed(6, 4)
    copied = Made(other.calls, other.buffer, {"w": other.sources["w"].copy()})
    assert copied.key() != other.key()


def test_what_another_call_on_constants_reads_is_made_at_once() -> None:
    b = ProgramBuilder("p")
    w = b.const(np.arange(6, dtype=np.float32).reshape(2, 3))
    copied, doubled = b.new((3, 2), F), b.new((3, 2), F)
    b.emit(Map((arg(0, F),), (w.transpose((1, 0)),), (copied,)))
    b.emit(Map((arg(0, F),), (copied,), (doubled,)))
    b.output("y", doubled)
    prepared = Prepared.of(b.finish())
    assert set(prepared.made) == set()
    (call,) = prepared.program.calls
    assert prepared.program.constants[call.reads()[0].buffer.name].tolist() == [0, 3, 1, 4, 2, 5]
