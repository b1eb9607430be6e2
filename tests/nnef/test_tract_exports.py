"""What torch_to_nnef wrote for small modules of PyTorch gives what PyTorch gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tract_models import EXPORTS, answers

import nnefc
from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.formats.nnef import load, save
from nnefc.ir.graph import Graph

QUANTIZED = "quantized"
NAMES = sorted(p.name.removesuffix(".nnef.tgz") for p in EXPORTS.glob("*.nnef.tgz") if QUANTIZED not in p.name)
SYMBOLS = {"attention": {"S": (5,)}, "dyncnn": {"B": (2,), "S": (9,)}}
COMPILED = ("attention", "cnn", "deconv", "dyncnn", "up")
ARCHIVES = ("t2n_cnn", "t2n_plain_khronos", "t2n_plain_tract", "t2n_ups_khronos", "t2n_ups_tract")
TOLERANCE = 1e-5
"""Relative to the largest magnitude of an output; half precision has the tolerance of its own rounding."""


def graph_of(name: str) -> Graph:
    return load(EXPORTS / f"{name}.nnef.tgz", shapes=SYMBOLS.get(name))


def recorded(path: Path, prefix: str) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith(prefix)}


def assert_close(got: np.ndarray, wanted: np.ndarray) -> None:
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    tolerance = 2**-10 if wanted.dtype == np.float16 else TOLERANCE
    assert np.array_equal(np.isnan(got), np.isnan(wanted))
    scale = np.max(np.abs(np.nan_to_num(wanted.astype(float))), initial=1e-30)
    assert np.max(np.abs(np.nan_to_num(got.astype(float) - wanted)), initial=0.0) <= tolerance * scale


def test_there_are_exports() -> None:
    assert len(NAMES) >= 20 and set(COMPILED) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_meaning(name: str) -> None:
    path = EXPORTS / f"{name}.npz"
    for got, wanted in zip(answers(graph_of(name), recorded(path, "x")), recorded(path, "y").values(), strict=True):
        assert_close(got, wanted)


@pytest.mark.parametrize("name", COMPILED)
def test_compiled(name: str) -> None:
    path = EXPORTS / f"{name}.npz"
    compiled = nnefc.compile(EXPORTS / f"{name}.nnef.tgz", shapes=SYMBOLS.get(name))
    got = compiled(*recorded(path, "x").values())
    (wanted,) = recorded(path, "y").values()
    assert_close(np.asarray(got), wanted)


@pytest.mark.parametrize("name", NAMES)
def test_written_as_nnef(name: str, tmp_path: Path) -> None:
    graph = graph_of(name)
    save(graph, tmp_path / "model.nnef.tgz")
    again = load(tmp_path / "model.nnef.tgz")
    path = EXPORTS / f"{name}.npz"
    for got, wanted in zip(answers(again, recorded(path, "x")), answers(graph, recorded(path, "x")), strict=True):
        assert np.array_equal(got, wanted, equal_nan=True)


def test_quantized() -> None:
    """Encodings are kept, weights are decoded, and biases of integers count in steps of the product."""
    graph, path = graph_of(QUANTIZED), EXPORTS / f"{QUANTIZED}.npz"
    encoding = graph.values["l__Xq"].type.encoding
    assert encoding is not None and graph.outputs[0].type.encoding is None
    assert graph.values["c__input_weight"].type.encoding is not None
    (got,) = answers(graph, recorded(path, "x"))
    (wanted,) = recorded(path, "y").values()
    step = encoding["scale"]
    assert isinstance(step, float) and np.max(np.abs(got - wanted)) < 1.5 * step
    assert np.max(np.abs(wanted)) > 40 * step


def test_symbols_by_name_and_by_input() -> None:
    named, given = graph_of("dyncnn"), load(EXPORTS / "dyncnn.nnef.tgz", shapes={"x0": (2, 3, 9)})
    assert named == given and named.inputs[0].type.shape == (2, 3, 9)


def test_free_symbols() -> None:
    with pytest.raises(UnsupportedError, match=r"these extents are free: dimension 2 of 'x0' \('S'\)"):
        load(EXPORTS / "dyncnn.nnef.tgz")
    notes: list[str] = []
    graph = load(EXPORTS / "dyncnn.nnef.tgz", shapes={"S": (4,)}, notes=notes)
    assert graph.inputs[0].type.shape == (1, 3, 4)
    assert any("the first extent, 'B', of 'x0' is free: taken as 1" in note for note in notes)


def test_strict_refuses_the_dialect() -> None:
    with pytest.raises(InvalidModelError, match="the extension 'tract_registry tract_core' is not known"):
        load(EXPORTS / "cnn.nnef.tgz", strict=True)


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_compiled(shared: Path, name: str) -> None:
    folder = shared / "models" / "torch_to_nnef"
    record = folder / f"{'_'.join(name.split('_')[:2])}_io.npz"
    with np.load(record) as arrays:
        got = nnefc.compile(folder / f"{name}.nnef.tgz")(arrays["input"])
        assert_close(np.asarray(got), arrays["output"])


def test_broken_archive(shared: Path) -> None:
    with pytest.raises(InvalidModelError) as caught:
        load(shared / "models" / "torch_to_nnef" / "t2n_cnn_khronos_broken.nnef.tgz")
    message = "the fragment 'gelu' cannot be defined: it is an operation of the standard; give it another name"
    assert caught.value.message == message and (caught.value.line, caught.value.column) == (6, 10)
