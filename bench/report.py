"""What was measured, as tables for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from bench.record import Record
from nnefc.tools.bench import engine_title
from nnefc.tools.machine import machine_text

LOW = 0.7
"""A share of the bound below which there is something to look at."""


def geometric_mean(values: Iterable[float]) -> float | None:
    """None of nothing."""
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs)) if logs else None


def means(networks: Sequence[Record], what: str) -> dict[str, float]:
    """Geometric means of a figure of each run, such as ``ratio``, as ``GROUP-THREADS``."""
    values: dict[str, list[float]] = {}
    for network in networks:
        for run in network["runs"]:
            if run.get(what):
                values.setdefault(f"{network['group']}-{run['threads']}", []).append(run[what])
    return {key: mean for key, found in values.items() if (mean := geometric_mean(found)) is not None}


def means_text(found: Mapping[str, float], threads: int) -> str:
    """Means with so many threads, by group."""
    return ", ".join(f"{key.rpartition('-')[0]} {m:.2f}" for key, m in found.items() if key.endswith(f"-{threads}"))


def head(title: str, record: Record) -> list[str]:
    """The first lines of a report: what it was measured on, with what and when."""
    versions = ", ".join(f"{engine_title(k)} {v}" for k, v in record["versions"].items())
    return [f"# {title}", "", f"{machine_text(record['machine'])}. {versions}. {record['date']}.", ""]


def heading(threads: int) -> list[str]:
    """What stands over the times with so many threads."""
    return [f"## {threads} thread{'s' if threads > 1 else ''}, ms a call (median)", ""]


def markdown(record: Record) -> str:
    """The whole report."""
    networks, engines = record["networks"], record["engines"]
    lines = [*head("Benchmark", record), *(_peaks(p) for p in record["peaks"]), ""]
    for k, count in enumerate(record["threads"]):
        lines += [*heading(count), *_speed(networks, engines, k)]
        if text := means_text(record["means"], count):
            lines += ["", f"Geometric mean of the ratios: {text}."]
        lines.append("")
    lines += ["## Compiling, loading, memory, accuracy", "", *_rest(networks, engines)]
    return "\n".join(lines) + "\n"


def _peaks(peaks: Record) -> str:
    levels = ", ".join(f"{v['name']} {v['bandwidth']:.0f}" for v in peaks["levels"])
    count = "1 thread" if peaks["threads"] == 1 else f"{peaks['threads']} threads"
    return f"Measured peaks, {count}: {peaks['gflops']:.0f} GFLOP/s; reading, GB/s: {levels}.  "


def _speed(networks: Sequence[Record], engines: Sequence[str], k: int) -> list[str]:
    """Medians of every engine, the ratio to the faster peer, the bound and the share of it that was reached."""
    rows = [["network", *map(engine_title, engines), "ratio", "GFLOP", "bound", "reached"]]
    for network in networks:
        run = network["runs"][k]
        times = [_ms(run["engines"].get(e, {}).get("median")) for e in engines]
        ratio = f"{run['ratio']:.2f}" if run.get("ratio") else ""
        share = f"{run['share']:.0%}{' *' if run['share'] < LOW else ''}" if "share" in run else ""
        rows.append([network["name"], *times, ratio, f"{network['gflop']:.3g}", _ms(run["bound"]), share])
    return [*table(rows), "", f"`*`: below {LOW:.0%} of the bound."]


def _rest(networks: Sequence[Record], engines: Sequence[str]) -> list[str]:
    heads = ["network", "cold compile s", "warm s", "library kB", "weights MB"]
    heads += [f"{engine_title(e)} load ms" for e in engines] + [f"{engine_title(e)} MB" for e in engines]
    rows = [[*heads, "error", "first answer ms"]]
    for network in networks:
        found = network["runs"][0]["engines"]
        error = found.get("nnefc", {}).get("error")
        firsts = [r["engines"]["nnefc"]["first"] for r in network["runs"] if "first" in r["engines"].get("nnefc", {})]
        rows.append(
            [
                network["name"],
                *(f"{network[n]:.1f}" if n in network else "" for n in ("cold_seconds", "warm_seconds")),
                *(f"{network[n] / by:.4g}" if n in network else "" for n, by in _SIZES),
                *(_ms(found.get(e, {}).get("load")) for e in engines),
                *(f"{m * 1e-6:.0f}" if (m := found.get(e, {}).get("peak_memory")) else "" for e in engines),
                f"{error:.1e}" if error is not None else "",
                _ms(min(firsts, default=None)),
            ]
        )
    notes = ["", "Error: the largest difference of an output from ONNX Runtime's, by the largest magnitude. Loading is"]
    notes += ["without importing the engine; the first answer includes it. Memory is the most that the process held."]
    different = [n["name"] for n in networks if n.get("same_for_all_threads") is False]
    if different:
        notes.append(f"NOT the same for all numbers of threads: {', '.join(different)}.")
    return [*table(rows), *notes]


_SIZES = (("library_bytes", 1e3), ("weights_bytes", 1e6))


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.3g}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as a table of Markdown, aligned; the first are the titles."""
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |")
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    return [lines[0], f"| {' | '.join(rule)} |", *lines[1:]]
