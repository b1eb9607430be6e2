"""Engines side by side, each in a process of its own that is driven from here."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from nnefc.errors import UnsupportedError
from nnefc.tools.machine import versions

WORKER = Path(__file__).with_name("engine_worker.py")
PAUSE = 0.02
"""Seconds of rest before an engine's turn: threads of the one before, which wait busily for a while, then sleep."""


class Peer(NamedTuple):
    """An engine to compare with: its name for people, its package, and whether it divides a call over threads."""

    title: str
    package: str
    threads: bool = True


PEERS = {
    "ort": Peer("ONNX Runtime", "onnxruntime"),
    "openvino": Peer("OpenVINO", "openvino"),
    "tract": Peer("tract", "tract", False),
}


def require(names: Iterable[str]) -> None:
    """Raise ValueError for a name that is no peer, and UnsupportedError, saying what to install, for one that is not
    installed."""
    missing = []
    for name in names:
        if name not in PEERS:
            raise ValueError(f"there is no peer {name!r}; there are {', '.join(PEERS)}")
        if importlib.util.find_spec(PEERS[name].package) is None:
            missing.append(PEERS[name])
    if missing:
        titles = " and ".join(p.title for p in missing)
        packages = " ".join(p.package for p in missing)
        raise UnsupportedError(f"{titles} {'are' if len(missing) > 1 else 'is'} not installed: pip install {packages}")


def version(name: str) -> str:
    """The installed version of an engine."""
    package = PEERS[name].package if name in PEERS else name
    return versions([package]).get(package, "unknown")


class Engine:
    """A network in one engine, in a process of its own, to be used in a ``with`` block.

    ``load_seconds`` is the time to load it, ``first_seconds`` that with the first answer, the engine's own code being
    in memory already."""

    def __init__(self, name: str, path: Path, threads: int, inputs: Path):
        """``path`` is a compiled folder for ``nnefc``, an ONNX file for others, or NNEF for tract; ``inputs`` an .npz
        file of arrays by input name. Raises UnsupportedError if the engine cannot open or run the network."""
        self.name = name
        self.threads = threads if name not in PEERS or PEERS[name].threads else 1
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
        )
        try:
            request = {"do": "open", "engine": name, "path": str(path), "threads": self.threads, "inputs": str(inputs)}
            answer = self._ask(request)
        except UnsupportedError:
            self.close()
            raise
        self.load_seconds, self.first_seconds = float(answer["seconds"]), float(answer["first"])

    def round(self, seconds: float, calls: int = 1) -> list[float]:
        """The seconds of each call of one turn, which lasts so long and has at least so many calls."""
        return list(self._ask({"do": "round", "seconds": seconds, "calls": calls, "pause": PAUSE})["times"])

    def answers(self, path: Path) -> None:
        """Store the outputs, in order, in an .npz file."""
        self._ask({"do": "answers", "path": str(path)})

    def peak_memory(self) -> int:
        """The most bytes that the engine's process has held in memory at once."""
        return int(self._ask({"do": "memory"})["peak"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._messages):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._messages.seek(0)
            said = self._messages.read()[-500:].decode(errors="replace").strip()
            raise self._fault(f"its process ended with code {self._process.wait()}: {said or 'it said nothing'}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._fault(answer["error"])
        return answer

    def _fault(self, text: str) -> UnsupportedError:
        title = PEERS[self.name].title if self.name in PEERS else self.name
        return UnsupportedError(f"{title} cannot run the model: {text}")
