"""The roofline plot and its page: what they say, that they need nothing else, and that a browser draws them."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace

import pytest

from nnefc.codegen.cost import Cost
from nnefc.tools.peaks import Level, Peaks
from nnefc.tools.profile import Kernel, Profile
from nnefc.tools.roofline import page, svg
from nnefc.tools.svg import COLOURS

PEAKS = Peaks(
    1, 100.0, (Level("L1", 1 << 15, 200.0), Level("L2", 1 << 20, 100.0), Level("memory", 0, 20.0)), 400.0, 200.0
)
CONV, TILE = ("a/Conv", "a/Conv_output_0", "a/Relu"), "contract 14x2x16 f32"
KERNELS = (
    Kernel(CONV, "contract", TILE, (1, 8), Cost(8000, 100, 100), 1e-7, "L1", 8e-8),
    Kernel(('<b> & "c"',), "map", "map 16 f32", (4, 4), Cost(16, 64, 64), 3e-8, "L1", 1e-9),
    Kernel((), "map", "map 16 f32", (4, 4), Cost(0, 0, 64), 1e-8, "L1", 1e-9),
)
FACTS = {"cpu": "A <CPU>", "cpus": 2, "system": "Linux", "python": "3"}
PROFILE = Profile("net <!--<script></script>", "host", KERNELS, 2e-7, 10, PEAKS, FACTS, {"nnefc": "0"})


def texts(root: ET.Element) -> list[str]:
    return [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text")]


def points(root: ET.Element) -> list[ET.Element]:
    return [e for e in root.iter("{http://www.w3.org/2000/svg}circle") if e.get("class") == "kernel"]


def test_the_plot_is_well_formed_and_labelled() -> None:
    root = ET.fromstring(svg(PROFILE))
    said = texts(root)
    for wanted in ("performance, GFLOP/s", "arithmetic intensity, FLOP per byte", "peak 100 GFLOP/s", "memory 20 GB/s"):
        assert wanted in said
    assert "without arithmetic, not shown: 1" in said
    assert any("net <!--<script></script>: 0.0002 ms" in t for t in said)


def test_other_roofs_are_drawn_where_kernels_are_under_them() -> None:
    """Products of codes may be faster than the peak of floats; they lie below that of their own kind."""
    coded = Kernel(CONV, "contract", TILE, (1, 8), Cost(30000, 100, 100), 1e-7, "L1", 8e-8, "u8")
    root = ET.fromstring(svg(replace(PROFILE, kernels=(coded, *KERNELS[1:]))))
    said = texts(root)
    assert {"peak 100 GFLOP/s", "peak of 8-bit codes 400 GOP/s"} <= set(said)
    assert not any("bf16" in t for t in said) and not any("codes" in t for t in texts(ET.fromstring(svg(PROFILE))))
    lines = root.iter("{http://www.w3.org/2000/svg}line")
    roofs = [float(e.get("y1", "")) for e in lines if e.get("stroke") == "#333" and e.get("y1") == e.get("y2")]
    (point,) = [p for p in points(root) if p.get("data-row") == "0"]
    assert len(roofs) == 2 and min(roofs) < float(point.get("cy", "")) < max(roofs)


def test_points_lie_where_their_numbers_say() -> None:
    root = ET.fromstring(svg(PROFILE))
    by_kernel = {int(p.get("data-row", "")): p for p in points(root)}
    assert set(by_kernel) == {0, 1}
    fast, slow = by_kernel[0], by_kernel[1]
    assert float(fast.get("cx", "")) > float(slow.get("cx", "")) and float(fast.get("cy", "")) < float(
        slow.get("cy", "")
    )
    assert float(fast.get("r", "")) > float(slow.get("r", ""))
    assert fast.get("fill") == COLOURS[0] and slow.get("fill") == COLOURS[1]
    view = [float(v) for v in root.get("viewBox", "").split()]
    for p in by_kernel.values():
        assert view[0] < float(p.get("cx", "")) < view[2] and view[1] < float(p.get("cy", "")) < view[3]


def test_rates_and_titles() -> None:
    first, second, third = KERNELS
    assert (first.gflops, first.bandwidth, first.intensity) == pytest.approx((80.0, 2.0, 40.0))
    assert (first.title, second.title, third.title) == ("a/Conv + Relu", '<b> & "c"', "map")
    assert (
        PEAKS.level(1000).name == "L1" and PEAKS.level(1 << 16).name == "L2" and PEAKS.level(1 << 21).name == "memory"
    )
    assert PEAKS.seconds(200, 1000) == pytest.approx(5e-9) and PEAKS.seconds(20000, 1000) == pytest.approx(2e-7)


def test_the_page_needs_nothing_else_and_holds_everything() -> None:
    text = page(PROFILE)
    assert not re.search(r"(?:src|href)\s*=|@import|url\(", text)
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert data
    assert json.loads(data[1]) == json.loads(json.dumps(PROFILE.record()))
    assert "net &lt;!--&lt;script&gt;&lt;/script&gt;" in text and "A &lt;CPU&gt;" in text


def test_a_browser_draws_and_sorts_it(drawn_page: Callable[[str, str], str]) -> None:
    click = (
        "document.querySelectorAll('th')[1].click(); document.title = [...document.querySelectorAll("
        "'tbody tr')].map(r => r.dataset.row).join();"
        "document.querySelector('.kernel[data-row=\"1\"]').dispatchEvent(new MouseEvent('mousemove'));"
    )
    text = drawn_page(page(PROFILE), click)
    head, body = (re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("thead", "tbody"))
    assert head and body
    assert "<title>1,0,2</title>" in text  # by layer: <b>, a/Conv, map
    assert head[1].count("<th") == 10 and 'aria-sort="ascending"' in head[1]
    assert body[1].count("<tr") == 3 and "a/Conv + Relu" in body[1] and '&lt;b&gt; &amp; "c"' in body[1]
    assert text.count('aria-label="') == 2
    assert '<tr data-row="1" class="chosen">' in body[1] and text.count('class="chosen"') == 1
    assert re.search(r'<div id="tip" style="display: block;[^>]*>&lt;b&gt; &amp; "c"\n', text)
