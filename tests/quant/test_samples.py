"""Data in every form that is taken, cut into calls; what does not fit ends in a clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnefc.ir.graph import Value
from nnefc.ir.types import DType, TensorType
from nnefc.quant import DataError, Samples

ROWS = np.arange(30, dtype=np.float32).reshape(10, 3)
ONE = [Value("x", TensorType(DType.F32, (2, 3)))]
TWO = [*ONE, Value("k", TensorType(DType.I64, (1,)))]
KEYS = np.arange(5)


def folder(path: Path, **arrays: np.ndarray) -> Path:
    path.mkdir()
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    return path


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


FORMS: dict[str, Callable[[Path], Any]] = {
    "array": lambda p: ROWS,
    "array of calls": lambda p: ROWS.reshape(5, 2, 3),
    "npy": lambda p: saved(p / "a.npy", ROWS),
    "npy of another byte order": lambda p: saved(p / "a.npy", ROWS.astype(">f4")),
    "npy in Fortran's order": lambda p: saved(p / "a.npy", np.asfortranarray(ROWS)),
    "npz": lambda p: npz(p / "a.npz", x=ROWS),
    "npz in Fortran's order": lambda p: npz(p / "a.npz", x=np.asfortranarray(ROWS)),
    "folder of samples": lambda p: folder(p / "d", **{f"s{k}": row for k, row in enumerate(ROWS)}),
    "folder of batches": lambda p: folder(p / "d", a=ROWS[:3], b=ROWS[3:]),
    "list of files": lambda p: [saved(p / "a.npy", ROWS[:4]), str(saved(p / "b.npy", ROWS[4:]))],
    "list of arrays": lambda p: list(ROWS),
    "list of mappings": lambda p: [{"x": ROWS[:7]}, {"x": ROWS[7:]}],
    "mapping": lambda p: {"x": ROWS},
    "mapping to a file": lambda p: {"x": saved(p / "a.npy", ROWS)},
    "tuples": lambda p: [(ROWS[:2],), (ROWS[2:],)],
    "iterator": lambda p: iter(ROWS),
    "left over": lambda p: np.concatenate([ROWS, ROWS[:1]]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_calls(form: str, tmp_path: Path) -> None:
    data = Samples(FORMS[form](tmp_path), ONE)
    calls = list(data)
    assert data.count == (None if form == "iterator" else 5)
    assert all(c["x"].shape == (2, 3) and c["x"].dtype == np.float32 and c["x"].flags.c_contiguous for c in calls)
    assert np.array_equal(np.concatenate([c["x"] for c in calls]), ROWS)
    assert len(calls) == 5
    if data.again:
        assert len(list(data)) == 5


@pytest.mark.parametrize(
    "form",
    [
        lambda p: npz(p / "a.npz", x=ROWS, k=KEYS),
        lambda p: {"x": ROWS, "k": KEYS},
        lambda p: [(ROWS[:4], KEYS[:2]), (ROWS[4:], KEYS[2:])],
        lambda p: ({"k": KEYS[i : i + 1], "x": ROWS[2 * i : 2 * i + 2]} for i in range(5)),
        lambda p: [npz(p / "a.npz", x=ROWS[:2], k=KEYS[:1]), npz(p / "b.npz", x=ROWS[2:], k=KEYS[1:])],
    ],
)
def test_several_inputs(form: Callable[[Path], Any], tmp_path: Path) -> None:
    calls = list(Samples(form(tmp_path), TWO))
    assert [int(c["k"][0]) for c in calls] == list(range(5))
    assert np.array_equal(np.concatenate([c["x"] for c in calls]), ROWS)


def test_limit_ends_early() -> None:
    data = Samples(ROWS, ONE, limit=3)
    assert data.count == len(list(data)) == 3


def test_files_are_read_piece_by_piece(tmp_path: Path) -> None:
    import tracemalloc

    path = saved(tmp_path / "big.npy", np.zeros((40, 1 << 18), np.float32))
    tracemalloc.start()
    for _ in Samples(path, [Value("x", TensorType(DType.F32, (1, 1 << 18)))]):
        pass
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def not_finite(value: float) -> np.ndarray:
    array = ROWS.copy()
    array[7, 1] = value
    return array


BAD: dict[str, tuple[Callable[[Path], Any], list[Value], str]] = {
    "missing": (lambda p: p / "none.npy", ONE, "none.npy: error: there is no such file or folder"),
    "empty folder": (lambda p: p, ONE, "there are no .npy or .npz files in this folder"),
    "another file": (lambda p: Path(__file__), ONE, "data are .npy or .npz files"),
    "empty list": (lambda p: [], ONE, "there is no data: the list is empty"),
    "empty iterator": (lambda p: iter([]), ONE, "there are too few samples for a single call: the model takes x: f32"),
    "too few": (lambda p: ROWS[:1], ONE, "there are too few samples for a single call"),
    "no samples": (lambda p: ROWS[:0], ONE, "'x' holds no samples"),
    "dtype": (lambda p: ROWS.astype(np.float64), ONE, "float64[10, 3], but the model takes float32[2, 3]"),
    "shape": (lambda p: ROWS[:, :2], ONE, "the shape [10, 2], but the model takes float32[2, 3], or [N, 3] with any"),
    "shape in a file": (lambda p: saved(p / "a.npy", ROWS[:, :2]), ONE, "a.npy: error: 'x' has the shape [10, 2]"),
    "NaN": (lambda p: not_finite(np.nan), ONE, "'x' holds NaN in sample 8"),
    "infinity in a file": (
        lambda p: saved(p / "a.npy", not_finite(-np.inf)),
        ONE,
        "a.npy: error: 'x' holds an infinity in sample 8",
    ),
    "unknown input": (lambda p: {"z": ROWS}, ONE, "the model has no input 'z'; its inputs are x: f32[2,3]"),
    "unknown in npz": (lambda p: npz(p / "a.npz", x=ROWS, z=ROWS), ONE, "a.npz: error: the model has no input 'z'"),
    "missing input": (lambda p: {"x": ROWS}, TWO, "there is nothing for the input 'k'; it holds x"),
    "one array for two": (lambda p: ROWS, TWO, "one array for 2 inputs"),
    "a tuple too short": (lambda p: [(ROWS,)], TWO, "item 1: there are 1 arrays for 2 inputs"),
    "numbers differ": (lambda p: {"x": ROWS, "k": KEYS[:4]}, TWO, "different numbers of samples: 10 of 'x', 4 of 'k'"),
    "nonsense": (lambda p: 5, ONE, "data is a int; it must be a path, arrays, or an iterable of arrays"),
    "second item": (lambda p: [ROWS, ROWS[:, :1]], ONE, "item 2: 'x' has the shape [10, 1]"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_refused(case: str, tmp_path: Path) -> None:
    make, inputs, message = BAD[case]
    with pytest.raises(DataError) as caught:
        list(Samples(make(tmp_path), inputs))
    assert message in str(caught.value).replace(str(tmp_path) + "/", "")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npy", ROWS)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(Exception, match="a.npy: error: is cut short"):
        list(Samples(path, ONE))
