"""The cache of compiled kernels on disk."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toys

from nnefc.codegen import cache as kernel_cache
from nnefc.codegen import workers
from nnefc.codegen.cache import KernelCache
from nnefc.codegen.objectfile import KernelObject
from nnefc.codegen.spec import KernelSpec
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels

HOST = Target.host()
ARM = Target("aarch64-unknown-linux-gnu", "cortex-a76")
HERE = Path(__file__).parent


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def compiled(specs: list[KernelSpec], folder: Path, target: Target = HOST) -> int:
    """How many of the kernels were not found in the cache."""
    first: list[int] = []
    compile_kernels(specs, target, cache=folder, progress=lambda done, total: first.append(done))
    return len(specs) - first[0]


def test_what_was_compiled_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [toys.Divide(), toys.Axpy(4)]
    one = compile_kernels(specs, HOST, cache=tmp_path)
    monkeypatch.setattr(workers, "_compile", lambda *args: pytest.fail("compiled again"))
    assert compile_kernels(specs, HOST, cache=tmp_path) == one


def test_the_key_holds_all_that_makes_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = toys.Axpy(4)
    key = kernel_cache.key(spec, HOST)
    assert kernel_cache.key(toys.Axpy(4), HOST) == key
    other = dataclasses.make_dataclass("Axpy", [("lanes", int), ("fused", bool, True)], bases=(toys.Axpy,), frozen=True)
    keys = {key, kernel_cache.key(toys.Axpy(8), HOST), kernel_cache.key(spec, ARM), kernel_cache.key(other(4), HOST)}
    for name in ("sources", "versions"):
        with monkeypatch.context() as patch:
            patch.setattr(kernel_cache, name, lambda: "another")
            keys.add(kernel_cache.key(spec, HOST))
    with monkeypatch.context() as patch:
        changed = tmp_path / "toys.py"
        changed.write_text("# another text")
        patch.setattr(kernel_cache.inspect, "getsourcefile", lambda cls: str(changed))
        keys.add(kernel_cache.key(spec, HOST))
    assert len(keys) == 7


def test_the_sources_hold_what_kernels_are_built_from() -> None:
    kernels = Path(kernel_cache.__file__).parent / "kernels"
    text = "".join(file.read_text() for file in kernels.glob("*.py"))
    shared = set(re.findall(r"^from nnefc\.ir\.(\w+) import", text, re.M))
    assert shared and shared <= set(re.findall(r"^ir/(\w+)\.py ", kernel_cache.sources(), re.M))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda data: b"",
        lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
        lambda data: b"x" + data[1:],
    ],
)
def test_a_damaged_entry_is_compiled_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    spec = toys.Divide()
    good = compile_kernels([spec], HOST, cache=tmp_path)
    (entry,) = entries(tmp_path)
    entry.write_bytes(damage(entry.read_bytes()))
    assert KernelCache(tmp_path).get(entry.name) is None and not entry.exists()
    assert compile_kernels([spec], HOST, cache=tmp_path) == good
    assert compiled([spec], tmp_path) == 0


def test_a_folder_that_cannot_be_used_is_done_without(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert compiled([toys.Divide()], blocked / "kernels") == 1
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    assert compiled([toys.Divide()], shared) == 1 and entries(shared) == []


def test_a_full_disk_is_tolerated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kernel_cache.os, "replace", fail)
    assert compiled([toys.Divide()], tmp_path) == 1
    assert entries(tmp_path) == []


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path, limit=3500)
    for i in range(5):
        cache.put(f"k{i}", KernelObject(f"s{i}", bytes(900), ()))
        os.utime(tmp_path / f"k{i}", (i, i))
    assert cache.get("k0") == KernelObject("s0", bytes(900), ())
    cache.prune()
    assert [e.name for e in entries(tmp_path)] == ["k0", "k3", "k4"]


def test_processes_share_a_folder(tmp_path: Path) -> None:
    text = (
        "import sys, toys\nfrom pathlib import Path\nfrom nnefc.codegen.cache import KernelCache\n"
        "from nnefc.codegen.objectfile import KernelObject\n"
        "cache = KernelCache(Path(sys.argv[1]), limit=100_000)\n"
        "for i in range(300):\n"
        "    key = f'k{i % 7}'\n"
        "    cache.put(key, KernelObject(key, bytes([i % 7]) * 20_000, ()))\n"
        "    found = cache.get(key)\n"
        "    assert found is None or found == KernelObject(key, bytes([i % 7]) * 20_000, ()), key\n"
        "    cache.prune()\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    command = [sys.executable, "-c", text, str(tmp_path)]
    running = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(p.communicate()[1], p.returncode) for p in running] == [("", 0)] * 3
    assert sum(e.stat().st_size for e in entries(tmp_path)) <= 100_000


def test_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert kernel_cache.default_directory() == Path("/somewhere/nnefc/kernels")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/someone")
    assert kernel_cache.default_directory() == Path("/home/someone/.cache/nnefc/kernels")
