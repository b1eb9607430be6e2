"""Every network in every engine, in one run: a table (Markdown) and all figures (JSON).

    python -m bench [NAME ...] [--threads 1,2] [--engines nnefc,ort,openvino,tract] [--quick]
    python -m bench --int8 [NAME ...] [--threads 1,2]

Without names: the zoo, and the real models of the folder beside the project, if it is there. The zoo's graphs are part
of ``bench/``; they are filled with weights at first use (1.3 GB in ``.cache/zoo``). Each engine runs in a process of
its own, and they take turns; docs/performance.md says how. Leave the machine alone meanwhile: about 6 minutes, 3 with
``--quick``. With ``--int8``: quantized networks, here and in the peers, whose tools quantize them at first use, which
takes five minutes (``.cache/quantized``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench import zoo
from bench.measure import measure
from bench.networks import ROOT, Network, real_models, shared_folder, zoo_network
from bench.record import Record, begun, measured, written
from bench.report import markdown, means
from nnefc.errors import NnefcError
from nnefc.tools.bench import engine_title
from nnefc.tools.engines import PEERS, require
from nnefc.tools.peaks import measure as measure_peaks

SECONDS, QUICK_SECONDS = 0.8, 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for and write the report."""
    args = _parser().parse_args(argv)
    chosen = _chosen(args)
    networks = (_network(args, *pair) for pair in chosen)
    seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    if args.int8:
        from bench.int8 import run

        return run(args, networks, seconds)
    try:
        require([e for e in args.engines if e != "nnefc"])
    except (ValueError, NnefcError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 4 if isinstance(error, NnefcError) else 2
    record = begun(args.engines, args.threads)
    record |= {"engines": args.engines, "peaks": [asdict(measure_peaks(n)) for n in args.threads]}

    def one(network: Network, folder: Path) -> Record:
        return measure(network, folder, args.engines, args.threads, seconds, not args.quick)

    faults = measured(record, networks, one, lambda network, run: _line(network["name"], run))
    record["means"] = means(record["networks"], "ratio")
    written(record, markdown(record), args.output, "bench")
    return 4 if faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks, or the groups `zoo` and `models`")
    parser.add_argument("--threads", type=_counts, default=[1, 2], metavar="N,...", help="default: 1,2")
    parser.add_argument("--engines", type=_words, default=["nnefc", *PEERS], metavar="E,...", help="default: all four")
    parser.add_argument("--seconds", type=float, help=f"for each engine, network and thread count (default: {SECONDS})")
    parser.add_argument("--int8", action="store_true", help="quantized networks, and the peers' own quantized ones")
    parser.add_argument("--quick", action="store_true", help="few calls, and compiling is not timed")
    parser.add_argument("--shared", type=Path, default=shared_folder(), help="the folder of real models")
    parser.add_argument("--output", type=Path, default=ROOT / "build", help="where the report goes (default: build)")
    return parser


def _counts(text: str) -> list[int]:
    counts = [int(word) for word in text.split(",") if word.isdigit()]
    if not counts or 0 in counts or text.count(",") != len(counts) - 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers of threads")
    return counts


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _chosen(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Names and groups of what is to be measured. Ends the program for an unknown name."""
    known = [(name, "zoo") for name in zoo.names()] + [(n.name, "models") for n in real_models(args.shared)]
    wanted = args.names or ["zoo", "models"]
    unknown = set(wanted) - {word for pair in known for word in pair} - {"zoo", "models"}
    if unknown:
        there = ", ".join(name for name, _ in known)
        _parser().error(f"no network {', '.join(sorted(unknown))}; there are zoo, models, {there}")
    return [(name, group) for name, group in known if name in wanted or group in wanted]


def _network(args: argparse.Namespace, name: str, group: str) -> Network:
    return zoo_network(name) if group == "zoo" else next(n for n in real_models(args.shared) if n.name == name)


def _line(name: str, run: Record) -> str:
    """One run while others go on."""
    times = []
    for engine, entry in run["engines"].items():
        times.append(f"{engine_title(engine)} {entry['median'] * 1e3:.4g}" if "median" in entry else f"{engine} -")
    ratio = f"  ratio {run['ratio']:.2f}" if run.get("ratio") else ""
    share = f", {run['share']:.0%} of the bound" if "share" in run else ""
    return f"{name:20} {run['threads']} thr.  {', '.join(times)} ms{ratio}{share}"


if __name__ == "__main__":
    sys.exit(main())
