"""The command line as a whole: help, version, exit codes that no model causes, and what importing nnefc loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import nnefc
from nnefc.cli import COMMANDS, main, validate
from nnefc.ops.signatures import is_extension


def test_version(cli) -> None:
    reply = cli("--version")
    assert (reply.code, reply.out, reply.err) == (0, f"nnefc {nnefc.__version__}\n", "")


def test_help_names_every_command_and_exit_code(cli) -> None:
    reply = cli("--help")
    assert reply.code == 0
    for command in COMMANDS:
        assert f"\n    {command.NAME} " in reply.out
    assert all(f" {code} " in reply.out for code in range(6))


@pytest.mark.parametrize("command", [c.NAME for c in COMMANDS])
def test_each_command_has_help(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["frobnicate"],
        ["validate"],
        ["validate", "m", "--shape", "x"],
        ["validate", "m", "--shape", "x=1,-2"],
        ["validate", "m", "--shape", "x=1,a"],
        ["validate", "m", "--shape", "=1"],
        ["compile", "m"],
        ["run", "m", "--threads", "0"],
        ["run", "m", "--threads", "two"],
        ["run", "m", "--random"],
        ["run", "m", "--tolerance", "little"],
        ["ops", "extra"],
        ["convert", "m"],
        ["convert", "m", "o.onnx", "--to", "caffe"],
        ["convert", "m", "o.onnx", "--opset", "new"],
        ["inspect"],
        ["compare", "m"],
        ["compare", "m", "ort", "--tolerance", "little"],
    ],
    ids=" ".join,
)
def test_wrong_usage(argv: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: ")


def test_a_fault_of_ours(monkeypatch, capsys) -> None:
    def broken(args: object) -> int:
        raise RuntimeError("the cat sat on it")

    monkeypatch.setattr(validate, "run", broken)
    assert main(["validate", "m"]) == 5
    captured = capsys.readouterr()
    assert captured.err.startswith("error: internal fault: RuntimeError: the cat sat on it\n")
    assert "report" in captured.err and "Traceback" not in captured.err
    assert main(["validate", "m", "--debug", "--json"]) == 5
    captured = capsys.readouterr()
    assert "Traceback" in captured.err
    assert json.loads(captured.out)["exit_code"] == 5


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "nnefc: interrupted\n"),
        (MemoryError(), 4, "error: out of memory\n"),
        (OSError(28, "No space left on device", "d"), 4, "error: [Errno 28] No space left on device: 'd'\n"),
        (nnefc.UnsupportedError("no such CPU"), 4, "error: no such CPU\n"),
        (nnefc.InvalidModelError("bad"), 3, "error: bad\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_exit_codes(monkeypatch, capsys, error: BaseException, code: int, text: str) -> None:
    def fails(args: object) -> int:
        raise error

    monkeypatch.setattr(validate, "run", fails)
    assert main(["validate", "m"]) == code
    assert capsys.readouterr() == ("", text)


def test_a_reader_that_goes_away() -> None:
    command = [sys.executable, "-m", "nnefc", "ops", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141


def test_importing_nnefc_is_light() -> None:
    code = (
        "import sys, nnefc; heavy = {'numba', 'llvmlite', 'lark', 'onnx', 'rich', 'argparse'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_the_names_of_the_package() -> None:
    for name in ("load", "compile", "evaluate", "save", "load_compiled", "Graph", "Model", "NnefcError"):
        assert getattr(nnefc, name) is not None and name in nnefc.__all__
    assert issubclass(nnefc.InvalidModelError, nnefc.NnefcError)
    assert issubclass(nnefc.UnsupportedError, nnefc.NnefcError)


def test_ops_lists_the_operations_of_the_standard(cli) -> None:
    table = cli("ops")
    rows = cli("ops", "--json").json()["operations"]
    assert table.code == 0 and sum(not is_extension(r["operation"]) for r in rows) == 119
    for row in rows:
        assert row["operation"] in table.out
        assert "-" not in (row["shapes"], row["reference"], row["compiled"]), row
    assert {"conv", "softabs", "update"} <= {row["operation"] for row in rows}
