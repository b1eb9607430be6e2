"""Models that are broken, or made to break us: each ends in a clear error and exit code 3, soon, in little memory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bad_files import FILES
from bad_texts import TEXTS

SECONDS = 10.0
MEMORY = 1 << 30


def check(reply, path: Path, fragment: str) -> None:
    assert reply.code == 3, (reply.code, reply.out, reply.err)
    assert reply.out == ""
    assert re.match(r"\S.*: error: \S", reply.err), reply.err
    assert fragment in reply.err
    assert "Traceback" not in reply.err
    assert len(reply.err) < 4000
    assert reply.seconds < SECONDS
    assert reply.memory < MEMORY


@pytest.mark.parametrize("name", TEXTS)
def test_text(guarded, tmp_path: Path, name: str) -> None:
    text, fragment = TEXTS[name]
    path = tmp_path / "graph.nnef"
    path.write_text(text)
    reply = guarded("validate", path)
    check(reply, path, fragment)
    assert re.match(re.escape(str(path)) + r":\d+:\d+: error: ", reply.err), reply.err
    excerpt, caret = reply.err.splitlines()[1:3]
    assert caret.strip() == "^" and len(caret) <= len(excerpt) + 1


@pytest.mark.parametrize("name", FILES)
def test_file(guarded, tmp_path: Path, name: str) -> None:
    build, fragment = FILES[name]
    path = build(tmp_path)
    check(guarded("validate", path), path, fragment)


def test_the_builders_make_a_good_model(guarded, tmp_path: Path) -> None:
    """Without its fault, a model of these tables is valid: what is refused above is refused for the fault."""
    from bad_files import DATA, GOOD, folder, header, tar, zipped
    from bad_texts import flat

    (tmp_path / "graph.nnef").write_text(flat("y = relu(x);"))
    models = [tmp_path / "graph.nnef"]
    for number, build in enumerate((folder(header() + DATA), tar(GOOD), tar(GOOD, mode="w:gz"), zipped(GOOD))):
        (tmp_path / str(number)).mkdir()
        models.append(build(tmp_path / str(number)))
    for model in models:
        reply = guarded("validate", model)
        assert reply.code == 0, reply.err
