"""Mutated .npy and .npz files: each gives the array or InvalidModelError."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from mutate import EXTREME_BYTES, mutated_bytes

from nnefc.errors import InvalidModelError
from nnefc.ir.types import SCALAR, TensorType
from nnefc.tools.arrays import npz_names, read_npy, read_npz

TYPE = TensorType(SCALAR, (30, 40))
ARRAY = np.random.default_rng(0).standard_normal((30, 40)).astype(np.float32)


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, ARRAY)
    return file.getvalue()


def npz(compression: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("x.npy", npy())
        archive.writestr("y.npy", npy())
    return file.getvalue()


SOURCES = {
    "npy": npy(),
    "stored": npz(zipfile.ZIP_STORED),
    "deflated": npz(zipfile.ZIP_DEFLATED),
    "bzip2": npz(zipfile.ZIP_BZIP2),
    "lzma": npz(zipfile.ZIP_LZMA),
}


def mutant(rng: random.Random, data: bytes) -> bytes:
    """Half of them are changed near the end too, where a zip file's directory lies."""
    changed = bytearray(mutated_bytes(rng, data))
    if changed and rng.random() < 0.5:
        changed[-1 - rng.randrange(min(len(changed), 250))] = rng.choice(EXTREME_BYTES)
    return bytes(changed)


@pytest.mark.parametrize("name", SOURCES)
def test_mutants(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mutant"
    refused = 0
    for number in range(500):
        path.write_bytes(mutant(random.Random(number), SOURCES[name]))
        try:
            if name == "npy":
                assert read_npy(str(path), "x", TYPE).shape == TYPE.shape
            else:
                npz_names(str(path))
                assert all(a.shape == TYPE.shape for a in read_npz(str(path), {"x": TYPE}).values())
        except InvalidModelError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("name", ["bzip2", "lzma"])
def test_compression_that_numpy_does_not_write(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(SOURCES[name])
    with pytest.raises(InvalidModelError, match="compressed in a way that NumPy does not use"):
        read_npz(str(path), {"x": TYPE})
