"""The Python interface: what load, compile, evaluate, save and load_compiled promise."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nnefc

LAYER = """version 1.0;
graph Layer(x) -> (y)
{
    x = external<scalar>(shape = [2, 3]);
    w = variable<scalar>(shape = [4, 3], label = 'w');
    h = linear(x, w);
    y = relu(h);
}
"""
COUNTER = """version 1.0;
graph Counter(x) -> (total, twice)
{
    x = external<scalar>(shape = [1, 2]);
    sum = variable<scalar>(shape = [1, 2], label = 'sum');
    total = add(sum, x);
    next = update(sum, total);
    twice = mul(total, 2.0);
}
"""
X = np.array([[1, -2, 3], [0.5, 0, -1]], np.float32)
W = np.arange(-6, 6, dtype=np.float32).reshape(4, 3)
ARM = "aarch64-unknown-linux-gnu:cortex-a76"


def tensor_file(array: np.ndarray) -> bytes:
    """A float tensor as NNEF 1.0.5, 5.2 stores it."""
    extents = [*array.shape, *[0] * (8 - array.ndim)]
    numbers = [array.nbytes, array.ndim, *extents, 32, 0]
    return b"\x4e\xef\x01\x00" + np.array(numbers, "<u4").tobytes() + bytes(76) + array.tobytes()


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    folder = tmp_path / "layer"
    folder.mkdir()
    (folder / "graph.nnef").write_text(LAYER)
    (folder / "w.dat").write_bytes(tensor_file(W))
    return folder


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    folder = tmp_path / "counter"
    folder.mkdir()
    (folder / "graph.nnef").write_text(COUNTER)
    (folder / "sum.dat").write_bytes(tensor_file(np.array([[10, 20]], np.float32)))
    return folder


def test_load_evaluate_and_compile_agree(layer: Path) -> None:
    graph = nnefc.load(layer)
    expected = np.maximum(X @ W.T, 0)
    np.testing.assert_array_equal(nnefc.evaluate(graph, {"x": X})["y"], expected)
    for model in (nnefc.compile(graph), nnefc.compile(layer), nnefc.compile(str(layer), threads=1)):
        np.testing.assert_array_equal(model(X), expected)
        np.testing.assert_array_equal(model(x=X), expected)
        y = np.empty_like(expected)
        assert model(X, out=y) is y
        np.testing.assert_array_equal(y, expected)


def test_ports(layer: Path) -> None:
    model = nnefc.compile(layer)
    assert [(p.name, p.dtype, p.shape) for p in model.inputs] == [("x", np.float32, (2, 3))]
    assert [(p.name, p.dtype, p.shape) for p in model.outputs] == [("y", np.float32, (2, 4))]
    assert "x: float32[2, 3]" in repr(model)


@pytest.mark.parametrize("how", ["path", "graph", "loaded"])
def test_shapes(layer: Path, how: str) -> None:
    shapes = {"x": (5, 3)}
    if how == "loaded":
        model = nnefc.compile(nnefc.load(layer, shapes=shapes))
    else:
        model = nnefc.compile(layer if how == "path" else nnefc.load(layer), shapes=shapes)
    x = np.ones((5, 3), np.float32)
    np.testing.assert_array_equal(model(x), np.maximum(x @ W.T, 0))


def test_shapes_that_cannot_be(layer: Path) -> None:
    for model in (layer, nnefc.load(layer)):
        with pytest.raises(nnefc.InvalidModelError, match=r"graph\.nnef:6:\d+: error: linear: "):
            nnefc.compile(model, shapes={"x": (5, 4)})


def test_taps_expose_tensors_between(layer: Path) -> None:
    result = nnefc.compile(layer, taps=["h", "y"])(X)
    assert result._fields == ("y", "h")
    np.testing.assert_array_equal(result.h, X @ W.T)
    np.testing.assert_array_equal(result.y, np.maximum(X @ W.T, 0))
    with pytest.raises(ValueError, match="no tensor 'q'"):
        nnefc.compile(layer, taps=["q"])


def test_state_is_kept_until_reset(counter: Path) -> None:
    graph = nnefc.load(counter)
    model = nnefc.compile(graph)
    x = np.array([[1, 2]], np.float32)
    state: dict[str, np.ndarray] = {}
    for calls in (1, 2, 3):
        expected = np.array([[10 + calls, 20 + 2 * calls]], np.float32)
        compiled, evaluated = model(x), nnefc.evaluate(graph, {"x": x}, state)
        np.testing.assert_array_equal(compiled.total, expected)
        np.testing.assert_array_equal(compiled.twice, 2 * expected)
        np.testing.assert_array_equal(evaluated["total"], expected)
    model.reset()
    np.testing.assert_array_equal(model(x).total, [[11, 22]])
    np.testing.assert_array_equal(nnefc.compile(graph)(x).total, [[11, 22]])


def test_several_outputs_into_arrays_of_the_caller(counter: Path) -> None:
    model = nnefc.compile(counter)
    out = {"total": np.zeros((1, 2), np.float32), "twice": np.zeros((1, 2), np.float32)}
    result = model(np.array([[1, 2]], np.float32), out=out)
    assert result.total is out["total"] and result.twice is out["twice"]
    np.testing.assert_array_equal(out["twice"], [[22, 44]])


def test_wrong_calls(layer: Path) -> None:
    graph, model = nnefc.load(layer), nnefc.compile(layer)
    for bad in (X.astype(np.float64), X.tolist()):
        with pytest.raises(TypeError, match="'x'"):
            model(bad)
        with pytest.raises(TypeError, match="'x'"):
            nnefc.evaluate(graph, {"x": bad})
    with pytest.raises(ValueError, match="'x'"):
        model(X.T.copy())
    for arguments, named in (((), {}), ((X, X), {}), ((), {"z": X}), ((X,), {"x": X})):
        with pytest.raises(TypeError, match=r"Layer"):
            model(*arguments, **named)


@pytest.mark.parametrize("name", ["again", "again.tgz", "again.tar", "again.zip"])
def test_save_writes_what_load_reads(layer: Path, tmp_path: Path, name: str) -> None:
    graph = nnefc.load(layer)
    nnefc.save(graph, tmp_path / name)
    again = nnefc.load(tmp_path / name, strict=True)
    assert again == graph
    np.testing.assert_array_equal(again.tensors["w"].data, W)


def test_packages(layer: Path, tmp_path: Path) -> None:
    nnefc.compile(layer).save(tmp_path / "net")
    loaded = nnefc.load_compiled(tmp_path / "net", threads=1)
    assert isinstance(loaded, nnefc.Model) and loaded.threads == 1
    np.testing.assert_array_equal(loaded(X), np.maximum(X @ W.T, 0))
    with pytest.raises(nnefc.UnsupportedError, match="copy that folder"):
        loaded.save(tmp_path / "copy")
    (tmp_path / "net" / "weights.bin").write_bytes(b"")
    with pytest.raises(nnefc.InvalidModelError, match=r"weights\.bin"):
        nnefc.load_compiled(tmp_path / "net")
    with pytest.raises(nnefc.InvalidModelError, match="absent"):
        nnefc.load_compiled(tmp_path / "absent")


def test_models_for_other_machines_can_be_saved_but_not_called(layer: Path, tmp_path: Path) -> None:
    model = nnefc.compile(layer, target=ARM)
    assert model.target == ARM and model.inputs[0].name == "x"
    with pytest.raises(nnefc.UnsupportedError, match="aarch64"):
        model(X)
    model.save(tmp_path / "arm")
    assert (tmp_path / "arm" / "arm.so").read_bytes()[18:20] == b"\xb7\x00"
    with pytest.raises(nnefc.UnsupportedError, match="aarch64"):
        nnefc.load_compiled(tmp_path / "arm")


def test_target_names(layer: Path) -> None:
    assert nnefc.compile(layer, target="host").target == nnefc.compile(layer).target
    baseline = nnefc.compile(layer, target="x86_64-unknown-linux-gnu:x86-64")
    np.testing.assert_array_equal(baseline(X), np.maximum(X @ W.T, 0))
    with pytest.raises(nnefc.UnsupportedError, match="z80"):
        nnefc.compile(layer, target="z80-unknown-linux-gnu")


def test_errors_know_their_place(tmp_path: Path) -> None:
    path = tmp_path / "graph.nnef"
    path.write_text(LAYER.replace("relu", "rleu"))
    with pytest.raises(nnefc.InvalidModelError) as caught:
        nnefc.load(path)
    assert (caught.value.file, caught.value.line, caught.value.column) == (str(path), 7, 9)
    assert isinstance(caught.value, nnefc.NnefcError)


def test_notes_and_strictness(tmp_path: Path) -> None:
    path = tmp_path / "graph.nnef"
    path.write_text("version 1.0;\ngraph G(x) -> (y) { x = external(shape = [2]); y = reshape(x, [2, 1]); }\n")
    notes: list[str] = []
    assert nnefc.load(path, notes=notes).outputs[0].type.shape == (2, 1)
    assert len(notes) == 1 and notes[0].startswith(f"{path}:2:")
    with pytest.raises(nnefc.InvalidModelError):
        nnefc.load(path, strict=True)


BAR = "from nnefc.progress import bar\nwith bar('compiling') as report:\n    report(0, 7)\n    report(3, 7)\n"


def test_progress_is_silent_where_nobody_looks() -> None:
    done = subprocess.run([sys.executable, "-c", BAR], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_progress_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", BAR], stderr=theirs, stdout=subprocess.PIPE, check=True)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.stdout == b"" and "compiling" in shown and "3/7" in shown


def test_for_size_means_the_same(tmp_path: Path) -> None:
    body = "x = external(shape = [1, 5, 20, 20]); w = constant(shape = [31, 5, 3, 3], value = [0.25]); y = conv(x, w);"
    (tmp_path / "graph.nnef").write_text(f"version 1.0;\ngraph g(x) -> (y) {{ {body} }}\n")
    x = np.random.default_rng(0).standard_normal((1, 5, 20, 20)).astype(np.float32)
    speed, size = (nnefc.compile(tmp_path, optimize=o)(x) for o in ("speed", "size"))
    np.testing.assert_allclose(size, speed, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="speed or size"):
        nnefc.compile(tmp_path, optimize="beauty")


def test_fast_math_is_less_exact_and_recorded(tmp_path: Path) -> None:
    text = "version 1.0; graph G(x) -> (y) { x = external<scalar>(shape = [64]); y = sigmoid(x); }"
    model = tmp_path / "graph.nnef"
    model.write_text(text)
    x = np.linspace(-9, 9, 64, dtype=np.float32)
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    errors = []
    for fast in (False, True):
        made = nnefc.compile(model, fast_math=fast)
        errors.append(np.max(np.abs(made(x) / exact - 1)))
        made.save(tmp_path / f"made{fast}")
        content = json.loads((tmp_path / f"made{fast}" / "manifest.json").read_text())
        assert content["target"]["fast_math"] is fast
        assert np.array_equal(nnefc.load_compiled(tmp_path / f"made{fast}")(x), made(x))
    assert errors[0] < 2.0**-22 < errors[1] < 2.0**-13


def test_a_million_equal_terms(tmp_path: Path) -> None:
    """Along the lanes and across them: within the bound that docs/kernels.md gives for sums in blocks."""
    for shape, axis, lanes in (([1, 1_000_000], 1, 4), ([1_000_000, 16], 0, 1)):
        model = tmp_path / f"sum{axis}.nnef"
        text = f"x = external<scalar>(shape = {shape}); y = sum_reduce(x, axes = [{axis}]);"
        model.write_text(f"version 1.0; graph G(x) -> (y) {{ {text} }}")
        y = nnefc.compile(model)(np.full(shape, 0.1, np.float32))
        terms = 1_000_000 / lanes
        bound = (128 + terms / 128 + 4) * 2.0**-24
        assert np.max(np.abs(y / (1_000_000 * np.float64(np.float32(0.1))) - 1)) < bound
