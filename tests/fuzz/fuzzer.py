"""Feeds mutated models to nnefc in one guarded process: ``fuzzer.py KIND SEED COUNT [MODEL...]`` prints a JSON report.

KIND is ``text`` (drawn cases of all operations, and the texts of the models), ``data`` (the files of unpacked models),
``archive`` (the bytes of archives) or ``run`` (as text, but compiled, run and compared with the NumPy meaning). Every
outcome must be a result or an NnefcError of exit code 3 or 4, within CPU_SECONDS.
"""

from __future__ import annotations

import collections
import json
import random
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "ops"))

from mutate import mutated_bytes, mutated_text
from test_compiled import FAMILIES, few

import nnefc
from nnefc.codegen.schedule import plan
from nnefc.codegen.target import Target
from nnefc.errors import NnefcError
from nnefc.formats.nnef import format_graph, parse_graph
from nnefc.formats.nnef.declarations import KNOWN_EXTENSIONS
from nnefc.formats.nnef.dialect import STRICT, TOLERANT
from nnefc.ir.graph import Graph
from nnefc.ops.primitive import primitives
from nnefc.passes import pipeline

ADDRESS_SPACE = 4 << 30
CPU_SECONDS = 20
LARGEST_RUN = 1 << 16
HEAD = f"extension {', '.join(KNOWN_EXTENSIONS)};\n"
TARGET = Target.host()

Mutant = tuple[str, Callable[[], Graph]]
"""What a mutant is, for the report, and a function that reads it."""


class TooSlowError(Exception):
    """A mutant took more than CPU_SECONDS."""


def peak_memory() -> int:
    """The most memory that this program has held, in bytes; ``ru_maxrss`` would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def too_slow(*_: object) -> None:
    raise TooSlowError


def planned(graph: Graph) -> None:
    """All that comes before kernels are compiled."""
    plan(pipeline.run(graph), TARGET)


def drawn(rng: np.random.Generator, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape)).astype(dtype)
    return np.asarray(rng.integers(0, 2 if dtype.kind == "b" else 3, shape)).astype(dtype)


def run(graph: Graph) -> None:
    """Compile a graph, call it and compare with the NumPy meaning, unless its tensors are large."""
    launches = plan(pipeline.run(graph), TARGET)
    if sum(v.type.volume for v in graph.values.values()) > LARGEST_RUN or launches.arena_size > 8 * LARGEST_RUN:
        return
    model = nnefc.compile(graph, threads=2)
    rng = np.random.default_rng(0)
    arrays = {p.name: drawn(rng, p.dtype, p.shape) for p in model.inputs}
    try:
        result = model(*arrays.values())
    except ValueError as error:
        if "out of range" not in str(error):
            raise
        return
    answers = dict(zip((p.name for p in model.outputs), result if len(model.outputs) > 1 else [result], strict=True))
    for name, wanted in nnefc.evaluate(graph, arrays).items():
        compare(answers[name], wanted)


def compare(got: np.ndarray, wanted: np.ndarray) -> None:
    """Raise AssertionError unless exactly, or for floats about, the same."""
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(got, wanted)
        return
    tolerance = {2: 2e-2, 4: 1e-4, 8: 1e-10}[wanted.dtype.itemsize]
    largest = float(np.abs(wanted[np.isfinite(wanted)].astype(np.float64)).max(initial=0.0))
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance * largest)


def texts(models: list[str]) -> list[str]:
    """The texts that are mutated."""
    found = []
    for cases in FAMILIES.values():
        for case in few(cases, 2):
            found.append(format_graph(case.graph()))
            if all(o.dtype.name in ("float32", "int64", "bool") for o in case.operands if isinstance(o, np.ndarray)):
                found.append(case.text().replace("\n", "\n" + HEAD, 1))
    for model in models:
        with tarfile.open(model) as tar:
            member = tar.extractfile(next(m for m in tar if m.name.endswith("graph.nnef")))
            assert member is not None
            found.append(member.read().decode())
    return found


def text_mutants(models: list[str], folder: Path) -> Callable[[random.Random], Mutant]:
    sources, names = texts(models), tuple(primitives())

    def make(rng: random.Random) -> Mutant:
        text = mutated_text(rng, rng.choice(sources), names)
        dialect = rng.choice((STRICT, TOLERANT, TOLERANT))
        return text, lambda: parse_graph(text, dialect=dialect)

    return make


def data_mutants(models: list[str], folder: Path) -> Callable[[random.Random], Mutant]:
    files: dict[Path, bytes] = {}
    for number, model in enumerate(models):
        with tarfile.open(model) as tar:
            tar.extractall(folder / str(number), filter="data")
    files = {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    def make(rng: random.Random) -> Mutant:
        file = rng.choice(list(files))
        root = folder / file.relative_to(folder).parts[0]

        def read() -> Graph:
            try:
                file.write_bytes(mutated_bytes(rng, files[file]))
                return nnefc.load(root)
            finally:
                file.write_bytes(files[file])

        return str(file.relative_to(folder)), read

    return make


def archive_mutants(models: list[str], folder: Path) -> Callable[[random.Random], Mutant]:
    archives = []
    for model in models:
        for end in (".nnef.tgz", ".tar", ".zip"):
            path = folder / f"{len(archives)}{end}"
            nnefc.save(nnefc.load(model), path)
            archives.append((path.read_bytes(), end))

    def make(rng: random.Random) -> Mutant:
        data, end = rng.choice(archives)
        path = folder / f"mutant{end}"
        path.write_bytes(mutated_bytes(rng, data))
        return end, lambda: nnefc.load(path)

    return make


KINDS = {
    "text": (text_mutants, planned),
    "data": (data_mutants, planned),
    "archive": (archive_mutants, planned),
    "run": (text_mutants, run),
}


def main(kind: str, seed: int, count: int, models: list[str], folder: Path) -> None:
    maker, use = KINDS[kind]
    make = maker(models, folder)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    signal.signal(signal.SIGPROF, too_slow)
    outcomes: collections.Counter[str] = collections.Counter()
    faults, slowest = [], 0.0
    for number in range(seed, seed + count):
        start = time.process_time()
        what, read = make(random.Random(number))
        outcome, fault = "ok", ""
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            use(read())
        except NnefcError as error:
            outcome = type(error).__name__
            fault = "" if error.exit_code in (3, 4) else traceback.format_exc()
        except Exception as error:
            outcome, fault = type(error).__name__, traceback.format_exc()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if fault:
            faults.append((number, what, fault[-1500:]))
        outcomes[outcome] += 1
        slowest = max(slowest, time.process_time() - start)
    memory = peak_memory()
    print(json.dumps({"outcomes": outcomes, "faults": faults, "slowest": slowest, "memory": memory}))


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp())
    try:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:], place)
    finally:
        shutil.rmtree(place)
