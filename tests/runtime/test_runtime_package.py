"""Compiled packages: importing them, what is in them, what is wrong with damaged ones, how they are written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skips import skip
from toy_models import F32, affine, counter, plan_of, ring, two_out

from nnefc.codegen import artefact as artefact_module
from nnefc.codegen.artefact import Artefact, assemble, load_package, package_name, verify_package, write_package
from nnefc.codegen.target import Target
from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.ir.types import DType, TensorType
from nnefc.runtime import Model, PackageError, PlatformError, load, manifest, package, verify

FILES = ["__init__.py", "affine.h", "affine.so", "manifest.json", "weights.bin"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "affine"
    write_package(affine(), folder)
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "affine"))


def python(folder: Path, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(script)],
        env=os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_import_needs_numpy_and_nothing_else(made: Path) -> None:
    script = """
    import sys
    for name in ("numba", "llvmlite", "nnefc"):
        sys.modules[name] = None
    import numpy as np
    import affine
    x = np.arange(40, dtype=np.float32)
    assert np.array_equal(affine(x), x * 3 + 5)
    assert np.array_equal(affine(x=x, out=np.empty_like(x)), x * 3 + 5)
    assert [(p.name, p.dtype, p.shape) for p in affine.model.inputs] == [("x", np.float32, (40,))]
    try:
        affine(x[:3])
    except ValueError as e:
        print(e)
    import os
    roots = [os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, os.path.dirname(affine.__file__))]
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        assert not file or any(os.path.realpath(file).startswith(r) for r in roots), module
    assert not [m for m in sys.modules if m.split(".")[0] in ("lark", "onnx", "rich")]
    """
    done = python(made.parent, script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "input 'x' must have shape (40,), not (3,)\n"


def test_a_renamed_package_still_works(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "another")
    done = python(tmp_path, "import numpy as np, another; print(another(np.zeros(40, 'f4'))[0])")
    assert (done.stdout, done.stderr) == ("5.0\n", "")


def test_import_takes_at_most_30_ms_above_numpy(made: Path) -> None:
    script = """
    import time, numpy
    start = time.process_time()
    import affine
    print(time.process_time() - start)
    """
    assert min(float(python(made.parent, script).stdout) for _ in range(5)) < 0.030


def test_contents(made: Path) -> None:
    assert sorted(p.name for p in made.iterdir() if p.is_file()) == FILES
    content = json.loads((made / "manifest.json").read_text())
    port = {"dtype": "float32", "shape": [40]}
    ports = {"inputs": [{"name": "x", **port}], "outputs": [{"name": "y", **port}]}
    assert content["entries"] == [{**ports, "arena": 0, "max_threads": 40}]
    assert content["target"]["triple"] == Target.host().triple
    assert set(content["versions"]) == {"nnefc", "numba", "llvmlite"}
    assert set(content["files"]) == {p.relative_to(made).as_posix() for p in made.rglob("*.*") if p.is_file()} - {
        "manifest.json"
    }
    assert len((made / "__init__.py").read_text().splitlines()) < 30
    runtime = Path(package.__file__).parent
    assert {p.name for p in (made / "_runtime").iterdir()} == {p.name for p in runtime.glob("*.py")}


def test_bytes_are_reproducible(made: Path, tmp_path: Path) -> None:
    write_package(affine(), tmp_path / "deep" / "affine")
    for path in made.rglob("*.*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "deep" / "affine" / path.relative_to(made)).read_bytes(), path


def test_only_the_entry_points_are_exported(tmp_path: Path) -> None:
    serial = ring("serial")
    serial = replace(serial, planned=(replace(serial.planned[0], plan=replace(serial.plan, parallel=False)),))
    for made, functions in ((ring(), ["call", "run", "stop", "worker"]), (serial, ["call", "run"])):
        library = tmp_path / made.name / f"{made.name}.so"
        write_package(made, library.parent)
        done = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True)
        found = sorted(line.split()[2] for line in done.stdout.splitlines())
        assert found == [f"{made.name}_{f}" for f in functions]
        x = np.arange(1000, dtype=np.float32)
        np.testing.assert_array_equal(load_package(library.parent, threads=2)(x), np.roll(x, -20))


def test_load_and_verify(made: Path) -> None:
    x = np.ones(40, np.float32)
    np.testing.assert_array_equal(load_package(made)(x), x * 8)
    assert verify_package(made).name == "affine"


def test_load_as_another_type(made: Path) -> None:
    class Named(Model):
        """A model with more to it."""

    for model in (load_package(made, 1, Named), artefact_module.load_artefact(affine(), 1, Named)):
        assert type(model) is Named and model.threads == 1


def test_state_and_weights_survive_the_trip(tmp_path: Path) -> None:
    write_package(counter(), tmp_path / "counter")
    model, one = load_package(tmp_path / "counter", threads=2), np.ones(1, np.float32)
    assert [model(one)[5] for _ in range(3)] == [10, 11, 12]
    model.reset()
    assert model(one)[5] == 10


def test_without_weights(tmp_path: Path) -> None:
    steps = ring().plan.steps
    plan = plan_of(list(steps), np.zeros(0, np.uint8), arena_size=8000)
    port = TensorType(F32, (1000,))
    made = assemble("bare", [(plan, [("x", port)], [("y", port)])], ring().kernels, Target.host())
    write_package(made, tmp_path / "bare")
    x = np.arange(1000, dtype=np.float32)
    np.testing.assert_array_equal(load_package(tmp_path / "bare")(x), np.roll(x, -20))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("name", "damage", "words", "at_load"),
    [
        ("manifest.json", Path.unlink, "is no compiled package: it has no manifest.json", True),
        ("manifest.json", cut, "manifest.json is damaged", True),
        ("manifest.json", flip, "manifest.json is damaged", True),
        ("affine.so", Path.unlink, "affine.so is missing", True),
        ("affine.so", cut, r"affine.so is cut short: it has \d+ bytes, and the package needs \d+", True),
        ("affine.so", grow, "affine.so is too long", True),
        ("affine.so", flip, "affine.so is damaged: its checksum is wrong", True),
        ("affine.so", into_folder, "affine.so is no regular file", True),
        ("weights.bin", Path.unlink, "weights.bin is missing", True),
        ("weights.bin", cut, "weights.bin is cut short", True),
        ("weights.bin", flip, "weights.bin is damaged", False),
        ("affine.h", flip, "affine.h is damaged", False),
        ("__init__.py", flip, "__init__.py is damaged", False),
        ("_runtime/model.py", Path.unlink, "model.py is missing", False),
        ("_runtime/pool.py", flip, "pool.py is damaged", False),
    ],
)
def test_damage(copy: Path, name: str, damage: Callable[[Path], None], words: str, at_load: bool) -> None:
    damage(copy / name)
    with pytest.raises(PackageError, match=words):
        verify(str(copy))
    with pytest.raises(InvalidModelError, match=words):
        verify_package(copy)
    if at_load:
        with pytest.raises(PackageError, match=words):
            load(str(copy))
        with pytest.raises(InvalidModelError, match=words):
            load_package(copy)
        done = python(copy.parent, "import affine")
        assert done.returncode == 1 and "PackageError" in done.stderr


def test_verify_names_every_fault(copy: Path) -> None:
    flip(copy / "weights.bin")
    cut(copy / "affine.h")
    with pytest.raises(PackageError, match=r"(?s)affine.h is cut.*weights.bin is damaged"):
        verify(str(copy))


def rewritten(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """A changed manifest whose own checksum is right."""
    content = json.loads((folder / "manifest.json").read_text())
    change(content)
    (folder / "manifest.json").write_bytes(manifest.encode(content))


def with_port(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The first entry with another input."""
    entry = content["entries"][0]
    return {**entry, "inputs": [{**entry["inputs"][0], **changes}]}


HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "name with a path": lambda c: c.update(name="../affine"),
    "name of another type": lambda c: c.update(name=["affine"]),
    "file outside": lambda c: c["files"].update({"../secret": c["files"]["affine.h"]}),
    "file absolute": lambda c: c["files"].update({"/etc/passwd": c["files"]["affine.h"]}),
    "file two deep": lambda c: c["files"].update({"a/b/c": c["files"]["affine.h"]}),
    "file hidden": lambda c: c["files"].update({"a/.b": c["files"]["affine.h"]}),
    "no library": lambda c: c["files"].pop("affine.so"),
    "no weights": lambda c: c["files"].pop("weights.bin"),
    "size negative": lambda c: c["entries"][0].update(arena=-1),
    "size huge": lambda c: c["entries"][0].update(arena=2**60),
    "size true": lambda c: c["entries"][0].update(arena=True),
    "size a float": lambda c: c["state"].update(size=1.5),
    "state outside the weights": lambda c: c["state"].update(size=10**6),
    "dtype of objects": lambda c: c["entries"][0]["inputs"][0].update(dtype="object"),
    "dtype a list": lambda c: c["entries"][0]["inputs"][0].update(dtype=["f4"]),
    "extent negative": lambda c: c["entries"][0]["inputs"][0].update(shape=[-40]),
    "shape too large": lambda c: c["entries"][0]["inputs"][0].update(shape=[2**40, 2**40]),
    "shape a number": lambda c: c["entries"][0]["inputs"][0].update(shape=40),
    "no outputs": lambda c: c["entries"][0].update(outputs=[]),
    "no entries": lambda c: c.update(entries=[]),
    "entries a number": lambda c: c.update(entries=1),
    "an entry a text": lambda c: c.update(entries=["x"]),
    "an entry twice": lambda c: c.update(entries=c["entries"] * 2),
    "an entry of other names": lambda c: c["entries"].append(with_port(c, name="z", shape=[3])),
    "an entry of another dtype": lambda c: c["entries"].append(with_port(c, dtype="int8", shape=[3])),
    "an entry of more inputs": lambda c: c["entries"].append(
        {**c["entries"][0], "inputs": c["entries"][0]["inputs"] * 2}
    ),
    "no target": lambda c: c.pop("target"),
    "checksum of another length": lambda c: c["files"]["affine.so"].update(sha256="00"),
    "files a list": lambda c: c.update(files=[1]),
    "threads a text": lambda c: c["entries"][0].update(max_threads="2"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_manifest(copy: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    rewritten(copy, change)
    with pytest.raises(PackageError, match="manifest.json is damaged"):
        load(str(copy))


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "null", "{", "[" * 100_000, '{"format": ' + "1" * 10_000 + "}", "\xff", '{"format": {}}']
)
def test_manifest_of_another_kind(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(PackageError, match="damaged|format"):
        load(str(copy))


def test_another_format_is_named(copy: Path) -> None:
    rewritten(copy, lambda c: c.update(format=99))
    with pytest.raises(PackageError, match="package format 99; this version reads format 2"):
        load(str(copy))


def test_another_machine(copy: Path) -> None:
    rewritten(copy, lambda c: c["target"].update(machine="sparc64"))
    with pytest.raises(PlatformError, match="was compiled for sparc64; this machine is"):
        load(str(copy))
    with pytest.raises(UnsupportedError, match="sparc64"):
        load_package(copy)


def test_another_cpu(copy: Path) -> None:
    rewritten(copy, lambda c: c["target"]["cpu_flags"].append("warp_drive"))
    with pytest.raises(PlatformError, match="this CPU lacks warp_drive: compile"):
        load(str(copy))


def test_another_system(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = os.uname()
    monkeypatch.setattr(os, "uname", lambda: type(system)(["Plan9", *system[1:]]))
    with pytest.raises(PlatformError, match="run on Linux; this is Plan9"):
        load(str(copy))


def test_cpu_flags_cover_the_host_target() -> None:
    assert set(Target.host().cpu_flags) <= package._cpu_flags()


def test_a_cross_compiled_package_is_refused_here(tmp_path: Path) -> None:
    other = "aarch64" if Target.host().arch == "x86_64" else "x86_64"
    made = affine(target=Target.parse(f"{other}-unknown-linux-gnu"))
    write_package(made, tmp_path / "cross")
    assert verify(str(tmp_path / "cross")).machine == other
    with pytest.raises(PlatformError, match=f"was compiled for {other}"):
        load(str(tmp_path / "cross"))
    with pytest.raises(UnsupportedError, match=other):
        artefact_module.load_artefact(made)


def test_a_replaced_package_is_not_mistaken_for_the_old_one(tmp_path: Path) -> None:
    x = np.ones(40, np.float32)
    folder = tmp_path / "net"
    write_package(affine(), folder)
    old = load_package(folder)
    write_package(ring("net", 40, 3), folder)
    new = load_package(folder)
    np.testing.assert_array_equal(new(np.arange(40, dtype=np.float32)), np.roll(np.arange(40), -3))
    np.testing.assert_array_equal(old(x), x * 8)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my-net", "'my-net' cannot be imported"),
        ("1net", "cannot be imported"),
        ("class", "cannot be imported"),
        ("réseau", "cannot be imported"),
        ("json", "would hide"),
        ("numpy", "would hide"),
    ],
)
def test_names_that_python_cannot_import(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        write_package(affine(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_relative_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert package_name("net/") == package_name("sub/../net") == "net"


def test_foreign_folders_are_not_overwritten(tmp_path: Path, copy: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_package(affine(), other)
    verify(str(other))
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "x.pyc").write_bytes(b"")
    write_package(affine(), other)
    (other / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not of the package: notes.txt"):
        write_package(affine(), other)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="no folder"):
        write_package(affine(), tmp_path / "file")
    (copy / "manifest.json").unlink()
    with pytest.raises(FileExistsError, match="holds no compiled package"):
        write_package(affine(), copy)
    assert (other / "notes.txt").read_text() == (tmp_path / "file").read_text() == "mine"


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(affine(), tmp_path / "net")

    def fail(*_: object) -> None:
        raise UnsupportedError("no linker")

    monkeypatch.setattr(artefact_module, "link_shared", fail)
    for name in ("net", "fresh"):
        with pytest.raises(UnsupportedError, match="no linker"):
            write_package(affine(), tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["net"]
    verify(str(tmp_path / "net"))


def test_hostile_port_names_stay_text(tmp_path: Path) -> None:
    names = '*/ int x; /* """ \n raise SystemExit("pwned") #', 'a\\"""b'
    made: Artefact = two_out(n=2, names=names)
    write_package(made, tmp_path / "net")
    done = python(tmp_path, "import net; print(net.model.outputs[0].name)")
    assert (done.returncode, done.stdout, done.stderr) == (0, names[0] + "\n", "")
    if shutil.which("cc") is None:
        skip("C callers of compiled packages")
    header = (tmp_path / "net" / "net.h").read_text()
    assert subprocess.run(["cc", "-fsyntax-only", "-x", "c", "-"], input=header, text=True).returncode == 0


@pytest.mark.parametrize(("before", "expected"), [("", "uint16"), ("import ml_dtypes; ", "bfloat16")])
def test_bfloat16_ports_are_bits_without_its_type(tmp_path: Path, before: str, expected: str) -> None:
    made = ring()
    type_ = TensorType(DType.BF16, (3,))
    ports = [[(p.name, type_) for p in side] for side in (made.entries[0].inputs, made.entries[0].outputs)]
    write_package(assemble("net", [(made.plan, *ports)], made.kernels, Target.host()), tmp_path / "net")
    done = python(tmp_path, f"{before}import net; print(net.model.inputs[0].dtype)")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{expected}\n", "")
    assert "uint16_t[3]" in (tmp_path / "net" / "net.h").read_text()


def test_weights_are_aligned(tmp_path: Path) -> None:
    table = np.zeros(129, np.uint8)[1:]
    table[:4] = np.frombuffer(np.float32(2).tobytes(), np.uint8)
    made = assemble("m", [(plan_of([], table), [], [("y", TensorType(F32, (1,)))])], {}, Target.host())
    assert made.plan.weights.array().ctypes.data % 64 == 0
    np.testing.assert_array_equal(made.plan.weights.array(), table)
