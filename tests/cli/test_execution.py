"""``--execution``: a quantized network on the command line, computed on integers, in float, or as if it were none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nnefc
from nnefc.formats.nnef import parse_graph
from nnefc.ir.graph import Tensor

CODES = "bits = 8, signed = {}, symmetric = {}"
ACTIVATION = f"zero_point_linear_quantize(zero_point = 100, scale = 0.5, {CODES.format('false', 'false')})"
WEIGHTS = f"zero_point_linear_quantize(zero_point = 0, scale = 0.25, {CODES.format('true', 'true')})"
GRAPH = f"""version 1.0;
extension NNEFC_tensor_types;
graph coded(x) -> (y)
{{
    x: f32[1,4] @ {ACTIVATION} = external(shape = [1, 4]);
    w: f32[3,4] @ {WEIGHTS} = variable(shape = [3, 4], label = 'w');
    y: f32[1,3] @ {ACTIVATION} = linear(x, w);
}}
"""
W = np.array([[0.5, -1.0, 0.25, 2.0], [1.0, 1.0, -1.0, 0.5], [0.0, 0.75, 1.5, -2.0]], np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantized layer, in a folder."""
    path = tmp_path_factory.mktemp("quantized") / "coded"
    nnefc.save(parse_graph(GRAPH).replace(tensors={"w": Tensor(W, "float", 32)}), path)
    return path


X = np.array([[1.1, -2.2, 3.3, 4.4]], np.float32)


def answer(guarded, model: Path, tmp_path: Path, execution: str, *more: str) -> np.ndarray:  # type: ignore[no-untyped-def]
    np.save(tmp_path / "x.npy", X)
    result = tmp_path / "y.npz"
    reply = guarded(
        "run", model, "--input", f"x={tmp_path / 'x.npy'}", "--output", result, "--execution", execution, *more
    )
    assert reply.code == 0, reply.err
    return np.load(result)["y"]


def test_run_computes_as_asked(model: Path, guarded, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    graph = nnefc.load(model)
    for execution in ("integer", "float", "ignore"):
        wanted = nnefc.evaluate(graph, {"x": X}, execution=execution)["y"]
        np.testing.assert_allclose(answer(guarded, model, tmp_path, execution), wanted, rtol=1e-6)
        np.testing.assert_allclose(answer(guarded, model, tmp_path, execution, "--reference"), wanted, rtol=1e-6)
    exact, plain = (nnefc.evaluate(graph, {"x": X}, execution=e)["y"] for e in ("integer", "ignore"))
    assert (exact != plain).any()


def test_compile_tells_the_share(model: Path, guarded, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    reply = guarded("compile", model, "-o", tmp_path / "coded")
    assert reply.code == 0, reply.err
    assert "execution integer: 100.00% of the multiply-adds run on integers" in reply.out
    said = json.loads((tmp_path / "coded" / "manifest.json").read_text())["execution"]
    assert said == {"mode": "integer", "multiply_adds": 12, "on_integers": 12, "islands": []}
    reply = guarded("compile", model, "-o", tmp_path / "coded", "--execution", "ignore")
    assert "execution ignore: 0.00%" in reply.out


def test_inspect_tells_what_would_run_on_integers(model: Path, guarded) -> None:  # type: ignore[no-untyped-def]
    reply = guarded("inspect", model, "--json")
    assert reply.json()["on_integers"] == 12
    assert "12 multiplications (100.00%)" in guarded("inspect", model).out


def test_compare_and_show_follow_the_execution(model: Path, guarded) -> None:  # type: ignore[no-untyped-def]
    for execution in ("integer", "float", "ignore"):
        assert guarded("compare", model, "reference", "--execution", execution, "--outputs-only").code == 0
    assert "contract(" in (text := guarded("show", model, "--after", "requantize").out) and "u8" in text
    assert "u8" not in guarded("show", model, "--after", "fuse", "--execution", "float").out


def test_another_execution_is_refused(model: Path, guarded) -> None:  # type: ignore[no-untyped-def]
    reply = guarded("run", model, "--execution", "int8")
    assert reply.code == 2 and "invalid choice: 'int8'" in reply.err
