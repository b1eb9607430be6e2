"""Damaged and hostile model files: each ends in its own message, soon, and without taking memory for what it claims."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from breaking import GOOD, GOOD_TAR, GOOD_TGZ, GOOD_ZIP, Broken, folder
from broken_archives import BOMBS, GZIPS, TARS, ZIPS
from broken_files import FOLDERS, OTHERS, TENSORS

from nnefc.errors import Location, NnefcError
from nnefc.formats.nnef.archive import open_model
from nnefc.formats.nnef.tensor import read_tensor

TABLES = {"tensor": TENSORS, "folder": FOLDERS, "other": OTHERS, "tar": TARS, "gzip": GZIPS, "zip": ZIPS}
BROKEN = {f"{kind}: {name}": broken for kind, table in TABLES.items() for name, broken in table.items()}
LARGE = BOMBS | {"length of 4 GiB in a folder": TENSORS["length of 4 GiB"]}
ELSEWHERE = Location("caller.nnef", 5, 7)


def open_and_read(path: Path, label: str | None) -> None:
    with open_model(path) as model:
        if label is not None:
            model.read_tensor(label, ELSEWHERE)


def check(broken: Broken, path: Path, text: str) -> None:
    place = str(ELSEWHERE) if broken.place == "?" else f"{path}{broken.place}"
    assert text.split("\n")[0] == f"{place}: error: {broken.message}"


@pytest.mark.parametrize("name", BROKEN)
def test_broken(tmp_path, name):
    broken = BROKEN[name]
    path = broken.build(tmp_path)
    start = time.process_time()
    with pytest.raises(NnefcError) as caught:
        open_and_read(path, broken.label)
    assert time.process_time() - start < 5
    assert type(caught.value) is broken.error
    check(broken, path, str(caught.value))


GUARD = """
import re, resource, sys
from nnefc.errors import NnefcError
from nnefc.formats.nnef.archive import open_model
resource.setrlimit(resource.RLIMIT_AS, (3 << 29, 3 << 29))
try:
    with open_model(sys.argv[1]) as model:
        if sys.argv[2]:
            model.read_tensor(sys.argv[2])
except NnefcError as error:
    print(error)
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""


@pytest.mark.parametrize("name", LARGE)
def test_bombs_end_soon_and_small(tmp_path, name):
    broken = LARGE[name]
    path = broken.build(tmp_path)
    command = [sys.executable, "-c", GUARD, str(path), broken.label or ""]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    text, usage = done.stdout.splitlines()
    check(broken, path, text)
    seconds, kilobytes = map(float, usage.split())
    assert seconds < 8 and kilobytes < 1 << 20


def test_what_the_tables_break_is_good_otherwise(tmp_path):
    paths = [folder(GOOD)(tmp_path)]
    for name, data in (("m.tar", GOOD_TAR), ("m.tgz", GOOD_TGZ), ("m.zip", GOOD_ZIP)):
        (tmp_path / name).write_bytes(data)
        paths.append(tmp_path / name)
    for path in paths:
        with open_model(path) as model:
            assert model.read_tensor("w").data.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(("name", "data"), [("m.tar", GOOD_TAR), ("m.tgz", GOOD_TGZ), ("m.zip", GOOD_ZIP)])
def test_damage_anywhere_is_met_with_an_error_or_none(tmp_path, name, data):
    """Bytes replaced, cut or doubled at random never raise anything but our own errors."""
    rng = random.Random(name)
    path = tmp_path / name
    outcomes = set()
    for _ in range(600):
        bad = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 8])):
            at = rng.randrange(len(bad))
            bad[at] = rng.choice([0, 0xFF, bad[at] ^ (1 << rng.randrange(8)), rng.randrange(256)])
        cut = rng.choice([0, 0, 0, rng.randrange(len(bad))])
        path.write_bytes(bytes(bad[cut:] if rng.random() < 0.3 else bad[: len(bad) - cut]))
        try:
            open_and_read(path, "w")
            outcomes.add("read")
        except NnefcError as error:
            outcomes.add(error.message.split("'")[0])
    assert len(outcomes) > 5


def test_damage_in_a_tensor_file_is_met_with_an_error_or_none():
    rng = random.Random(5)
    messages = set()
    for _ in range(3000):
        bad = bytearray(GOOD["w.dat"])
        for _ in range(rng.choice([1, 2, 4])):
            at = rng.randrange(60)
            bad[at] = rng.choice([0, 1, 0xFF, bad[at] ^ (1 << rng.randrange(8)), rng.randrange(256)])
        try:
            read_tensor(bad, len(bad), "w.dat")
        except NnefcError as error:
            messages.add(error.message.split()[0])
    assert len(messages) > 5
