"""The node cases of the ``onnx`` package: read, bound, and compared as its own runner compares."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from nnefc.codegen.artefact import assemble, load_artefact
from nnefc.codegen.schedule import plan
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels
from nnefc.errors import UnsupportedError
from nnefc.formats.onnx import load
from nnefc.ir.graph import Graph, Value
from nnefc.passes import pipeline

DENSE = frozenset(map(np.dtype, ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"))) | {
    np.dtype(ml_dtypes.bfloat16)
}
DATA_EXTENT = re.compile("test_(nonzero|unique|compress|strnorm|string|label_encoder|tfidf|regex)")
"""Cases of results whose extent depends on data."""
_ASKED = re.compile("must be known when the model is read, but depends on the input (.*?); bind")


@dataclass
class Case:
    """A model and one set of inputs and outputs."""

    name: str
    model: onnx.ModelProto
    inputs: list[Any]
    outputs: list[Any]
    rtol: float
    atol: float

    @property
    def dense(self) -> bool:
        """Whether all is made of tensors of the element types that are supported, of extents that are known."""
        every = [*self.inputs, *self.outputs]
        dense = all(isinstance(a, np.ndarray) and a.dtype in DENSE for a in every)
        return dense and not DATA_EXTENT.match(self.name)


@dataclass
class Bound:
    """A case as a Graph, with what it takes and what it is to give."""

    case: Case
    graph: Graph
    inputs: dict[str, np.ndarray]

    def fault(self, results: Sequence[np.ndarray], rtol: float | None = None, atol: float | None = None) -> str | None:
        """How the results differ from what they should be, or None; by default with the tolerances of the case."""
        for i, (got, wanted) in enumerate(zip(results, self.case.outputs, strict=True)):
            if got.dtype != wanted.dtype or got.shape != wanted.shape:
                return f"output {i} is {got.dtype}{list(got.shape)}, not {wanted.dtype}{list(wanted.shape)}"
            relative, absolute = rtol or self.case.rtol, atol or self.case.atol
            if wanted.dtype.name == "bfloat16":
                relative, got, wanted = max(relative, 2**-6), got.astype(np.float32), wanted.astype(np.float32)
            try:
                np.testing.assert_allclose(got, wanted, rtol=relative, atol=absolute)
            except AssertionError as error:
                return f"output {i}: " + " ".join(str(error).split())[:200]
        return None


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


@functools.cache
def generated() -> tuple[Case, ...]:
    """The cases that the package computes, by name, once each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests: list[TestCase] = load_model_tests(kind="node")
    found = {}
    for test in tests:
        assert test.model is not None and test.data_sets
        inputs, outputs = ([_array(v) for v in side] for side in test.data_sets[0])
        found[test.name] = Case(test.name, test.model, inputs, outputs, test.rtol, test.atol)
    return tuple(found.values())


@functools.cache
def stored() -> tuple[Case, ...]:
    """The small cases that lie in the package as files."""
    root = Path(onnx.__file__).parent / "backend" / "test" / "data"
    found = []
    for kind in ("pytorch-operator", "pytorch-converted", "simple"):
        for folder in sorted((root / kind).iterdir()):
            model = onnx.load(folder / "model.onnx")
            data = folder / "test_data_set_0"
            sides = []
            for side, infos in (("input", model.graph.input), ("output", model.graph.output)):
                files = sorted(data.glob(f"{side}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
                sides.append([_stored(f, info) for f, info in zip(files, infos, strict=False)])
            found.append(Case(f"{kind}/{folder.name}", model, *sides, 1e-3, 1e-7))
    return tuple(found)


def _stored(file: Path, info: onnx.ValueInfoProto) -> Any:
    if info.type.WhichOneof("value") == "sequence_type":
        sequence = onnx.SequenceProto.FromString(file.read_bytes())
        return onnx.numpy_helper.to_list(sequence)
    return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(file.read_bytes()))


def bind(case: Case) -> Bound:
    """The case as a Graph, those inputs of rank 0 or 1 bound that must be known. Raises UnsupportedError."""
    initial = {t.name for t in case.model.graph.initializer}
    names = [i.name for i in case.model.graph.input]
    if len(names) != len(case.inputs):
        names = [n for n in names if n not in initial]
    given = dict(zip(names, case.inputs, strict=False))
    arrays = {n: v for n, v in given.items() if isinstance(v, np.ndarray)}
    constants = {n: a for n, a in arrays.items() if not a.size}
    while True:
        free = [n for n in names if n not in constants and n not in initial]
        shapes = {n: arrays[n].shape for n in free if n in arrays}
        try:
            graph = load(case.model, shapes=shapes, constants=constants)
            break
        except UnsupportedError as error:
            asked = _ASKED.search(error.message)
            operands = re.findall("'(.*?)'", asked[1]) if asked else []
            more = {n: arrays[n] for n in operands if arrays[n].ndim <= 1}
            if not more:
                raise
            constants |= more
    taken = [n for n in names if n not in constants and n not in initial]
    return Bound(case, graph, {v.name: arrays[n] for v, n in zip(graph.inputs, taken, strict=True)})


def merged(bounds: Sequence[Bound]) -> tuple[Graph, dict[str, np.ndarray]]:
    """One graph of all the cases, side by side, and its inputs. What case ``i`` names begins with ``c{i}_``."""
    inputs: list[Value] = []
    outputs: list[Value] = []
    ops = []
    tensors = {}
    arrays: dict[str, np.ndarray] = {}
    for i, bound in enumerate(bounds):
        graph = bound.graph
        names = {v.name: replace(v, name=f"c{i}_{v.name}") for v in graph.values.values()}
        inputs += [names[v.name] for v in graph.inputs]
        outputs += [names[v.name] for v in graph.outputs]
        for op in graph.ops:
            operands = tuple(names[o.name] if isinstance(o, Value) else o for o in op.inputs)
            attrs = op.attrs.updated(label=f"c{i}_{op.attrs['label']}") if op.kind == "variable" else op.attrs
            ops.append(op.replace(inputs=operands, attrs=attrs, outputs=tuple(names[v.name] for v in op.outputs)))
        tensors |= {f"c{i}_{label}": tensor for label, tensor in graph.tensors.items()}
        arrays |= {f"c{i}_{name}": array for name, array in bound.inputs.items()}
    return Graph("merged", tuple(inputs), tuple(ops), tuple(outputs), tensors), arrays


def compiled(bounds: Sequence[Bound], threads: int = 2) -> list[list[np.ndarray]]:
    """The outputs of each case, all compiled as one program."""
    graph, arrays = merged(bounds)
    target = Target.host()
    scheduled = plan(pipeline.run(graph), target)
    kernels = compile_kernels(scheduled.specs(), target)
    ports = [[(v.name, v.type) for v in side] for side in (graph.inputs, graph.outputs)]
    model = load_artefact(assemble("merged", [(scheduled, *ports)], kernels, target), threads=threads)
    results = list(model(**arrays)) if len(graph.outputs) > 1 else [model(**arrays)]
    return [[results.pop(0) for _ in bound.graph.outputs] for bound in bounds]
