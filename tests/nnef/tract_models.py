"""Models in tract's dialect, for the tests of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnefc.formats.nnef import load
from nnefc.formats.nnef.archive import write_model
from nnefc.ir.graph import Graph, Tensor
from nnefc.ops.evaluate import evaluate

EXPORTS = Path(__file__).parent / "data" / "torch_to_nnef"
HEAD = "version 1.0;\n\nextension tract_registry tract_core;\n"
_ITEMS = {"f": "float", "i": "qint", "u": "quint", "b": "bool"}


def text(body: str, *, inputs: str = "x", outputs: str = "y", head: str = "", fragments: str = "") -> str:
    """A document with the header of tract's dialect; more lines of the header in ``head``."""
    return f"{HEAD}{head}\n{fragments}\ngraph net({inputs}) -> ({outputs})\n{{\n{body}\n}}\n"


def external(name: str = "x", shape: str = "2, 3", datum_type: str = "f32") -> str:
    """The line that makes an input."""
    return f"{name} = tract_core_external(shape = [{shape}], datum_type = '{datum_type}');\n"


def variable(name: str, array: np.ndarray) -> str:
    """The line that reads a stored tensor of the same label."""
    return f"{name} = variable<scalar>(label = '{name}', shape = {list(array.shape)});\n"


def model(folder: Path, document: str, quant: str | None = None, **arrays: np.ndarray) -> Path:
    """A folder with a model; integers are stored as tract stores them, as quantized items."""
    tensors = {
        name: Tensor(a, _ITEMS[a.dtype.kind], 1 if a.dtype.kind == "b" else a.dtype.itemsize * 8)
        for name, a in arrays.items()
    }
    write_model(folder / "m", document, quant, tensors)
    return folder / "m"


def read(folder: Path, document: str, notes: list[str] | None = None, **arrays: np.ndarray) -> Graph:
    """The Graph of a model written to a folder."""
    return load(model(folder, document, **arrays), notes=notes)


def answers(graph: Graph, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs in order, by the meaning of the operations."""
    results = evaluate(graph, inputs)
    return [results[v.name] for v in graph.outputs]
