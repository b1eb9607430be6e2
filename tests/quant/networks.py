"""Small networks for the tests of quantization, from texts."""

from __future__ import annotations

import re

import numpy as np

from nnefc.formats.nnef import parse_graph
from nnefc.formats.nnef.tensor import tensor_of
from nnefc.ir.graph import Graph


def network(body: str, inputs: str = "x", outputs: str = "y", seed: int = 0) -> Graph:
    """The network of these operations; ``name = variable[shape]`` is short for a variable, of normal values."""
    body = re.sub(r"(\w+) = variable\[([\d, ]*)\]", r"\1 = variable<scalar>(shape = [\2], label = '\1')", body.strip())
    body = re.sub(r"(\w+) = external\[([\d, ]*)\]", r"\1 = external<scalar>(shape = [\2])", body)
    graph = parse_graph(f"version 1.0;\n\ngraph net({inputs}) -> ({outputs})\n{{\n{body}\n}}\n")
    generator = np.random.default_rng(seed)
    variables = [op for op in graph.ops if op.kind == "variable"]
    tensors = {
        op.attrs["label"]: tensor_of(generator.standard_normal(op.output.type.extents).astype(np.float32))
        for op in variables
    }
    return graph.replace(tensors=tensors)


def samples(graph: Graph, count: int, seed: int = 1) -> list[dict[str, np.ndarray]]:
    """Normal values for each input."""
    generator = np.random.default_rng(seed)
    return [
        {v.name: generator.standard_normal(v.type.extents).astype(np.float32) for v in graph.inputs}
        for _ in range(count)
    ]
