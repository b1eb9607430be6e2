"""The networks that are measured: those of ``bench/zoo``, and the real models in a folder beside the project."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from bench import zoo
from nnefc.ir.graph import Graph

ROOT = Path(__file__).resolve().parent.parent
FILLED = ROOT / ".cache" / "zoo"
"""Where filled networks are kept for the next time (1.3 GB)."""


@dataclass(frozen=True)
class Network:
    """One network: its name, its ONNX file, and the ``group`` (zoo or models) that it belongs to."""

    name: str
    path: Path
    group: str


def recorded_inputs(network: Network, graph: Graph) -> dict[str, np.ndarray]:
    """The inputs that were recorded with a real model, by the names of the graph; empty where none were."""
    path = network.path.with_name("onnx_io.npz")
    if network.group != "models" or not path.is_file():
        return {}
    proto = onnx.load(network.path, load_external_data=False).graph
    stored_names = {t.name for t in proto.initializer}
    names = [i.name for i in proto.input if i.name not in stored_names]
    with np.load(path) as stored:
        arrays = [stored[name] for name in names if name in stored.files]
    return dict(zip((v.name for v in graph.inputs), arrays, strict=True)) if len(arrays) == len(names) else {}


def shared_folder() -> Path:
    """The folder beside the project; ``NNEFC_SHARED`` says where."""
    return Path(os.environ.get("NNEFC_SHARED", ROOT.parent / "shared"))


def real_models(shared: Path) -> list[Network]:
    """The models of a folder ``models``, each in a folder of its name."""
    found = (p / f"{p.name}.onnx" for p in sorted((shared / "models").glob("*")))
    return [Network(p.stem, p, "models") for p in found if p.is_file()]


def zoo_network(name: str) -> Network:
    """A network of the zoo, filled with weights unless that was done before."""
    path = FILLED / f"{name}.onnx"
    if not path.is_file():
        FILLED.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        onnx.save(zoo.filled(name), partial)
        partial.rename(path)
    return Network(name, path, "zoo")
