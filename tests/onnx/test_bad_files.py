"""ONNX files that are broken, or made to break us: each ends in a clear error, soon, in little memory."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest
from bad_onnx_files import FILES, GOOD

from nnefc.errors import NnefcError, UnsupportedError
from nnefc.formats.onnx import load

SECONDS = 10.0
MEMORY = 1 << 30


@pytest.mark.parametrize("name", FILES)
def test_file(guarded, tmp_path: Path, name: str) -> None:
    build, code, fragment = FILES[name]
    path = build(tmp_path)
    reply = guarded("validate", path)
    assert reply.code == code, (reply.code, reply.out, reply.err)
    assert reply.out == ""
    assert re.match(re.escape(str(path)) + r": error: \S", reply.err), reply.err
    assert fragment in reply.err
    assert "Traceback" not in reply.err
    assert len(reply.err) < 4000
    assert reply.seconds < SECONDS
    assert reply.memory < MEMORY


def test_the_good_model_is_good(guarded, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(GOOD)
    reply = guarded("validate", path)
    assert reply.code == 0, reply.err


def test_damage_anywhere_is_met_with_an_error_or_none() -> None:
    """Bytes replaced or cut at random never raise anything but our own errors."""
    rng = random.Random(3)
    outcomes = set()
    start = time.process_time()
    for _ in range(1500):
        bad = bytearray(GOOD)
        for _ in range(rng.choice([1, 1, 2, 8])):
            at = rng.choice([rng.randrange(len(bad)), rng.randrange(120), len(bad) - 1 - rng.randrange(120)])
            bad[at] = rng.choice([0, 0xFF, bad[at] ^ (1 << rng.randrange(8)), rng.randrange(256)])
        if rng.random() < 0.2:
            del bad[rng.randrange(len(bad)) :]
        try:
            load(bytes(bad))
            outcomes.add("read")
        except NnefcError as error:
            outcomes.add("UnsupportedError" if isinstance(error, UnsupportedError) else type(error).__name__)
    assert outcomes == {"read", "InvalidModelError", "UnsupportedError"}
    assert time.process_time() - start < 60
