"""The plots of a study, as SVG: methods side by side, errors of layers, mixed precision, another engine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from nnefc.tools.svg import COLOURS, line, start, text

WIDTH, LEFT, RIGHT, TOP = 960, 250, 90, 74
ROW = 24
EXACT = 100.0
"""Ratios in dB that tell no more than that a tensor is as exact as f32: they are drawn at the end of their axis."""
ERRORS = ("weights", "activations", "own", "accumulated")
Record = Mapping[str, Any]


class _Axis:
    """From numbers between ``least`` and ``most`` to places; what is not finite is put at an end."""

    def __init__(self, values: Sequence[float], begin: float, end: float, room: float = 0.06, beyond: float = math.inf):
        finite = [v for v in values if math.isfinite(v) and v < beyond] or [0.0]
        low, high = min(finite), max(finite)
        span = (high - low) or abs(high) * 0.1 or 1.0
        self.least, self.most = low - room * span, high + room * span
        self.begin, self.end = begin, end

    def __call__(self, value: float) -> float:
        part = (value - self.least) / (self.most - self.least) if math.isfinite(value) else float(value > 0)
        return self.begin + min(max(part, 0.0), 1.0) * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """Round numbers, about six."""
        rough = (self.most - self.least) / 6
        unit = 10 ** math.floor(math.log10(rough))
        step = min((m * unit for m in (1, 2, 5, 10)), key=lambda s: abs(s - rough))
        first = math.ceil(self.least / step)
        return [k * step for k in range(first, math.floor(self.most / step) + 1)]


def number(value: float, unit: str = "") -> str:
    """A number for people."""
    said = "∞" if value == math.inf else "-∞" if value == -math.inf else f"{value:.4g}"
    return f"{said} {unit}".rstrip()


def shorter(name: str, most: int = 30) -> str:
    """A long name without its middle."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-most // 2 + 1 :]}"


def _grid(axis: _Axis, top: float, bottom: float, said: str) -> Iterator[str]:
    for value in axis.ticks():
        yield line(axis(value), top, axis(value), bottom, 'stroke="#e4e4e4"')
        yield text(axis(value), bottom + 18, f"{value:.6g}", "#555", "middle", 12)
    yield text((axis.begin + axis.end) / 2, bottom + 40, said, anchor="middle")


def methods(record: Record) -> str:
    """A bar of the SNR of each way to quantize the whole network, the metric beside it."""
    rows = record["trials"]
    height = TOP + ROW * len(rows) + 60
    bottom = height - 56
    axis = _Axis([0.0, *(t["snr"] for t in rows)], LEFT, WIDTH - RIGHT, 0.0, EXACT)
    metric = record["metric"]["name"]
    parts = [
        start(WIDTH, height, "Methods side by side"),
        text(20, 28, "Methods side by side", size=17),
        text(20, 50, f"signal-to-noise ratio of the outputs; at the right: {metric}", "#666"),
        *_grid(axis, TOP - 8, bottom, "SNR, dB: more is better"),
    ]
    for k, row in enumerate(rows):
        y, best = TOP + ROW * k, row["name"] == record["base"]
        colour = COLOURS[0] if best else "#9db8cf"
        wide = max(1.0, axis(row["snr"]) - axis(0.0))
        parts.append(text(LEFT - 10, y + 12, shorter(row["name"]), anchor="end"))
        parts.append(
            f'<rect class="method" data-row="{k}" x="{axis(0.0):.1f}" y="{y}" width="{wide:.1f}" height="{ROW - 8}" '
            f'fill="{colour}"><title>{escape(_said(row, record))}</title></rect>'
        )
        parts.append(text(WIDTH - RIGHT + 8, y + 12, number(row["metric"]), "#222" if best else "#666"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _said(row: Record, record: Record) -> str:
    metric = record["metric"]
    told = f"{metric['name']} {number(row['metric'], metric['unit'])}"
    return f"{row['name']}\n{told}\nSNR {number(row['snr'], 'dB')}\n{row['bytes']:,} bytes of parameters"


def errors(record: Record) -> str:
    """The four errors of each layer, in the order of the network, and what leaving it in float gives back."""
    rows = record["layers"]
    height = TOP + 24 + ROW * len(rows) + 60
    bottom = height - 56
    axis = _Axis([row[cause] for row in rows for cause in ERRORS], LEFT, WIDTH - RIGHT, beyond=EXACT)
    parts = [
        start(WIDTH, height, "Errors of layers"),
        text(20, 28, "Where it loses", size=17),
        text(20, 50, "each layer's result, by what is coded; at the right: dB gained if it stays float", "#666"),
        *_legend(),
        *_grid(axis, TOP + 16, bottom, "SNR of the layer's result, dB: points to the left lose more"),
    ]
    for k, row in enumerate(rows):
        y = TOP + 34 + ROW * k
        parts.append(text(LEFT - 10, y + 4, shorter(row["name"]), anchor="end"))
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, 'stroke="#eee"'))
        for colour, cause in zip(COLOURS, ERRORS, strict=False):
            said = f"{row['name']} ({row['kind']})\n{cause}: {number(row[cause], 'dB')}"
            at = axis(row[cause])
            parts.append(
                f'<circle class="error" data-row="{k}" cx="{at:.1f}" cy="{y}" r="6" fill="{colour}" '
                f'fill-opacity="0.65" stroke="{colour}"><title>{escape(said)}</title></circle>'
            )
        if row.get("recovered_snr") is not None:
            parts.append(text(WIDTH - RIGHT + 12, y + 4, f"{row['recovered_snr']:+.2f}", "#444"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend() -> Iterator[str]:
    at = LEFT
    for colour, cause in zip(COLOURS, ERRORS, strict=False):
        yield f'<circle cx="{at}" cy="{TOP}" r="6" fill="{colour}" fill-opacity="0.65" stroke="{colour}"/>'
        yield text(at + 12, TOP + 4, cause)
        at += 40 + 8 * len(cause)


def mixed(record: Record) -> str:
    """Every network that was tried, by time and metric, areas by bytes; the front as a line."""
    height, left, bottom = 560, 90, 500
    measured = record["measured"]
    points = [record["float"], *record["candidates"], *measured["candidates"]]
    seconds = measured["seconds"]
    x = _Axis([seconds[p["name"]] * 1e6 for p in points], left, WIDTH - 30)
    metric = record["metric"]
    beyond = EXACT if metric["name"] == "snr" else math.inf
    y = _Axis([p["metric"] for p in points] + [record["least"]], bottom, TOP + 10, beyond=beyond)
    most = max(p["bytes"] for p in points) or 1
    parts = [
        start(WIDTH, height, "Mixed precision"),
        text(20, 28, "Mixed precision", size=17),
        text(
            20,
            50,
            "networks that were tried; areas go by bytes; on the line: no faster one is as good",
            "#666",
        ),
        *_grid(x, TOP, bottom, "time of a call, microseconds: less is better"),
    ]
    for value in y.ticks():
        parts.append(line(left, y(value), WIDTH - 30, y(value), 'stroke="#e4e4e4"'))
        parts.append(text(left - 8, y(value) + 4, f"{value:.6g}", "#555", "end", 12))
    middle = (TOP + bottom) / 2
    turn = f'transform="rotate(-90 24 {middle:.0f})"'
    parts.append(text(24, middle, f"{metric['name']} {metric['unit']}".rstrip(), anchor="middle", more=turn))
    if math.isfinite(record["least"]):
        at = y(record["least"])
        parts.append(line(left, at, WIDTH - 30, at, f'stroke="{COLOURS[2]}" stroke-dasharray="6 4"'))
        parts.append(text(WIDTH - 34, at - 6, f"wanted: {number(record['least'])}", COLOURS[2], "end", 12))
    path = "L".join(f"{x(a * 1e6):.1f},{y(b):.1f}" for a, b in _steps(points, seconds))
    parts.append(f'<path d="M{path}" fill="none" stroke="#999" stroke-width="1.4"/>')
    for k, p in sorted(enumerate(points), key=lambda pair: -pair[1]["bytes"]):
        parts.append(_point(k, p, record, x, y, most))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _steps(points: Sequence[Record], seconds: Mapping[str, float]) -> list[tuple[float, float]]:
    """Time and metric of the networks than which no faster one is as good."""
    found: list[tuple[float, float]] = []
    for p in sorted(points, key=lambda p: (seconds[p["name"]], -p["metric"])):
        if not found or p["metric"] > found[-1][1]:
            found.append((seconds[p["name"]], p["metric"]))
    return found


def _point(k: int, p: Record, record: Record, x: _Axis, y: _Axis, most: int) -> str:
    measured = record["measured"]
    seconds = measured["seconds"][p["name"]]
    radius = 3 + 11 * math.sqrt(p["bytes"] / most)
    on, pick = p["name"] in measured["front"], p["name"] == measured["chosen"]
    colour = COLOURS[1] if pick else COLOURS[0] if on else "#9aa7b1"
    said = f"{_said(p, record)}\n{seconds * 1e6:.4g} us a call{', chosen' if pick else ', on the front' if on else ''}"
    place = f'cx="{x(seconds * 1e6):.1f}" cy="{y(p["metric"]):.1f}" r="{radius:.1f}"'
    style = f'fill="{colour}" fill-opacity="0.5" stroke="{colour}"'
    return f'<circle class="network" data-row="{k}" {place} {style}><title>{escape(said)}</title></circle>'


def engine(record: Record, emulated: Record) -> str:
    """The share of sums that another engine cuts off, by layer."""
    rows = list(emulated["shares"].items())
    height = TOP + ROW * len(rows) + 60
    bottom = height - 56
    axis = _Axis([0.0, *(100 * share for _, share in rows)], LEFT, WIDTH - RIGHT, 0.0)
    unit = record["metric"]["unit"]
    exact, there = (number(emulated[key], unit) for key in ("exact_metric", "metric"))
    said = f"{record['metric']['name']} {exact} exact, {there} there"
    if record["metric"]["name"] != "snr":
        ratios = [number(emulated[key], "dB") for key in ("exact_snr", "snr")]
        said += f"; SNR {ratios[0]} exact, {ratios[1]} there"
    parts = [
        start(WIDTH, height, f"The engine {emulated['engine']}"),
        text(20, 28, f"The same codes on {emulated['engine']}", size=17),
        text(20, 50, said, "#666"),
        *_grid(axis, TOP - 8, bottom, "sums of two products beyond 16 bits, per cent"),
    ]
    for k, (name, share) in enumerate(rows):
        y, at = TOP + ROW * k, axis(100 * share)
        parts.append(text(LEFT - 10, y + 12, shorter(name), anchor="end"))
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{at - LEFT:.1f}" height="{ROW - 8}" fill="{COLOURS[4]}"/>')
        parts.append(text(WIDTH - RIGHT + 8, y + 12, f"{share:.3%}", "#444"))
    return "\n".join([*parts, "</svg>"]) + "\n"
