"""``python -m bench --int8``: quantized networks, here and in the peers, each quantized by its own tool on the same
drawn samples, and ours in single precision, in one run."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

import nnefc
from bench.networks import Network
from bench.quantized import feeds, quantized
from bench.record import Record, begun, measured, written
from bench.report import head, heading, means, means_text, table
from nnefc.errors import UnsupportedError
from nnefc.ir.graph import Graph
from nnefc.quant.quantize import quantize
from nnefc.tools.bench import take_turns
from nnefc.tools.engines import Engine

SAMPLES = 4
"""What every tool calibrates on."""
PEERS = {"ort": "ort-minmax", "openvino": "nncf"}
"""The engines that are compared with, and what quantizes for them."""
TITLES = {"int8": "nnefc int8", "f32": "nnefc f32", "ort": "ONNX Runtime int8", "openvino": "OpenVINO int8"}
FIGURES = {"ratio": "ratio", "gain": "to f32"}
"""Figures of a run whose means are told, and what they are called."""


def drawn(graph: Graph, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Samples of every input by name, normally distributed, along a first axis of their own."""
    rng = np.random.default_rng(seed)
    return {v.name: rng.standard_normal((count, *v.type.extents)).astype(np.float32) for v in graph.inputs}


def measure(network: Network, folder: Path, threads: Sequence[int], seconds: float) -> Record:
    """All about one network; files go to ``folder``. ``seconds`` is for each engine and number of threads."""
    graph = nnefc.load(network.path)
    samples = drawn(graph, SAMPLES)
    np.savez(folder / "inputs.npz", **{n: a[0] for n, a in drawn(graph, 1, 1).items()})  # type: ignore[arg-type]
    record: Record = {"name": network.name, "group": network.group, "skipped": {}, "notes": []}
    paths: dict[str, Path] = {}

    def ours(name: str, made: Callable[[], nnefc.Model]) -> None:
        model = made()
        model.save(folder / name)
        record[f"{name}_weights"] = (folder / name / "weights.bin").stat().st_size
        if name == "int8":
            found = model.execution
            record["integer"] = found["on_integers"] / max(1, found["multiply_adds"])
            record["islands"] = found["islands"]
        paths[name] = folder / name

    coded = quantize(graph, list(feeds(samples)))
    for name, make in (
        ("int8", lambda: nnefc.compile(coded, execution="integer", notes=record["notes"])),
        ("f32", lambda: nnefc.compile(graph)),
    ):
        ours(name, make)
    for name, kind in PEERS.items():
        try:
            paths[name] = quantized(network.path, kind, samples)
        except UnsupportedError as error:
            record["skipped"][name] = error.message
    record["runs"] = [_run(record, paths, folder, count, seconds) for count in threads]
    return record


def _run(record: Record, paths: Mapping[str, Path], folder: Path, threads: int, seconds: float) -> Record:
    """Every engine with so many threads, in turns."""
    with ExitStack() as stack:
        opened: dict[str, Engine] = {}
        for name, path in paths.items():
            try:
                engine = Engine("nnefc" if name in ("int8", "f32") else name, path, threads, folder / "inputs.npz")
                opened[name] = stack.enter_context(engine)
            except UnsupportedError as error:
                record["skipped"][name] = error.message
        found = {}
        for (name, engine), times in zip(opened.items(), take_turns(list(opened.values()), seconds), strict=True):
            engine.answers(folder / f"{name}.npz")
            found[name] = {"median": float(np.median(times)), "min": min(times), "calls": len(times)}
    for name, entry in found.items():
        entry["snr"] = snr(folder / f"{name}.npz", folder / "f32.npz")
    return {"threads": threads, "engines": found, **_ratios(found)}


def _ratios(found: Mapping[str, Record]) -> Record:
    """``ratio`` to the faster peer, ``gain`` over our own single precision: above 1, int8 is faster."""
    ours = found["int8"]["median"]
    peers = [found[name]["median"] for name in PEERS if name in found]
    return {"ratio": min(peers) / ours if peers else None, "gain": found["f32"]["median"] / ours}


def snr(path: Path, exact: Path) -> float | None:
    """Of stored outputs, in dB: the exact ones' energy by that of the difference. None where they are alike or not of
    one shape."""
    signal = noise = 0.0
    with np.load(path) as a, np.load(exact) as b:
        for x, y in ((a[n].astype(np.float64), b[n].astype(np.float64)) for n in b.files if n in a.files):
            if x.shape != y.shape:
                return None
            signal, noise = signal + float((y**2).sum()), noise + float(((x - y) ** 2).sum())
    return 10 * float(np.log10(signal / noise)) if signal and noise else None


# ---- the report


def markdown(record: Record) -> str:
    """The whole report."""
    lines = head("int8", record)
    for k, count in enumerate(record["threads"]):
        rows = [["network", *TITLES.values(), "ratio", "to f32", "MACs", *(f"{t} dB" for t in _coded())]]
        rows += [_row(network, network["runs"][k]) for network in record["networks"]]
        texts = [f"{word} {means_text(record['means'][what], count)}" for what, word in FIGURES.items()]
        lines += [*heading(count), *table(rows), "", f"Geometric means: {'; '.join(texts)}.", ""]
    skipped = [f"* {n['name']}: {text}" for n in record["networks"] for text in n["skipped"].values()]
    lines += [
        "Ratio: the faster peer's time by ours. To f32: our time in single precision by that in int8. MACs: the part"
    ]
    lines += ["of ours that are of integers. dB: the output's SNR against f32, for one drawn input.", ""]
    return "\n".join([*lines, *skipped]) + "\n"


def _coded() -> list[str]:
    return [title.removesuffix(" int8") for name, title in TITLES.items() if name != "f32"]


def _row(network: Record, run: Record) -> list[str]:
    found = run["engines"]
    times = [f"{found[n]['median'] * 1e3:.4g}" if n in found else "-" for n in TITLES]
    ratio = f"{run['ratio']:.2f}" if run["ratio"] else "-"
    accuracy = [f"{v:.1f}" if (v := found.get(n, {}).get("snr")) is not None else "-" for n in TITLES if n != "f32"]
    return [network["name"], *times, ratio, f"{run['gain']:.2f}", f"{network['integer']:.1%}", *accuracy]


def run(args: Namespace, chosen: Iterable[Network], seconds: float) -> int:
    """Measure the networks and write ``int8.md`` and ``int8.json``; 4 if one of ours cannot be measured."""
    record = begun(("nnefc", "ort", "openvino", "nncf"), args.threads)

    def one(network: Network, folder: Path) -> Record:
        return measure(network, folder, args.threads, seconds)

    def line(network: Record, run: Record) -> str:
        return f"{run['threads']} thr.  {'  '.join(_row(network, run))}"

    faults = measured(record, chosen, one, line)
    record["means"] = {what: means(record["networks"], what) for what in FIGURES}
    written(record, markdown(record), args.output, "int8")
    return 4 if faults else 0
