"""Runs a model in tract, in a process of its own, since tract may abort: MODEL INPUTS.npz OUTPUTS.npz."""

from __future__ import annotations

import sys

import numpy as np
import tract


def main(model_path: str, inputs_path: str, outputs_path: str) -> None:
    """Load a model, run it on the arrays of its inputs' names, and write its outputs in order."""
    nnef = tract.nnef().with_tract_extra().with_tract_transformers()
    model = nnef.load(model_path)
    names = [model.input_name(i) for i in range(model.input_count())]
    with np.load(inputs_path) as arrays:
        results = model.into_runnable().run([arrays[name] for name in names])
    np.savez(outputs_path, *[r.to_numpy() for r in results])


if __name__ == "__main__":
    main(*sys.argv[1:])
