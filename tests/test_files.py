"""What is written appears whole or not at all, and leaves nothing else behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nnefc.files import whole_file, whole_folder, write_text


class Interrupted(Exception):
    """What a block raises here."""


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_file_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with whole_file(tmp_path / "x") as file:
        file.write(b"new")
        assert (tmp_path / "x").read_bytes() == b"old"
    assert contents(tmp_path) == {"x": b"new"}


@pytest.mark.parametrize("before", [{}, {"x": b"old"}])
def test_a_file_that_is_cut_short_is_not_there(tmp_path: Path, before: dict[str, bytes]) -> None:
    for name, data in before.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(Interrupted), whole_file(tmp_path / "x") as file:
        file.write(b"half")
        raise Interrupted
    assert contents(tmp_path) == before


def test_a_file_has_the_rights_that_others_get(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "Größe\n")
    (tmp_path / "y").touch()
    assert (tmp_path / "x").read_bytes() == "Größe\n".encode()
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_a_long_name_is_no_obstacle(tmp_path: Path) -> None:
    name = "ü" * 127
    write_text(tmp_path / name, "text")
    assert contents(tmp_path) == {name: b"text"}


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").write_bytes(b"1")
    with whole_folder(tmp_path / "d") as made:
        (made / "new").write_bytes(b"2")
        assert contents(tmp_path / "d") == {"old": b"1"}
    assert contents(tmp_path) == {"d/new": b"2"}


def _raises(folder: Path) -> None:
    with whole_folder(folder) as made:
        (made / "new").write_bytes(b"2")
        raise Interrupted


def _cannot_be_placed(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        rename = os.rename

        def refuse(source: Path, target: Path) -> None:
            if str(source).endswith(".new"):
                raise OSError(errno.EACCES, "no")
            rename(source, target)

        patch.setattr("pathlib.os.rename", refuse)
        with whole_folder(folder) as made:
            (made / "new").write_bytes(b"2")


@pytest.mark.parametrize(("write", "error"), [(_raises, Interrupted), (_cannot_be_placed, OSError)])
@pytest.mark.parametrize("before", [{}, {"d/old": b"1"}])
def test_a_folder_that_is_not_done_is_not_there(
    tmp_path: Path, write: Callable[[Path], None], error: type[Exception], before: dict[str, bytes]
) -> None:
    for name, data in before.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(data)
    with pytest.raises(error):
        write(tmp_path / "d")
    assert contents(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == (["d"] if before else [])


def test_errors_name_the_place_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_text(tmp_path / "no" / "x", "")
    assert caught.value.filename == str(tmp_path / "no" / "x") and ".nnefc-" not in str(caught.value)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "y").write_bytes(b"")
    with pytest.raises(OSError) as caught:
        write_text(tmp_path / "full", "")
    assert caught.value.filename == str(tmp_path / "full") and ".nnefc-" not in str(caught.value)
    with pytest.raises(OSError) as caught, whole_folder(tmp_path / "net") as folder:
        (folder / "no" / "x").write_bytes(b"")
    assert caught.value.filename == str(tmp_path / "net" / "no" / "x")
