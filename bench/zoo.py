"""Twelve public architectures with weights drawn at random: what speed is measured on.

    python -m bench.zoo [--list] [NAME OUT.onnx] [--seed N]

The graphs in ``bench/zoo`` hold the architecture alone: large initialisers have a type and a shape and no data. They
are filled with weights that keep the magnitude of activations (He et al., 2015), equal for equal seeds everywhere.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

FOLDER = Path(__file__).resolve().parent / "zoo"


def names() -> list[str]:
    """Of all networks."""
    return sorted(p.stem for p in FOLDER.glob("*.onnx"))


def filled(name: str, seed: int = 0) -> onnx.ModelProto:
    """A network with weights, in single precision. Raises FileNotFoundError for a name that is none of ``names()``."""
    model = onnx.load(FOLDER / f"{name}.onnx")
    generator = np.random.default_rng(seed)
    scales = _scales(model.graph)
    for tensor in model.graph.initializer:
        if _is_empty(tensor):
            values = _draw(generator, tuple(tensor.dims), tensor.name in scales)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return model


def _scales(graph: onnx.GraphProto) -> set[str]:
    """The names of what multiplies or divides in normalizations, and so must be positive and near 1."""
    found = set()
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            found |= {node.input[1], node.input[4]}
        elif node.op_type == "LayerNormalization":
            found.add(node.input[1])
    return found


def _is_empty(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor has elements but no data."""
    held = tensor.raw_data or tensor.float_data or tensor.int64_data or tensor.int32_data
    return not held and len(tensor.dims) > 0 and math.prod(tensor.dims) > 0


def _draw(generator: np.random.Generator, shape: tuple[int, ...], scale: bool) -> np.ndarray:
    """Scales between 0.5 and 1.5; small vectors; filters and matrices by the number of inputs of an output."""
    if scale:
        return generator.uniform(0.5, 1.5, shape)
    spread = 0.05 if len(shape) == 1 else math.sqrt(2.0 / math.prod(shape[1:]))
    return generator.normal(0.0, spread, shape)


def main() -> None:
    """Write one network, or list them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=names(), metavar="NAME")
    parser.add_argument("output", nargs="?", type=Path, metavar="OUT.onnx")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="print the names")
    args = parser.parse_args()
    if args.list:
        print("\n".join(names()))
    elif args.name and args.output:
        onnx.save(filled(args.name, args.seed), args.output)
    else:
        parser.error("NAME and OUT.onnx are needed, or --list")


if __name__ == "__main__":
    main()
