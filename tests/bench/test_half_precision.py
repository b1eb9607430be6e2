"""``python -m bench.half``: what it measures and prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import half

NETWORK = """version 1.0;
graph net(x) -> (y)
{
    x = external<scalar>(shape = [1, 64]);
    w = constant<scalar>(shape = [512, 64], value = [0.3]);
    v = constant<scalar>(shape = [64, 512], value = [0.1]);
    y = linear(relu(linear(x, w)), v);
}
"""


def test_a_network_in_every_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "graph.nnef").write_text(NETWORK)
    assert half.main([str(tmp_path / "net"), "--seconds", "0.05", "--json", str(tmp_path / "f.json")]) == 0
    found = json.loads((tmp_path / "f.json").read_text())["net"]
    assert set(found) == set(half.KINDS) and found["f32"]["snr"] is None
    for kind in ("f16 weights", "bf16 weights", "f16", "bf16"):
        assert found[kind]["weights"] < 0.51 * found["f32"]["weights"] and found[kind]["snr"] > 20
    assert found["f16, f32 weights"]["weights"] == found["f32"]["weights"]
    assert all(0 < f["linear_seconds"] and 0 < f["seconds"] for f in found.values())
    said = capsys.readouterr().out
    assert all(f"| {kind} " in said for kind in half.KINDS) and "linear layers, ms" in said


def test_what_is_no_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        half.main([str(tmp_path / "absent")])
    assert "neither a file" in capsys.readouterr().err
