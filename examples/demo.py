"""Compile a small network that others trained, import the result and let it read handwritten digits."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import numpy as np

import nnefc

HERE = Path(__file__).resolve().parent
MODEL = HERE / "models" / "mnist_convsmall.nnef.tgz"
IMAGES = HERE / "models" / "mnist_test_100.npz"
OUTPUT = HERE.parent / "build" / "demo"
SHADES = np.array(list(" .:-=+*#%@"))
SHOWN, CALLS = 8, 2000


def drawing(image: np.ndarray) -> list[str]:
    """The middle of an image of 28 x 28 bytes as ten lines of 18 characters."""
    points = image[4:24, 5:23].reshape(10, 2, 18).mean(axis=1)
    return ["".join(row) for row in SHADES[(points * 9 / 255).round().astype(int)]]


def main() -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    nnefc.compile(MODEL, threads=1).save(OUTPUT / "digits")
    print(f"{MODEL.name} compiled to the Python package {OUTPUT.name}/digits in {time.perf_counter() - start:.1f} s\n")

    sys.path.insert(0, str(OUTPUT))
    digits = importlib.import_module("digits")
    with np.load(IMAGES) as data:
        images, labels = data["images"], data["labels"]
    inputs = (images / 255).astype(np.float32).reshape(-1, 1, 1, 28, 28)
    answers = [int(digits(x).argmax()) for x in inputs]

    for first in range(0, SHOWN, 4):
        four = range(first, first + 4)
        for line in zip(*(drawing(images[i]) for i in four), strict=True):
            print("  ".join(line).rstrip())
        print("  ".join(f"answer: {answers[i]}".ljust(18) for i in four).rstrip(), "\n")
    right = sum(a == b for a, b in zip(answers, labels, strict=True))
    print(f"{right} of the {len(labels)} images are read as their labels say")

    times = []
    for i in range(CALLS):
        start = time.perf_counter()
        digits(inputs[i % len(inputs)])
        times.append(time.perf_counter() - start)
    print(f"a call takes {np.median(times) * 1e6:.1f} microseconds (median of {CALLS}, one thread)")


if __name__ == "__main__":
    main()
