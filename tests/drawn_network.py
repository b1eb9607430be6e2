"""Networks from texts, their weights drawn."""

from __future__ import annotations

import math

import numpy as np

from nnefc.formats.nnef import parse_graph
from nnefc.ir.graph import Graph, Tensor


def network(text: str, seed: int = 0) -> Graph:
    """The graph of a text, with normal weights, each layer's of a size that keeps its results near 1."""
    graph = parse_graph(text)
    rng = np.random.default_rng(seed)
    tensors = {}
    for op in graph.ops:
        if op.kind == "variable":
            shape = op.output.type.extents
            size = 1.5 / math.sqrt(math.prod(shape[1:])) if len(shape) > 2 or shape[0] > 1 else 0.3
            data = (rng.standard_normal(shape) * size).astype(np.float32)
            tensors[op.attrs["label"]] = Tensor(data, "float", 32)
    return graph.replace(tensors=tensors)
