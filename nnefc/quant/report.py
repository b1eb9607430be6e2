"""A study for people: what to do next in words, a page with plots that needs nothing else, and tables as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from nnefc.quant import plots
from nnefc.quant.plots import number
from nnefc.tools.machine import machine_text
from nnefc.tools.page import page as report_page

Record = Mapping[str, Any]


def plain(value: Any) -> Any:
    """A record as JSON can hold it: infinities are "inf" and "-inf"."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def points(record: Record) -> list[Record]:
    """Every network that was tried, that with real numbers first."""
    return [record["float"], *record["candidates"], *record["measured"]["candidates"]]


def brief(record: Record, point: Record, most: int = 4) -> str:
    """The name of a network in which many layers differ, in short: what ``search.title`` says with fewer names."""
    by_scheme: dict[str, list[str]] = {}
    for name, scheme in point["choice"].items():
        by_scheme.setdefault(scheme, []).append(name)
    if not by_scheme:
        return str(point["name"])
    every = dict.fromkeys(name for c in record["candidates"] for name in c["choice"])
    return "; ".join(f"{scheme}: {_some(names, list(every), most)}" for scheme, names in by_scheme.items())


def _some(names: Sequence[str], every: Sequence[str], most: int) -> str:
    others = [name for name in every if name not in names]
    if len(names) <= most:
        return ", ".join(names)
    return "all" if not others else f"all but {', '.join(others)}" if len(others) <= most else _listed(names, most)


def advice(record: Record) -> list[str]:
    """What the numbers say, and what to do next, in sentences."""
    measured, metric = record["measured"], record["metric"]
    by_name = {p["name"]: p for p in points(record)}
    pick, real = by_name[measured["chosen"]], record["float"]
    seconds = measured["seconds"]
    said = [
        f"Take “{brief(record, pick)}”: {metric['name']} {number(pick['metric'], metric['unit'])} "
        f"(real numbers: {number(real['metric'], metric['unit'])}), "
        f"{seconds[pick['name']] * 1e6:.4g} µs a call (real numbers: {seconds[real['name']] * 1e6:.4g}), "
        f"{pick['bytes']:,} bytes of parameters (real numbers: {real['bytes']:,})."
    ]
    if pick["metric"] < record["least"]:
        said.append(f"No network reaches the {number(record['least'])} that was asked for: this one comes nearest.")
    said.append(f"The best way to quantize all of it is “{record['base']}”.")
    said += _layers(record)
    whole = record["candidates"][0]["name"]
    if seconds[whole] > seconds[real["name"]]:
        said.append(f"“{whole}” takes longer than real numbers here: codes are worth their bytes alone.")
    if measured["slower"]:
        said.append(f"Codes are slower than floats in {_listed(measured['slower'])}: keep these in float for speed.")
    for e in record["emulated"]:
        lost = [name for name, share in e["shares"].items() if share]
        if lost:
            said.append(
                f"{e['engine']} would cut off sums in {_listed(lost)} and give {metric['name']} "
                f"{number(e['metric'], metric['unit'])}: weights of 7 bits (--weight-bits 7) never saturate there."
            )
        else:
            said.append(f"{e['engine']} would compute the same: no sum of these weights saturates.")
    return said


def _layers(record: Record) -> list[str]:
    rows = [row for row in record["layers"] if row.get("recovered_snr") is not None]
    if not rows:
        return []
    worst = min(rows, key=lambda row: row["own"])
    cause = "weights" if worst["weights"] <= worst["activations"] else "activations"
    remedies = {"weights": "--weights mse, --adaround, or more bits", "activations": "another --method, or --equalize"}
    said = [f"The layer that loses most by itself is {worst['name']}, by its {cause}: try {remedies[cause]}."]
    most = max(rows, key=lambda row: (row["recovered_metric"], row["recovered_snr"]))
    if most["recovered_snr"] > 0 or most["recovered_metric"] > 0:
        gains = [number(most["recovered_snr"], "dB")]
        if record["metric"]["name"] != "snr":
            gains.insert(0, f"{number(most['recovered_metric'])} of {record['metric']['name']}")
        said.append(f"Leaving {most['name']} alone in float gives back most: {' and '.join(gains)}.")
    return said


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def page(record: Record) -> str:
    """A self-contained HTML page."""
    drawn = [plots.methods(record), plots.errors(record) if record["layers"] else "", plots.mixed(record)]
    drawn += [plots.engine(record, e) for e in record["emulated"]]
    measured = record["measured"]
    facts = " · ".join(
        [
            f"{record['data']['calls']} calls of calibration, {record['test']['calls']} of test",
            f"metric {record['metric']['name']}",
            f"{measured['duration']:.1f} s",
            machine_text(measured["machine"]),
            *(f"{k} {v}" for k, v in record["versions"].items()),
        ]
    )
    title = f"Quantization of {record.get('file') or record['model']['name']}"
    return report_page(
        title,
        resources.files("nnefc.quant") / "study.html",
        plain(record),
        heading=escape(title),
        facts=escape(facts),
        advice="\n".join(f"<li>{escape(line)}</li>" for line in advice(record)),
        plots="\n".join(f"<figure>{p}</figure>" for p in drawn if p),
    )


# ---- tables


def tables(record: Record) -> dict[str, str]:
    """CSV files by name: ways to quantize the whole, layers, networks that were tried."""
    seconds, front = record["measured"]["seconds"], record["measured"]["front"]
    causes = [*plots.ERRORS, "recovered_metric", "recovered_snr"]
    return {
        "methods.csv": _csv(
            ["name", "method", "remedies", "metric", "snr_db", "bytes"],
            [[t["name"], t["method"], t["refinement"], t["metric"], t["snr"], t["bytes"]] for t in record["trials"]],
        ),
        "layers.csv": _csv(
            ["name", "kind", *(f"{c}_db" if c in plots.ERRORS else c for c in causes)],
            [[row["name"], row["kind"], *(row.get(c, "") for c in causes)] for row in record["layers"]],
        ),
        "networks.csv": _csv(
            ["name", "metric", "snr_db", "bytes", "seconds", "front"],
            [
                [p["name"], p["metric"], p["snr"], p["bytes"], seconds[p["name"]], int(p["name"] in front)]
                for p in points(record)
            ],
        ),
    }


def _csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()
