"""The page of a study: what it says, that it needs nothing else, and that a browser draws it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest

from nnefc.quant import plots
from nnefc.quant.report import advice, brief, page, plain, tables

SVG = "{http://www.w3.org/2000/svg}"
ODD = '<b> & "c"'


def network(name: str, metric: float, snr: float, size: int, **choice: str) -> dict[str, Any]:
    return {"name": name, "choice": choice, "metric": metric, "snr": snr, "bytes": size}


def trial(name: str, metric: float, snr: float) -> dict[str, Any]:
    return {"name": name, "method": name, "refinement": "plain", "metric": metric, "snr": snr, "bytes": 100}


def layer(name: str, *ratios: float) -> dict[str, Any]:
    weights, activations, own, accumulated, back = ratios
    errors = {"weights": weights, "activations": activations, "own": own, "accumulated": accumulated}
    return {"name": name, "kind": "conv", **errors, "recovered_metric": 0.0, "recovered_snr": back}


RECORD: dict[str, Any] = {
    "format": "nnefc study 1",
    "model": {"name": "net <!--<script></script>", "sha256": "0"},
    "data": {"calls": 8, "sha256": "0"},
    "test": {"calls": 9, "sha256": "0"},
    "labels": None,
    "metric": {"name": "top1", "unit": ""},
    "versions": {"nnefc": "0"},
    "least": 0.9,
    "float": network("float", 0.95, math.inf, 400),
    "trials": [trial("minmax", 0.91, 30.0), trial("mse", 0.94, 32.0), trial("entropy", 0.2, -1.0)],
    "base": "mse",
    "layers": [layer(ODD, math.inf, 40.0, 40.0, 40.0, 0.5), layer("c2", 20.0, 35.0, 19.8, 19.0, 6.0)],
    "candidates": [network("int8", 0.94, 32.0, 100), network("float: c2", 0.95, 38.0, 200, c2="float")],
    "emulated": [
        {
            "engine": "saturating-avx2",
            "calls": 8,
            "exact_metric": 0.94,
            "exact_snr": 32.0,
            "metric": 0.5,
            "snr": 3.0,
            "shares": {ODD: 0.25, "c2": 0.0},
        }
    ],
    "measured": {
        "machine": {"cpu": "A <CPU>", "cpus": 2, "system": "Linux", "python": "3"},
        "seconds": {"float": 9e-6, "int8": 3e-6, "float: c2": 5e-6, "float: 1": 4e-6},
        "slower": [ODD],
        "candidates": [network("float: 1", 0.93, 31.0, 150)],
        "front": ["float: c2", "int8"],
        "chosen": "int8",
        "duration": 1.5,
    },
}


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({}, "int8"),
        ({"l1": "float"}, "float: l1"),
        ({f"l{k}": "float" for k in range(12)}, "float: all"),
        ({f"l{k}": "float" for k in range(2, 12)}, "float: all but l0, l1"),
        ({f"l{k}": "float" for k in range(4)} | {"l6": "float"}, "float: l0, l1, l2, l3 and 1 more"),
        ({"l0": "float", "l3": "int4w"}, "float: l0; int4w: l3"),
    ],
)
def test_long_names_are_told_in_short(choice: dict[str, str], said: str) -> None:
    layers = [network(f"float: l{k}", 1.0, 1.0, 1, **{f"l{k}": "float"}) for k in range(12)]
    point = network("int8", 1.0, 1.0, 1, **choice)
    assert brief({"candidates": [network("int8", 1.0, 1.0, 1), *layers]}, point) == said


def marks(root: ET.Element, name: str) -> dict[int, ET.Element]:
    found = [e for e in root.iter() if e.get("class") == name]
    return {int(e.get("data-row", "")): e for e in found}


def said(root: ET.Element) -> list[str]:
    return [e.text or "" for e in root.iter(f"{SVG}text")]


def test_methods_are_bars_of_their_ratio() -> None:
    root = ET.fromstring(plots.methods(RECORD))
    bars = {k: float(e.get("width", "")) for k, e in marks(root, "method").items()}
    assert bars[1] > bars[0] > bars[2] and bars[1] / bars[0] == pytest.approx(32 / 30, rel=0.01)
    assert "0.94" in said(root) and "SNR, dB: more is better" in said(root)


def test_errors_lie_where_their_numbers_say() -> None:
    root = ET.fromstring(plots.errors(RECORD))
    circles = [e for e in root.iter(f"{SVG}circle") if e.get("class") == "error"]
    assert len(circles) == 8
    at = {(e[0].text or ""): float(e.get("cx", "")) for e in circles}
    infinite, least = at[f"{ODD} (conv)\nweights: ∞ dB"], at["c2 (conv)\naccumulated: 19 dB"]
    assert infinite == max(at.values()) and least == min(at.values())
    assert at["c2 (conv)\nactivations: 35 dB"] < at[f"{ODD} (conv)\nactivations: 40 dB"]
    assert "+6.00" in said(root) and ODD in said(root)


def test_networks_lie_where_their_numbers_say() -> None:
    root = ET.fromstring(plots.mixed(RECORD))
    points = marks(root, "network")
    assert set(points) == {0, 1, 2, 3}
    real, int8, mixed = points[0], points[1], points[2]
    assert float(int8.get("cx", "")) < float(mixed.get("cx", "")) < float(real.get("cx", ""))
    assert float(int8.get("cy", "")) > float(mixed.get("cy", "")) == float(real.get("cy", ""))
    assert float(int8.get("r", "")) < float(mixed.get("r", "")) < float(real.get("r", ""))
    assert len({int8.get("fill"), mixed.get("fill"), real.get("fill")}) == 3
    assert "wanted: 0.9" in said(root)
    endless = {**RECORD, "float": network("float", math.inf, math.inf, 400)}
    assert "∞" in plots.mixed(endless)


def test_another_engine_by_layer() -> None:
    root = ET.fromstring(plots.engine(RECORD, RECORD["emulated"][0]))
    assert "25.000%" in said(root) and "top1 0.94 exact, 0.5 there; SNR 32 dB exact, 3 dB there" in said(root)


def test_advice_says_what_to_do() -> None:
    text = "\n".join(advice(RECORD))
    assert "Take “int8”: top1 0.94 (real numbers: 0.95), 3 µs a call" in text
    assert "The layer that loses most by itself is c2, by its weights: try --weights mse, --adaround" in text
    assert f"Codes are slower than floats in {ODD}" in text
    assert f"saturating-avx2 would cut off sums in {ODD} and give top1 0.5" in text
    assert "takes longer than real numbers" not in text
    slow = {**RECORD, "measured": {**RECORD["measured"], "seconds": {**RECORD["measured"]["seconds"], "int8": 1e-5}}}
    assert "“int8” takes longer than real numbers here" in "\n".join(advice(slow))
    short = "\n".join(advice({**RECORD, "least": 0.99}))
    assert "No network reaches the 0.99 that was asked for" in short


def test_the_page_needs_nothing_else_and_holds_everything() -> None:
    text = page(RECORD)
    assert not re.search(r"(?:src|href)\s*=|@import|url\(", text)
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert data and json.loads(data[1]) == json.loads(json.dumps(plain(RECORD)))
    assert "net &lt;!--&lt;script&gt;&lt;/script&gt;" in text and "A &lt;CPU&gt;" in text
    json.dumps(plain(RECORD), allow_nan=False)


def test_tables_are_csv() -> None:
    found = {name: list(csv.DictReader(io.StringIO(text))) for name, text in tables(RECORD).items()}
    assert [r["name"] for r in found["methods.csv"]] == ["minmax", "mse", "entropy"]
    assert found["layers.csv"][0]["name"] == ODD and float(found["layers.csv"][0]["weights_db"]) == math.inf
    assert [(r["name"], r["front"]) for r in found["networks.csv"]] == [
        ("float", "0"),
        ("int8", "1"),
        ("float: c2", "1"),
        ("float: 1", "0"),
    ]


def test_a_browser_draws_and_sorts_it(drawn_page: Callable[[str, str], str]) -> None:
    click = (
        "document.querySelectorAll('#networks th')[3].click();"
        "document.title = [...document.querySelectorAll('#networks tbody tr')].map(r => r.dataset.row).join()"
    )
    text = drawn_page(page(RECORD), click)
    assert "<title>0,2,3,1</title>" in text  # by time, the longest first
    bodies = re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    assert [body.count("<tr") for body in bodies] == [3, 2, 4]
    assert '&lt;b&gt; &amp; "c"' in bodies[1] and "∞" in bodies[1] and "chosen" in bodies[2]
    assert text.count('aria-label="') == 3 + 8 + 4
