"""Arrays from untrusted .npy and .npz files: what fits is read exactly, what does not ends in a clear error."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nnefc.errors import InvalidModelError
from nnefc.ir.types import DType, TensorType
from nnefc.tools.arrays import npz_names, read_npy, read_npz, write_npz

TYPE = TensorType(DType.F32, (2, 3))
ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


def npy(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    body = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body + data


@pytest.mark.parametrize(
    ("dtype", "array"),
    [
        (DType.F32, ARRAY),
        (DType.F32, np.asfortranarray(ARRAY)),
        (DType.F32, ARRAY.astype(">f4")),
        (DType.I64, np.arange(5)),
        (DType.BOOL, np.array([True, False])),
        (DType.F32, np.array(1.5, np.float32)),
        (DType.F64, np.zeros((0, 3))),
    ],
    ids=["row major", "column major", "big endian", "integers", "logicals", "rank 0", "empty"],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)], ids=["1.0", "2.0"])
def test_arrays_are_read_exactly(tmp_path: Path, dtype: DType, array: np.ndarray, version: tuple[int, int]) -> None:
    type_ = TensorType(dtype, array.shape)
    (tmp_path / "x.npy").write_bytes(npy(array, version=version))
    read = read_npy(str(tmp_path / "x.npy"), "x", type_)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == dtype.numpy and read.flags.c_contiguous and read.flags.writeable


def test_npz_round_trip_with_awkward_names(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npz")
    arrays = {"file": ARRAY, "args": ARRAY + 1, "allow_pickle": ARRAY * 2}
    write_npz(path, arrays)
    assert npz_names(path) == list(arrays)
    read = read_npz(path, dict.fromkeys(("args", "file", "absent"), TYPE))
    assert sorted(read) == ["args", "file"]
    np.testing.assert_array_equal(read["args"], ARRAY + 1)
    with np.load(path) as loaded:
        np.testing.assert_array_equal(loaded["allow_pickle"], ARRAY * 2)


BAD_NPY = {
    "empty": (b"", "not a .npy array"),
    "not npy": (b"hello, world" * 9, "not a .npy array"),
    "future version": (b"\x93NUMPY\x09\x00" + b"\x00" * 64, "not a .npy array"),
    "header cut": (npy(ARRAY)[:30], "not a .npy array"),
    "header no dictionary": (header("[1, 2]"), "not a .npy array"),
    "header calls a function": (header("__import__('os').abort()"), "not a .npy array"),
    "header deeply nested": (header("(" * 5000 + ")" * 5000), "not a .npy array"),
    "header too long": (header("{" + " " * 60000 + "}"), "not a .npy array"),
    "negative extent": (header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3)}"), "[-2, 3] here"),
    "huge claim": (header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**15},)}}"), f"[{10**15}] here"),
    "objects": (npy(np.array([None, {}], object), allow_pickle=True), "Python objects"),
    "structured": (npy(np.zeros((2, 3), [("a", "f4")])), "the model takes float32[2, 3]"),
    "other type": (npy(ARRAY.astype(np.float64)), "float64[2, 3] here, but the model takes float32[2, 3]"),
    "other shape": (npy(ARRAY.T.copy()), "float32[3, 2] here, but the model takes float32[2, 3]"),
    "cut": (npy(ARRAY)[:-1], "cut short: 23 of 24 bytes"),
}


@pytest.mark.parametrize("name", BAD_NPY)
def test_bad_npy(tmp_path: Path, name: str) -> None:
    content, message = BAD_NPY[name]
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(InvalidModelError) as caught:
        read_npy(str(path), "x", TYPE)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: error: ")


@pytest.mark.parametrize("name", [n for n in BAD_NPY if n != "empty"])
def test_bad_npy_inside_npz(tmp_path: Path, name: str) -> None:
    content, message = BAD_NPY[name]
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(InvalidModelError) as caught:
        read_npz(str(path), {"x": TYPE})
    assert message in str(caught.value)


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(npy(ARRAY))
    for path in (tmp_path / "x.npz", tmp_path, tmp_path / "absent.npz"):
        with pytest.raises(InvalidModelError):
            read_npz(str(path), {"x": TYPE})


def test_corrupt_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_npz(path, {"x": ARRAY})
    content = bytearray(path.read_bytes())
    content[content.index(ARRAY.tobytes()) + 4] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidModelError, match="cannot be read"):
        read_npz(str(path), {"x": TYPE})


def test_a_bomb_takes_no_more_memory_than_the_model_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy(ARRAY) + bytes(100_000_000))
    tracemalloc.start()
    np.testing.assert_array_equal(read_npz(str(path), {"x": TYPE})["x"], ARRAY)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
